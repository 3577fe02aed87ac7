"""Random programs under random faults, for two minutes; `make chaos` does so for longer."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.watching import until

SEED = os.environ.get("SEED", "1")
MINUTES = "2"


async def _chaos(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_two_minutes_of_random_faults_lose_double_and_stop_nothing() -> None:
    code, output = await _chaos("--seed", SEED, "--minutes", MINUTES)
    assert code == 0, output


async def test_chaos_refuses_a_directory_with_files_that_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    code, output = await _chaos("--directory", str(tmp_path))
    assert code == 2
    assert "holds files that are not of this run; give a directory that does not exist yet" in output
    assert os.listdir(tmp_path) == ["thesis.txt"]


async def test_chaos_refuses_a_fault_that_there_is_not() -> None:
    code, output = await _chaos("--faults", "earthquake")
    assert code == 2
    assert "there is no fault earthquake; there are" in output
    assert "worker killed" in output


async def test_chaos_that_is_interrupted_leaves_nothing_behind() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos", "--faults", "worker killed",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    first = (await process.stdout.readline()).decode()
    directory = first.strip().rpartition(" ")[2]

    async def is_under_way() -> bool:
        return "ledger" in os.listdir(directory)

    await until(is_under_way, bool, seconds=60)
    process.terminate()
    output, _ = await process.communicate()
    assert process.returncode == 130, output.decode()
    assert directory not in _text(Path("/proc/self/mounts"))
    named = "HOLDFAST_CHAOS_LEDGER=" + os.path.join(directory, "ledger")
    assert [entry for entry in _processes() if named in _text(entry / "environ")] == []
    shutil.rmtree(directory)


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _text(path: Path) -> str:
    """What is in a file of /proc; nothing when its process has ended, or is another user's."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
