"""One leased run, driven by hand: the entries of its transitions, when attempts start, how it takes its mail."""

import asyncio
from datetime import timedelta

import holdfast.authoring.primitives as calls
from holdfast.authoring.apps import App
from holdfast.channel.leases import TransitionResult
from holdfast.journal import AttemptStarted, MailConsumed, Signal, TimerFired, TimerSet
from holdfast.statuses import AttemptOutcome, RunStatus, Then, TransitionStatus
from holdfast.worker.holder import Phase
from tests.support.worker_driving import (
    START,
    Bench,
    Journal,
    go,
    hold,
    kinds,
    one_step_app,
    payload,
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
