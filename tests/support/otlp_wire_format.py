"""A reader of the protobuf wire format that knows no generated code: fields by number, and of OTLP what tests ask."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(field number, value) in the order of the bytes: int for varints and fixed numbers, bytes for the rest."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire_type = tag >> 3, tag & 7
        match wire_type:
            case 0:
                value, place = _varint(message, place)
                yield number, value
            case 1:
                yield number, struct.unpack_from("<Q", message, place)[0]
                place += 8
            case 2:
                size, place = _varint(message, place)
                assert place + size <= len(message), "a field is longer than its message"
                yield number, message[place : place + size]
                place += size
            case 5:
                yield number, struct.unpack_from("<I", message, place)[0]
                place += 4
            case _:
                raise AssertionError(f"wire type {wire_type} is not in use")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place


@dataclass(frozen=True)
class SentSpan:
    """A span as a backend reads it; the numbers are those of trace.proto and common.proto."""

    resource: tuple[tuple[str, Any], ...]
    scope: str
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    tracestate: str
    flags: int
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: tuple[tuple[str, Any], ...]
    status: int
    links: tuple[tuple[bytes, bytes, str], ...]


def sent_spans(request: bytes) -> list[SentSpan]:
    """The spans of an ExportTraceServiceRequest."""
    return [
        span
        for number, resource_spans in fields(request)
        for span in _resource_spans(resource_spans)
        if number == 1 or _unknown(number)
    ]


def _resource_spans(message: bytes) -> Iterator[SentSpan]:
    parts = list(fields(message))
    (resource,) = [value for number, value in parts if number == 1]
    attributes = tuple(_key_value(value) for number, value in fields(resource) if number == 1)
    for number, scope_spans in parts:
        if number == 2:
            inner = list(fields(scope_spans))
            (scope,) = [value for number, value in inner if number == 1]
            name = next(value for number, value in fields(scope) if number == 1).decode()
            yield from (_span(value, attributes, name) for number, value in inner if number == 2)


def _span(message: bytes, resource: tuple[tuple[str, Any], ...], scope: str) -> SentSpan:
    parts = list(fields(message))

    def one(wanted: int, absent: Any) -> Any:
        return next((value for number, value in parts if number == wanted), absent)

    return SentSpan(
        resource=resource,
        scope=scope,
        trace_id=one(1, b""),
        span_id=one(2, b""),
        tracestate=one(3, b"").decode(),
        parent_id=one(4, b""),
        name=one(5, b"").decode(),
        kind=one(6, 0),
        start_ns=one(7, 0),
        end_ns=one(8, 0),
        attributes=tuple(_key_value(value) for number, value in parts if number == 9),
        status=next((value for number, value in fields(one(15, b"")) if number == 3), 0),
        links=tuple(_link(value) for number, value in parts if number == 13),
        flags=one(16, 0),
    )


def _link(message: bytes) -> tuple[bytes, bytes, str]:
    parts = dict(fields(message))
    return parts[1], parts[2], _key_value(parts[4])[1]


def _key_value(message: bytes) -> tuple[str, Any]:
    parts = dict(fields(message))
    ((kind, value),) = list(fields(parts[2]))
    assert kind in (1, 3), "strings and whole numbers only"
    return parts[1].decode(), value.decode() if kind == 1 else value


def _unknown(number: int) -> bool:
    raise AssertionError(f"field {number} is not in ExportTraceServiceRequest")
