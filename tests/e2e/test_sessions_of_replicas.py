"""Sessions between two replicas: who has them, who buries them, and what becomes of what they hold. Raw workers."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from holdfast.client import Client
from holdfast.session_refusals import ReattachRequired, ReplicaAway
from holdfast_coordinator.store.control import PostgresControlStore
from tests.support import flows_deadly
from tests.support.processes import worker_process
from tests.support.session_replicas import TTL_SECONDS, Rows, replicas
from tests.support.session_worker import RawWorker
from tests.support.watching import until

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def rows(database: str) -> Rows:
    """The rows of the test's database."""
    return Rows(database)


async def test_a_frozen_worker_gets_nothing_back_when_any_replica_has_buried_it(
    database: str, rows: Rows, queue: str
) -> None:
    async with replicas(database, database) as (here, _), RawWorker(here.address, queue) as frozen:
        await frozen.open()
        runs = await frozen.start(6)
        await frozen.take(6)
        polling = asyncio.create_task(frozen.poll())
        await asyncio.sleep(0)
        async with RawWorker(here.address, queue) as healthy:
            await healthy.open()
            rows.bury(frozen.session_id)
            async with healthy.alive(polls=True):
                await until(lambda: rows.owners(runs), lambda seen: seen == [healthy.session_id] * 6)
        with pytest.raises(ReattachRequired):
            await polling
        losses = rows.all("SELECT DISTINCT losses FROM holdfast_c00.open_runs WHERE owner = %s", healthy.session_id)
        assert losses == [(1,)]


async def test_a_lease_that_its_worker_never_got_is_no_loss(database: str, rows: Rows, queue: str) -> None:
    async with replicas(database) as (here,), RawWorker(here.address, queue) as frozen:
        await frozen.open()
        polling = asyncio.create_task(frozen.poll())
        (run,) = await frozen.start()
        await polling  # it has come as far as the process, which says no more
        async with RawWorker(here.address, queue) as healthy:
            await healthy.open()
            async with healthy.alive(polls=True):
                await until(lambda: rows.owners([run]), lambda seen: seen == [healthy.session_id])
        assert rows.all("SELECT losses FROM holdfast_c00.open_runs WHERE run_id = %s", run) == [(0,)]


async def test_what_a_replica_gives_a_worker_that_has_left_it_goes_to_others(
    database: str, rows: Rows, queue: str
) -> None:
    async with (
        replicas(database, database) as (left, found),
        RawWorker(left.address, queue) as before,
        RawWorker(found.address, queue) as after,
        RawWorker(found.address, queue) as other,
    ):
        await before.open()
        polling = asyncio.create_task(before.poll(seconds=0.1))
        await asyncio.gather(polling, return_exceptions=True)  # the connection breaks
        await after.open(before.session_id)
        (run,) = await before.start()  # through the replica that the worker has left
        began = time.monotonic()
        await other.open()
        async with after.alive(), other.alive(polls=True):
            await until(lambda: rows.owners([run]), lambda seen: seen == [other.session_id])
        assert time.monotonic() - began < TTL_SECONDS + 2


async def test_a_grant_that_no_living_replica_knows_of_is_released_although_its_session_lives(
    database: str, rows: Rows, queue: str
) -> None:
    async with (
        replicas(database) as (here,),
        RawWorker(here.address, queue) as worker,
        RawWorker(here.address, queue) as other,
    ):
        await worker.open()
        await other.open()
        async with worker.alive():
            (run,) = await worker.start()
            await until(lambda: rows.owners([run]), lambda seen: seen == [None])
            # What a replica committed that ended before it could say so.
            grant = "UPDATE holdfast_c00.open_runs SET state = 2, owner = %s, epoch = epoch + 1, ready_at = NULL"
            rows.all(f"{grant} WHERE run_id = %s", worker.session_id, run)
            async with other.alive(polls=True):
                await until(
                    lambda: rows.owners([run]), lambda seen: seen == [other.session_id], seconds=4 * TTL_SECONDS
                )


async def test_a_locked_row_of_a_dead_session_kills_no_healthy_one(database: str, rows: Rows, queue: str) -> None:
    async with replicas(database) as (here,), AsyncExitStack() as stack:
        dying = await stack.enter_async_context(RawWorker(here.address, queue))
        await dying.open()
        await dying.start()
        (run,) = await dying.take(1)
        healthy = [await stack.enter_async_context(RawWorker(here.address, queue)) for _ in range(4)]
        for one in healthy:
            await one.open()
            await stack.enter_async_context(one.alive())
        second = await stack.enter_async_context(RawWorker(here.address, queue))
        with psycopg.connect(database) as locking:
            locking.execute("SELECT 1 FROM holdfast_c00.open_runs WHERE run_id = %s FOR UPDATE", [run])
            await until(rows.dead, lambda dead: dead == [dying.session_id])
            await second.open()  # a session that falls silent while leases of another wait for the row
            await until(rows.dead, lambda dead: set(dead) == {dying.session_id, second.session_id})
            assert await rows.owners([run]) == [dying.session_id], "the row was not locked"


