"""When two starts are the same call: their arguments as content hashes, compared as they were sent and as they bind.

A digest is stored with each run and each key. It says what was sent, not what some signature made of it, so it means
the same before and after the first worker has come, and on every replica.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Signature = Mapping[str, Any]
"""{"parameters": [{"name", "required", "kind", "default"?, "type"?}], "extra_positional": bool, "extra_named": bool,
"id_template"?: str}; kind is "either", "positional_only" or "named_only", default the hex SHA-256 of the canonical JSON
of the default, type a hint of types of Python's own as text."""

HASH_BYTES = 32
DIGEST_BYTES_MAX = 8_192
"""A call with more is known by the hash of its digest: it is the same only as it was sent."""
_WHOLE, _FOLDED = b"\x01", b"\x02"


@dataclass(slots=True, frozen=True)
class HashedCall:
    """The arguments of a call, each by the SHA-256 of its canonical JSON."""

    positional: tuple[bytes, ...]
    named: Mapping[str, bytes]

    def digest(self) -> bytes:
        """The call as bytes: equal for equal calls, and short."""
        parts = [struct.pack(">I", len(self.positional)), *self.positional]
        for name in sorted(self.named):
            encoded = name.encode()
            parts += [struct.pack(">I", len(encoded)), encoded, self.named[name]]
        whole = b"".join(parts)
        return _WHOLE + whole if len(whole) <= DIGEST_BYTES_MAX else _FOLDED + hashlib.sha256(whole).digest()

    def bound(self, signature: Signature) -> dict[str, bytes] | None:
        """Every parameter with its hash, defaults filled in; None when the call does not fit the signature."""
        parameters = signature["parameters"]
        by_position = [one["name"] for one in parameters if one["kind"] != "named_only"]
        by_name = {one["name"] for one in parameters if one["kind"] != "positional_only"}
        if len(self.positional) > len(by_position) and not signature["extra_positional"]:
            return None
        names = [*by_position, *(f"#{place}" for place in range(len(by_position), len(self.positional)))]
        found = dict(zip(names, self.positional, strict=False))
        for name, content in self.named.items():
            if name in found or (name not in by_name and not signature["extra_named"]):
                return None
            found[name] = content
        for one in parameters:
            if one["name"] not in found:
                if one["required"]:
                    return None
                found[one["name"]] = bytes.fromhex(one.get("default", ""))
        return found


def call_of(digest: bytes) -> HashedCall | None:
    """The call of a digest; None when it was folded."""
    if digest[:1] != _WHOLE:
        return None
    (count,) = struct.unpack_from(">I", digest, 1)
    at = 5 + count * HASH_BYTES
    positional = tuple(digest[place : place + HASH_BYTES] for place in range(5, at, HASH_BYTES))
    named: dict[str, bytes] = {}
    while at < len(digest):
        (length,) = struct.unpack_from(">I", digest, at)
        name = digest[at + 4 : at + 4 + length].decode()
        named[name] = digest[at + 4 + length : at + 4 + length + HASH_BYTES]
        at += 4 + length + HASH_BYTES
    return HashedCall(positional, named)


def signature_digest(signature: Signature) -> str:
    """What a signature is known by: the hex SHA-256 of its canonical JSON."""
    return hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()


def started_with(asked: bytes, signatures: Sequence[Signature]) -> str:
    """The digest of the signature that a run is started with: the newest that binds its call; "" when none is known."""
    call = call_of(asked)
    if call is None:
        return ""
    return next((signature_digest(one) for one in signatures if call.bound(one) is not None), "")


def difference(asked: bytes, held: bytes, signatures: Sequence[Signature], held_signature: str = "") -> str:
    """How two digests differ, for people: "" when they are the same call, "another amount", "other arguments".

    signatures: the known ones of the workflow, newest first. held_signature: the digest of the one that the held call
    was started with. Two calls are the same when they were sent alike, or when that one binds both to the same
    arguments; where it is not known, when any of them does.
    """
    if asked == held:
        return ""
    if held_signature:
        signatures = [one for one in signatures if signature_digest(one) == held_signature] or signatures
    one, other = call_of(asked), call_of(held)
    if one is None or other is None:
        return "other arguments"
    words = "other arguments"
    for signature in signatures:
        mine, theirs = one.bound(signature), other.bound(signature)
        if mine is None or theirs is None:
            continue
        unequal = [name for name in {**theirs, **mine} if mine.get(name) != theirs.get(name)]
        if not unequal:
            return ""
        if words == "other arguments":
            words = f"another {' and another '.join(map(repr, unequal[:3]))}"
    return words
