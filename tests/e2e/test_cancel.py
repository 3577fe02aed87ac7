"""Cancelling runs in every place in which they can be."""

import asyncio
import time

import pytest

import holdfast
from holdfast import App, Context, RunCancelled, RunNotFound, shield
from holdfast.client import Client
from holdfast.ids import run_id
from holdfast.statuses import RunStatus
from tests.support.watching import kinds, until, until_status

from .conftest import WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

app = App("cancelling")
seen: list[str] = []
running = asyncio.Event()


@pytest.fixture(autouse=True)
def _nothing_seen_yet() -> None:
    seen.clear()
    running.clear()


async def look() -> list[str]:
    """What steps have said so far."""
    return seen


@app.workflow
async def waits_for_a_signal() -> None:
    await holdfast.receive("never", str)


@app.step
async def never_ends() -> None:
    running.set()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        seen.append("async step was cancelled")
        raise


@app.workflow
async def awaits_an_async_step() -> None:
    await never_ends()


@app.workflow
async def awaits_a_queued_step() -> None:
    await never_ends.with_options(placement="queued")()


@app.step
def ticks(ctx: Context[None]) -> None:
    while True:
        seen.append("tick")
        if ctx.cancelled:
            seen.append("saw it")
        ctx.raise_if_cancelled()
        time.sleep(0.05)


@app.workflow
async def awaits_a_ticking_step() -> None:
    await ticks()


@app.step
async def undo() -> None:
    await asyncio.sleep(0.1)
    seen.append("undone")


@app.workflow
async def cleans_up() -> None:
    try:
        await holdfast.receive("never", str)
    except asyncio.CancelledError:
        await shield(undo())
        raise


@app.workflow
async def does_not_mind() -> str:
    try:
        await holdfast.receive("never", str)
    except asyncio.CancelledError:
        await holdfast.sleep("1s")
    return "went on"


@pytest.mark.feature("F102")
async def test_a_suspended_run_is_cancelled_with_its_reason(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(waits_for_a_signal.with_options(queue=queue))
        await until_status(run, "suspended")
        assert await run.cancel("no longer wanted", wait=True, timeout=2)
        assert await run.status() is RunStatus.CANCELLED
        with pytest.raises(RunCancelled, match="no longer wanted"):
            await run.result()
        assert await run.cancel() is False


@pytest.mark.feature("F102")
async def test_a_run_that_no_worker_has_seen_is_cancelled_at_once(client: Client, queue: str) -> None:
    run = await client.start(waits_for_a_signal.with_options(queue=queue))
    assert await run.cancel(wait=True, timeout=2)
    assert await run.status() is RunStatus.CANCELLED


@pytest.mark.feature("F102")
async def test_cancelling_an_unknown_run_is_an_error(client: Client) -> None:
    with pytest.raises(RunNotFound):
        await client.get("no-such-run").cancel()
    with pytest.raises(RunNotFound):
        await client.get(run_id("00", "0" * 26)).cancel()


@pytest.mark.feature("F102")
@pytest.mark.parametrize("workflow", [awaits_an_async_step, awaits_a_queued_step], ids=["inline", "queued"])
async def test_an_async_step_of_a_cancelled_run_is_cancelled(
    client: Client, worker: WorkerFactory, queue: str, workflow: "holdfast.Workflow[[], None]"
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(workflow.with_options(queue=queue))
        await asyncio.wait_for(running.wait(), 5)
        assert await run.cancel(wait=True, timeout=2)
        assert await run.status() is RunStatus.CANCELLED
        await until(look, bool)
        assert seen == ["async step was cancelled"]
        assert "StepCancelled" in await kinds(run)


@pytest.mark.feature("F102", "F104")
async def test_a_plain_step_of_a_cancelled_run_stops_within_one_round(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(awaits_a_ticking_step.with_options(queue=queue))
        await until(look, lambda lines: len(lines) >= 2)
        assert await run.cancel(wait=True, timeout=2)
        await until(look, lambda lines: "saw it" in lines, seconds=2)
        rounds = len(seen)
        await asyncio.sleep(0.2)
        assert len(seen) == rounds
        assert await run.status() is RunStatus.CANCELLED


@pytest.mark.feature("F103")
async def test_shielded_clean_up_runs_once_and_the_run_ends_cancelled(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(cleans_up.with_options(queue=queue))
        await until_status(run, "suspended")
        assert await run.cancel(wait=True, timeout=5)
        assert await run.status() is RunStatus.CANCELLED
    assert seen == ["undone"]


@pytest.mark.feature("F102")
async def test_code_that_swallows_the_request_completes_after_its_caller_gave_up(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(does_not_mind.with_options(queue=queue))
        await until_status(run, "suspended")
        with pytest.raises(TimeoutError):
            await run.cancel(wait=True, timeout=0.2)
        assert await run.result(timeout=5) == "went on"
        assert await run.status() is RunStatus.COMPLETED
