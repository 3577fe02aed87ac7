"""The example graph.py does what it says."""

import pytest

from examples.graph import notes
from holdfast.statuses import RunStatus
from holdfast.testing import run_local


@pytest.mark.feature("F9", "F86", "F87")
async def test_the_notes_join_what_two_tasks_made_of_one_fetch() -> None:
    run = await run_local(notes, "v2")
    assert run.value() == {"publish": "v2: graphs, and 2 fixes"}
    assert [type(entry).__name__ for entry in run.history].count("StepCompleted") == 4


@pytest.mark.feature("F12")
def test_the_shared_task_is_drawn_once() -> None:
    assert notes.display().splitlines() == [
        "release-notes",
        "\\-- changes",
        "    |-- features",
        "    |   \\-- publish",
        "    \\-- fixes",
        "        \\-- publish [shared]",
    ]


@pytest.mark.feature("F84")
async def test_an_unknown_version_skips_what_needs_its_changes() -> None:
    run = await run_local(notes, "v9")
    assert run.status is RunStatus.FAILED
    assert [type(entry).__name__ for entry in run.history].count("StepSkipped") == 3
