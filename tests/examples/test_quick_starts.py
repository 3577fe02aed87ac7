"""The quick starts of small engines, written with holdfast: programs that are as short as those, and durable."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

QUICK_STARTS = Path(__file__).parents[2] / "examples" / "quick_starts"
LINES_MAX = 40
PRINTED = {
    "decorator_library": "10",
    "typed_pipeline": "sent receipt o-1: 9.99",
    "dag_runner": "{'report': '3 numbers, 12 when doubled'}",
    "blocking_orchestrator": "3",
    "event_sourced_engine": "'Hello', approved by Ada",
}


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Where all of them keep their data, since a new database takes longer than they do. Postgres is not root."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def printed_by(name: str, directory: Path) -> list[str]:
    command = [sys.executable, str(QUICK_STARTS / f"{name}.py")]
    done = subprocess.run(
        command, cwd=directory, env=dict(os.environ), check=False, capture_output=True, text=True, timeout=110
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.feature("F148")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", PRINTED)
def test_a_quick_start_prints_its_result_also_the_second_time(name: str, directory: Path) -> None:
    first = printed_by(name, directory)
    assert PRINTED[name] in first
    assert printed_by(name, directory) == first


def test_there_is_no_other_and_all_are_short() -> None:
    lengths = {path.stem: len(path.read_text().splitlines()) for path in QUICK_STARTS.glob("*.py")}
    assert lengths.keys() == PRINTED.keys()
    assert max(lengths.values()) <= LINES_MAX, lengths
