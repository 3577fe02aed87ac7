"""How a run leaves its worker: drained, suspended, superseded, refused, stalled."""

import asyncio

from holdfast.authoring.apps import App
from holdfast.channel.leases import TransitionResult
from holdfast.journal import RunStalled
from holdfast.limits import Limits
from holdfast.statuses import AttemptOutcome, Then, TransitionStatus
from holdfast.worker.holder import Phase
from tests.support.worker_driving import (
    Bench,
    Journal,
    go,
    hold,
    kinds,
    one_step_app,
    returned,
    settle,
    sleeper,
    started,
    with_one_step_not_awaited,
)

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


def test_a_draining_worker_closes_a_run_whose_code_has_just_ended_and_hands_back_nothing_of_it():
    holder, journal, _, sure = with_one_step_not_awaited()
    holder.attempt_ended(sure, 1, returned(None))
    holder.draining = True
    holder.hand_back()
    transition, _ = settle(holder, journal)
    assert kinds(transition) == ["StepCompleted", "RunClosed"]
    assert transition.then is Then.CLOSE


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


def test_a_lost_step_that_the_worker_has_no_more_stalls_the_run_and_says_which_worker_it_needs():
    before, after = App("before"), App("after")

    @before.step
    async def gone() -> None: ...

    async def kept() -> None: ...

    @before.workflow(name="flow")
    async def calls_both() -> None:
        await asyncio.gather(gone.with_options(step_id="a")(), both_have.with_options(step_id="b")())

    @after.workflow(name="flow")
    async def calls_one() -> None:
        await after_has.with_options(step_id="b")()

    both_have, after_has = before.step(kept), after.step(kept)
    journal = Journal()
    go(hold(before, journal, Bench()), journal)
    transition, _ = go(hold(after, journal, Bench(), lost="ses_0"), journal)
    (stall,) = [entry for entry in transition.entries if isinstance(entry, RunStalled)]
    assert stall.reason == (
        "step gone has to run again, and this worker has no step gone; start a worker whose modules define it"
    )


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
