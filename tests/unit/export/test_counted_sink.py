"""Spans are counted when a collector has taken them, and only then."""

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from holdfast_coordinator.export.counted_sink import CountedSink
from holdfast_coordinator.rpc.collector_client import Collector
from holdfast_coordinator.telemetry.otel_variables import Endpoint
from holdfast_coordinator.telemetry.sinks import CollectorUnreachable
from tests.support.otlp_sink import OtlpSink


async def test_spans_are_counted_that_were_taken_and_neither_refused_nor_thrown_away() -> None:
    request = ExportTraceServiceRequest()
    for name in ("a", "b"):
        scope = request.resource_spans.add().scope_spans.add()
        for _ in range(3):
            scope.spans.add(name=name, trace_id=bytes(16), span_id=bytes(8))
    taken: list[int] = []
    collector = await OtlpSink().start()
    client = Collector(Endpoint(collector.address))
    sink = CountedSink(client, taken.append)
    await sink.export_traces(request.SerializeToString())
    collector.reject_some(2)
    assert (await sink.export_traces(request.SerializeToString())).rejected == 2
    collector.refuse(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(CollectorUnreachable):
        await sink.export_traces(request.SerializeToString())
    await client.close()
    await collector.stop()
    assert taken == [6, 4]
