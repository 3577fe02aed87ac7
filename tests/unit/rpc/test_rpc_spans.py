"""Spans of single rpcs, from a client's channel and from the coordinator's server, over a real connection."""

import asyncio
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from holdfast.channel.rpc_spans import rpc_spans_or_default
from holdfast.client import Client, by_name
from holdfast.errors import HoldfastError
from holdfast_coordinator.rpc import server_spans
from holdfast_coordinator.rpc.server_spans import ServerSpans
from holdfast_coordinator.telemetry.sinks import Accepted, CollectorUnreachable
from tests.support.listening_service import listening

START = "holdfast.api.v1.RunService/StartRuns"
order = by_name("order")


class Sink:
    """A collector that takes everything, or is not there."""

    def __init__(self, *, away: bool = False) -> None:
        self.requests: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()
        self._away = away

    async def export_traces(self, request: bytes) -> Accepted:
        self.requests.put_nowait(ExportTraceServiceRequest.FromString(request))
        if self._away:
            raise CollectorUnreachable("nowhere:4317", "nobody is there")
        return Accepted()


def named(spans: Sequence[ReadableSpan], name: str) -> ReadableSpan:
    (found,) = [span for span in spans if span.name == name]
    return found


async def test_an_rpc_is_a_span_below_the_call_and_sends_its_position_in_the_headers(
    user_spans: InMemorySpanExporter,
) -> None:
    async with listening() as (listener, address), Client.connect(address, rpc_spans=True) as client:
        await client.start(order)
    host, _, port = address.partition(":")
    rpc, call = named(user_spans.get_finished_spans(), START), named(user_spans.get_finished_spans(), "start run")
    assert rpc.kind is SpanKind.CLIENT
    assert rpc.parent == call.context
    assert dict(rpc.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": START,
        "server.address": host,
        "server.port": int(port),
        "rpc.response.status_code": "OK",
    }
    assert rpc.context is not None
    assert f"{rpc.context.span_id:016x}" in listener.headers["StartRuns"]["traceparent"]
    # The run belongs to the call, not to one of its attempts on the wire.
    assert call.context is not None
    assert f"{call.context.span_id:016x}" in listener.starts[0].trace.traceparent


async def test_a_shared_call_is_below_its_oldest_start_and_each_start_keeps_its_own_trace(
    user_spans: InMemorySpanExporter,
) -> None:
    async with listening() as (listener, address), Client.connect(address, rpc_spans=True) as client:
        await asyncio.gather(*(client.start(order.with_options(id=f"o-{number}")) for number in range(20)))
    spans = user_spans.get_finished_spans()
    starts = [span.context for span in spans if span.name == "start run"]
    calls = [span for span in spans if span.name == START]
    assert 1 <= len(calls) < 20
    assert all(call.parent in starts for call in calls)
    assert len({spec.trace.traceparent for spec in listener.starts}) == 20


async def test_a_failed_rpc_is_an_error_and_the_client_raises_as_without_spans(
    user_spans: InMemorySpanExporter,
) -> None:
    async with listening() as (_, address), Client.connect(address, rpc_spans=True) as client:
        with pytest.raises(HoldfastError, match="no such run"):
            await client.get("o-1").resume()
    rpc = named(user_spans.get_finished_spans(), "holdfast.api.v1.RunService/ResumeRun")
    assert rpc.status.status_code is StatusCode.ERROR
    assert (rpc.attributes or {})["error.type"] == (rpc.attributes or {})["rpc.response.status_code"] == "NOT_FOUND"


async def test_an_rpc_ends_with_the_one_who_waited_for_it_or_with_its_connection(
    user_spans: InMemorySpanExporter,
) -> None:
    async with listening() as (_, address), Client.connect(address, rpc_spans=True) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("o-1").status(), 0.2)
        waiting = asyncio.ensure_future(client.get("o-1").status())
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(HoldfastError, match="closed"):
            await asyncio.wait_for(waiting, 5)
        with pytest.raises(HoldfastError, match="closed"):
            await client.get("o-1").status()
    codes = [(span.attributes or {})["rpc.response.status_code"] for span in user_spans.get_finished_spans()]
    assert codes == ["CANCELLED"] * 3


