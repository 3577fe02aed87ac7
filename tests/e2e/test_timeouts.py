"""Limits of attempts and runs, enforced by the worker and, when that is stuck, by the coordinator."""

import asyncio
import time
from typing import Any

import pytest

from holdfast import RunFailed, RunTimedOut
from holdfast.client import Client, RunHandle
from holdfast.journal import AttemptRecord, MailConsumed, StepResult
from holdfast.statuses import AttemptOutcome, RunStatus
from tests.support import flows_timeouts as flows
from tests.support.ledger import Ledger

from .conftest import WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_timeouts"


async def _attempts(run: RunHandle[Any]) -> list[AttemptRecord]:
    """The attempts of the only step of a run that have ended, inline or queued."""
    found: list[AttemptRecord] = []
    for numbered in await run.history():
        entry = numbered.entry
        if isinstance(entry, MailConsumed) and entry.mail is not None and isinstance(entry.mail.body, StepResult):
            found += entry.mail.body.attempts
        elif isinstance(record := getattr(entry, "attempt", None), AttemptRecord):
            found.append(record)
    return found


@pytest.mark.feature("F74", "F75")
async def test_an_attempt_past_its_timeout_fails_its_step(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE):
        slow = await client.start(flows.too_slow.with_options(queue=queue), ledger.path)
        stuck = await client.start(flows.stuck_in_a_thread.with_options(queue=queue), ledger.path)
        deadline = await client.start(flows.past_its_deadline.with_options(queue=queue))
        asleep = await client.start(flows.sleeps_past_its_deadline.with_options(queue=queue))

        with pytest.raises(RunFailed, match=r"Timeout after (0\.2s|200ms)") as caught:
            await slow.result(timeout=10)
        assert caught.value.error_type == "TimeoutError"
        (attempt,) = await _attempts(slow)
        assert attempt.outcome is AttemptOutcome.TIMED_OUT
        assert 0.2 <= (attempt.ended_at - attempt.started_at).total_seconds() < 1.5

        # The thread of the first attempt still runs when the second one has ended, and its value is nobody's.
        assert await stuck.result(timeout=10) == "from attempt 2"
        await ledger.wait_for("attempt 1 returns")
        assert [one.outcome for one in (await _attempts(stuck))[:2]] == [
            AttemptOutcome.TIMED_OUT,
            AttemptOutcome.COMPLETED,
        ]

        for run in (deadline, asleep):
            with pytest.raises(RunTimedOut):
                await run.result(timeout=10)
            described = await run.describe()
            assert described.status is RunStatus.TIMED_OUT
            assert described.closed_at is not None
            assert 1.0 <= (described.closed_at - described.created_at).total_seconds() < 2.0


@pytest.mark.feature("F74")
async def test_the_coordinator_ends_attempts_of_a_worker_whose_loop_is_blocked(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE) as one, process_worker(MODULE) as two, process_worker(MODULE) as three:
        await asyncio.gather(*(process.wait_for_line("ready") for process in (one, two, three)))
        # One after the other: a worker that was blocked just now may get the other attempt, and hand it back unstarted.
        for workflow in (flows.blocks_from_the_queue, flows.blocks_inline):
            began = time.monotonic()
            run = await client.start(workflow.with_options(queue=queue), ledger.path)
            assert await run.result(timeout=20) > 1
            assert time.monotonic() - began < flows.BLOCK_SECONDS
            outcomes = [record.outcome for record in await _attempts(run)]
            assert outcomes[0] is AttemptOutcome.TIMED_OUT
            assert outcomes[-1] is AttemptOutcome.COMPLETED
