"""Spans as the bytes of an OTLP ExportTraceServiceRequest. Pure; equal spans make equal bytes.

Backends recognise a span that is sent twice only when everything is the same, so nothing of this process is in it: one
resource per namespace, no version, no host. The numbers of fields are those of trace.proto and common.proto.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from holdfast.traces import SAMPLED, SpanContext
from holdfast_coordinator.wire.protobuf_bytes import (
    bytes_field,
    field_head,
    fixed32_field,
    fixed64_field,
    text_field,
    varint_field,
)

from .spans import Link, RunFacts, Span, SpanStatus

SERVICE_NAME = "holdfast"
LINK_RELATION = "holdfast.link.relation"

_KEPT, _KEPT_BYTES = 2048, 256
"""How many attributes and names are kept as bytes, and how long ones; most are those of many spans."""

# The tags and lengths of ids.
_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"

_KIND_AND_TIMES = struct.Struct("<BBBQBQ")
_KIND, _START, _END = 6 << 3, 7 << 3 | 1, 8 << 3 | 1

_SCOPE = bytes_field(1, text_field(1, SERVICE_NAME))
_FLAGS = fixed32_field(16, SAMPLED)
_STATUS = {status: bytes_field(15, varint_field(3, status)) if status else b"" for status in SpanStatus}


def export_request(spans: Iterable[Span]) -> bytes:
    """The request that exports these spans, in their order, grouped by namespace."""
    return request_of((span.run.namespace, encode_span(span)) for span in spans)


def request_of(encoded: Iterable[tuple[str, bytes]]) -> bytes:
    """The same for spans that `encode_span` has written, each with its namespace."""
    groups: dict[str, list[bytes]] = defaultdict(list)
    for namespace, span in encoded:
        groups[namespace].append(span)
    parts: list[bytes] = []
    for namespace, spans in groups.items():
        # Lengths first, so that the spans are copied once.
        size = len(_SCOPE) + sum(map(len, spans))
        head = _resource(namespace) + field_head(2, size)
        parts += (field_head(1, len(head) + size), head, _SCOPE)
        parts += spans
    return b"".join(parts)


def encode_span(span: Span) -> bytes:
    """A span as requests have it: a field with its length, so that spans only have to be joined."""
    of_trace, of_run, of_all = span.run.encoded or _encode_run(span.run)
    parts = [
        _TRACE_ID,
        span.trace_id,
        _SPAN_ID,
        span.span_id,
        of_trace,
        _PARENT_ID + span.parent_id if span.parent_id else b"",
        _name(span.name),
        _kind_and_times(span),
        of_run,
    ]
    parts += map(_attribute, span.own)
    if span.links:
        parts += map(_link, span.links)
    parts += (_STATUS[span.status], of_all)
    message = b"".join(parts)
    return field_head(2, len(message)) + message


def _encode_run(run: RunFacts) -> tuple[bytes, bytes, bytes]:
    """What all spans of a run have in common, by its place in a span: tracestate, attributes, flags."""
    made = (
        _tracestate(run.trace),
        b"".join(map(_attribute, run.attributes)),
        _FLAGS if run.trace.is_sampled else b"",
    )
    run.encoded = made
    return made


def _kind_and_times(span: Span) -> bytes:
    start_ns, end_ns = span.start_ns, span.end_ns
    if start_ns and end_ns:
        return _KIND_AND_TIMES.pack(_KIND, span.kind, _START, start_ns, _END, end_ns)
    times = (fixed64_field(number, at_ns) for number, at_ns in ((7, start_ns), (8, end_ns)) if at_ns)
    return b"".join((varint_field(6, span.kind), *times))


def _new_attribute(key: str, value: str | int) -> bytes:
    return bytes_field(9, _key_value(key, value))


class _Attributes(dict[tuple[str, str | int], bytes]):
    """Attributes as fields. A plain dict, which is twice as fast as a cache in the order of use."""

    def __missing__(self, pair: tuple[str, str | int]) -> bytes:
        field = _new_attribute(*pair)
        if len(field) <= _KEPT_BYTES:  # the texts of errors are long and seldom the same
            if len(self) >= _KEPT:
                self.clear()
            self[pair] = field
        return field


_attribute = _Attributes().__getitem__


@lru_cache(_KEPT)
def _name(name: str) -> bytes:
    return text_field(5, name) if name else b""


@lru_cache(_KEPT)
def _key(key: str) -> bytes:
    return text_field(1, key)


def _key_value(key: str, value: str | int) -> bytes:
    written = text_field(1, value) if isinstance(value, str) else varint_field(3, value)
    return _key(key) + bytes_field(2, written)


def _link(link: Link) -> bytes:
    context = link.context
    ids = bytes_field(1, context.trace_id) + bytes_field(2, context.span_id)
    relation = bytes_field(4, _key_value(LINK_RELATION, link.relation))
    flags = fixed32_field(6, SAMPLED) if context.is_sampled else b""
    return bytes_field(13, ids + _tracestate(context) + relation + flags)


def _tracestate(context: SpanContext) -> bytes:
    return text_field(3, context.tracestate) if context.tracestate else b""


def _resource(namespace: str) -> bytes:
    service = bytes_field(1, _key_value("service.name", SERVICE_NAME))
    return bytes_field(1, service + bytes_field(1, _key_value("service.namespace", namespace)))
