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
