"""Whether a call of a replay has the arguments of the call that the journal records, and which one differs. Pure.

The stored bytes are compared, which is all there is to do for a call that is the same. Only where they differ it is
asked whether the difference means anything: a set has no order, an argument may be given by name or by position,
and a default may be given or left out.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import SchemaSerializer, core_schema, from_json, to_json

from holdfast.definitions.signatures import CallSignature
from holdfast.errors import CodecMissing
from holdfast.journal import Arguments, Payload

Values = tuple[tuple[Any, ...], Mapping[str, Any]]
"""The arguments of a call as the code gave them."""

_to_python = SchemaSerializer(core_schema.any_schema()).to_python


def differing_argument(
    signature: CallSignature, called: Arguments, recorded: Arguments, values: Values | None = None
) -> str:
    """The name of the first argument that is not the recorded one; "" when the calls are the same.

    values: of the call, where they are at hand; without them the order of a set counts.
    """
    if _are_equal(called, recorded):
        return ""
    ours, theirs = _by_name(signature, called), _by_name(signature, recorded)
    given = {} if values is None else _values_by_name(signature, values)
    for name in dict.fromkeys((*ours, *theirs)):
        one = ours.get(name) or _default(signature, name)
        other = theirs.get(name) or _default(signature, name)
        if one is None or other is None or not _is_same(one, other, given.get(name)):
            return name
    return ""


def _are_equal(called: Arguments, recorded: Arguments) -> bool:
    ours, theirs = called.positional, recorded.positional
    if len(ours) != len(theirs) or called.named or recorded.named:
        return called == recorded
    for one, other in zip(ours, theirs, strict=True):  # noqa: SIM110 - three times as fast as all() of a generator
        if one.data != other.data:
            return False
    return True


def _by_name(signature: CallSignature, arguments: Arguments) -> dict[str, Payload]:
    return {
        **dict(zip(_names(signature, len(arguments.positional)), arguments.positional, strict=True)),
        **arguments.named,
    }


def _values_by_name(signature: CallSignature, values: Values) -> dict[str, Any]:
    args, kwargs = values
    return {**dict(zip(_names(signature, len(args)), args, strict=True)), **kwargs}


def _names(signature: CallSignature, count: int) -> list[str]:
    names = [parameter.name for parameter in signature.positional[:count]]
    return names + [f"number {number}" for number in range(len(names) + 1, count + 1)]


def _default(signature: CallSignature, name: str) -> Payload | None:
    parameter = signature.by_name.get(name)
    if parameter is None or parameter.required:
        return None
    try:
        return Payload(to_json(parameter.default, bytes_mode="base64", inf_nan_mode="constants"))
    except Exception:  # noqa: BLE001 - what cannot be encoded is no argument that was recorded
        return None


def _is_same(one: Payload, other: Payload, value: Any) -> bool:
    if one.data == other.data:
        return True
    if one.content_sha256 and other.content_sha256:
        return one.content_sha256 == other.content_sha256
    if not other.is_readable:
        raise CodecMissing(other.encoding)
    try:
        return _equal(_to_python(value), from_json(one.data), from_json(other.data))
    except Exception:  # noqa: BLE001 - an encoding that is not JSON, a value that cannot be looked into
        return False


def _equal(shape: Any, one: Any, other: Any) -> bool:
    """Whether two decoded values are equal; shape: the first one before it was encoded, which still has its sets."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        parts = shape.values() if isinstance(shape, dict) and len(shape) == len(one) else [None] * len(one)
        return one.keys() == other.keys() and all(
            _equal(part, value, other[key]) for part, (key, value) in zip(parts, one.items(), strict=True)
        )
    if not isinstance(one, list):
        return bool(one == other)
    if isinstance(shape, (set, frozenset)):
        return _unordered(one) == _unordered(other)
    members = shape if isinstance(shape, (list, tuple)) and len(shape) == len(one) else [None] * len(one)
    return len(one) == len(other) and all(map(_equal, members, one, other))


def _unordered(members: list[Any]) -> list[str]:
    return sorted(json.dumps(_sorted_within(member), sort_keys=True) for member in members)


def _sorted_within(member: Any) -> Any:
    # What a set holds that is a list in JSON may be a set too.
    return sorted(map(_sorted_within, member), key=json.dumps) if isinstance(member, list) else member
