"""Many runs wake at once, and the worker that gets them does not have them in memory: it reads their journals."""

import asyncio

import grpc
import pytest

import holdfast
from holdfast import App
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.client import Client
from holdfast.ids import run_id, start_id
from holdfast.statuses import RunStatus
from holdfast_coordinator.store.statements_journals import BEGINNING_ROWS
from tests.support.counting_proxy import counting_proxy
from tests.support.ledger import Ledger, note
from tests.support.watching import until

from .conftest import Coordinator, WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

RUNS = 100
CALLS_MAX = 10

app = App("waking")


@app.step
async def noted(ledger: str, word: str) -> str:
    note(ledger, word)
    return word


@app.workflow
async def waits(ledger: str, number: int, steps: int) -> str:
    words = [await noted(ledger, f"{number}.{step}") for step in range(steps)]
    await holdfast.receive("go")
    return words[-1]


async def wake_elsewhere(
    client: Client, worker: WorkerFactory, queue: str, ledger: Ledger, *, by: Client, runs: int, steps: int
) -> None:
    """Has runs fall asleep on one worker, and wake together on another one, which is a client's."""
    waiting = waits.with_options(queue=queue)
    async with worker(workflows=[app]):
        handles = await client.start_many(waiting, [(ledger.path, number, steps) for number in range(runs)])
        for handle in handles:
            await until(handle.status, lambda seen: seen is RunStatus.SUSPENDED, seconds=40)
    await asyncio.gather(*(handle.signal("go") for handle in handles))
    async with worker(client=by, workflows=[app]):
        await client.wait_many(handles, timeout=40)
    results = [await handle.result(timeout=5) for handle in handles]
    assert results == [f"{number}.{steps - 1}" for number in range(runs)]
    assert ledger.counts == {f"{number}.{step}": 1 for number in range(runs) for step in range(steps)}


async def test_runs_that_wake_together_are_rebuilt_with_a_few_calls(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger
) -> None:
    async with counting_proxy(coordinator.address) as proxy, Client.connect(proxy.address) as proxied:
        await wake_elsewhere(client, worker, queue, ledger, by=proxied, runs=RUNS, steps=1)
    assert 1 <= proxy.counts["ReadJournals"] <= CALLS_MAX
    assert proxy.counts["ReadJournal"] == 0


async def test_what_follows_the_beginning_of_a_long_journal_is_read_too(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger
) -> None:
    async with counting_proxy(coordinator.address) as proxy, Client.connect(proxy.address) as proxied:
        await wake_elsewhere(client, worker, queue, ledger, by=proxied, runs=3, steps=BEGINNING_ROWS + 10)
    assert proxy.counts["ReadJournals"] >= 1
    assert proxy.counts["ReadJournal"] == 3


async def test_a_worker_reads_journals_one_by_one_of_a_coordinator_that_is_older_than_it(
    coordinator: Coordinator, client: Client, worker: WorkerFactory, queue: str, ledger: Ledger
) -> None:
    async with (
        counting_proxy(coordinator.address, lacks={"ReadJournals"}) as proxy,
        Client.connect(proxy.address) as proxied,
    ):
        await wake_elsewhere(client, worker, queue, ledger, by=proxied, runs=20, steps=1)
    assert proxy.counts["ReadJournal"] == 20


@pytest.mark.parametrize("count", [0, 1_001])
async def test_journals_are_asked_for_of_up_to_a_thousand_leases(coordinator: Coordinator, count: int) -> None:
    async with grpc.aio.insecure_channel(coordinator.address) as channel:
        stub = WorkerServiceStub(channel)  # type: ignore[no-untyped-call]
        opened = await stub.OpenSession(pb.OpenSessionRequest(slots=1, runs_max=1))
        session = {"session_id": opened.session_id, "attach_no": opened.attach_no}
        leases = [pb.Held(run_id=run_id("00", start_id(number, bytes(10))), epoch=1) for number in range(count)]
        asked = stub.ReadJournals(pb.ReadJournalsRequest(**session, leases=leases))
        if count:
            with pytest.raises(grpc.aio.AioRpcError, match="more than 1,000"):
                await asked
        else:
            assert not (await asked).journals
        await stub.CloseSession(pb.CloseSessionRequest(**session))