async def test_what_is_held_open_on_purpose_makes_no_span(user_spans: InMemorySpanExporter) -> None:
    async with listening() as (_, address), Client.connect(address, rpc_spans=True) as client:
        run_id = "run_00" + "0" * 26
        await client.wait_many([client.get(run_id)])
    assert not [span for span in user_spans.get_finished_spans() if span.name.endswith("WaitRuns")]


async def test_rpc_spans_are_off_unless_asked_for(user_spans: InMemorySpanExporter) -> None:
    async with listening() as (listener, address), Client.connect(address) as client:
        await client.start(order)
    assert [span.name for span in user_spans.get_finished_spans()] == ["start run"]
    assert "traceparent" not in listener.headers["StartRuns"]


@pytest.mark.parametrize(("value", "on"), [("true", True), ("1", True), (" On ", True), ("false", False), ("", False)])
def test_the_environment_decides_where_nobody_asks(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_RPC_SPANS", value)
    assert rpc_spans_or_default() is on
    assert rpc_spans_or_default(not on) is not on


async def test_a_traced_call_is_a_server_span_below_it_and_others_are_none(
    user_spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_spans, "EXPORT_SECONDS", 0.01)
    sink, dropped = Sink(), list[int]()
    spans = ServerSpans("replica-1", on_drop=dropped.append)
    exporting = asyncio.create_task(spans.run(sink))
    async with listening([spans]) as (_, address):
        async with Client.connect(address) as untraced:
            await untraced.start(order)
        async with Client.connect(address, rpc_spans=True) as client:
            await client.start(order)
            with pytest.raises(HoldfastError):
                await client.get("o-1").resume()
        exported = [await asyncio.wait_for(sink.requests.get(), 5)]
        while sum(len(one.resource_spans[0].scope_spans[0].spans) for one in exported) < 2:
            exported.append(await asyncio.wait_for(sink.requests.get(), 5))
    exporting.cancel()
    resource = {pair.key: pair.value.string_value for pair in exported[0].resource_spans[0].resource.attributes}
    assert resource == {"service.name": "holdfast-coordinator", "service.instance.id": "replica-1"}
    made = [span for one in exported for span in one.resource_spans[0].scope_spans[0].spans]
    rpcs = [span for span in user_spans.get_finished_spans() if span.name.startswith("holdfast.api")]
    assert [(span.name, span.parent_span_id.hex()) for span in made] == [
        (rpc.name, f"{rpc.context.span_id:016x}") for rpc in rpcs if rpc.context is not None
    ]
    codes = [{pair.key: pair.value.string_value for pair in span.attributes} for span in made]
    assert [one["rpc.response.status_code"] for one in codes] == ["OK", "NOT_FOUND"]
    # It is the caller's mistake to ask for what is not there, and no failure of the server.
    assert all(span.status.code == 0 and span.kind == span.SPAN_KIND_SERVER for span in made)
    assert not dropped


async def test_server_spans_that_no_collector_takes_are_counted(
    user_spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_spans, "EXPORT_SECONDS", 0.01)
    monkeypatch.setattr(server_spans, "SPANS_WAITING_MAX", 1)
    counted = asyncio.Event()
    dropped: list[int] = []

    def count(spans: int) -> None:
        dropped.append(spans)
        counted.set()

    spans = ServerSpans("replica-1", on_drop=count)
    async with listening([spans]) as (_, address), Client.connect(address, rpc_spans=True) as client:
        await client.start(order)
        await client.start(order)
        assert dropped == [1]
        counted.clear()
        exporting = asyncio.create_task(spans.run(Sink(away=True)))
        await asyncio.wait_for(counted.wait(), 5)
        exporting.cancel()
    assert dropped == [1, 1]


def test_no_span_of_an_rpc_is_current_in_the_caller_afterwards(user_spans: InMemorySpanExporter) -> None:
    async def main() -> bool:
        async with listening() as (_, address), Client.connect(address, rpc_spans=True) as client:
            await client.start(order)
        return trace.get_current_span().get_span_context().is_valid

    assert not asyncio.run(main())
