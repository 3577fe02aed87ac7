"""What a run of chaos says when something is wrong, and what it refuses. Minutes of it are in test_chaos_minutes.py."""

import asyncio
import json
import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.process_tree import frozen
from tests.support.processes import module_run
from tests.support.watching import until

SEED_OF_THE_DEFECT = "7"
FEW = ("calls duplicated",)
"""A fault that harms nobody: what these runs come to is the doing of the tests."""
EXECUTIONS = 10
"""So many are falsified at least; not all of them belong to a run that completes."""
UNANSWERED_SECONDS = 25.0
"""A user repeats a call for ten seconds."""

_chaos = partial(module_run, "tests.chaos")


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


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_chaos_that_finds_something_wrong_says_its_seed_and_leaves_its_evidence(
    open_directory: Path,
) -> None:
    directory = open_directory / "files"
    chaos = asyncio.create_task(
        _chaos("--seed", SEED_OF_THE_DEFECT, "--minutes", "0.2", "--faults", *FEW, "--directory", str(directory))
    )
    ledger = directory / "ledger"

    async def ends() -> list[str]:
        return [line for line in _text(ledger).splitlines() if '"what": "ends"' in line]

    await until(ends, lambda lines: len(lines) >= EXECUTIONS or chaos.done(), seconds=120)
    falsified = _falsify(ledger)
    code, output = await chaos
    assert code == 1, output
    assert falsified
    assert f"repeat it with `make chaos SEED={SEED_OF_THE_DEFECT} MINUTES=0.2`" in output
    assert "results_are_of_executions: " in output
    assert f"its files are in {directory}" in output

    kept = {path.name: path.read_text(errors="replace") for path in directory.iterdir() if path.is_file()}
    assert "calls duplicated begins" in kept["diary"]
    assert "results_are_of_executions: " in kept["violations"]
    assert "acknowledged" in kept["calls"]
    assert "completed" in kept["stories"]
    assert "leases" in kept
    assert json.loads(kept["counts.json"])["runs"] > 0
    assert any(name.startswith("journal-") and "step_completed" in text for name, text in kept.items())
    for name in ("coordinator-0", "coordinator-1", "coordinator-2", "worker-0", "worker-1", "worker-2", "worker-3"):
        assert "most recent call first" in kept[f"{name}.log"], f"no stacks of {name}"


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_chaos_in_which_most_calls_have_no_answer_proves_nothing(open_directory: Path) -> None:
    directory = open_directory / "files"
    chaos = asyncio.create_task(
        _chaos("--seed", "5", "--minutes", "0.3", "--rate", "20", "--faults", *FEW, "--directory", str(directory))
    )

    async def diary() -> str:
        return _text(directory / "diary")

    await until(diary, lambda text: bool(text) or chaos.done(), seconds=120)
    coordinators = [int(entry.name) for entry in _of_the_run(directory) if "serve" in _text(entry / "cmdline")]
    assert len(coordinators) == 3
    with frozen(coordinators):  # for longer than any user repeats a call
        await asyncio.sleep(UNANSWERED_SECONDS)
    code, output = await chaos
    assert code == 2, output
    assert "calls had no answer: the faults were too many to prove anything" in output, output
    assert "repeat it with `make chaos SEED=5 MINUTES=0.3`" in output


def _falsify(ledger: Path) -> bool:
    """Changes the tokens of all ends that are in the ledger, in place: other executions than the recorded ones."""
    with ledger.open("r+b") as file:
        text = file.read()
        for match in re.finditer(rb'"what": "ends".*?"token": "([0-9a-f]{12})"', text):
            file.seek(match.start(1))
            file.write(b"0" * 12)
    return b'"ends"' in text


def _of_the_run(directory: Path) -> list[Path]:
    named = "HOLDFAST_CHAOS_LEDGER=" + os.path.join(directory, "ledger")
    return [entry for entry in _processes() if named in _text(entry / "environ")]


def _processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _text(path: Path) -> str:
    """What is in a file of /proc; nothing when its process has ended, or is another user's."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
