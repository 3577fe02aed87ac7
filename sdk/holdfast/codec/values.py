"""Arguments and results as JSON, and back to what the type hints say.

JSON by pydantic: numbers, text, lists and mappings, datetime, date, timedelta, Decimal, Enum, UUID, bytes (base64),
sets, tuples, dataclasses and pydantic models. NaN and the infinities are written as such, integers have any size.
Without a hint the result has JSON's own types: a tuple becomes a list, a model a dict. Never pickles.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import CoreConfig, PydanticSerializationError, SchemaSerializer, core_schema, from_json

from holdfast.authoring.signatures import CallSignature
from holdfast.codec.hints import decoder_for
from holdfast.errors import ArgumentsRejected, PayloadNotSerializable, PayloadTooLarge
from holdfast.journal import Arguments, Payload
from holdfast.limits import DEFAULT_LIMITS, Limits

_serializer = SchemaSerializer(
    core_schema.any_schema(), CoreConfig(ser_json_bytes="base64", ser_json_inf_nan="constants")
)
_to_json = _serializer.to_json

_ATOMS = frozenset({type(None), bool, int, str, bytes})

_NULL = Payload(b"null")
_TRUE = Payload(b"true")
_FALSE = Payload(b"false")

_MODEL_BYTES = (
    "a pydantic model encodes bytes as UTF-8 text unless it says "
    'model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")'
)
_MODEL_FLOATS = (
    "it holds NaN or an infinity in a pydantic model, which would be stored as null; "
    'give the model model_config = ConfigDict(ser_json_inf_nan="constants")'
)


class Codec:
    """Encodes and decodes values within the limits of the coordinator."""

    __slots__ = ("_payload_bytes_max",)

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._payload_bytes_max = limits.payload_bytes

    def encode(self, value: Any, *, what: str) -> Payload:
        """The value as JSON. `what` names it in errors: "the result of step charge".

        Raises PayloadNotSerializable, also for what would silently change, and PayloadTooLarge.
        """
        if value is None:
            return _NULL
        if value is True:
            return _TRUE
        if value is False:
            return _FALSE
        try:
            encoded = _to_json(value)
        except Exception as error:
            raise PayloadNotSerializable(what, type_name=type(value).__qualname__, reason=_why_not(error)) from error
        if len(encoded) > self._payload_bytes_max:
            raise PayloadTooLarge(what, size_bytes=len(encoded), limit_bytes=self._payload_bytes_max)
        if b"null" in encoded and _loses_a_float(value):
            raise PayloadNotSerializable(what, type_name=type(value).__qualname__, reason=_MODEL_FLOATS)
        return Payload(encoded)

    def decode(self, payload: Payload, hint: Any, *, what: str) -> Any:
        """The value as `hint` says. Raises PayloadNotSerializable when it does not fit."""
        try:
            return self._decoded(payload, hint)
        except ValidationError as error:
            problem = _first_problem(error)
            raise PayloadNotSerializable(what, type_name=_name_of(hint), reason=problem, is_read=True) from error
        except Exception as error:
            reason = _one_line(error)
            raise PayloadNotSerializable(what, type_name=_name_of(hint), reason=reason, is_read=True) from error

    def round_trip(self, value: Any, hint: Any, what: str) -> Any:
        """What code sees of `value` once it is stored: decoded from its encoded form."""
        return self.decode(self.encode(value, what=what), hint, what=what)

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
        Raises ArgumentsRejected when they do not fit the parameters; else as `encode` does, for each argument and
        for all of them together.
        """
        if hashed:
            positional, named = signature.bind_with_defaults(args, kwargs, target=what)
            return self._within_limit(
                tuple([self._hashed(value, name) for name, value in _named(signature, positional, what)]),
                {name: self._hashed(value, _argument(name, what)) for name, value in named.items()},
                what,
            )
        signature.bind(args, kwargs, target=what)
        try:
            encoded = tuple([self.encode(value, what="") for value in args])
            named_payloads = {name: self.encode(value, what="") for name, value in kwargs.items()}
        except (PayloadNotSerializable, PayloadTooLarge):
            # Again, now with the name of each argument: only a failing call pays for making the names.
            for name, value in _named(signature, args, what):
                self.encode(value, what=name)
            for key, value in kwargs.items():
                self.encode(value, what=_argument(key, what))
            raise
        return self._within_limit(encoded, named_payloads, what)

    def decode_arguments(
        self, signature: CallSignature, arguments: Arguments, *, what: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the parameters of `what` are annotated, without the context.

        Coerces as pydantic does: "3" fits an int, "x" does not. Raises ArgumentsRejected naming the parameter.
        """
        encoded, encoded_by_name = arguments.positional, arguments.named
        signature.bind(encoded, encoded_by_name, target=what)
        parameters = signature.positional
        args = tuple(
            [
                self._argument(payload, parameter.hint, parameter.name, what)
                for payload, parameter in zip(encoded, parameters, strict=False)
            ]
        )
        if len(encoded) > len(parameters):
            rest = enumerate(encoded[len(parameters) :], start=len(parameters) + 1)
            hint = signature.extra_positional
            args += tuple([self._argument(payload, hint, f"number {number}", what) for number, payload in rest])
        if not encoded_by_name:
            return args, {}
        by_name, extra = signature.by_name, signature.extra_named
        kwargs = {
            name: self._argument(payload, by_name[name].hint if name in by_name else extra, name, what)
            for name, payload in encoded_by_name.items()
        }
        return args, kwargs

    def _decoded(self, payload: Payload, hint: Any) -> Any:
        if payload.encoding and payload.encoding != "json":
            raise ValueError(f"its encoding is {payload.encoding!r}, and only json is known here")
        return decoder_for(hint)(payload.data)

    def _argument(self, payload: Payload, hint: Any, name: str, what: str) -> Any:
        try:
            return self._decoded(payload, hint)
        except ValidationError as error:
            raise ArgumentsRejected(what, parameter=name, reason=f"does not fit: {_first_problem(error)}") from error
        except Exception as error:
            raise ArgumentsRejected(
                what, parameter=name, reason=f"cannot be read as {_name_of(hint)}: {_one_line(error)}"
            ) from error

    def _within_limit(self, positional: tuple[Payload, ...], named: dict[str, Payload], what: str) -> Arguments:
        # One argument was checked when it was encoded; several are recorded together, and so limited together.
        if len(positional) + len(named) > 1:
            size = sum([len(payload.data) for payload in positional])
            size += sum([len(payload.data) for payload in named.values()])
            limit = self._payload_bytes_max
            if size > limit:
                raise PayloadTooLarge(f"the argument list of {what}", size_bytes=size, limit_bytes=limit)
        return Arguments(positional, named)

    def _hashed(self, value: Any, what: str) -> Payload:
        payload = self.encode(value, what=what)
        return Payload(payload.data, payload.encoding, hashlib.sha256(canonical_json(value, payload.data)).digest())


def canonical_json(value: Any, encoded: bytes) -> bytes:
    """The one JSON text that equal values share: keys sorted, sets sorted. `encoded`: the value as JSON."""
    if encoded[:1] not in b"[{":
        return encoded
    plain = from_json(encoded)
    if _holds_set(value):
        # JSON no longer tells a set from a list, so the sets are sorted before they are written.
        plain = from_json(_to_json(_with_sorted_sets(_serializer.to_python(value))))
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _with_sorted_sets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_sorted_sets(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_sorted_sets(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_with_sorted_sets(item) for item in value), key=_to_json)
    return value


def _holds_set(value: Any) -> bool:
    return isinstance(value, (set, frozenset)) or any(_holds_set(part) for part in _parts(value))


def _loses_a_float(value: Any, *, in_model: bool = False) -> bool:
    """True when a pydantic model inside `value` would write NaN or an infinity as null."""
    kind = type(value)
    if kind in _ATOMS:
        return False
    if isinstance(value, float):
        return in_model and not math.isfinite(value)
    if hasattr(kind, "__pydantic_serializer__"):  # a model or a dataclass of pydantic; isinstance is slow here
        config = getattr(kind, "model_config", None) or getattr(kind, "__pydantic_config__", None) or {}
        in_model = config.get("ser_json_inf_nan", "null") == "null"
    for part in _parts(value):  # noqa: SIM110 - twice as fast as any() of a generator
        if _loses_a_float(part, in_model=in_model):
            return True
    return False


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


def _named(signature: CallSignature, args: tuple[Any, ...], what: str) -> list[tuple[str, Any]]:
    names = [parameter.name for parameter in signature.positional]
    names += [f"number {number}" for number in range(len(names) + 1, len(args) + 1)]
    return [(_argument(name, what), value) for name, value in zip(names, args, strict=False)]


def _argument(name: str, what: str) -> str:
    return f"argument {name!r} of {what}"


def _why_not(error: Exception) -> str:
    reason = _one_line(error).removeprefix("Error serializing to JSON: ")
    if isinstance(error, PydanticSerializationError) and reason.startswith("invalid utf-8"):
        return f"{reason}; {_MODEL_BYTES}"
    return reason


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"][:1].lower() + first["msg"][1:]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {text}{more}" if where else f"{text}{more}"


def _name_of(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


def _one_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