async def test_a_worker_is_told_where_its_replica_is(database: str, queue: str) -> None:
    async with replicas(database) as (here,), RawWorker(here.address, queue) as worker:
        assert (await worker.open()).address == here.address


class Cut:
    """The way of a replica to its database, which can be cut: what is sent stays on the way."""

    def __init__(self) -> None:
        self._passes = asyncio.Event()
        self._passes.set()

    def cut(self) -> None:
        self._passes.clear()

    def mend(self) -> None:
        self._passes.set()

    @asynccontextmanager
    async def to(self, database_url: str) -> AsyncIterator[str]:
        """The URL that leads to the database by this way."""
        facts = conninfo_to_dict(database_url)
        directory = tempfile.mkdtemp(prefix="holdfast-cut-")
        socket = f".s.PGSQL.{facts.get('port', 5432)}"

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, forth = await asyncio.open_unix_connection(f"{facts['host']}/{socket}")
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pump(reader, forth))
                tasks.create_task(self._pump(back, writer))

        server = await asyncio.start_unix_server(handle, f"{directory}/{socket}")
        try:
            assert "host=" in database_url
            yield database_url.replace(str(facts["host"]), directory)
        finally:
            server.close()
            shutil.rmtree(directory)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_a_worker_of_a_replica_without_its_database_keeps_its_runs_at_another(
    database: str, rows: Rows, queue: str
) -> None:
    way = Cut()
    async with (
        way.to(database) as cut_url,
        replicas(cut_url, database) as (cut_off, other),
        RawWorker(cut_off.address, queue) as before,
        RawWorker(other.address, queue) as after,
    ):
        await before.open()
        await before.start(3)
        runs = await before.take(3)
        polling = asyncio.create_task(before.poll())
        way.cut()
        began = time.monotonic()
        with pytest.raises(ReplicaAway):
            await before.beat()
        with pytest.raises(ReplicaAway):
            await polling
        assert time.monotonic() - began < TTL_SECONDS, "the session could have died before its worker knew"
        after.held = dict(before.held)
        await after.open(before.session_id)
        async with after.alive():
            await asyncio.sleep(2 * TTL_SECONDS)
            way.mend()
            await asyncio.sleep(TTL_SECONDS)
        assert await rows.owners(runs) == [after.session_id] * 3
        assert await rows.dead() == []
        assert after.ended == []


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)], ids=["forward", "back"])
async def test_a_step_of_the_databases_clock_by_an_hour_kills_no_session(
    database: str, rows: Rows, queue: str, step: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = timedelta(0)
    read_clock = PostgresControlStore.now

    async def now(store: PostgresControlStore) -> datetime:
        return await read_clock(store) + ahead

    # The one place where the control schema's times come from; nothing else can step a single database's clock here.
    monkeypatch.setattr(PostgresControlStore, "now", now)
    async with replicas(database, database) as both, AsyncExitStack() as stack:
        for replica in both * 3:
            worker = await stack.enter_async_context(RawWorker(replica.address, queue))
            await worker.open()
            await stack.enter_async_context(worker.alive())
        await asyncio.sleep(1.5 * TTL_SECONDS)
        ahead = step
        await asyncio.sleep(3 * TTL_SECONDS)
        assert await rows.dead() == []
        silent = await stack.enter_async_context(RawWorker(both[0].address, queue))
        await silent.open()
        await until(rows.dead, lambda dead: dead == [silent.session_id])


@pytest.mark.timeout(180)
async def test_a_run_whose_code_kills_its_workers_at_once_is_stalled_after_five(
    database: str, rows: Rows, queue: str
) -> None:
    # Its workers end before they have acknowledged the lease: the broken stream says that they had it.
    async with replicas(database) as (here,), Client.connect(here.address) as client, AsyncExitStack() as stack:
        for _ in range(6):
            worker = worker_process(here.address, flows_deadly.__name__, queue=queue)
            await stack.enter_async_context(worker)
        run = await client.start(flows_deadly.poison.with_options(queue=queue))

        async def state() -> Any:
            return (await run.describe()).status

        await until(state, lambda status: status == "stalled", seconds=150)
        assert "5 workers were lost" in ((await run.describe()).reason or "")
