"""Whatever way a caller's trace comes to the coordinator, the run that it starts knows of it. No database is needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest_asyncio

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.api.v1.value_pb2 import RunTrace, TraceContext
from holdfast.ids import start_id
from holdfast.limits import DEFAULT_LIMITS
from holdfast.traces import parse_traceparent
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.sessions import SessionPolicy
from holdfast_coordinator.rpc.server import Server
from holdfast_coordinator.telemetry.identity import IdentityRules, Origins
from holdfast_coordinator.wire.children import child_start, mail_to_child
from holdfast_coordinator.wire.continuations import continuation
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.memory_control_store import MemoryControlStore

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"
HEADERS = (("traceparent", CALLER), ("tracestate", "vendor=x"), ("baggage", "tenant=7,secret=1"))


class Codec:
    """What the engine must look into, as the app wires it."""

    child_start = staticmethod(child_start)
    mail_to_child = staticmethod(mail_to_child)
    continuation = staticmethod(continuation)


class Replica:
    """A replica with tracing, and a client without any code of ours."""

    def __init__(self, store: MemoryCellStore, runs: RunServiceStub) -> None:
        self._store = store
        self.runs = runs

    async def start(self, *starts: pb.StartSpec, headers: tuple[tuple[str, str], ...] = ()) -> list[RunTrace]:
        """Starts runs in one call; what is stored of their traces."""
        response = await self.runs.StartRuns(pb.StartRunsRequest(starts=starts), metadata=headers)
        run_ids = [outcome.run.run_id for outcome in response.outcomes]
        records = await self._store.records(run_ids)
        return [RunTrace.FromString(records[run_id].trace) for run_id in run_ids]


@asynccontextmanager
async def _replica() -> AsyncIterator[Replica]:
    store = MemoryCellStore()
    policy = SessionPolicy(timedelta(seconds=10), timedelta(seconds=2), timedelta(seconds=30))
    origins = Origins(IdentityRules(baggage=frozenset({"tenant"})), lambda: b"\1" * 16)
    engine = Engine(
        MemoryControlStore(), [("00", store)], replica_id="r1", policy=policy, codec=Codec(), origins=origins
    )
    await engine.sessions.read_clock()
    writers = [asyncio.create_task(cell.writer.run()) for cell in engine.cells]
    server = Server(engine, DEFAULT_LIMITS, host="127.0.0.1", port=0, connection_age=timedelta(minutes=10))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield Replica(store, RunServiceStub(channel))  # type: ignore[no-untyped-call]
    finally:
        await server.stop(0)
        for cell in engine.cells:
            cell.writer.close()
        await asyncio.gather(*writers)
        await engine.close()


@pytest_asyncio.fixture
async def replica() -> AsyncIterator[Replica]:
    async with _replica() as running:
        yield running


def spec(number: int = 1, **values: object) -> pb.StartSpec:
    return pb.StartSpec(start_id=start_id(number, bytes(10)), workflow="order", **values)  # type: ignore[arg-type]


async def test_headers_of_a_call_link_its_run_to_the_caller(replica: Replica) -> None:
    (trace,) = await replica.start(spec(), headers=HEADERS)
    (link,) = trace.links
    assert (link.relation, link.context.traceparent, link.context.tracestate) == ("caller", CALLER, "vendor=x")
    assert trace.context.traceparent.split("-")[1] == "01" * 16
    assert trace.context.baggage == "tenant=7"


async def test_a_run_that_joins_is_a_child_of_the_caller_and_sampled_like_it(replica: Replica) -> None:
    asked = TraceContext(traceparent=f"{CALLER[:-2]}00", tracestate="vendor=x")
    (trace,) = await replica.start(spec(join_trace=True, trace=asked))
    assert trace.parent.traceparent == asked.traceparent
    run = parse_traceparent(trace.context.traceparent)
    assert run is not None
    assert (run.trace_id.hex(), run.is_sampled) == (CALLER.split("-")[1], False)
    assert trace.context.tracestate == "vendor=x"


async def test_a_start_that_says_where_it_comes_from_is_not_asked_of_the_headers(replica: Replica) -> None:
    told, untold = await replica.start(
        spec(1, trace=TraceContext(traceparent=OTHER)), spec(2), headers=(("traceparent", CALLER),)
    )
    assert [link.context.traceparent for link in told.links] == [OTHER]
    assert [link.context.traceparent for link in untold.links] == [CALLER]


async def test_malformed_headers_start_a_run_with_a_trace_of_its_own(replica: Replica) -> None:
    (trace,) = await replica.start(
        spec(), headers=(("traceparent", "nonsense"), ("baggage", ",,=,"), ("tracestate", "?"))
    )
    assert not trace.links
    assert not trace.HasField("parent")
    assert parse_traceparent(trace.context.traceparent) is not None


async def test_sampling_can_be_forced_either_way(replica: Replica) -> None:
    on, off = await replica.start(spec(1, sampled=True), spec(2, sampled=False))
    assert on.context.traceparent.endswith("-01")
    assert off.context.traceparent.endswith("-00")
