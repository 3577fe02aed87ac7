"""Spans as an OTLP request written by protobuf itself: what the bytes written by hand must be equal to."""

from collections.abc import Iterable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from holdfast.traces import SpanContext
from holdfast_coordinator.telemetry.spans import Span, SpanStatus


def written_by_protobuf(spans: Iterable[Span]) -> bytes:
    request = ExportTraceServiceRequest()
    scopes: dict[str, ScopeSpans] = {}
    for span in spans:
        namespace = span.run.namespace
        if namespace not in scopes:
            scopes[namespace] = _add_scope(request, namespace)
        _add_span(scopes[namespace], span)
    return request.SerializeToString()


def _add_scope(request: ExportTraceServiceRequest, namespace: str) -> ScopeSpans:
    group = request.resource_spans.add()
    group.resource.attributes.extend([_pair("service.name", "holdfast"), _pair("service.namespace", namespace)])
    scope = group.scope_spans.add()
    scope.scope.name = "holdfast"
    return scope


def _add_span(scope: ScopeSpans, span: Span) -> None:
    message: SpanMessage = scope.spans.add(
        trace_id=span.trace_id,
        span_id=span.span_id,
        trace_state=span.run.trace.tracestate,
        parent_span_id=span.parent_id,
        flags=_flags(span.run.trace),
        name=span.name,
        kind=span.kind.value,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        attributes=[_pair(name, value) for name, value in span.attributes],
    )
    if span.status is not SpanStatus.UNSET:
        message.status.code = span.status.value  # type: ignore[assignment]  # the same numbers
    for link in span.links:
        message.links.add(
            trace_id=link.context.trace_id,
            span_id=link.context.span_id,
            trace_state=link.context.tracestate,
            flags=_flags(link.context),
            attributes=[_pair("holdfast.link.relation", link.relation)],
        )


def _pair(key: str, value: str | int) -> KeyValue:
    return KeyValue(
        key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    )


def _flags(context: SpanContext) -> int:
    return 1 if context.is_sampled else 0
