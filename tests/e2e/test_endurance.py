"""What grows under load is found: a minute of it in the slow tests; `make endurance` does so for an hour."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import module_run

_endurance = partial(module_run, "tests.chaos.endurance")


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_minute_of_load_leaves_memory_descriptors_and_tables_as_they_were(tmp_path: Path) -> None:
    code, output = await _endurance("--minutes", "1", "--runs", "3000", "--json", str(tmp_path / "facts"))
    assert code == 0, output
    assert "nothing grows" in output
    facts = json.loads((tmp_path / "facts").read_text())
    assert facts["runs"] >= 3_000
    assert {one["what"] for one in facts["growths"]} > {"coordinator 0: memory", "open_runs", "latency of a probe"}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_worker_that_leaks_is_named(open_directory: Path) -> None:
    leak = ("--leak-bytes", "100000", "--directory", str(open_directory / "files"))
    code, output = await _endurance("--minutes", "0.5", "--runs", "1500", *leak)
    assert code == 1, output
    assert "worker 0: memory grows" in output
    assert "worker 1: memory grows" in output
    assert "open_runs grows" not in output
    assert {"worker-0.log", "coordinator-1.log"} <= {*os.listdir(open_directory / "files")}


async def test_endurance_refuses_a_directory_with_files_that_are_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    code, output = await _endurance("--directory", str(tmp_path))
    assert code == 2
    assert "holds files that are not of this run; give a directory that does not exist yet" in output
    assert os.listdir(tmp_path) == ["thesis.txt"]
