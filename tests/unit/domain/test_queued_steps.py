"""What happens to queued steps: claims, reports, losses, deadlines."""

from datetime import timedelta

import pytest

from holdfast.api.v1 import journal_pb2
from holdfast.journal import AttemptRecord
from holdfast.statuses import AttemptOutcome, Then
from holdfast_coordinator.domain.asks import CancelledStep, CancelStepAsk
from holdfast_coordinator.domain.commands import ClaimTasks
from holdfast_coordinator.domain.events import LeaseEnded
from holdfast_coordinator.domain.mail import MailKind, StepResultMail
from holdfast_coordinator.domain.rows import RunState, StepCancelledEntry, TaskState
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import (
    OTHER,
    RUN,
    WORKER,
    leased,
    lose,
    offer,
    queue_step,
    queued,
    report,
    suspend,
    take,
)

CLAIM = ClaimTasks("default", "default", ("charge",), 5)


def result_of(cell: CoreCell) -> StepResultMail:
    """The one piece of mail of the run, which is a step's result."""
    (mail,) = cell.waiting_mail(RUN)
    assert mail.kind is MailKind.STEP_RESULT
    assert isinstance(mail.body, StepResultMail)
    return mail.body


def test_a_claim_starts_the_next_attempt_under_a_new_epoch(cell: CoreCell) -> None:
    task = queued(cell)
    assert (task.state, task.owner, task.attempt, task.epoch) == (TaskState.CLAIMED, WORKER, 1, 1)
    assert task.deadline_at == T0 + timedelta(seconds=60)


def test_a_step_that_nobody_takes_is_left_ready_and_claimed_later(cell: CoreCell) -> None:
    leased(cell)
    suspend(cell, queue_step(), waits="step charge (1)")
    assert cell.tasks[RUN, 1].attempt == 0
    offer(cell, OTHER, runs=0, tasks=1)
    cell.ask(CLAIM)
    assert [claim.session_id for claim in cell.claims()] == [OTHER]


def test_a_final_report_puts_the_result_into_the_mail_and_wakes_the_run(cell: CoreCell) -> None:
    task = queued(cell)
    assert cell.ask(report(task, result=b"42")) is True
    assert (result_of(cell).result, result_of(cell).attempts) == (b"42", (b"record 1",))
    assert not cell.tasks
    assert cell.open_runs[RUN].state is RunState.READY


def test_a_final_report_counts_once(cell: CoreCell) -> None:
    task = queued(cell)
    assert cell.submit(report(task, result=b"42"), report(task, result=b"43")) == [True, False]
    assert result_of(cell).result == b"42"


@pytest.mark.parametrize("changed", [{"epoch": 0}, {"attempt": 2}, {"session_id": OTHER}, {"number": 9}])
def test_a_report_that_does_not_fit_the_claim_is_a_late_result(cell: CoreCell, changed: dict[str, int]) -> None:
    task = queued(cell)
    assert cell.ask(report(task, **changed)) is False
    assert cell.tasks[RUN, 1] == task


def test_a_stale_report_is_refused_after_the_attempt_was_lost_and_claimed_again(cell: CoreCell) -> None:
    task = queued(cell)
    offer(cell, WORKER, runs=0, tasks=1)
    cell.ask(lose(task))
    assert cell.tasks[RUN, 1].epoch == 2
    assert cell.ask(report(task, result=b"late")) is False
    assert not cell.waiting_mail(RUN)


def test_a_retry_keeps_the_row_and_waits(cell: CoreCell) -> None:
    task = queued(cell)
    offer(cell, WORKER, runs=0, tasks=1)
    assert cell.ask(report(task, again_after=timedelta(seconds=5))) is True
    waiting = cell.tasks[RUN, 1]
    assert (waiting.state, waiting.failures, waiting.ready_at) == (TaskState.READY, 1, T0 + timedelta(seconds=5))
    cell.ask(CLAIM)
    assert not cell.claims()
    cell.pass_time(5)
    cell.ask(CLAIM)
    assert [claim.session_id for claim in cell.claims()] == [WORKER]
    assert cell.tasks[RUN, 1].attempt == 2


