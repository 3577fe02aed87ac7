"""Spans as the bytes of an OTLP ExportTraceServiceRequest. Pure; equal spans make equal bytes.

Backends recognise a span that is sent twice only when everything is the same, so nothing of this process is in it: one
resource per namespace, no version, no host.
"""

from collections.abc import Iterable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from holdfast.traces import SAMPLED, SpanContext

from .spans import Link, Span, SpanStatus

SERVICE_NAME = "holdfast"
LINK_RELATION = "holdfast.link.relation"


def export_request(spans: Iterable[Span]) -> bytes:
    """The request that exports these spans, in their order, grouped by namespace."""
    request = ExportTraceServiceRequest()
    scopes: dict[str, ScopeSpans] = {}
    pairs = _Pairs()
    for span in spans:
        namespace = span.run.namespace
        scope = scopes.get(namespace)
        if scope is None:
            scope = scopes[namespace] = _add_scope(request, namespace)
        _add_span(scope, span, pairs)
    return request.SerializeToString()


class _Pairs(dict[tuple[str, str | int], KeyValue]):
    """Attributes as messages. Most are those of many spans, and to copy a message costs a fraction of making it."""

    def __missing__(self, pair: tuple[str, str | int]) -> KeyValue:
        key, value = pair
        made = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
        message = self[pair] = KeyValue(key=key, value=made)
        return message


def _add_scope(request: ExportTraceServiceRequest, namespace: str) -> ScopeSpans:
    group = request.resource_spans.add()
    pairs = _Pairs()
    group.resource.attributes.extend(
        [pairs["service.name", SERVICE_NAME], pairs["service.namespace", namespace]],
    )
    scope = group.scope_spans.add()
    scope.scope.name = SERVICE_NAME
    return scope


def _add_span(scope: ScopeSpans, span: Span, pairs: _Pairs) -> None:
    trace = span.run.trace
    message = scope.spans.add(
        trace_id=span.trace_id,
        span_id=span.span_id,
        trace_state=trace.tracestate,
        parent_span_id=span.parent_id,
        flags=_flags(trace),
        name=span.name,
        kind=span.kind.value,
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
    )
    message.attributes.extend([pairs[pair] for pair in span.run.attributes])
    message.attributes.extend([pairs[pair] for pair in span.own])
    if span.status is not SpanStatus.UNSET:
        message.status.code = span.status.value  # type: ignore[assignment]  # the same numbers
    for link in span.links:
        _add_link(message, link, pairs)


def _add_link(message: SpanMessage, link: Link, pairs: _Pairs) -> None:
    context = link.context
    added = message.links.add(
        trace_id=context.trace_id,
        span_id=context.span_id,
        trace_state=context.tracestate,
        flags=_flags(context),
    )
    added.attributes.append(pairs[LINK_RELATION, link.relation])


def _flags(context: SpanContext) -> int:
    return SAMPLED if context.is_sampled else 0
