"""A run that is rebuilt from its journal goes on where the lost one was."""

import contextlib

import pytest

from holdfast.authoring.apps import App
from holdfast.backoff import constant
from holdfast.errors import StepFailed
from holdfast.journal import Failure, StepCompleted
from holdfast.journal import StepFailed as StepFailedEntry
from holdfast.statuses import AttemptOutcome
from holdfast.worker.retries import Lost
from tests.support.worker_driving import Bench, go, hold, kinds, one_step_app, raised, returned, started


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
