"""What the proxy does to calls between the SDK and a real coordinator is done once, whatever the client saw."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import pytest_asyncio

from holdfast import App, receive
from holdfast.api.v1 import worker_service_pb2
from holdfast.client import Client
from holdfast.worker import Worker
from tests.chaos.faults import Direction
from tests.chaos.proxy import ChaosProxy
from tests.support.cell_rows import read_cell
from tests.support.invariants import check
from tests.support.processes import coordinator_process
from tests.support.watching import kinds, until, until_status

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]
QUEUE = "proxied"
REPORT = worker_service_pb2.WorkRequest.DESCRIPTOR.fields_by_name["report"].number

app = App("proxied")
executions: list[str] = []


@app.step
async def noted(what: str) -> str:
    executions.append(what)
    return what


@app.workflow
async def notes(what: str) -> str:
    return await noted(what)


@app.workflow
async def collects(count: int) -> list[str]:
    return [await receive("word", str) for _ in range(count)]


class Proxied(NamedTuple):
    """A coordinator behind a proxy, and a client that comes through it."""

    proxy: ChaosProxy
    client: Client
    database_url: str

    def runs(self) -> set[str]:
        """The ids of all runs that are stored."""
        return set(read_cell(self.database_url).runs)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxied(module_database: str) -> AsyncIterator[Proxied]:
    """For the tests of this module."""
    async with (
        ChaosProxy("127.0.0.1", 0) as proxy,
        coordinator_process(module_database, options=("--advertise", proxy.address)) as coordinator,
    ):
        host, _, port = (await coordinator.wait_for_line(r"listens on (\S+:\d+)")).group(1).rpartition(":")
        proxy.target = (host, int(port))
        async with Client.connect(proxy.address) as client:
            yield Proxied(proxy, client, module_database)


@pytest.fixture(autouse=True)
def _invariants_hold(module_database: str) -> Iterator[None]:
    executions.clear()
    yield
    check(read_cell(module_database))


@asynccontextmanager
async def working(proxied: Proxied) -> AsyncIterator[None]:
    """A worker that comes through the proxy too."""
    worker = Worker(proxied.client, QUEUE, workflows=[app])
    task = asyncio.create_task(worker.run())
    await worker.ready()
    try:
        yield
    finally:
        worker.stop()
        await task


async def test_a_start_whose_answer_was_lost_after_the_commit_is_repeated_and_is_one_run(proxied: Proxied) -> None:
    before = proxied.runs(), [facts.number for facts in proxied.proxy.connections]
    drop = proxied.proxy.drop_answer("StartRuns")
    run = await proxied.client.start(notes.with_options(queue=QUEUE), "a")
    assert (drop.landed, drop.calls) == (1, {"StartRuns": 1})
    later = [facts for facts in proxied.proxy.connections if facts.number not in before[1]]
    assert [facts.methods["StartRuns"] for facts in later] == [1], "the client has repeated it"
    assert proxied.runs() - before[0] == {run.run_id}
    async with working(proxied):
        assert await run.result(timeout=20) == "a"
    assert executions == ["a"]


async def test_a_start_that_reaches_the_coordinator_twice_is_one_run(proxied: Proxied) -> None:
    before = proxied.runs()
    duplicate = proxied.proxy.duplicate("StartRuns")
    run = await proxied.client.start(notes.with_options(queue=QUEUE), "a")
    await asyncio.wait_for(duplicate.landing(), 10)
    assert duplicate.statuses == {"0": 1}
    assert proxied.runs() - before == {run.run_id}
    await run.terminate()


async def test_a_signal_that_comes_again_when_the_run_has_read_it_is_read_once(proxied: Proxied) -> None:
    async with working(proxied):
        run = await proxied.client.start(collects.with_options(queue=QUEUE), 2)
        duplicate = proxied.proxy.duplicate("SignalRun", after_seconds=0.3)
        await run.signal("word", "one")
        await until_status(run, "suspended")
        await asyncio.wait_for(duplicate.landing(), 10)
        await run.signal("word", "two")
        assert await run.result(timeout=20) == ["one", "two"]


async def test_a_report_whose_answer_was_lost_after_the_commit_is_repeated_and_counts_once(proxied: Proxied) -> None:
    async with working(proxied):
        drop = proxied.proxy.drop_answer("Work", first_field=REPORT)
        run = await proxied.client.start(notes.with_options(queue=QUEUE), "a")
        assert await run.result(timeout=20) == "a"
        assert (drop.landed, drop.calls) == (1, {"Work": 1})
        assert (await kinds(run)).count("StepCompleted") == 1
    assert executions == ["a"]


async def test_heartbeats_go_through_the_proxy_that_the_coordinator_advertises(proxied: Proxied) -> None:
    async def look() -> int:
        return sum(facts.methods["Heartbeat"] for facts in proxied.proxy.connections)

    async with working(proxied):
        await until(look, lambda heartbeats: heartbeats > 1)


async def test_a_worker_goes_on_after_a_partition_in_one_direction(proxied: Proxied) -> None:
    async with working(proxied):
        run = await proxied.client.start(collects.with_options(queue=QUEUE), 1)
        await until_status(run, "suspended")
        partition = proxied.proxy.partition(Direction.TO_CLIENT, drops=True)
        signalled = asyncio.create_task(run.signal("word", "one"))
        await asyncio.wait_for(partition.landing(), 10)
        assert not signalled.done()
        partition.end()
        await signalled
        assert await run.result(timeout=20) == ["one"]