def test_a_handed_back_attempt_is_repeated_and_is_no_failure(cell: CoreCell) -> None:
    task = queued(cell)
    cell.ask(report(task, again_after=timedelta(0), handed_back=True))
    assert (cell.tasks[RUN, 1].failures, cell.tasks[RUN, 1].losses) == (0, 0)


def test_an_attempt_that_its_worker_reports_as_lost_counts_as_that_and_not_as_a_failure(cell: CoreCell) -> None:
    task = queued(cell, recoveries=1)
    offer(cell, OTHER, runs=0, tasks=1)
    assert cell.ask(report(task, lost=True, failure=b"why", again_after=timedelta(0)))
    task = cell.tasks[RUN, 1]
    assert (task.losses, task.failures, task.attempt) == (1, 0, 2)
    assert cell.ask(report(task, lost=True, failure=b"why", again_after=timedelta(0)))
    assert "max recovery attempts (1) exceeded" in str(result_of(cell).failure)


def test_losses_within_the_recoveries_repeat_the_step_at_once(cell: CoreCell) -> None:
    task = queued(cell, recoveries=2)
    for losses in (1, 2):
        offer(cell, OTHER, runs=0, tasks=1)
        assert cell.ask(lose(task)) is True
        task = cell.tasks[RUN, 1]
        assert (task.losses, task.attempt, task.state) == (losses, losses + 1, TaskState.CLAIMED)


@pytest.mark.parametrize("recoveries", [0, 1, 3])
def test_a_loss_beyond_the_recoveries_fails_the_step_with_mail(cell: CoreCell, recoveries: int) -> None:
    task = queued(cell, recoveries=recoveries)
    for _ in range(recoveries + 1):
        offer(cell, OTHER, runs=0, tasks=1)
        cell.ask(lose(task))
        task = cell.tasks.get((RUN, 1), task)
    failure = result_of(cell).failure
    assert failure is not None
    assert failure.error_type == "MaxRecoveryAttempts"  # type: ignore[union-attr]
    assert len(result_of(cell).attempts) == recoveries + 1


def test_without_a_limit_every_loss_repeats_the_step(cell: CoreCell) -> None:
    task = queued(cell, recoveries=None)
    for _ in range(20):
        offer(cell, OTHER, runs=0, tasks=1)
        cell.ask(lose(task))
        task = cell.tasks[RUN, 1]
    assert (task.losses, task.attempt) == (20, 21)


@pytest.mark.parametrize("how", ["undelivered", "handed_back"])
def test_a_step_that_may_start_only_once_fails_when_its_attempt_comes_back(cell: CoreCell, how: str) -> None:
    task = queued(cell, recoveries=0)
    if how == "undelivered":
        cell.ask(lose(task, undelivered=True))
    else:
        cell.ask(report(task, again_after=timedelta(0), handed_back=True))
    failure = result_of(cell).failure
    assert "may be started only once" in failure.message  # type: ignore[union-attr]


def test_an_undelivered_attempt_does_not_count_as_a_loss(cell: CoreCell) -> None:
    task = queued(cell, recoveries=1)
    cell.ask(lose(task, undelivered=True))
    assert (cell.tasks[RUN, 1].losses, cell.tasks[RUN, 1].state) == (0, TaskState.READY)


def test_an_attempt_past_its_deadline_is_taken_and_never_early(cell: CoreCell) -> None:
    task = queued(cell)
    late = lose(task, timed_out=True)
    cell.pass_time(59.999)
    assert cell.ask(late) is False
    cell.pass_time(0.001)
    assert cell.ask(late) is True
    taken = cell.tasks[RUN, 1]
    assert (taken.state, taken.failures, taken.attempts_ended[0].outcome.name) == (  # type: ignore[union-attr]
        TaskState.READY, 1, "TIMED_OUT",
    )  # fmt: skip
    assert cell.ask(late) is False


def test_the_session_of_an_attempt_that_was_taken_is_told(cell: CoreCell) -> None:
    task = queued(cell)
    cell.pass_time(60)
    cell.ask(lose(task, timed_out=True))
    assert LeaseEnded(WORKER, RUN, 1, 1) in cell.events


