"""Every mutant is about the code as it is: a patch that no longer applies kills nothing."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted((ROOT / "tests" / "mutants").glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_mutant_applies_to_the_code(patch: Path) -> None:
    checked = subprocess.run(
        ["git", "apply", "--check", "--unidiff-zero", str(patch)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, f"make the patch anew: {checked.stderr}"
