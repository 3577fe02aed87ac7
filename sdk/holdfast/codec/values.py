"""Arguments and results as JSON, and back to what the type hints say: equal, or refused before it is stored.

JSON by pydantic: numbers, text, lists and mappings, datetime, date, timedelta, Decimal, Enum, UUID, bytes (base64),
sets, tuples, dataclasses and pydantic models, by the names of their fields. NaN and the infinities are written as
such. Whatever is encoded is decoded again at once and compared, so that nothing is stored that cannot be read, or that
would come back as something else. Without a hint a value comes back in JSON's own types: a tuple as a list, a model as
a dict. Never pickles.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import BaseModel
from pydantic_core import CoreConfig, PydanticSerializationError, SchemaSerializer, core_schema, from_json

from holdfast.definitions.signatures import CallSignature
from holdfast.errors import ArgumentsRejected, CodecMissing, PayloadNotSerializable, PayloadTooLarge
from holdfast.hints.compiled_hints import DIGITS_MAX
from holdfast.hints.refusals import HopelessHint, UnknownYet, named, problem_of
from holdfast.hints.value_types import UNDECLARED, ValueType, value_type
from holdfast.journal import Arguments, Payload
from holdfast.journal.values import PICKLE, AllowedPickle
from holdfast.limits import DEFAULT_LIMITS, Limits

_serializer = SchemaSerializer(
    core_schema.any_schema(), CoreConfig(ser_json_bytes="base64", ser_json_inf_nan="constants")
)
# round_trip leaves out what is computed from other fields, which a model that forbids extras would not take again.
_to_json = partial(_serializer.to_json, by_alias=False, round_trip=True)

_plain_to_json = _serializer.to_json

_to_python = partial(_serializer.to_python, by_alias=False, round_trip=True)

_NULL = Payload(b"null")
_TRUE = Payload(b"true")
_FALSE = Payload(b"false")

_MODEL_BYTES = (
    "a pydantic model encodes bytes as UTF-8 text unless it says "
    'model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")'
)


class Codec:
    """Encodes and decodes values within the limits of the coordinator."""

    __slots__ = ("_payload_bytes_max", "_pickles")

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, pickles: bool = False) -> None:
        """pickles: what cannot be stored as JSON is pickled."""
        self._payload_bytes_max = limits.payload_bytes
        self._pickles = pickles

    def encode(self, value: Any, hint: Any = UNDECLARED, *, what: str) -> Payload:
        """The value as JSON, when it can be read again as `hint` says. `what` names it: "the result of step charge".

        hint: a type hint, or one that is compiled. Raises PayloadNotSerializable, also for what would silently
        change, and PayloadTooLarge.
        """
        found = hint if type(hint) is ValueType else self._type_of(hint, what)
        if self._pickles:
            try:
                return self._encoded_as(value, found, what)
            except PayloadNotSerializable as error:
                return self._pickled(value, error, what)
        return self._encoded_as(value, found, what)

    def _encoded_as(self, value: Any, found: ValueType, what: str) -> Payload:
        if type(value) in found.plain:
            return self._encoded_plain(value, what)
        payload = self._encoded(value, what)
        try:
            change = found.change(value, payload.data)
        except Exception as error:
            reason = f"it would be read back as {found.name}, and does not fit: {problem_of(error)}"
            raise PayloadNotSerializable(what, type_name=_kind(value), reason=reason) from error
        if change is not None:
            raise PayloadNotSerializable(what, type_name=_kind(value), reason=str(change))
        return payload

    def decode(self, payload: Payload, hint: Any, *, what: str) -> Any:
        """The value as `hint` says. Raises PayloadNotSerializable when it does not fit."""
        found = hint if type(hint) is ValueType else self._type_of(hint, what)
        try:
            return found.read(payload)
        except CodecMissing:
            raise
        except Exception as error:
            reason = problem_of(error)
            raise PayloadNotSerializable(what, type_name=found.name, reason=reason, is_read=True) from error

    def round_trip(self, value: Any, hint: Any, what: str) -> Any:
        """What code sees of `value` once it is stored: decoded from its encoded form."""
        return self.decode(self.encode(value, hint, what=what), hint, what=what)

    def encode_arguments(
        self,
        signature: CallSignature,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        what: str,
        hashed: bool = False,
    ) -> Arguments:
        """The arguments of a call to `what` ("step charge"), each encoded by itself.

        hashed: for starts. Defaults are filled in, and each payload carries the SHA-256 of its canonical JSON:
        keys and sets sorted, so that equal arguments have equal hashes in every process.
        Raises ArgumentsRejected when they do not fit the parameters, or would arrive as something else; else as
        `encode` does, for each argument and for all of them together. Values of another type than the annotated one
        are not refused here: `CallSignature.read` does that.
        """
        if hashed:
            args, kwargs = signature.bind_with_defaults(args, kwargs, target=what)
        else:
            signature.bind(args, kwargs, target=what)
        if not args and not kwargs:
            return Arguments()
        types = signature.types_of(args)
        try:
            positional = tuple([self._given(value, one, hashed) for value, one in zip(args, types, strict=False)])
            named = (
                {name: self._given(value, signature.type_of(name), hashed) for name, value in kwargs.items()}
                if kwargs
                else {}
            )
        except (PayloadNotSerializable, PayloadTooLarge, ArgumentsRejected):
            # Again, now with the name of each argument: only a failing call pays for making the names.
            for place, (value, one) in enumerate(zip(args, types, strict=False)):
                self._given(value, one, hashed, signature.name_at(place), what)
            for name, value in kwargs.items():
                self._given(value, signature.type_of(name), hashed, name, what)
            raise
        return self._within_limit(positional, named, what)

    def decode_arguments(
        self, signature: CallSignature, arguments: Arguments, *, what: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the parameters of `what` are annotated; see `CallSignature.read`."""
        return signature.read(arguments, target=what)

    def _type_of(self, hint: Any, what: str) -> ValueType:
        try:
            return value_type(hint)
        except (HopelessHint, UnknownYet) as error:
            raise PayloadNotSerializable(what, type_name=named(hint), reason=str(error), is_read=True) from error

    def _given(self, value: Any, found: ValueType, hashed: bool, name: str = "", target: str = "") -> Payload:
        what = f"argument {name!r} of {target}" if name else ""
        if self._pickles:
            try:
                return self._given_as_json(value, found, hashed, name, target, what)
            except (PayloadNotSerializable, ArgumentsRejected) as error:
                payload = self._pickled(value, error, what)
                return Payload(payload.data, payload.encoding, hashlib.sha256(payload.data).digest() if hashed else b"")
        return self._given_as_json(value, found, hashed, name, target, what)

    def _given_as_json(self, value: Any, found: ValueType, hashed: bool, name: str, target: str, what: str) -> Payload:
        if type(value) in found.plain:
            payload = self._encoded_plain(value, what)
        else:
            payload = self._encoded(value, what)
            try:
                change = found.change_of_argument(value, payload.data)
            except Exception as error:
                reason = f"could not be read again: {problem_of(error)}"
                raise ArgumentsRejected(target, parameter=name, reason=reason) from error
            if change is not None:
                raise ArgumentsRejected(target, parameter=name, reason=f"would arrive changed: {change}")
        if not hashed:
            return payload
        return Payload(payload.data, payload.encoding, hashlib.sha256(canonical_json(value, payload.data)).digest())

    def _pickled(self, value: Any, problem: Exception, what: str) -> Payload:
        """A value that is no JSON. Raises what JSON was refused for when it cannot be pickled either."""
        import pickle

        try:
            data = pickle.dumps(value)
        except Exception:  # noqa: BLE001 - whatever the value raises: the first problem says more
            raise problem from None
        if len(data) > self._payload_bytes_max:
            raise PayloadTooLarge(what, size_bytes=len(data), limit_bytes=self._payload_bytes_max)
        return Payload(data, AllowedPickle(PICKLE))

    def _encoded_plain(self, value: Any, what: str) -> Payload:
        """A value that comes back as it is, unless it is an absurdly long number."""
        if value is None:
            return _NULL
        if value is True:
            return _TRUE
        if value is False:
            return _FALSE
        # None of what `partial` adds matters to them.
        payload = self._encoded(value, what, _plain_to_json)
        if len(payload.data) > DIGITS_MAX and type(value) is int:
            reason = f"it has more than {DIGITS_MAX:,} digits, which cannot be read again; pass it as bytes"
            raise PayloadNotSerializable(what, type_name="int", reason=reason)
        return payload

    def _encoded(self, value: Any, what: str, to_json: Callable[[Any], bytes] = _to_json) -> Payload:
        try:
            encoded = to_json(value)
        except Exception as error:
            raise PayloadNotSerializable(what, type_name=_kind(value), reason=_why_not(error)) from error
        if len(encoded) > self._payload_bytes_max:
            raise PayloadTooLarge(what, size_bytes=len(encoded), limit_bytes=self._payload_bytes_max)
        return Payload(encoded)

    def _within_limit(self, positional: tuple[Payload, ...], named: dict[str, Payload], what: str) -> Arguments:
        # One argument was checked when it was encoded; several are recorded together, and so limited together.
        if len(positional) + len(named) > 1:
            size = sum([len(payload.data) for payload in positional])
            size += sum([len(payload.data) for payload in named.values()])
            limit = self._payload_bytes_max
            if size > limit:
                raise PayloadTooLarge(f"the argument list of {what}", size_bytes=size, limit_bytes=limit)
        return Arguments(positional, named)


