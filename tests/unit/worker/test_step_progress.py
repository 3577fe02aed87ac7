"""What a run's journal says of its steps, and the entries that follow when attempts end."""

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.authoring.apps import App
from holdfast.backoff import constant
from holdfast.journal import (
    Arguments,
    AttemptEnded,
    AttemptStarted,
    Mail,
    MailConsumed,
    RetryDue,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepScheduled,
)
from holdfast.statuses import AttemptOutcome, Placement
from holdfast.worker.retries import Expired
from holdfast.worker.step_progress import RunProgress, StepState, WorkerIdentity
from tests.support.worker_driving import raised, returned

LOST = WorkerIdentity("ses_lost", "b0")
T0 = datetime(2030, 1, 1, tzinfo=UTC)
app = App("progress")


@app.step(retries=2, backoff=constant(3))
async def work() -> int:
    return 1


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def scheduled(*, started=True, recoveries=3, timeout=None, placement=Placement.INLINE, number=1):
    span = None if timeout is None else timedelta(seconds=timeout)
    return StepScheduled(
        at(0),
        number,
        "work",
        Arguments(),
        placement=placement,
        timeout=span,
        recoveries=recoveries,
        started=started,
    )


def progress_of(*entries, retry_hold=timedelta(seconds=1)):
    progress = RunProgress(app.steps, worker=WorkerIdentity("ses_1", "b1"), retry_hold=retry_hold)
    for entry in entries:
        progress.feed(entry)
    return progress


def fail(progress, *, seconds):
    entry = progress.ended(1, raised(KeyError("k")), at=at(seconds), jitter=0.0)
    progress.feed(entry)
    return entry


def test_a_completed_attempt_ends_its_step_with_all_its_times():
    progress = progress_of(scheduled(started=False), AttemptStarted(at(4), 1, 1))
    entry = progress.ended(1, returned(5), at=at(6), jitter=0.0)
    assert isinstance(entry, StepCompleted)
    record = entry.attempt
    assert (record.attempt, record.outcome) == (1, AttemptOutcome.COMPLETED)
    assert (record.scheduled_at, record.eligible_at) == (at(0), at(0))
    assert (record.started_at, record.ended_at) == (at(4), at(6))
    assert (record.session_id, record.build) == ("ses_1", "b1")


def test_each_failure_leaves_a_record_and_the_last_one_ends_the_step():
    progress = progress_of(scheduled())
    outcomes = []
    for attempt in (1, 2, 3):
        entry = fail(progress, seconds=attempt * 10)
        outcomes.append((type(entry), entry.attempt.attempt, entry.attempt.outcome, entry.attempt.retry_delay))
        if attempt < 3:
            progress.feed(AttemptStarted(at(attempt * 10 + 3), 1, attempt + 1))
    wait = timedelta(seconds=3)
    assert outcomes == [
        (AttemptEnded, 1, AttemptOutcome.FAILED_RETRYABLE, wait),
        (AttemptEnded, 2, AttemptOutcome.FAILED_RETRYABLE, wait),
        (StepFailed, 3, AttemptOutcome.FAILED_FINAL, None),
    ]
    assert progress.steps == {}


def test_a_retry_could_have_started_when_its_wait_was_over():
    progress = progress_of(scheduled())
    fail(progress, seconds=10)
    assert progress.steps[1].eligible_at == at(13)


@pytest.mark.parametrize(("hold", "by_alarm"), [(2.9, True), (3.0, False)])
def test_waits_longer_than_the_hold_are_kept_by_the_coordinator(hold, by_alarm):
    progress = progress_of(scheduled(), retry_hold=timedelta(seconds=hold))
    entry = fail(progress, seconds=1)
    assert entry.retry_by_alarm is by_alarm
    assert progress.steps[1].state is (StepState.ALARM if by_alarm else StepState.HELD)
    assert progress.pending == (0 if by_alarm else 1)


def test_a_timeout_counts_as_a_failure_and_says_how_long():
    progress = progress_of(scheduled(timeout=0.2))
    entry = progress.ended(1, Expired(timedelta(seconds=0.2)), at=at(0.2), jitter=0.0)
    assert entry.attempt.outcome is AttemptOutcome.TIMED_OUT
    failure = entry.attempt.failure
    assert (failure.error_type, failure.message) == ("TimeoutError", "Timeout after 0.2s")
    assert (failure.step.name, failure.step.number, failure.step.attempts) == ("work", 1, 1)


