"""Retrying a closed run: a new run with what holds of its journal, under its id."""

from holdfast.errors import InvalidRequest, RunAlreadyStarted, RunNotRetryable
from holdfast.statuses import Then
from holdfast_coordinator.domain.commands import Reuse, TerminateRun
from holdfast_coordinator.domain.continuations import Continuation, RetryRun, RewrittenRow
from holdfast_coordinator.domain.starts import Started
from tests.support.core_cell import CoreCell
from tests.support.core_commands import ENTRY, RUN, leased, run_named, start, take

AGAIN = run_named(2)


def terminated(cell: CoreCell, **changed: str) -> RetryRun:
    """Run 1, terminated, and the request to retry it as run 2."""
    leased(cell, start(1, **changed))
    cell.ask(TerminateRun(RUN, "req", "why"))
    return RetryRun(AGAIN, cell.runs[RUN], Continuation([RewrittenRow(ENTRY, 1)]))


def test_a_retry_makes_a_new_run_that_takes_over_the_id(cell: CoreCell) -> None:
    asked = terminated(cell, id="a")
    assert cell.ask(asked) == Started(AGAIN, attached=False)
    assert cell.keys["default", "id", "a"].run_id == AGAIN
    assert cell.runs[AGAIN].origin_run_id == RUN


def test_a_retry_is_compared_by_the_signature_that_its_origin_was_started_with(cell: CoreCell) -> None:
    cell.ask(terminated(cell, id="a", signature_digest="before the deploy"))
    assert cell.keys["default", "id", "a"].signature_digest == "before the deploy"


def test_a_retry_that_is_repeated_in_one_batch_makes_one_run(cell: CoreCell) -> None:
    asked = terminated(cell)
    assert cell.submit(asked, asked) == [Started(AGAIN, attached=False)] * 2
    assert cell.ask(asked) == Started(AGAIN, attached=False)


def test_a_completed_run_is_not_retried(cell: CoreCell) -> None:
    leased(cell)
    take(cell, then=Then.CLOSE)
    asked = RetryRun(AGAIN, cell.runs[RUN], Continuation([RewrittenRow(ENTRY, 1)]))
    assert isinstance(cell.ask(asked), RunNotRetryable)


def test_a_run_whose_id_belongs_to_an_open_run_is_not_retried(cell: CoreCell) -> None:
    asked = terminated(cell, id="a")
    cell.ask(start(3, id="a", reuse=Reuse.NEW))
    assert isinstance(cell.ask(asked), RunAlreadyStarted)
    assert cell.keys["default", "id", "a"].run_id == run_named(3)


def test_an_id_is_free_though_a_retry_that_would_have_taken_it_was_refused_for_its_start_id(cell: CoreCell) -> None:
    asked = terminated(cell, id="a")
    cell.keys.clear()
    cell.ask(start(2, call_digest=b"other"))
    assert isinstance(cell.ask(asked), InvalidRequest)
    assert cell.ask(start(3, id="a")) == Started(run_named(3), attached=False)
