"""Every mutant is about the code as it is: a patch that no longer applies kills nothing."""

import subprocess
from pathlib import Path

import pytest

from tests.mutants.__main__ import read_mutant

ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted((ROOT / "tests" / "mutants").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_mutant_applies_to_the_code(patch: Path) -> None:
    checked = subprocess.run(
        ["git", "apply", "--check", "--unidiff-zero", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, f"make the patch anew: {checked.stderr}"
    missing = [test for test in read_mutant(patch).tests if not (ROOT / test.partition("::")[0]).exists()]
    assert not missing, "the tests that catch it have gone elsewhere"
