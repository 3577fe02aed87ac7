"""What becomes of the attempts of one leased run: retries, losses, time-outs, cancellations, queued steps."""

import asyncio
from datetime import timedelta

import pytest

from holdfast.authoring.apps import App
from holdfast.backoff import constant
from holdfast.channel.leases import TransitionResult
from holdfast.journal import (
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    RetryDue,
    RunClosed,
    StepCancelled,
    StepResult,
)
from holdfast.statuses import AttemptOutcome, Placement, RunStatus, Then, TransitionStatus
from holdfast.worker.holder import Phase, RunHolder
from tests.support.worker_driving import (
    Bench,
    Journal,
    go,
    hold,
    kinds,
    one_step_app,
    payload,
    raised,
    returned,
    settle,
    started,
    with_one_step_not_awaited,
)

# Retries


def test_a_short_wait_before_a_retry_is_held_here():
    holder, journal, bench = started(retries=2, backoff=constant(0.5))
    holder.attempt_ended(1, 1, raised(KeyError("k")))
    transition, _ = go(holder, journal)
    ended = transition.entries[0]
    assert kinds(transition) == ["AttemptEnded"]
    assert ended.attempt.outcome is AttemptOutcome.FAILED_RETRYABLE
    assert (ended.attempt.retry_delay, ended.retry_by_alarm) == (timedelta(seconds=0.5), False)
    assert transition.then is Then.CONTINUE
    assert bench.held == [(1, timedelta(seconds=0.5))]
    bench.pass_time(0.5)
    holder.retry_due(1)
    transition, ready = settle(holder, journal)
    assert transition.entries == (AttemptStarted(bench.moment, 1, 2),)
    assert ready[0].attempt == 2


@pytest.mark.feature("F69")
def test_a_long_wait_before_a_retry_suspends_the_run_and_its_mail_brings_it_back():
    app = one_step_app(retries=2, backoff=constant(10))
    holder, journal, bench = started(app)
    holder.attempt_ended(1, 1, raised(KeyError("k")))
    transition, _ = go(holder, journal)
    assert transition.entries[0].retry_by_alarm
    assert transition.then is Then.SUSPEND
    assert transition.waits == ("step work (1)",)
    assert holder.phase is Phase.SUSPENDED
    bench.pass_time(10)
    journal.post(RetryDue(1), at=bench.moment)
    holder.resume(journal.lease())
    transition, ready = go(holder, journal)
    assert kinds(transition) == ["MailConsumed", "AttemptStarted"]
    assert ready[0].attempt == 2
    assert ready[0].eligible_at == bench.moment


def test_the_last_failure_ends_the_step_and_the_run():
    holder, journal, _ = started(retries=0)
    holder.attempt_ended(1, 1, raised(ValueError("no good")))
    transition, _ = go(holder, journal)
    assert kinds(transition) == ["StepFailed", "RunClosed"]
    failed, closed = transition.entries
    assert failed.attempt.outcome is AttemptOutcome.FAILED_FINAL
    assert (closed.status, closed.failure.error_type) == (RunStatus.FAILED, "ValueError")


def test_a_held_wait_found_by_a_new_holder_starts_at_once():
    app = one_step_app(retries=2, backoff=constant(0.5))
    holder, journal, _ = started(app)
    holder.attempt_ended(1, 1, raised(KeyError("k")))
    go(holder, journal)
    transition, ready = go(hold(app, journal, Bench()), journal)
    assert kinds(transition) == ["AttemptStarted"]
    assert ready[0].attempt == 2


def left_with_a_retry() -> tuple[RunHolder, Journal, int]:
    """A run whose code has ended while the retry of a step, whose number this is, waits for its time."""
    holder, journal, spare, sure = with_one_step_not_awaited(retries=2, backoff=constant(0.5))
    holder.attempt_ended(spare, 1, raised(KeyError("k")))
    go(holder, journal)
    holder.attempt_ended(sure, 1, returned(None))
    holder.advance()
    return holder, journal, spare


def test_a_retry_that_is_due_when_the_run_has_just_closed_is_not_started():
    """Its start came behind the close, which the coordinator refused: the run was stalled instead of closed."""
    holder, journal, waiting = left_with_a_retry()
    holder.retry_due(waiting)
    transition, ready = settle(holder, journal)
    assert kinds(transition) == ["StepCompleted", "RunClosed"]
    assert (ready, holder.phase) == ([], Phase.GONE)


def test_a_retry_that_is_due_when_the_run_has_just_stalled_is_not_started():
    holder, journal, waiting = left_with_a_retry()
    transition = holder.take_transition()
    assert transition is not None
    holder.settle(TransitionResult(transition.run_id, TransitionStatus.REFUSED, refusal="too large"))
    holder.retry_due(waiting)
    transition, ready = settle(holder, journal)
    assert kinds(transition) == ["RunStalled"]
    assert (ready, holder.phase) == ([], Phase.GONE)


# Losses


