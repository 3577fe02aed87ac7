"""Runs that are leased through one coordinator get their mail and their end whichever coordinator committed it.

The doorbell is cut: what is seen here holds without any notice, by what the rows say.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio

import holdfast
from holdfast import App, RunCancelled, RunFailed
from holdfast.client import Client, RunHandle
from tests.support.processes import Process, coordinator_process, free_port
from tests.support.watching import until

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

LONG_SECONDS = 50.0
LOOK_SECONDS = 1.0
"""What is promised: the rows are looked at as often."""
COMMITS = 15
"""How many commits and turns of the event loop lie between a commit and what a client sees of it, at most."""
BACK_SECONDS = 3.0
"""How long a worker may take to come back to a coordinator that was restarted: gRPC waits for up to a second between
attempts, the session is reconciled, the leases are asked for."""
PAUSE_SECONDS = 0.05
DOORBELL_CUT = {"HOLDFAST_DOORBELL": "off"}

app = App("mail_between_replicas")
said: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    said.clear()


@app.step(retries=0)
async def long(name: str) -> None:
    said[f"begins {name}"] += 1
    try:
        await asyncio.sleep(LONG_SECONDS)
    except asyncio.CancelledError:
        said[f"cancelled {name}"] += 1
        raise


@app.step(retries=0, placement="queued")
async def long_in_queue(name: str) -> None:
    said[f"begins {name}"] += 1
    try:
        await asyncio.sleep(LONG_SECONDS)
    except asyncio.CancelledError:
        said[f"cancelled {name}"] += 1
        raise


@app.workflow
async def bounded(name: str, seconds: float) -> str:
    try:
        await asyncio.wait_for(long(name), seconds)
    except TimeoutError:
        return "timed out"
    return "long"


@app.workflow
async def race(name: str) -> list[str]:
    attempt = asyncio.ensure_future(long(name))
    words = asyncio.ensure_future(two_words())
    await asyncio.wait({attempt, words}, return_when=asyncio.FIRST_COMPLETED)
    return words.result()


async def two_words() -> list[str]:
    return [await holdfast.receive("word", str), await holdfast.receive("word", str)]


@app.workflow
async def queued(name: str) -> None:
    await long_in_queue(name)


@app.workflow(id="child-of-{name}")
async def child(name: str) -> str:
    return await holdfast.receive("word", str)


@app.workflow
async def parent(name: str) -> str:
    attempt = asyncio.ensure_future(long(name))
    result = asyncio.ensure_future(child(name))
    await asyncio.wait({attempt, result}, return_when=asyncio.FIRST_COMPLETED)
    return result.result()


class Pace:
    """What this machine takes while a test runs: its slowest commit, and how late its event loop was."""

    def __init__(self) -> None:
        self.slowest_seconds = 0.0

    @property
    def soon_seconds(self) -> float:
        """What is promised, and what the machine takes for it."""
        return LOOK_SECONDS + COMMITS * self.slowest_seconds

    async def measure(self, *clients: Client) -> None:
        """Commits something by each replica in turn, until it is cancelled. Nobody serves what it commits."""
        run = await clients[0].start(race.with_options(queue="nobody"), "pace")
        try:
            while True:
                for client in clients:
                    began = time.monotonic()
                    await client.get(run.run_id).signal("tick")
                    await asyncio.sleep(PAUSE_SECONDS)
                    self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began - PAUSE_SECONDS)
        finally:
            await run.terminate()


@asynccontextmanager
async def serving(database_url: str, port: int = 0) -> AsyncIterator[tuple[Process, str]]:
    async with coordinator_process(database_url, port=port, environment=DOORBELL_CUT) as process:
        match = await process.wait_for_line(r"listens on (\S+:\d+)")
        yield process, match.group(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(module_database: str) -> AsyncIterator[tuple[Client, Client]]:
    """Clients of two replicas; workers use the first."""
    async with AsyncExitStack() as stack:
        processes = await asyncio.gather(*(stack.enter_async_context(serving(module_database)) for _ in range(2)))
        addresses = [address for _, address in processes]
        here, there = [await stack.enter_async_context(Client.connect(address)) for address in addresses]
        yield here, there


@pytest_asyncio.fixture(loop_scope="module")
async def pace(both: tuple[Client, Client]) -> AsyncIterator[Pace]:
    """The pace of the machine, measured beside the test."""
    made = Pace()
    measuring = asyncio.create_task(made.measure(*both))
    yield made
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)


async def begun(name: str, times: int = 1) -> None:
    async def look() -> int:
        return said[f"begins {name}"]

    await until(look, lambda seen: seen >= times)


async def stopped(name: str, since: float, pace: Pace) -> None:
    """The attempt was cancelled in the worker, soon."""

    async def look() -> int:
        return said[f"cancelled {name}"]

    await until(look, lambda seen: seen > 0)
    assert time.monotonic() - since < pace.soon_seconds


async def test_timers_end_waits_in_time_whichever_replica_fires_them(
    both: tuple[Client, Client], worker: WorkerFactory, queue: str, pace: Pace
) -> None:
    here, _ = both
    async with worker(client=here, workflows=[app]):

        async def timed(number: int) -> float:
            run = await here.start(bounded.with_options(queue=queue), f"timer {number}", 1.0)
            began = time.monotonic()
            assert await run.result(timeout=20) == "timed out"
            return time.monotonic() - began

        took = await asyncio.gather(*(timed(number) for number in range(20)))
    assert max(took) < 1.0 + pace.soon_seconds


async def test_signals_cancels_and_terminations_through_the_other_replica_reach_the_worker(
    both: tuple[Client, Client], worker: WorkerFactory, queue: str, pace: Pace
) -> None:
    here, there = both
    async with worker(client=here, workflows=[app]):

        async def started(flow: object, name: str) -> tuple[RunHandle[object], RunHandle[object]]:
            run = await here.start(flow.with_options(queue=queue), name)  # type: ignore[attr-defined]
            await begun(name)
            return run, there.get(run.run_id)

        run, other = await started(race, "signal")
        began = time.monotonic()
        await other.signal("word", "one")
        await run.signal("word", "two")  # what comes with a notice waits for what came without one
        assert await run.result(timeout=20) == ["one", "two"]
        assert time.monotonic() - began < pace.soon_seconds
        for flow, name in ((race, "cancel inline"), (queued, "cancel queued")):
            run, other = await started(flow, name)
            began = time.monotonic()
            await other.cancel("enough")
            with pytest.raises(RunCancelled):
                await run.result(timeout=20)
            await stopped(name, began, pace)
        for flow, name in ((race, "terminate inline"), (queued, "terminate queued")):
            run, other = await started(flow, name)
            began = time.monotonic()
            await other.terminate("enough")
            with pytest.raises(RunFailed, match="terminated"):
                await run.result(timeout=20)
            await stopped(name, began, pace)


async def test_the_result_of_a_child_that_closed_through_the_other_replica_reaches_its_parent(
    both: tuple[Client, Client], worker: WorkerFactory, queue: str, pace: Pace
) -> None:
    here, there = both
    async with worker(client=here, workflows=[app]):
        run = await here.start(parent.with_options(queue=queue), "parent")
        await begun("parent")
        handle = await until_child(there, "child-of-parent")
        began = time.monotonic()
        await handle.terminate("enough")
        with pytest.raises(RunFailed, match="terminated"):
            await run.result(timeout=20)
        assert time.monotonic() - began < pace.soon_seconds


async def until_child(client: Client, business_id: str) -> RunHandle[object]:
    async def look() -> RunHandle[object] | None:
        try:
            handle = client.get(business_id)
            await handle.status()
        except holdfast.RunNotFound:
            return None
        return handle

    handle = await until(look, lambda seen: seen is not None)
    assert handle is not None
    return handle


async def test_what_falls_due_while_the_only_coordinator_is_restarted_reaches_the_leased_run(
    module_database: str, worker: WorkerFactory, queue: str
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        process, address = await first.enter_async_context(serving(module_database, port))
        client = await stack.enter_async_context(Client.connect(address, timeout=None, retry_for="30s"))
        await stack.enter_async_context(worker(client=client, workflows=[app]))
        runs = [await client.start(bounded.with_options(queue=queue), f"restart {number}", 2.0) for number in range(3)]
        due_at = time.monotonic() + 2.0
        for number in range(3):
            await begun(f"restart {number}")
        await process.kill()
        # Another one fires the timers: the worker cannot reach it, and is told of nothing.
        async with serving(module_database):
            await asyncio.sleep(max(0.0, due_at + 0.5 - time.monotonic()))
        await stack.enter_async_context(serving(module_database, port))
        began = time.monotonic()
        assert [await run.result(timeout=20) for run in runs] == ["timed out"] * 3
        assert time.monotonic() - began < BACK_SECONDS + LOOK_SECONDS
    assert [said[f"begins restart {number}"] for number in range(3)] == [1, 1, 1]
