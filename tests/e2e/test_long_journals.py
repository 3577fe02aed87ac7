"""Journals that grow without end: they are warned of, then their runs fail with a way out."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

import holdfast
from holdfast import App, LimitExceeded, RunFailed, receive
from holdfast.client import Client
from tests.support.processes import coordinator_process
from tests.support.watching import until_status

from .conftest import LISTENS_ON, Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60), pytest.mark.feature("F108")]

LIMITS = {
    "HOLDFAST_JOURNAL_ENTRIES_MAX": "200",
    "HOLDFAST_JOURNAL_ENTRIES_WARN": "50",
    "HOLDFAST_JOURNAL_BYTES_MAX": "1048576",
    "HOLDFAST_JOURNAL_BYTES_WARN": "500000",
}
app = App("long-journals")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coordinator(module_database: str) -> AsyncIterator[Coordinator]:
    """A coordinator that allows short journals only."""
    async with coordinator_process(module_database, environment=LIMITS) as process:
        address = (await process.wait_for_line(LISTENS_ON)).group(1)
        yield Coordinator(process, address, module_database, (address,) * 3)


@app.step
async def turn(number: int) -> int:
    return number


@app.step
async def page() -> str:
    return "x" * 300_000


@app.workflow
async def without_end(waits_at: int) -> None:
    number = 0
    while True:
        await turn(number)
        number += 1
        if number == waits_at:
            await receive("go", str)


@app.workflow
async def large_results() -> None:
    while True:
        await page()


@app.workflow
async def all_at_once() -> None:
    await asyncio.gather(*map(turn, range(500)))


@app.workflow
async def in_rounds(left: int = 300) -> int:
    for number in range(30):
        await turn(number)
    if left > 30:
        holdfast.continue_as_new(left - 30)
    return left


async def test_a_long_journal_is_warned_of_in_the_log_and_the_description_then_its_run_fails(
    client: Client, worker: WorkerFactory, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "holdfast.worker")
    async with worker(workflows=[app]):
        run = await client.start(without_end.with_options(queue=queue), 40)
        await until_status(run, "suspended")
        (warning,) = (await run.describe()).warnings
        assert warning.startswith("its journal has 81 entries, and it fails at 200; let it go on as a new run")
        await run.signal("go", "on")
        with pytest.raises(RunFailed, match=r"its journal has 20\d entries, the limit is 200") as caught:
            await run.result(timeout=20)
    assert caught.value.error_type == "LimitExceeded"
    assert isinstance(caught.value.__cause__, LimitExceeded)
    assert "HOLDFAST_JOURNAL_ENTRIES_MAX" in str(caught.value)
    assert "continue_as_new" in str(caught.value)
    assert (await run.describe()).warnings == ()
    warned = [one for one in caplog.messages if run.run_id in one and "its journal has become long" in one]
    assert len(warned) == 1


async def test_a_journal_of_too_many_bytes_fails_its_run_too(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(large_results.with_options(queue=queue))
        with pytest.raises(RunFailed, match=r"bytes, the limit is 1,048,576 \(HOLDFAST_JOURNAL_BYTES_MAX"):
            await run.result(timeout=20)
    assert [entry.type for entry in await run.history()].count("StepCompleted") == 4


async def test_what_comes_to_the_limit_in_one_blow_fails_and_does_not_stall(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(all_at_once.with_options(queue=queue))
        with pytest.raises(RunFailed, match="LimitExceeded"):
            await run.result(timeout=20)


async def test_a_run_that_continues_as_new_comes_to_no_limit(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(in_rounds.with_options(queue=queue))
        assert await run.result(timeout=30) == 30
    assert len(await client.chain(run)) == 10


async def test_the_next_worker_counts_what_is_there(client: Client, worker: WorkerFactory, queue: str) -> None:
    """Entries and bytes of the journal that it replays."""
    async with worker(workflows=[app]):
        run = await client.start(without_end.with_options(queue=queue), 90)
        await until_status(run, "suspended")
    async with worker(workflows=[app]):
        await run.signal("go", "on")
        with pytest.raises(RunFailed, match=r"its journal has 20\d entries"):
            await run.result(timeout=20)