def content_hash(value: Any) -> bytes | None:
    """The SHA-256 of the canonical JSON of a value; None when it cannot be encoded."""
    try:
        return hashlib.sha256(canonical_json(value, _to_json(value))).digest()
    except Exception:  # noqa: BLE001 - whatever the value raises: it has no hash
        return None


def canonical_json(value: Any, encoded: bytes) -> bytes:
    """The one JSON text that equal values share. `encoded`: the value as JSON.

    Keys and sets are sorted, whole floats are written as integers, and instants in UTC.
    """
    if encoded[:1] not in b"[{":
        return _to_json(_canonical(value)) if isinstance(value, _LOOSE) else encoded
    plain = from_json(encoded)
    if _is_loose(value):
        # in JSON a set and a list look alike, and an instant and a text.
        plain = from_json(_to_json(_canonical(_to_python(value))))
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


_LOOSE = (set, frozenset, float, datetime)
_WHOLE_MAX = 2.0**53


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_canonical(item) for item in value), key=_to_json)
    if type(value) is float and value.is_integer() and abs(value) <= _WHOLE_MAX:
        return int(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    return value


def _is_loose(value: Any) -> bool:
    return isinstance(value, _LOOSE) or any(_is_loose(part) for part in _parts(value))


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if isinstance(value, BaseModel):
        return [*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values()]
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, one.name) for one in fields(value)]
    return ()


def _kind(value: Any) -> str:
    return type(value).__qualname__


def _why_not(error: Exception) -> str:
    reason = problem_of(error).removeprefix("Error serializing to JSON: ")
    if isinstance(error, PydanticSerializationError) and reason.startswith("invalid utf-8"):
        return f"{reason}; {_MODEL_BYTES}"
    return reason
