"""Runs that move between workers and versions of their code."""

import asyncio
import signal
from typing import Any

import pytest

from holdfast import App, RunFailed
from holdfast.client import Client
from holdfast.journal import StepCompleted
from tests.support import flows_replay as flows
from tests.support.ledger import Ledger
from tests.support.watching import kinds, until_status

from .conftest import WorkerFactory, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_replay"
RUNS = 200


@pytest.mark.feature("F45")
async def test_a_step_that_no_worker_knows_waits_with_a_reason(
    client: Client, worker: WorkerFactory, ledger: Ledger, queue: str
) -> None:
    async with worker(workflows=[flows.needs_another_worker]):
        run = await client.start(flows.needs_another_worker.with_options(queue=queue), ledger.path)
        await until_status(run, "suspended")
        waiting = await run.describe()
        needed = f"none of the 1 worker(s) of queue {queue!r} knows the step 'second_step'"
        assert waiting.reason == f"step second_step waits: {needed}"
        assert waiting.current_step == "second_step"
        async with worker(steps=[flows.apart]):
            assert await run.result(timeout=10) == "second"
    assert ledger.lines == ["fetch", "second_step"]


@pytest.mark.feature("F46")
async def test_code_that_left_its_history_stalls_the_run_until_it_is_reverted(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    changed_build: dict[str, Any] = {"environment": {"FLOWS_VERSION": "2"}, "options": ["--build", "v2"]}
    async with process_worker(MODULE, options=["--build", "v1"]) as first:
        run = await client.start(flows.changing.with_options(queue=queue), ledger.path)
        await ledger.wait_for("process")
        async with process_worker(MODULE, **changed_build) as changed:
            await changed.wait_for_line("ready")
            await first.kill()
            await until_status(run, "stalled")
            reason = (await run.describe()).reason or ""
            assert "fetch" in reason
            assert "process" in reason
            assert ledger.counts == {"fetch": 1, "process": 1}
            ledger.let_go()
            # The next build that comes is offered the run, without a word from anybody.
            async with process_worker(MODULE, options=["--build", "v1"]):
                assert await run.result(timeout=20) == "done"
    assert ledger.counts == {"fetch": 1, "process": 2}


@pytest.mark.feature("F48")
async def test_changed_code_goes_on_with_the_runs_of_before_and_goes_new_ways_with_others(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    changed: dict[str, Any] = {"environment": {"FLOWS_VERSION": "2"}, "options": ["--build", "v2"]}
    async with process_worker(MODULE, options=["--build", "v1"]) as first:
        old = await client.start(flows.patched.with_options(queue=queue), ledger.path)
        await ledger.wait_for("process")
        await first.kill()
    async with process_worker(MODULE, **changed):
        assert await old.result(timeout=20) == "fetched, done"
        new = await client.start(flows.patched.with_options(queue=queue), ledger.path)
        assert await new.result(timeout=20) == "done"
    assert ledger.counts == {"fetch": 1, "process": 3}
    assert "Patched" not in await kinds(old)
    assert "Patched" in await kinds(new)


async def test_a_worker_touches_only_runs_of_its_own_workflows(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    a, b = App("a", retries=0), App("b")
    executed: list[str] = []

    @a.step
    async def breaks() -> None:
        raise ValueError("kaput")

    @a.workflow
    async def workflow_a() -> None:
        await breaks()

    @b.step
    async def works() -> None:
        executed.append("b")

    @b.workflow
    async def workflow_b() -> None:
        await works()

    async with worker(workflows=[workflow_a]):
        failed = await client.start(workflow_a.with_options(queue=queue))
        with pytest.raises(RunFailed):
            await failed.result(timeout=10)
    before = await kinds(failed)
    async with worker(workflows=[workflow_b]):
        waiting = await client.start(workflow_a.with_options(queue=queue))
        await (await client.start(workflow_b.with_options(queue=queue))).result(timeout=10)
        assert executed == ["b"]
        assert await waiting.status() == "pending"
        assert await kinds(waiting) == ["RunStarted"]
    assert await kinds(failed) == before


@pytest.mark.feature("F50")
async def test_two_workers_execute_every_run_exactly_once(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE) as one, process_worker(MODULE) as two:
        await asyncio.gather(one.wait_for_line("ready"), two.wait_for_line("ready"))
        runs = await client.start_many(flows.one_step.with_options(queue=queue), [(ledger.path,)] * RUNS)
        await client.wait_many(runs, timeout=30)
    assert ledger.counts == {"once": RUNS}


@pytest.mark.feature("F51")
async def test_a_worker_that_was_frozen_beyond_its_lease_cannot_commit_its_results(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker(MODULE) as frozen:
        run = await client.start(flows.who_finishes.with_options(queue=queue), ledger.path)
        await asyncio.gather(*(ledger.wait_for(f"{kind} {frozen.pid}") for kind in ("here", "thread", "queued")))
        frozen.send(signal.SIGSTOP)
        async with process_worker(MODULE) as second:
            await asyncio.gather(*(ledger.wait_for(f"{kind} {second.pid}") for kind in ("here", "thread", "queued")))
            ledger.let_go()
            frozen.send(signal.SIGCONT)
            await frozen.wait_for_line("the session was declared dead")
            assert await run.result(timeout=20) == [second.pid] * 3
        # What came too late left no trace, and the worker that woke up is as good as new.
        entries = [entry.entry for entry in await run.history()]
        assert [type(entry) for entry in entries].count(StepCompleted) == 2
        following = await client.start(flows.one_step.with_options(queue=queue), ledger.path)
        await following.result(timeout=20)
