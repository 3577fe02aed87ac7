"""A sink of spans that says how many were taken, for those who send few. Only made where they are counted."""

from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from holdfast_coordinator.telemetry.sinks import Accepted, SpanSink


class CountedSink:
    """See the module. taken: called for each request with how many of its spans the collector has taken."""

    def __init__(self, sink: SpanSink, taken: Callable[[int], None]) -> None:
        self._sink = sink
        self._taken = taken

    async def export_traces(self, request: bytes) -> Accepted:
        """Sends an ExportTraceServiceRequest once. Raises CollectorUnreachable, ExportRefused."""
        accepted = await self._sink.export_traces(request)
        # Read again, which takes half a microsecond for each span: no sender depends on being counted.
        groups = ExportTraceServiceRequest.FromString(request).resource_spans
        spans = sum(len(scope.spans) for group in groups for scope in group.scope_spans)
        self._taken(max(spans - accepted.rejected, 0))
        return accepted
