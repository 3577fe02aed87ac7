"""Applies each deliberate defect to a copy of the code and sees that the tests named in it fail.

A `NAME.patch` beside this file begins with two comments, "# Breaks: RULE" and "# Tests: PATHS". Never touches the
checkout itself. Exits with 1 when a mutant survives, or when the tests fail without one.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COPIED = ("coordinator", "sdk", "proto", "tests", "pyproject.toml")
AT_ONCE = 2
SECONDS_MAX = 300
SOUND_SECONDS_MAX = 1_800
"""For the tests of all mutants, one after the other, on the code as it is."""
TESTS_FAILED = 1
"""What pytest exits with when tests failed; anything else above 0 means that they could not run."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A deliberate defect: the rule it breaks and the tests that must fail."""

    name: str
    breaks: str
    tests: tuple[str, ...]
    patch: Path


def main(names: Sequence[str]) -> int:
    """Runs the mutants with these names, or all; the exit code."""
    mutants = [
        mutant for mutant in map(read_mutant, sorted(HERE.glob("*.patch"))) if mutant.name in (names or [mutant.name])
    ]
    with tempfile.TemporaryDirectory(prefix="holdfast-mutants-") as scratch:
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        if run_tests(copy_code(Path(scratch) / "sound"), tests, seconds_max=SOUND_SECONDS_MAX) != 0:
            print("the tests fail without a mutant; nothing can be said", file=sys.stderr)
            return 1
        width = max((len(mutant.name) for mutant in mutants), default=0)
        outcomes = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            tried = pool.map(lambda mutant: outcome_of(mutant, Path(scratch)), mutants)
            for mutant, outcome in zip(mutants, tried, strict=True):
                outcomes.append(outcome)
                print(f"{mutant.name:{width}}  {outcome:8}  {mutant.breaks}", flush=True)
    killed = outcomes.count("killed")
    print(f"{killed} of {len(mutants)} mutants killed")
    return 0 if mutants and killed == len(mutants) else 1


def read_mutant(patch: Path) -> Mutant:
    """The mutant of a patch. Raises ValueError when its header is not there."""
    breaks, tests, *_ = patch.read_text(encoding="utf-8").splitlines()
    if not breaks.startswith("# Breaks: ") or not tests.startswith("# Tests: "):
        raise ValueError(f'{patch.name} must begin with the lines "# Breaks: RULE" and "# Tests: PATHS"')
    return Mutant(patch.stem, breaks.removeprefix("# Breaks: "), tuple(tests.split()[2:]), patch)


def outcome_of(mutant: Mutant, scratch: Path) -> str:
    """How the tests took a mutant: killed, survived, or broken when it could not be tried."""
    copy = copy_code(scratch / mutant.name)
    applied = subprocess.run(
        ["git", "apply", "--recount", "-p1", str(mutant.patch)], cwd=copy, capture_output=True, text=True, check=False
    )
    if applied.returncode:
        print(f"{mutant.name}: {applied.stderr.strip()}", file=sys.stderr)
        return "broken"
    code = run_tests(copy, mutant.tests)
    shutil.rmtree(copy)
    return {0: "survived", TESTS_FAILED: "killed"}.get(code, "broken")


def copy_code(target: Path) -> Path:
    """A copy of what the tests need."""
    target.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, target / name)
    return target


def run_tests(copy: Path, tests: Sequence[str], *, seconds_max: float = SECONDS_MAX) -> int:
    """Runs tests of a copy with the code of the copy; pytest's exit code. Tests that do not end have failed."""
    # First in the path, before what an editable install puts there.
    path = os.pathsep.join(str(copy / name) for name in ("sdk", "coordinator", ""))
    environment = os.environ | {"PYTHONPATH": path, "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / ".hypothesis")}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=seconds_max, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"the tests of {copy.name} did not end within {seconds_max} s", file=sys.stderr)
        return TESTS_FAILED
    if done.returncode > TESTS_FAILED:
        print(done.stdout[-2_000:], done.stderr[-2_000:], file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
