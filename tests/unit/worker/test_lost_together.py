"""Attempts of one run that were lost with their worker, of which one fails its step and so ends the others."""

import asyncio

import pytest

from holdfast.authoring.apps import App
from holdfast.backoff import constant
from holdfast.journal import AttemptEnded, StepCancelled
from holdfast.statuses import AttemptOutcome
from tests.support.worker_driving import Bench, Journal, go, hold, kinds


def two_steps_at_once(*, recoveries: int, timeout: str | None = None) -> App:
    app = App("together", backoff=constant(0))

    @app.step(recoveries=recoveries, timeout=timeout, retries=0)
    async def frail() -> None:
        """Of which no more may be lost."""

    @app.step
    async def other() -> None:
        """Which is cancelled when the first one fails."""

    @app.workflow
    async def flow() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(frail())
            group.create_task(other())

    return app


def both_started(app: App) -> Journal:
    journal = Journal()
    transition, ready = go(hold(app, journal, Bench()), journal)
    assert kinds(transition) == ["StepScheduled", "StepScheduled"]
    assert len(ready) == 2
    return journal


def test_a_step_that_may_not_be_lost_again_fails_its_run_and_does_not_stall_it_beside_another_lost_step():
    app = two_steps_at_once(recoveries=0)
    transition, ready = go(hold(app, journal := both_started(app), Bench(), lost="ses_0"), journal)
    assert kinds(transition) == ["AttemptEnded", "AttemptEnded", "StepFailed", "StepCancelled", "RunClosed"]
    lost = [entry.attempt for entry in transition.entries if isinstance(entry, AttemptEnded)]
    assert [(one.outcome, one.session_id) for one in lost] == [(AttemptOutcome.LOST, "ses_0")] * 2
    (cancelled,) = [entry for entry in transition.entries if isinstance(entry, StepCancelled)]
    assert cancelled.attempt is None, "its attempt was lost before, and none was started after that"
    assert ready == []


def test_a_step_that_has_timed_out_fails_its_run_and_does_not_stall_it_beside_another_lost_step():
    app = two_steps_at_once(recoveries=3, timeout="5s")
    journal, bench = both_started(app), Bench()
    bench.pass_time(20)
    transition, ready = go(hold(app, journal, bench, after_timeout=True, lost="ses_0"), journal)
    assert kinds(transition) == ["AttemptEnded", "StepFailed", "StepCancelled", "RunClosed"]
    assert ready == []


@pytest.mark.parametrize("recoveries", [1, 3])
def test_steps_that_were_lost_together_are_all_started_again(recoveries: int):
    app = two_steps_at_once(recoveries=recoveries)
    transition, ready = go(hold(app, journal := both_started(app), Bench(), lost="ses_0"), journal)
    assert kinds(transition) == ["AttemptEnded", "AttemptEnded", "AttemptStarted", "AttemptStarted"]
    assert [(step.number, step.attempt) for step in ready] == [(1, 2), (2, 2)]


# Code that ends without cancelling what it has called


def gathered(*, frail_first: bool, recoveries: int = 3, timeout: str | None = None) -> App:
    app = App("gathered", backoff=constant(0))

    @app.step(recoveries=recoveries, timeout=timeout, retries=0)
    async def frail() -> None:
        """Of which no more may be lost, or which has a limit."""

    @app.step(timeout=timeout, retries=0)
    async def other() -> None:
        """Which goes on when the first one fails."""

    @app.workflow
    async def flow() -> None:
        calls = [frail(), other()]
        await asyncio.gather(*(calls if frail_first else reversed(calls)))

    return app


@pytest.mark.parametrize("frail_first", [True, False])
def test_nothing_follows_the_close_of_a_run_whose_last_recovery_is_used_up_beside_another_lost_step(frail_first: bool):
    app = gathered(frail_first=frail_first, recoveries=0)
    transition, ready = go(hold(app, journal := both_started(app), Bench(), lost="ses_0"), journal)
    assert kinds(transition)[:2] == ["AttemptEnded", "AttemptEnded"]
    assert kinds(transition)[-2:] == ["StepFailed", "RunClosed"]
    assert ready == []


@pytest.mark.parametrize("frail_first", [True, False])
def test_nothing_follows_the_close_of_a_run_of_which_two_steps_have_timed_out(frail_first: bool):
    app = gathered(frail_first=frail_first, timeout="5s")
    journal, bench = both_started(app), Bench()
    bench.pass_time(20)
    transition, ready = go(hold(app, journal, bench, after_timeout=True, lost="ses_0"), journal)
    assert kinds(transition) == ["StepFailed", "RunClosed"]
    assert ready == []


@pytest.mark.parametrize("frail_first", [True, False])
def test_nothing_follows_the_close_of_a_run_of_which_a_step_still_waits_for_a_slot(frail_first: bool):
    app, journal = gathered(frail_first=frail_first, recoveries=0), Journal()
    transition, _ = go(hold(app, journal, Bench(slots=1)), journal)
    assert [entry.started for entry in transition.entries] == [True, False]
    transition, ready = go(hold(app, journal, Bench(), lost="ses_0"), journal)
    if frail_first:
        assert kinds(transition) == ["AttemptEnded", "StepFailed", "RunClosed"]
        assert ready == []
    else:
        assert kinds(transition) == ["AttemptEnded", "AttemptStarted", "AttemptStarted"]