def test_a_lost_attempt_is_repeated_by_the_next_holder():
    app = one_step_app(recoveries=1)
    _, journal, _ = started(app)
    transition, ready = go(hold(app, journal, Bench(), lost="ses_0"), journal)
    assert kinds(transition) == ["AttemptEnded", "AttemptStarted"]
    lost = transition.entries[0].attempt
    assert (lost.outcome, lost.session_id) == (AttemptOutcome.LOST, "ses_0")
    assert ready[0].attempt == 2


def test_an_attempt_whose_worker_could_not_go_on_is_handed_back_and_counts_no_loss():
    app = one_step_app(recoveries=1)
    _, journal, _ = started(app)
    for attempt in (2, 3, 4):
        transition, ready = go(hold(app, journal, Bench(), handed_back=True), journal)
        assert kinds(transition) == ["AttemptEnded", "AttemptStarted"]
        assert transition.entries[0].attempt.outcome is AttemptOutcome.HANDED_BACK
        assert ready[0].attempt == attempt


def test_a_step_that_loses_its_workers_fails_after_its_recoveries():
    app = one_step_app(recoveries=2)
    _, journal, _ = started(app)
    for _ in range(2):
        go(hold(app, journal, Bench()), journal)
    transition, ready = go(hold(app, journal, Bench()), journal)
    assert kinds(transition) == ["AttemptEnded", "StepFailed", "RunClosed"]
    failure = transition.entries[1].failure
    assert failure.error_type == "MaxRecoveryAttempts"
    assert "max recovery attempts (2) exceeded: the worker was lost 3 times" in failure.message
    lost = [e for e in journal.entries if isinstance(e, AttemptEnded) and e.attempt.outcome is AttemptOutcome.LOST]
    assert len(lost) == 3
    assert ready == []


def test_an_overdue_attempt_counts_as_a_timeout_after_its_lease_ended_for_that():
    app = one_step_app(timeout="5s", retries=3, backoff=constant(0.1))
    _, journal, _ = started(app)
    bench = Bench()
    bench.pass_time(20)
    transition, _ = go(hold(app, journal, bench, after_timeout=True, lost="ses_0"), journal)
    ended = transition.entries[0]
    assert ended.attempt.outcome is AttemptOutcome.TIMED_OUT
    assert ended.attempt.session_id == "ses_0", "the session that ran it"
    assert ended.attempt.failure.message == "Timeout after 5s"
    assert bench.held == [(1, timedelta(seconds=0.1))]


def test_an_attempt_within_its_timeout_is_lost_when_the_lease_ended_for_another():
    app = one_step_app(timeout="60s")
    _, journal, _ = started(app)
    transition, _ = go(hold(app, journal, Bench(), after_timeout=True), journal)
    assert transition.entries[0].attempt.outcome is AttemptOutcome.LOST


def test_the_transition_says_when_the_first_attempt_passes_its_timeout():
    journal = Journal()
    holder = hold(one_step_app(timeout="5s"), journal, Bench())
    transition, _ = go(holder, journal)
    assert transition.attempt_deadline == timedelta(seconds=5)


# Queued steps


def test_a_queued_step_leaves_the_worker_and_its_result_comes_as_mail():
    journal, bench = Journal(), Bench()
    bench.queued.add("work")
    holder = hold(one_step_app(), journal, bench)
    transition, ready = go(holder, journal)
    assert transition.entries[0].placement is Placement.QUEUED
    assert (transition.then, ready, bench.slots) == (Then.SUSPEND, [], 10)
    journal.post(StepResult(1, (), result=payload("far")))
    holder.resume(journal.lease())
    assert kinds(go(holder, journal)[0]) == ["MailConsumed", "RunClosed"]


# Cancelling


def test_a_cancelled_step_is_recorded_with_its_attempt_and_a_later_outcome_is_dropped():
    holder, journal, bench = started()
    holder.mail_arrived([journal.post(CancelRequested("enough"))])
    transition, _ = go(holder, journal)
    assert kinds(transition) == ["MailConsumed", "StepCancelled", "RunClosed"]
    cancelled = transition.entries[1]
    assert isinstance(cancelled, StepCancelled)
    assert cancelled.attempt.outcome is AttemptOutcome.CANCELLED
    assert transition.entries[2].status is RunStatus.CANCELLED
    assert bench.cancelled == [1]


def test_a_step_cancelled_before_its_start_is_committed_never_runs():
    journal, bench = Journal(), Bench()
    holder = hold(one_step_app(), journal, bench)
    holder.advance()
    transition = holder.take_transition()
    holder.mail_arrived([journal.post(CancelRequested())])
    holder.advance()
    assert holder.settle(journal.commit(transition)) == []
    assert (bench.slots, bench.cancelled) == (10, []), "its slot is free again and no attempt was told"


def test_a_close_ends_attempts_that_still_run():
    app = App("race")

    @app.step
    async def work(name: str) -> str:
        return name

    @app.workflow
    async def flow() -> str:
        tasks = [asyncio.ensure_future(work(name)) for name in ("a", "b")]
        return await tasks[0]

    journal, bench = Journal(), Bench()
    holder = hold(app, journal, bench)
    go(holder, journal)
    holder.attempt_ended(1, 1, returned("a"))
    transition, _ = go(holder, journal)
    assert isinstance(transition.entries[-1], RunClosed)
    assert bench.cancelled == [2]
