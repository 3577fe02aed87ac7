"""One leased run, driven by hand: the entries of its transitions, when attempts start, what becomes of the lease."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

import holdfast.authoring.primitives as calls
from holdfast.authoring.apps import App
from holdfast.backoff import constant
from holdfast.channel.leases import TransitionResult
from holdfast.errors import StepFailed
from holdfast.journal import (
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    Failure,
    MailConsumed,
    RetryDue,
    RunClosed,
    RunStalled,
    Signal,
    StepCancelled,
    StepCompleted,
    StepResult,
    TimerFired,
    TimerSet,
)
from holdfast.journal import StepFailed as StepFailedEntry
from holdfast.limits import Limits
from holdfast.statuses import AttemptOutcome, Placement, RunStatus, Then, TransitionStatus
from holdfast.worker.holder import Phase
from holdfast.worker.retries import Lost
from tests.support.worker_driving import (
    START,
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
    sleeper,
    started,
)


def test_a_step_with_a_free_slot_is_scheduled_and_started_by_one_entry():
    journal = Journal()
    holder = hold(one_step_app(), journal, Bench())
    transition, ready = go(holder, journal)
    assert kinds(transition) == ["StepScheduled"]
    assert transition.entries[0].started
    assert transition.then is Then.CONTINUE
    assert [(step.name, step.attempt) for step in ready] == [("work", 1)]


def test_an_attempt_may_start_only_after_the_answer_to_its_transition():
    journal = Journal()
    holder = hold(one_step_app(), journal, Bench())
    holder.advance()
    transition = holder.take_transition()
    assert holder.take_transition() is None, "one transition is in flight"
    assert len(holder.settle(journal.commit(transition))) == 1


def test_the_result_of_a_step_and_the_close_go_in_one_transition():
    holder, journal, bench = started()
    bench.pass_time(2)
    holder.attempt_ended(1, 1, returned("done"))
    transition, ready = go(holder, journal)
    assert kinds(transition) == ["StepCompleted", "RunClosed"]
    assert transition.then is Then.CLOSE
    assert ready == []
    completed, closed = transition.entries
    assert completed.attempt.outcome is AttemptOutcome.COMPLETED
    assert completed.attempt.ended_at - completed.attempt.started_at == timedelta(seconds=2)
    assert (completed.attempt.session_id, completed.attempt.build) == ("ses_1", "build-1")
    assert (closed.status, closed.result.data) == (RunStatus.COMPLETED, b'"done"')
    assert holder.phase is Phase.GONE


def test_a_sequence_takes_one_transition_per_step():
    app = App("sequence")

    @app.step
    async def add(number: int) -> int:
        return number

    @app.workflow
    async def flow() -> int:
        total = 0
        for _ in range(3):
            total = await add(total)
        return total

    journal = Journal()
    holder = hold(app, journal, Bench())
    go(holder, journal)
    shapes = []
    for number in (1, 2, 3):
        holder.attempt_ended(number, 1, returned(number))
        shapes.append(kinds(go(holder, journal)[0]))
    assert shapes == [["StepCompleted", "StepScheduled"]] * 2 + [["StepCompleted", "RunClosed"]]


def test_a_step_without_a_free_slot_waits_and_starts_when_one_is_granted():
    journal, bench = Journal(), Bench(slots=0)
    holder = hold(one_step_app(), journal, bench)
    transition, ready = go(holder, journal)
    assert not transition.entries[0].started
    assert (transition.then, ready, bench.waiting) == (Then.CONTINUE, [], [1])
    assert holder.slot_granted(1)
    transition, ready = settle(holder, journal)
    assert transition.entries == (AttemptStarted(bench.moment, 1, 1),)
    assert len(ready) == 1


def test_steps_that_are_cancelled_before_they_have_a_slot_do_not_wait_for_one_for_ever():
    app = App("impatient")

    @app.step
    async def work() -> None: ...

    @app.workflow
    async def flow() -> None:
        waiting = asyncio.create_task(work())
        await calls.receive("enough")
        waiting.cancel()
        await calls.receive("end")

    journal, bench = Journal(), Bench(slots=0)
    holder = hold(app, journal, bench)
    go(holder, journal)
    assert bench.waiting == [1]
    holder.mail_arrived([journal.post(Signal("enough"))])
    go(holder, journal)
    assert bench.waiting == []


def test_a_run_that_leaves_this_worker_waits_for_no_slot_any_more():
    journal, bench = Journal(), Bench(slots=0)
    holder = hold(one_step_app(), journal, bench)
    go(holder, journal)
    assert bench.waiting == [1]
    holder.drop()
    assert bench.waiting == []


def test_a_slot_that_comes_too_late_is_not_used():
    holder, _, _ = started()
    assert not holder.slot_granted(1)
    assert not holder.slot_granted(7)


def test_entries_never_go_back_in_time():
    holder, journal, bench = started()
    bench.pass_time(-3600)
    holder.attempt_ended(1, 1, returned("done"))
    transition, _ = go(holder, journal)
    assert all(entry.at >= journal.entries[1].at for entry in transition.entries)


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


# Losses


def test_a_lost_attempt_is_repeated_by_the_next_holder():
    app = one_step_app(recoveries=1)
    _, journal, _ = started(app)
    transition, ready = go(hold(app, journal, Bench(), lost="ses_0"), journal)
    assert kinds(transition) == ["AttemptEnded", "AttemptStarted"]
    lost = transition.entries[0].attempt
    assert (lost.outcome, lost.session_id) == (AttemptOutcome.LOST, "ses_0")
    assert ready[0].attempt == 2


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


# Leaving


def test_a_draining_worker_hands_back_what_runs_and_releases_the_run():
    app = one_step_app(recoveries=1)
    holder, journal, bench = started(app)
    holder.draining = True
    holder.hand_back()
    transition, _ = settle(holder, journal)
    assert transition.entries[0].attempt.outcome is AttemptOutcome.HANDED_BACK
    assert transition.then is Then.RELEASE
    assert (holder.phase, bench.cancelled) == (Phase.GONE, [1])
    transition, ready = go(hold(app, journal, Bench()), journal)
    assert kinds(transition) == ["AttemptStarted"]
    assert (ready[0].attempt, ready[0].losses) == (2, 0)


def test_a_step_that_may_start_only_once_fails_after_it_was_handed_back():
    app = one_step_app(recoveries=0)
    holder, journal, _ = started(app)
    holder.draining = True
    holder.hand_back()
    settle(holder, journal)
    transition, ready = go(hold(app, journal, Bench()), journal)
    assert kinds(transition) == ["StepFailed", "RunClosed"]
    assert "the worker was shut down while running step work" in transition.entries[0].failure.message
    assert ready == []


def test_a_draining_worker_schedules_what_the_code_asks_for_and_starts_nothing():
    app = App("two-steps")

    @app.step
    async def work() -> int:
        return 1

    @app.workflow
    async def flow() -> int:
        return await work() + await work()

    holder, journal, _ = started(app)
    holder.draining = True
    holder.attempt_ended(1, 1, returned(1))
    transition, ready = go(holder, journal)
    assert kinds(transition) == ["StepCompleted", "StepScheduled"]
    assert not transition.entries[1].started
    assert (transition.then, ready) == (Then.RELEASE, [])


def test_a_run_without_news_is_suspended_again_at_once():
    app = sleeper()
    journal = Journal()
    holder = hold(app, journal, Bench())
    go(holder, journal)
    transition, _ = go(hold(app, journal, Bench()), journal)
    assert (transition.entries, transition.then) == ((), Then.SUSPEND)


# Mail


def test_mail_is_consumed_in_order_each_piece_followed_by_what_the_code_asks_for():
    journal = Journal()
    holder = hold(sleeper(), journal, Bench())
    assert kinds(go(holder, journal)[0]) == ["TimerSet"]
    journal.post(Signal("word", payload("hello")))
    journal.post(TimerFired(1))
    holder.resume(journal.lease())
    transition, _ = go(holder, journal)
    assert kinds(transition) == ["MailConsumed", "MailConsumed", "RunClosed"]
    assert [entry.number for entry in transition.entries[:2]] == [1, 2]
    assert all(entry.mail is None for entry in transition.entries[:2]), "the coordinator has the bodies"
    assert transition.mail_seen == 2


def test_mail_that_was_waited_for_says_since_when_and_a_timer_for_which_signal():
    app = App("waiting")

    @app.workflow
    async def flow() -> None:
        await calls.receive("first")
        await calls.receive("second", timeout="1h")

    journal, bench = Journal(), Bench()
    go(hold(app, journal, bench), journal)
    for number, name in enumerate(["other", "first", "second"], 1):
        journal.post(Signal(name))
        bench.pass_time(number)
        go(hold(app, journal, bench), journal)
    consumed = [entry for entry in journal.entries if isinstance(entry, MailConsumed)]
    assert [entry.awaited_since for entry in consumed] == [None, START, None]
    assert [entry.signal for entry in journal.entries if isinstance(entry, TimerSet)] == ["second"]


def test_mail_that_comes_early_waits_for_the_mail_before_it():
    journal = Journal()
    holder = hold(sleeper(), journal, Bench())
    go(holder, journal)
    first, second, third = (journal.post(Signal(name)) for name in ("a", "b", "c"))
    holder.resume(journal.lease(mail=False))
    holder.mail_arrived([second])
    holder.advance()
    assert not [e for e in holder._outbox.entries if isinstance(e, MailConsumed)]
    holder.mail_arrived([first, second])
    holder.mail_arrived([third, first])
    transition, _ = go(holder, journal)
    assert [entry.number for entry in transition.entries] == [1, 2, 3]


def test_a_suspension_that_missed_mail_goes_on_with_it():
    journal = Journal()
    holder = hold(sleeper(), journal, Bench())
    holder.advance()
    transition = holder.take_transition()
    assert transition.then is Then.SUSPEND
    journal.commit(transition)
    mail = journal.post(TimerFired(1))
    ready = holder.settle(TransitionResult(holder.run_id, TransitionStatus.COMMITTED_WITH_MAIL, mail=(mail,)))
    assert (ready, holder.phase) == ([], Phase.ACTIVE)
    assert kinds(go(holder, journal)[0]) == ["MailConsumed"]


def test_the_code_never_sees_a_time_before_its_mail_was_sent():
    journal = Journal()
    bench = Bench()
    holder = hold(sleeper(), journal, bench)
    go(holder, journal)
    later = bench.moment + timedelta(hours=1)
    journal.post(TimerFired(1), at=later)
    holder.resume(journal.lease())
    assert go(holder, journal)[0].entries[0].at == later


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


# Refusals and stalls


def test_a_superseded_run_is_dropped_and_its_attempts_are_cancelled():
    app = App("two")

    @app.step
    async def work() -> int:
        return 1

    @app.workflow
    async def flow() -> None:
        await asyncio.gather(work(), work())

    journal, bench = Journal(), Bench()
    holder = hold(app, journal, bench)
    go(holder, journal)
    holder.attempt_ended(1, 1, returned(1))
    holder.advance()
    transition = holder.take_transition()
    holder.settle(TransitionResult(transition.run_id, TransitionStatus.SUPERSEDED))
    assert (holder.phase, bench.cancelled) == (Phase.GONE, [2])


def test_a_refused_transition_stalls_the_run_with_the_reason():
    holder, journal, _ = started()
    holder.attempt_ended(1, 1, returned("done"))
    holder.advance()
    transition = holder.take_transition()
    holder.settle(TransitionResult(transition.run_id, TransitionStatus.REFUSED, refusal="journal too long"))
    transition, _ = settle(holder, journal)
    assert transition.then is Then.STALL
    assert [type(entry) for entry in transition.entries] == [RunStalled]
    assert "journal too long" in transition.entries[0].reason


def test_code_that_does_not_match_its_journal_is_stalled_with_the_difference():
    _, journal, _ = started()
    app = App("changed")

    @app.step
    async def other() -> str:
        return ""

    @app.workflow
    async def flow() -> str:
        return await other()

    transition, _ = go(hold(app, journal, Bench()), journal)
    assert kinds(transition) == ["RunStalled"]
    assert transition.then is Then.STALL
    assert "does not match the journal" in transition.entries[0].reason
    assert transition.entries[0].build == "build-1"


def test_a_stall_under_the_build_that_wrote_the_journal_says_to_look_for_randomness():
    made: list[str] = []
    app = App("chance")

    @app.step
    async def work(name: str) -> str:
        return name

    @app.workflow
    async def flow() -> None:
        await work("first")
        made.append("made")
        await work(f"name {len(made)}")
        await work("last")

    journal = Journal()
    holder = hold(app, journal, Bench())
    for number in (1, 2):
        go(holder, journal)
        holder.attempt_ended(number, 1, returned("done"))
    go(holder, journal)
    transition, _ = go(hold(app, journal, Bench()), journal)
    assert kinds(transition) == ["RunStalled"]
    reason = transition.entries[0].reason
    assert "step work (2) with the argument 'name'" in reason
    assert "this is the build that wrote the journal (build-1)" in reason
    assert "look for random numbers" in reason


def test_a_stall_keeps_the_outcomes_that_are_known_and_hands_back_what_runs():
    app = App("three")

    @app.step
    async def work(number: int) -> int:
        return number

    @app.workflow
    async def flow() -> None:
        await asyncio.gather(work(1), work(2), work(3))

    journal, bench = Journal(), Bench()
    holder = hold(app, journal, bench)
    go(holder, journal)
    holder.instance.interrupt(RuntimeError("the runtime broke"))
    holder.attempt_ended(1, 1, returned(1))
    holder.attempt_ended(2, 1, returned(2))
    transition, _ = go(holder, journal)
    assert kinds(transition) == ["StepCompleted", "StepCompleted", "AttemptEnded", "RunStalled"]
    assert transition.entries[2].attempt.outcome is AttemptOutcome.HANDED_BACK
    assert "the runtime broke" in transition.entries[3].reason
    assert holder.phase is Phase.GONE


def test_a_large_transition_is_split_and_the_lease_is_kept_between_its_parts():
    app = App("large")

    @app.step
    async def work(text: str) -> int:
        return len(text)

    @app.workflow
    async def flow() -> None:
        await asyncio.gather(*(work("x" * 40_000) for _ in range(6)))

    journal = Journal()
    holder = hold(app, journal, Bench(), limits=Limits(transition_bytes=164 * 1024))
    first, ready_first = go(holder, journal)
    second, ready_second = settle(holder, journal)
    third, ready_third = settle(holder, journal)
    assert [len(part.entries) for part in (first, second, third)] == [2, 2, 2]
    assert [len(ready) for ready in (ready_first, ready_second, ready_third)] == [2, 2, 2]


# Replay


def test_a_rebuilt_run_goes_on_where_the_lost_one_was():
    app = App("catcher")

    @app.step(retries=0)
    async def work(number: int) -> int:
        return number

    @app.workflow
    async def flow() -> int:
        first = await work(1)
        with contextlib.suppress(StepFailed):
            await work(2)
        return first + await work(3)

    holder, journal, _ = started(app)
    holder.attempt_ended(1, 1, returned(10))
    go(holder, journal)
    holder.attempt_ended(2, 1, raised(ValueError("caught")))
    go(holder, journal)
    rebuilt = hold(app, journal, Bench())
    go(rebuilt, journal)
    rebuilt.attempt_ended(3, 2, returned(5))
    transition, _ = go(rebuilt, journal)
    assert transition.entries[-1].result.data == b"15"
    assert [type(e) for e in journal.entries if isinstance(e, (StepCompleted, StepFailedEntry))] == [
        StepCompleted,
        StepFailedEntry,
        StepCompleted,
    ]


def test_a_step_is_retried_after_a_replay_by_the_rules_of_its_call():
    app = App("own-rules")

    @app.step(retries=0)
    async def work() -> str:
        return ""

    @app.workflow
    async def flow() -> str:
        return await work.with_options(retries=5, backoff=constant(0.1), retry_on=KeyError)()

    _, journal, _ = started(app)
    rebuilt = hold(app, journal, Bench())
    go(rebuilt, journal)
    rebuilt.attempt_ended(1, 2, raised(KeyError("retried")))
    assert kinds(go(rebuilt, journal)[0]) == ["AttemptEnded"]


@pytest.mark.parametrize("part", [1, 2, 3])
def test_a_journal_replayed_in_parts_gives_the_same_run(part):
    app = one_step_app()
    holder, journal, _ = started(app)
    holder.attempt_ended(1, 1, raised(KeyError("k")))
    go(holder, journal)
    rebuilt = hold(app, journal, Bench(), part=part)
    transition, _ = go(rebuilt, journal)
    assert kinds(transition) == ["AttemptStarted"]
    assert rebuilt.progress.steps[1].failures == 1


def test_an_attempt_whose_process_died_is_lost_and_started_again_and_fails_its_step_after_its_recoveries():
    holder, journal, _ = started(recoveries=1)
    holder.attempt_ended(1, 1, Lost(Failure("ProcessLost", "its process died")))
    transition, ready = go(holder, journal)
    assert kinds(transition) == ["AttemptEnded", "AttemptStarted"]
    assert transition.entries[0].attempt.outcome is AttemptOutcome.LOST
    assert [step.attempt for step in ready] == [2]
    holder.attempt_ended(1, 2, Lost(Failure("ProcessLost", "its process died")))
    transition, _ = go(holder, journal)
    assert kinds(transition)[:2] == ["AttemptEnded", "StepFailed"]
    assert "the worker was lost 2 times while running step work; the last time its process died" in str(
        transition.entries[1].failure.message
    )
