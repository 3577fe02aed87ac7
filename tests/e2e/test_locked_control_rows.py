"""What a row of the control schema holds up that somebody has locked: what needs it, and nobody else. Raw workers."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from holdfast.errors import CoordinatorUnavailable
from tests.support.session_replicas import TTL_SECONDS, Rows, replicas
from tests.support.session_worker import RawWorker
from tests.support.watching import until

pytestmark = pytest.mark.timeout(60)
SOON_SECONDS = TTL_SECONDS / 2


@pytest.fixture
def rows(database: str) -> Rows:
    """The rows of the test's database."""
    return Rows(database)


async def _insist(worker: RawWorker) -> None:
    """Sends heartbeats as a worker does whose heartbeats fail: soon again."""
    while True:
        with contextlib.suppress(CoordinatorUnavailable):
            await worker.beat()
        await asyncio.sleep(TTL_SECONDS / 16)


@asynccontextmanager
async def _insisting(worker: RawWorker) -> AsyncIterator[None]:
    """Heartbeats as long as the block runs, whatever becomes of each."""
    insisting = asyncio.create_task(_insist(worker))
    try:
        yield
        assert not insisting.done(), insisting.result()
    finally:
        insisting.cancel()
        await asyncio.gather(insisting, return_exceptions=True)


async def _served_soon(rows: Rows, starting: RawWorker, serving: RawWorker) -> None:
    began = time.monotonic()
    runs = await starting.start(1)
    await until(lambda: rows.owners(runs), lambda seen: seen == [serving.session_id])
    assert time.monotonic() - began < SOON_SECONDS


async def test_locked_signatures_keep_no_worker_from_opening_its_session_and_no_other_alive(
    database: str, rows: Rows, queue: str
) -> None:
    async with replicas(database, database) as both, AsyncExitStack() as stack:
        enter = stack.enter_async_context
        healthy = [await enter(RawWorker(replica.address, f"{queue}{place}")) for place, replica in enumerate(both)]
        for worker in healthy:
            await worker.open()
            await enter(worker.alive(polls=True))
        with psycopg.connect(database) as locking:
            locking.execute("SELECT 1 FROM holdfast.known_workflows FOR UPDATE")
            newcomers = [await enter(RawWorker(replica.address, queue)) for replica in both * 3]
            async with asyncio.timeout(SOON_SECONDS):
                await asyncio.gather(*(worker.open() for worker in newcomers))
            for worker in newcomers:
                await enter(worker.alive())
            await asyncio.sleep(2.5 * TTL_SECONDS)
            await _served_soon(rows, healthy[0], healthy[0])
        await asyncio.sleep(TTL_SECONDS)
        assert await rows.dead() == []


async def test_a_locked_session_row_stops_the_heartbeats_of_no_other_session_and_ends_none(
    database: str, rows: Rows, queue: str
) -> None:
    async with replicas(database, database) as both, AsyncExitStack() as stack:
        enter = stack.enter_async_context
        locked = await enter(RawWorker(both[0].address, f"{queue}0"))
        await locked.open()
        await enter(_insisting(locked))
        healthy = [await enter(RawWorker(replica.address, queue)) for replica in both * 2]
        for worker in healthy:
            await worker.open()
            await enter(worker.alive())
        serving = await enter(RawWorker(both[0].address, f"{queue}1"))
        await serving.open()
        await enter(serving.alive(polls=True))
        with psycopg.connect(database) as locking:
            locking.execute("SELECT 1 FROM holdfast.sessions WHERE session_id = %s FOR UPDATE", [locked.session_id])
            await asyncio.sleep(2.5 * TTL_SECONDS)
            await _served_soon(rows, serving, serving)
            (silent,) = rows.all(
                "SELECT clock_timestamp() - heartbeat_at FROM holdfast.sessions WHERE session_id = %s",
                locked.session_id,
            )
            assert silent[0].total_seconds() > 2 * TTL_SECONDS, "the row was not locked"
        await asyncio.sleep(2 * TTL_SECONDS)
        assert await rows.dead() == []
        async with asyncio.timeout(SOON_SECONDS):
            await locked.beat()


async def test_workers_whose_session_rows_are_locked_hold_up_no_other_that_opens_its_session(
    database: str, rows: Rows, queue: str
) -> None:
    async with replicas(database) as (here,), AsyncExitStack() as stack:
        enter = stack.enter_async_context
        locked = [await enter(RawWorker(here.address, queue)) for _ in range(6)]
        for worker in locked:
            await worker.open()
        sessions = [worker.session_id for worker in locked]
        async with AsyncExitStack() as locking:
            held = locking.enter_context(psycopg.connect(database))
            held.execute("SELECT 1 FROM holdfast.sessions WHERE session_id = ANY (%s) FOR UPDATE", [sessions])
            opening = [asyncio.create_task(worker.open(worker.session_id)) for worker in locked]
            await until(lambda: _ends(opening), lambda ended: ended == 0)
            healthy = [await enter(RawWorker(here.address, queue)) for _ in range(3)]
            async with asyncio.timeout(SOON_SECONDS):
                for worker in healthy:
                    await worker.open()
                await healthy[0].open(healthy[0].session_id)
            assert await _ends(opening) == 0
        async with asyncio.timeout(2 * SOON_SECONDS):
            await asyncio.gather(*opening)
        assert [worker.session_id for worker in locked] == sessions
        assert await rows.dead() == []


async def _ends(tasks: list[asyncio.Task[object]]) -> int:
    await asyncio.sleep(0.1)
    return sum(task.done() for task in tasks)
