"""The doorbell between replicas on one Postgres: everything here comes by a notice, for nobody looks by himself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import psycopg
import pytest

import holdfast
from holdfast import App, RunFailed
from holdfast.client import Client
from holdfast.worker import Worker
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config
from holdfast_coordinator.engine.doorbell import Doorbell, Rung
from holdfast_coordinator.loops import upkeep
from holdfast_coordinator.loops.doorbell import DoorbellLoops
from holdfast_coordinator.store.doorbell import PostgresDoorbell

pytestmark = pytest.mark.timeout(60)

app = App("doorbell")
ends: dict[str, asyncio.Event] = {}
begins: dict[str, asyncio.Event] = {}


@app.step(retries=0)
async def long(name: str) -> None:
    begins[name].set()
    try:
        await asyncio.sleep(3_600)
    finally:
        ends[name].set()


@app.workflow
async def race(name: str) -> str:
    attempt = asyncio.ensure_future(long(name))
    word = asyncio.ensure_future(holdfast.receive("word", str))
    await asyncio.wait({attempt, word}, return_when=asyncio.FIRST_COMPLETED)
    return word.result()


@app.workflow
async def quick() -> str:
    return "done"


class Replica:
    """A doorbell on Postgres, and what it was told to look at."""

    def __init__(self, name: str, database: str) -> None:
        self.bell = Doorbell(name)
        self.looked: list[Rung] = []
        self.has_looked = asyncio.Event()
        self._loops = DoorbellLoops(self.bell, PostgresDoorbell(database), self._look)

    async def _look(self, rung: Rung) -> None:
        self.looked.append(rung)
        self.has_looked.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Replica"]:
        tasks = [asyncio.create_task(loop) for _, loop in self._loops.all()]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def has_looked_at(self, run_id: str) -> bool:
        return any(run_id in rung.closed for rung in self.looked)

    async def hears(self, run_id: str) -> None:
        async with asyncio.timeout(20):
            while not self.has_looked_at(run_id):
                self.has_looked.clear()
                await self.has_looked.wait()


async def acquainted(one: Replica, two: Replica) -> None:
    """Rings until each has looked at what the other rang for: it rings for nobody whom it does not know."""
    async with asyncio.timeout(20):
        while not (one.has_looked_at("run_0") and two.has_looked_at("run_0")):
            one.bell.closed("run_0")
            two.bell.closed("run_0")
            await asyncio.sleep(0.01)


async def test_replicas_find_each_other_and_a_lost_connection_is_made_again(database: str) -> None:
    one, two = Replica("r1", database), Replica("r2", database)
    async with one.running():
        async with two.running():
            await acquainted(one, two)
            one.bell.closed("run_1")
            await two.hears("run_1")
            with psycopg.connect(database, autocommit=True) as connection:
                ended = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).fetchall()
            assert len(ended) == 4  # each listens and has rung
            async with asyncio.timeout(20):
                while not two.has_looked_at("run_2"):
                    one.bell.closed("run_2")
                    two.has_looked.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(two.has_looked.wait(), 0.5)
        async with asyncio.timeout(20):
            one.bell.closed("run_3")
            while one.bell.take():  # until the second one has said that it leaves
                await asyncio.sleep(0.01)
                one.bell.closed("run_3")


async def test_a_failed_look_ends_nothing(database: str) -> None:
    one, two = Replica("r1", database), Replica("r2", database)
    failures = [RuntimeError("a defect")]
    look = two._look

    async def fails_once(rung: Rung) -> None:
        if failures:
            raise failures.pop()
        await look(rung)

    async with one.running(), two.running():
        await acquainted(one, two)
        two._loops._look = fails_once
        one.bell.closed("run_1")
        async with asyncio.timeout(20):
            while failures:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        one.bell.closed("run_2")
        await two.hears("run_2")


async def test_mail_work_and_closes_come_by_the_doorbell_alone(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_AROUND_SECONDS", 3_600.0)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        configs = [Config(database_url=database, port=0, doorbell=True) for _ in range(2)]
        addresses = [(await enter(coordinator(config))).address for config in configs]
        here, there = [await enter(Client.connect(address)) for address in addresses]
        worker = Worker(here, workflows=[app], handle_signals=False)
        working = asyncio.create_task(worker.run())
        await worker.ready()
        await asyncio.sleep(0.5)  # until the replicas have heard each other: nothing but latency depends on it
        try:
            async with asyncio.timeout(40):
                # Work that was made ready there, and its close, which is waited for there.
                assert await (await there.start(quick)).result() == "done"
                for name in ("signal", "terminate"):
                    begins[name], ends[name] = asyncio.Event(), asyncio.Event()
                    run = await here.start(race, name)
                    await begins[name].wait()
                    other = there.get(run.run_id)
                    if name == "signal":
                        await other.signal("word", "hello")
                        assert await other.result() == "hello"
                    else:
                        await other.terminate("enough")
                        with pytest.raises(RunFailed, match="terminated"):
                            await run.result()
                    await ends[name].wait()
        finally:
            worker.stop()
            await asyncio.gather(working, return_exceptions=True)
