"""What running attempts save for those that may follow."""

from typing import Any

import pytest

from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.domain.commands import SaveProgress
from holdfast_coordinator.domain.rows import Side
from tests.support.core_cell import CoreCell
from tests.support.core_commands import OTHER, RUN, WORKER, leased, lose, offer, queued, report, take, transition


def save(details: bytes, **changed: Any) -> SaveProgress:
    known = {"number": 1, "attempt": 1, "epoch": 1, "session_id": WORKER, "is_queued": False}
    return SaveProgress(run_id=RUN, details=details, **known | changed)


def test_the_last_progress_of_an_inline_step_is_kept_beside_its_run(cell: CoreCell) -> None:
    leased(cell)
    assert cell.ask(save(b"1")) is True
    assert cell.submit(save(b"2"), save(b"3", number=2)) == [True, True]
    assert {key: row.details for key, row in cell.step_progress.items()} == {(RUN, 1): b"2", (RUN, 2): b"3"}
    assert Side.PROGRESS in cell.open_runs[RUN].side


def test_the_progress_of_a_queued_step_is_kept_in_its_row_and_comes_with_its_next_claim(cell: CoreCell) -> None:
    task = queued(cell)
    assert cell.ask(save(b"1", is_queued=True)) is True
    assert cell.tasks[RUN, 1].saved == b"1"
    assert not cell.step_progress
    offer(cell, OTHER, runs=0, tasks=1)
    cell.ask(lose(task))  # and given to the other at once
    assert [claim.task.saved for claim in cell.claims()] == [b"1"]


@pytest.mark.parametrize("changed", [{"epoch": 2}, {"session_id": OTHER}])
@pytest.mark.parametrize("is_queued", [False, True])
def test_an_attempt_that_no_longer_counts_saves_nothing(
    cell: CoreCell, changed: dict[str, Any], is_queued: bool
) -> None:
    if is_queued:
        queued(cell)
    else:
        leased(cell)
    assert cell.ask(save(b"late", is_queued=is_queued, **changed)) is False
    assert not cell.step_progress
    assert all(task.saved is None for task in cell.tasks.values())


def test_a_queued_step_that_has_its_result_saves_nothing(cell: CoreCell) -> None:
    task = queued(cell)
    assert cell.submit(report(task, result=b"42"), save(b"late", is_queued=True)) == [True, False]


def test_progress_goes_with_its_run(cell: CoreCell) -> None:
    leased(cell)
    cell.ask(save(b"1"))
    take(cell, then=Then.CLOSE)
    assert not cell.step_progress
    assert cell.run_results[RUN].status is RunStatus.COMPLETED


def test_progress_that_is_saved_in_the_batch_that_closes_its_run_is_not_left_behind(cell: CoreCell) -> None:
    leased(cell)
    cell.ask(save(b"1"))
    cell.submit(save(b"2", number=2), transition(cell.open_runs[RUN], then=Then.CLOSE))
    assert not cell.step_progress
