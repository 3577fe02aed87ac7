"""Killed processes are recovered from: two kills of each kind; `make recoveries` measures fifty."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from tests.support.processes import module_run

SLACK_SECONDS = "20"
"""A machine that does other work at the same time may be late."""

_recoveries = partial(module_run, "tests.chaos.recoveries")


@pytest.mark.feature("F141", "F142")
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_after_every_kind_of_kill_things_go_on(tmp_path: Path) -> None:
    code, output = await _recoveries("--kills", "2", "--slack", SLACK_SECONDS, "--json", str(tmp_path / "facts"))
    assert code == 0, output
    facts = json.loads((tmp_path / "facts").read_text())
    assert list(facts) == ["worker", "coordinator", "database", "leaving", "mail"]
    assert {len(seconds) for measured in facts.values() for seconds in measured.values()} == {2}


async def test_recoveries_refuse_a_directory_with_files_that_are_not_their_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    code, output = await _recoveries("--directory", str(tmp_path))
    assert code == 2
    assert "holds files that are not of this run; give a directory that does not exist yet" in output
    assert os.listdir(tmp_path) == ["thesis.txt"]


async def test_recoveries_refuse_a_kind_that_there_is_not() -> None:
    code, output = await _recoveries("--kinds", "earthquake")
    assert code == 2
    assert "there is no kind earthquake; there are worker, coordinator, database, leaving, mail" in output
