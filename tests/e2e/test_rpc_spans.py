"""HOLDFAST_RPC_SPANS: spans of single rpcs, of clients and workers in their own program, and of the coordinator."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast import App
from holdfast.client import Client
from tests.support.otlp_sink import OtlpSink, otlp_sink
from tests.support.processes import coordinator_process

from .conftest import WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

START = "holdfast.api.v1.RunService/StartRuns"
OPEN = "holdfast.api.v1.WorkerService/OpenSession"
VARIABLE = "HOLDFAST_RPC_SPANS"

app = App("rpc-spans")


@app.workflow
async def order() -> str:
    return "done"


@pytest_asyncio.fixture(loop_scope="module")
async def sink() -> AsyncIterator[OtlpSink]:
    """A collector."""
    async with otlp_sink() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def client(module_database: str, sink: OtlpSink, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client that makes spans of rpcs, of a coordinator that does too."""
    monkeypatch.setenv(VARIABLE, "true")
    async with coordinator_process(module_database, options=["--otlp", sink.url]) as process:
        address = (await process.wait_for_line(r"listens on (\S+:\d+)"))[1]
        async with Client.connect(address) as connected:
            yield connected


async def test_a_traced_client_sees_its_rpcs_on_both_sides_and_a_worker_its_own(
    user_spans: InMemorySpanExporter, client: Client, worker: WorkerFactory, queue: str, sink: OtlpSink
) -> None:
    async with worker(workflows=[order]):
        assert await client.run(order.with_options(queue=queue)) == "done"
    await sink.until(lambda sink: sink.named(START))
    own = {span.name: span for span in user_spans.get_finished_spans()}
    rpc = own[START].context
    assert rpc is not None
    (served,) = sink.named(START)
    assert (served.trace_id, served.parent_id) == (f"{rpc.trace_id:032x}", f"{rpc.span_id:016x}")
    assert (served.kind, served.service) == ("SERVER", "holdfast-coordinator")
    assert OPEN in own, "the rpcs of the worker"
    held_open = ("/Poll", "/Work", "/Report", "/Heartbeat", "/WaitRuns")
    assert not [name for name in (*own, *(span.name for span in sink.spans)) if name.endswith(held_open)]