def test_the_last_timeout_ends_the_step_and_stays_a_timeout():
    progress = progress_of(scheduled(timeout=0.2))
    for attempt in (2, 3):
        fail(progress, seconds=attempt)
        progress.feed(AttemptStarted(at(attempt), 1, attempt))
    entry = progress.ended(1, Expired(timedelta(seconds=0.2)), at=at(9), jitter=0.0)
    assert isinstance(entry, StepFailed)
    assert entry.attempt.outcome is AttemptOutcome.TIMED_OUT


def test_losses_and_failures_are_counted_apart():
    progress = progress_of(scheduled(recoveries=1))
    for entry in list(progress.losses(at=at(5), after_timeout=False, lost=LOST)):
        progress.feed(entry)
    step = progress.steps[1]
    assert (step.losses, step.failures, step.state) == (1, 0, StepState.WAITING)
    assert step.recovery_failure() is None
    progress.feed(AttemptStarted(at(5), 1, 2))
    fail(progress, seconds=6)
    assert (step.losses, step.failures) == (1, 1)
    assert step.recovery_failure() is None, "its last attempt failed, it was not lost"


@pytest.mark.parametrize(
    ("recoveries", "losses", "may_go_on"),
    [(0, 1, False), (1, 1, True), (1, 2, False), (3, 3, True), (3, 4, False), (None, 50, True)],
)
def test_a_step_survives_as_many_losses_as_it_has_recoveries(recoveries, losses, may_go_on):
    progress = progress_of(scheduled(recoveries=recoveries))
    for loss in range(losses):
        if loss:
            progress.feed(AttemptStarted(at(loss), 1, loss + 1))
        for entry in list(progress.losses(at=at(loss), after_timeout=False, lost=LOST)):
            progress.feed(entry)
    failure = progress.steps[1].recovery_failure()
    assert (failure is None) is may_go_on
    if failure is not None:
        assert f"max recovery attempts ({recoveries}) exceeded" in failure.message


@pytest.mark.parametrize(("recoveries", "may_go_on"), [(0, False), (1, True), (None, True)])
def test_an_attempt_that_was_handed_back_counts_only_where_none_may_be_repeated(recoveries, may_go_on):
    progress = progress_of(scheduled(recoveries=recoveries))
    progress.feed(progress.handed_back(1, at=at(1)))
    step = progress.steps[1]
    assert (step.losses, step.failures) == (0, 0)
    assert (step.recovery_failure() is None) is may_go_on


def test_a_lost_attempt_is_recorded_with_the_session_that_ran_it():
    progress = progress_of(scheduled())
    (entry,) = progress.losses(at=at(5), after_timeout=False, lost=LOST)
    record = entry.attempt
    assert (record.outcome, record.session_id, record.build) == (AttemptOutcome.LOST, "ses_lost", "b0")


def test_the_mail_of_a_due_retry_makes_the_step_wait_for_a_slot():
    progress = progress_of(scheduled())
    fail(progress, seconds=1)
    progress.feed(MailConsumed(at(4.5), 7, Mail(7, at(4), RetryDue(1))))
    step = progress.steps[1]
    assert (step.state, step.eligible_at, progress.mail_consumed) == (StepState.WAITING, at(4), 7)


def test_a_cancelled_step_has_the_record_of_its_attempt_only_when_one_ran():
    running = progress_of(scheduled()).cancelled(1, at=at(2))
    waiting = progress_of(scheduled(started=False)).cancelled(1, at=at(2))
    assert isinstance(running, StepCancelled)
    assert running.attempt.outcome is AttemptOutcome.CANCELLED
    assert waiting.attempt is None


def test_the_deadline_is_that_of_the_first_attempt_to_pass_its_timeout():
    progress = progress_of(scheduled(timeout=9), scheduled(timeout=4, number=2), scheduled(number=3))
    assert progress.attempt_deadline(at(1)) == timedelta(seconds=3)
    assert progress.attempt_deadline(at(60)) == timedelta()
    progress.feed(StepCancelled(at(1), 2))
    assert progress.attempt_deadline(at(1)) == timedelta(seconds=8)
    progress.feed(StepCancelled(at(1), 1))
    assert progress.attempt_deadline(at(1)) is None


def test_queued_steps_keep_no_worker_busy():
    progress = progress_of(scheduled(started=False, placement=Placement.QUEUED))
    assert (progress.running, progress.pending) == (0, 0)
