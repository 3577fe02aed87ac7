"""Parameters in Postgres's binary format, above all arrays: encoders that cost a fraction of generic dumpers.

Pure. An encoder raises ValueError, TypeError, OverflowError or struct.error for what does not fit its type; the
connection turns that into DataRejected. Source: "Array" and the send functions in the Postgres sources.
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_LENGTH = struct.Struct(">i")
_HEADER = struct.Struct(">iiiii")
_NULL = b"\xff\xff\xff\xff"
_INTERVAL = struct.Struct(">qii")

Encode = Callable[[Any], bytes]


@dataclass(frozen=True, slots=True)
class Type:
    """A type of parameter: its SQL name, its number in Postgres and how a value is encoded."""

    name: str
    oid: int
    encode: Encode


def microseconds(at: datetime) -> int:
    """Postgres's number of an aware instant: microseconds since 2000."""
    span = at - EPOCH
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _fixed(code: str, size: int, oid: int, convert: Callable[[Any], Any] | None = None) -> Encode:
    """Arrays of one fixed width: one call of struct for the whole array when it has no NULL."""
    one = struct.Struct(f">i{code}")
    pair = f"i{code}"

    def encode(values: Sequence[Any]) -> bytes:
        count = len(values)
        if not count:
            return _HEADER.pack(0, 0, oid, 0, 1)[:12]
        nulls = values.count(None)
        head = _HEADER.pack(1, 1 if nulls else 0, oid, count, 1)
        if nulls == count:
            return head + _NULL * count
        if nulls:
            return head + b"".join(
                [
                    _NULL if value is None else one.pack(size, value if convert is None else convert(value))
                    for value in values
                ]
            )
        flat: list[Any] = [size] * (2 * count)
        flat[1::2] = values if convert is None else map(convert, values)
        return head + struct.pack(f">{pair * count}", *flat)

    return encode


def _varying(oid: int, convert: Callable[[Any], bytes] | None) -> Encode:
    """Arrays of values that differ in length."""
    length_of = _LENGTH.pack

    def encode(values: Sequence[Any]) -> bytes:
        count = len(values)
        if not count:
            return _HEADER.pack(0, 0, oid, 0, 1)[:12]
        nulls = values.count(None)
        parts = [_HEADER.pack(1, 1 if nulls else 0, oid, count, 1)]
        if nulls == count:
            return parts[0] + _NULL * count
        append = parts.append
        for value in values:
            if value is None:
                append(_NULL)
            else:
                data = value if convert is None else convert(value)
                append(length_of(len(data)))
                append(data)
        return b"".join(parts)

    return encode


def _interval(span: timedelta) -> bytes:
    return _INTERVAL.pack(span // timedelta(microseconds=1), 0, 0)


def _jsonb(value: Mapping[str, Any]) -> bytes:
    return b"\x01" + json.dumps(dict(value), separators=(",", ":"), ensure_ascii=False, sort_keys=True).encode()


TEXT = Type("text", 25, str.encode)
BIGINT = Type("int8", 20, struct.Struct(">q").pack)
INT = Type("int4", 23, struct.Struct(">i").pack)
SMALLINT = Type("int2", 21, struct.Struct(">h").pack)
FLAG = Type("bool", 16, struct.Struct(">?").pack)
BINARY = Type("bytea", 17, bytes)
TIME = Type("timestamptz", 1184, lambda at: struct.pack(">q", microseconds(at)))
INTERVAL = Type("interval", 1186, _interval)
JSON = Type("jsonb", 3802, _jsonb)

TEXTS = Type("text[]", 1009, _varying(25, str.encode))
BYTES = Type("bytea[]", 1001, _varying(17, None))
BIGINTS = Type("int8[]", 1016, _fixed("q", 8, 20))
INTS = Type("int4[]", 1007, _fixed("i", 4, 23))
SMALLINTS = Type("int2[]", 1005, _fixed("h", 2, 21))
FLAGS = Type("bool[]", 1000, _fixed("?", 1, 16))
TIMES = Type("timestamptz[]", 1185, _fixed("q", 8, 1184, microseconds))
INTERVALS = Type("interval[]", 1187, _varying(1186, _interval))
JSONS = Type("jsonb[]", 3807, _varying(3802, _jsonb))
