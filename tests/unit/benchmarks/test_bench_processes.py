"""Which code the processes of a benchmark run."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.processes import ROOT, command_of, environment

ASK = "import benchmarks, holdfast, sys; sys.stdout.write(f'{holdfast.__file__}\\n{benchmarks.__file__}')"


def _files(checkout: Path | None, cwd: Path) -> list[Path]:
    """Where such a process finds holdfast and the benchmarks."""
    asking = [*command_of("program")[:2], "-c", ASK]
    done = subprocess.run(asking, check=True, capture_output=True, text=True, cwd=cwd, env=environment(checkout))
    return [Path(line) for line in done.stdout.splitlines()]


@pytest.fixture
def revision(tmp_path: Path) -> Path:
    """Another revision, which keeps benchmarks of its own at the top and inside the coordinator."""
    for package in ("sdk/holdfast", "coordinator/holdfast_coordinator/bench", "benchmarks"):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    return tmp_path


def test_another_revision_is_measured_with_these_benchmarks(revision: Path) -> None:
    found = _files(revision, cwd=revision)
    assert found == [revision / "sdk" / "holdfast" / "__init__.py", ROOT / "benchmarks" / "__init__.py"]


def test_a_folder_in_the_working_directory_does_not_take_the_place_of_the_benchmarks(revision: Path) -> None:
    found = _files(None, cwd=revision)
    assert found == [ROOT / "sdk" / "holdfast" / "__init__.py", ROOT / "benchmarks" / "__init__.py"]


def test_processes_do_not_compile_their_modules_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert "PYTHONDONTWRITEBYTECODE" not in environment()
