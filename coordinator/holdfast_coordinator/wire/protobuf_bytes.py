"""The wire format of protobuf, as far as spans and framed entries need it: fields as bytes, ready to be joined. Pure.

Written by hand, since most of a span is the same as in the span before it: bytes can be kept and joined, messages have
to be filled and copied. Equal to what protobuf itself writes when fields are joined in the order of their numbers; in
proto3 a field with the value of its type's default (empty, 0) is left out by the caller.
"""

import struct
from functools import lru_cache

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types: how long the value behind a tag is."""

_KEPT = 4096
"""How many small results are kept."""


@lru_cache(_KEPT)
def varint(value: int) -> bytes:
    """A whole number; a negative one as 64 bits of two's complement."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


@lru_cache(_KEPT)
def field_head(number: int, size: int) -> bytes:
    """What stands before the `size` bytes of a field of bytes, or of a message."""
    return varint(number << 3 | _BYTES) + varint(size)


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of bytes, or of a message that is written already."""
    return field_head(number, len(value)) + value


def text_field(number: int, value: str) -> bytes:
    written = value.encode()
    return field_head(number, len(written)) + written


def varint_field(number: int, value: int) -> bytes:
    """A field of type int32, int64, enum or bool."""
    return varint(number << 3 | _VARINT) + varint(value)


def fixed64_field(number: int, value: int) -> bytes:
    return varint(number << 3 | _FIXED64) + struct.pack("<Q", value)


def fixed32_field(number: int, value: int) -> bytes:
    return varint(number << 3 | _FIXED32) + struct.pack("<I", value)
