"""Spans of runs as the coordinator answers them, read into records. Nothing here decides or checks anything."""

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1 import value_pb2
from holdfast.channel.run_records import SpanKind, SpanLink, SpanStatus, TraceSpan
from holdfast.traces import parse_traceparent

_KINDS: dict[int, SpanKind] = {
    pb.SPAN_KIND_INTERNAL: "internal",
    pb.SPAN_KIND_SERVER: "server",
    pb.SPAN_KIND_CLIENT: "client",
    pb.SPAN_KIND_CONSUMER: "consumer",
}
_STATUSES: dict[int, SpanStatus] = {pb.SPAN_STATUS_OK: "ok", pb.SPAN_STATUS_ERROR: "error"}


def trace_span(message: pb.TraceSpan) -> TraceSpan:
    """One span. What a later version adds to kinds and statuses is shown as internal and unset."""
    return TraceSpan(
        trace_id=message.trace_id,
        span_id=message.span_id,
        parent_id=message.parent_span_id,
        name=message.name,
        kind=_KINDS.get(message.kind, "internal"),
        start_ns=message.started_at.ToNanoseconds(),
        end_ns=message.ended_at.ToNanoseconds(),
        status=_STATUSES.get(message.status, "unset"),
        attributes={one.key: one.number if one.HasField("number") else one.text for one in message.attributes},
        links=tuple(link for one in message.links if (link := _link(one)) is not None),
    )


def _link(message: value_pb2.TraceLink) -> SpanLink | None:
    position = parse_traceparent(message.context.traceparent)
    return None if position is None else SpanLink(position.trace_id, position.span_id, message.relation)
