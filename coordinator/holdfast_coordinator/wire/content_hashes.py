"""The content hashes of arguments: what a start is compared by."""

import hashlib
import json

from holdfast.api.v1 import value_pb2
from holdfast_coordinator.domain.hashed_calls import HASH_BYTES, HashedCall

WHOLE_MAX = 2.0**53
"""Beyond it a float no longer stands for one integer."""


def call_of_arguments(arguments: value_pb2.Arguments) -> HashedCall:
    """The call that arguments make."""
    return HashedCall(
        tuple(map(content_hash, arguments.positional)),
        {name: content_hash(payload) for name, payload in arguments.named.items()},
    )


def content_hash(payload: value_pb2.Payload) -> bytes:
    """The hash that the sender gave, else the SHA-256 of the canonical JSON; of other bytes that of the bytes."""
    if len(payload.content_sha256) == HASH_BYTES:
        return payload.content_sha256
    data = payload.data
    if not payload.encoding:
        try:
            plain = json.loads(data, parse_float=_number)
        except (ValueError, RecursionError):
            pass  # a worker will say what is wrong with it; equal bytes are equal all the same
        else:
            data = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    return hashlib.sha256(data).digest()


def _number(text: str) -> float | int:
    """A JSON number, whole ones as integers: 1 and 1.0 are equal."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= WHOLE_MAX else number