def test_a_report_whose_answer_was_lost_is_answered_as_the_first_time(cell: CoreCell) -> None:
    task = queued(cell)
    failed = report(task, again_after=timedelta(seconds=5))
    assert [cell.ask(failed), cell.ask(failed)] == [True, True]
    (kept,) = cell.tasks.values()
    assert len(kept.attempts_ended) == 1


def test_a_cancelled_step_is_deleted_its_session_told_and_its_result_late(cell: CoreCell) -> None:
    leased(cell)
    offer(cell, OTHER, runs=0, tasks=1)
    take(cell, queue_step())
    task = cell.tasks[RUN, 1]
    take(cell, CancelStepAsk(1))
    assert LeaseEnded(OTHER, RUN, 1, 1, cancelled=True) in cell.events
    assert cell.ask(report(task, result=b"late")) is False


def test_a_result_that_meets_the_close_in_one_batch_changes_nothing(cell: CoreCell) -> None:
    leased(cell)
    offer(cell, OTHER, runs=0, tasks=1)
    take(cell, queue_step())
    task = cell.tasks[RUN, 1]
    take(cell, then=Then.CLOSE)
    assert cell.ask(report(task, result=b"late")) is False


CANCELLED = CancelledStep(
    1, journal_pb2.JournalRow(entries=[journal_pb2.Entry(step_cancelled={"number": 1})]).SerializeToString()
)


def attempts_of_the_cancel(cell: CoreCell) -> list[tuple[int, AttemptOutcome, str, int] | bytes]:
    """What the journal says of the attempts of the step that was cancelled."""
    (entry,) = [entry for entry in cell.entries(RUN) if isinstance(entry, StepCancelledEntry)]
    assert entry.entry == CANCELLED.entry
    return [
        (one.attempt, one.outcome, one.session_id, one.epoch) if isinstance(one, AttemptRecord) else one
        for one in entry.attempts
    ]


def test_a_step_that_is_cancelled_while_it_runs_leaves_all_its_attempts_in_the_journal(cell: CoreCell) -> None:
    leased(cell)
    offer(cell, OTHER, runs=0, tasks=1)
    take(cell, queue_step())
    cell.ask(report(cell.tasks[RUN, 1], again_after=timedelta(0)))
    offer(cell, OTHER, runs=0, tasks=1)
    cell.ask(CLAIM)
    cell.ask(lose(cell.tasks[RUN, 1]))
    offer(cell, WORKER, runs=0, tasks=1)
    cell.ask(CLAIM)
    epochs = cell.tasks[RUN, 1].epoch
    take(cell, CancelStepAsk(1), journal=[CANCELLED])
    first, *others = attempts_of_the_cancel(cell)
    assert first == b"record 1"
    assert others == [
        (2, AttemptOutcome.LOST, OTHER, 2),
        (3, AttemptOutcome.CANCELLED, WORKER, epochs),
    ]
    assert not cell.tasks


def test_a_step_that_is_cancelled_before_anybody_took_it_has_no_attempts(cell: CoreCell) -> None:
    leased(cell)
    take(cell, queue_step())
    take(cell, CancelStepAsk(1), journal=[CANCELLED])
    assert CANCELLED.entry in cell.entries(RUN)


def test_the_cancel_of_a_step_whose_result_has_come_is_as_the_worker_wrote_it(cell: CoreCell) -> None:
    leased(cell)
    offer(cell, OTHER, runs=0, tasks=1)
    take(cell, queue_step())
    cell.ask(report(cell.tasks[RUN, 1], result=b"1"))
    take(cell, CancelStepAsk(1), journal=[CANCELLED])
    assert CANCELLED.entry in cell.entries(RUN)


def test_a_step_is_scheduled_when_its_entry_says(cell: CoreCell) -> None:
    leased(cell)
    cell.pass_time(60)
    take(cell, queue_step(at=T0 + timedelta(seconds=59)))
    task = cell.tasks[RUN, 1]
    assert (task.scheduled_at, task.ready_at) == (T0 + timedelta(seconds=59), T0 + timedelta(seconds=60))
