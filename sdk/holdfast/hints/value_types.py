"""One type hint, compiled: decodes JSON to what the hint says, and finds what a value would lose on the way.

A signature compiles its hints once, when its function is registered. Other hints, as those of `receive`, are kept
in a small cache. Lax as pydantic is in JSON mode ("3" fits int, "x" does not). Nothing here executes what it reads.
"""

import re
from collections.abc import Callable, Container
from functools import lru_cache, partial
from typing import Any, Literal, Never, NoReturn, get_args, get_origin

from pydantic import ConfigDict, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema, from_json
from typing_extensions import TypeAliasType

from holdfast.hints.changes import Change, Undeclared, change_of, is_json
from holdfast.hints.hopeless import may_be_anothers, named, problem_with
from holdfast.journal import Payload

# Bytes travel as base64, so that all of them survive. Pydantic models keep their own configuration.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")

_STR = {"type": "str"}
_ANY = {"type": "any"}

DIGITS_MAX = 4_300
"""Digits of an int that can be read again, by Python's own limit."""

HINTS_CACHED = 256
"""Hints outside of signatures whose compiled form is kept. A class that every run makes anew must not pile up."""

_SIMPLE: dict[str, type] = {"none": type(None), "bool": bool, "int": int, "float": float, "str": str, "bytes": bytes}

# Inside these, a class or a function of the user gets what is decoded; a mark would be a value it cannot know.
_OPAQUE = frozenset({"model", "dataclass", "call", "function-before", "function-after", "function-wrap"})

_ADDRESS = re.compile(r"0x[0-9a-f]+|:\d{6,}")

_NO_SCHEMA = ("metadata", "serialization")

# Containers of undeclared contents, and the keys that would declare them.
_BARE = {
    "dict": ("keys_schema", "values_schema"),
    "list": ("items_schema",),
    "set": ("items_schema",),
    "frozenset": ("items_schema",),
}


class HopelessHint(TypeError):
    """No value can be stored and read back as this hint says. The text says why, and what to write instead."""


class UnknownYet(Exception):
    """The hint names something that is not defined so far."""


class ValueType:
    """A compiled hint. It never looks at values of other hints, so it decodes alike in every process.

    plain: exact types whose values come back as they were, whatever they are; nothing needs to be compared.
    is_json: whatever consists of JSON's own types fits, of these types on the outside.
    """

    __slots__ = ("_coerced", "_json", "_marked", "decode", "hint", "name", "plain", "problem")

    def __init__(
        self,
        hint: Any,
        *,
        decode: Callable[[bytes], Any],
        marked: Callable[[bytes], Any],
        coerced: Callable[[Any], Any],
        plain: frozenset[type] = frozenset(),
        json: frozenset[type] = frozenset(),
        problem: str = "",
    ) -> None:
        """decode: from JSON. marked: the same, with what the hint does not declare inside of Undeclared.

        json: containers that fit whatever they hold, if that is JSON data.
        """
        self.hint = hint
        self.name = named(hint)
        self.decode = decode
        self.plain = plain
        self.problem = problem
        self._json = json
        self._marked = marked
        self._coerced = coerced

    def read(self, payload: Payload) -> Any:
        """The value. Raises what decoding raises; `problem_of` says it in words."""
        if payload.encoding and payload.encoding != "json":
            raise ValueError(f"its encoding is {payload.encoding!r}, and only json is known here")
        return self.decode(payload.data)

    def change(self, value: Any, encoded: bytes) -> Change | None:
        """What would be different of `value` once it is decoded again; None when it comes back as it is.

        encoded: the value as JSON. Raises what decoding raises when it does not fit.
        """
        return None if self._is_json(value, encoded) else change_of(value, self._marked(encoded))

    def change_of_argument(self, value: Any, encoded: bytes) -> Change | None:
        """The same for an argument, which may be whatever pydantic makes fit the hint: a dict for a model.

        None as well for what does not fit at all and is no victim of its way through JSON: the call refuses that.
        """
        if self._is_json(value, encoded):
            return None
        try:
            seen = self._marked(encoded)
        except ValidationError as error:
            if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
                raise
            return Change(problem_of(error)) if self._fits(value) else None
        change = change_of(value, seen)
        return None if change is None or self._is_coerced(value, seen) else change

    def _is_json(self, value: Any, encoded: bytes) -> bool:
        return type(value) in self._json and is_json(value, digits_fit=len(encoded) < DIGITS_MAX)

    def _fits(self, value: Any) -> bool:
        try:
            self._coerced(value)
        except Exception:  # noqa: BLE001 - a user's validators can raise anything
            return False
        return True

    def _is_coerced(self, value: Any, seen: Any) -> bool:
        try:
            coerced = self._coerced(value)
        except Exception:  # noqa: BLE001 - a user's validators can raise anything
            return False
        return coerced is not value and change_of(coerced, seen) is None


def value_type(hint: Any) -> ValueType:
    """The compiled hint. Raises HopelessHint or UnknownYet.

    Unions are told apart by their order: `date | str` and `str | date` are equal to Python and decode differently.
    """
    if isinstance(hint, ValueType):
        return hint
    if hint is Any or hint is object:
        return UNDECLARED
    try:
        return _cached(_Ordered(hint))
    except _Unhashable:  # such as Annotated[int, []]
        return compiled(hint)


def compiled(hint: Any) -> ValueType:
    """The hint, compiled anew: for a signature, which keeps it. Raises HopelessHint or UnknownYet."""
    if hint is Any or hint is object:
        return UNDECLARED
    if hint is NoReturn or hint is Never:
        return refusing(hint, "a function that never returns has no result")
    if isinstance(hint, type) and hint in _SIMPLE.values():
        return _simple(hint)
    if problem := problem_with(hint):
        raise HopelessHint(problem)
    return _compile(hint)


def problem_of(error: Exception) -> str:
    """Why a value could not be read, in one line: where in it, and what was wrong."""
    if not isinstance(error, ValidationError):
        return (str(error) or type(error).__name__).partition("\n")[0]
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"][:1].lower() + first["msg"][1:]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {text}{more}" if where else f"{text}{more}"


def refusing(hint: Any, problem: str) -> ValueType:
    """A type that no value fits, for the reason that is given."""

    def refuse(_: Any) -> Any:
        raise ValueError(problem)

    return ValueType(hint, decode=refuse, marked=refuse, coerced=refuse, problem=problem)


@lru_cache(maxsize=len(_SIMPLE))
def _simple(hint: Any) -> ValueType:
    return _compile(hint)


def _compile(hint: Any) -> ValueType:
    # Through an alias, because pydantic refuses a configuration beside a bare dataclass or TypedDict.
    alias: Any = TypeAliasType("Value", hint)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(alias, config=_CONFIG)
        schema = adapter.core_schema
        validator: Any = adapter.validator
    except PydanticUndefinedAnnotation as error:
        raise UnknownYet(str(error)) from error
    except PydanticUserError as error:
        if error.code == "class-not-fully-defined":
            raise UnknownYet(str(error)) from error
        raise HopelessHint(_first_sentence(error)) from error
    except Exception as error:
        raise HopelessHint(_first_sentence(error)) from error
    listed: Any = _with_lists(_with_sorted_unions(schema) if may_be_anothers(hint) else schema)
    if listed is not schema:
        validator = _validator(listed)
    marked: Any = _with_marks(listed)
    bare = {key: part for key, part in schema.items() if key != "ref"}
    return ValueType(
        hint,
        decode=_reader(validator.validate_json, schema),
        marked=_reader((validator if marked is listed else _validator(marked)).validate_json, schema),
        coerced=_reader(validator.validate_python, schema),
        plain=_plain(bare),
        json=_json(bare),
    )


def _validator(schema: Any) -> SchemaValidator:
    return SchemaValidator(schema, {"val_json_bytes": "base64"})


def _reader(validate: Callable[..., Any], schema: Any) -> Callable[[Any], Any]:
    # Values are stored under the names of fields; what comes from elsewhere may use their aliases.
    return partial(validate, by_alias=True, by_name=True) if _has_alias(schema) else validate


def _plain(schema: Any) -> frozenset[type]:
    if schema.get("type") == "nullable" and schema.keys() == {"type", "schema"}:
        inner = _plain(schema["schema"])
        return inner | {type(None)} if inner else inner
    # Any other key is a constraint.
    kind = _SIMPLE.get(schema.get("type")) if schema.keys() == {"type"} else None
    return frozenset() if kind is None else frozenset({kind})


def _json(schema: Any) -> frozenset[type]:
    declared = {key: part for key, part in schema.items() if part not in (_ANY, _STR if key == "keys_schema" else _ANY)}
    if declared == {"type": "dict"} and "keys_schema" in schema:
        return frozenset({dict})
    return frozenset({list}) if declared == {"type": "list"} else frozenset()


def _has_alias(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "validation_alias" in schema or any(_has_alias(part) for part in schema.values())
    return isinstance(schema, (list, tuple)) and any(_has_alias(part) for part in schema)


def _with_lists(schema: Any) -> Any:
    """The schema with lists where it has generators, which could be read only once."""

    def change(found: dict[str, Any]) -> dict[str, Any]:
        return {**found, "type": "list"} if _is_kind(found, {"generator"}) else found

    return _rewritten(schema, change)


def _with_sorted_unions(schema: Any) -> Any:
    """The schema with the choices of its unions in an order that does not depend on how they were written."""

    def change(found: dict[str, Any]) -> dict[str, Any]:
        if not _is_kind(found, {"union"}):
            return found
        return {**found, "choices": sorted(found["choices"], key=lambda one: _ADDRESS.sub("", repr(one)))}

    return _rewritten(schema, change)


def _with_marks(schema: Any) -> Any:
    """The schema with a mark on everything that it declares as Any."""

    def change(found: dict[str, Any]) -> dict[str, Any]:
        if _is_kind(found, {"any"}):
            return {"type": "function-after", "function": {"type": "no-info", "function": Undeclared}, "schema": found}
        declares = _BARE[found["type"]] if _is_kind(found, _BARE) else ()
        missing = [key for key in declares if key not in found]
        return {**found, **{key: change(core_schema.any_schema()) for key in missing}} if missing else found  # type: ignore[arg-type]

    return _rewritten(schema, change)


def _rewritten(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The schema with its parts changed; the same object when nothing was."""
    if isinstance(schema, (list, tuple)):
        parts = [_rewritten(part, change) for part in schema]
        is_same = all(new is old for new, old in zip(parts, schema, strict=True))
        return schema if is_same else type(schema)(parts)
    if not isinstance(schema, dict):
        return schema
    changed = schema
    if not _is_kind(schema, _OPAQUE):
        new = {key: _rewritten(part, change) for key, part in schema.items() if key not in _NO_SCHEMA}
        if any(part is not schema[key] for key, part in new.items()):
            changed = {**schema, **new}
    return change(changed)


def _is_kind(schema: dict[str, Any], kinds: Container[str]) -> bool:
    # The fields of a class are a dict too, in which "type" may be the name of one.
    kind = schema.get("type")
    return isinstance(kind, str) and kind in kinds


@lru_cache(maxsize=HINTS_CACHED)
def _cached(ordered: "_Ordered") -> ValueType:
    return compiled(ordered.hint)


class _Unhashable(Exception):
    """The hint has a part that cannot be looked up."""


class _Ordered:
    """A hint as a key that differs where Python sees equality: the order in a union, Literal[1] and [True]."""

    __slots__ = ("_hash", "_structure", "hint")

    def __init__(self, hint: Any) -> None:
        self.hint = hint
        self._structure = _structure(hint)
        try:
            self._hash = hash(self._structure)
        except TypeError as error:
            raise _Unhashable from error

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ordered) and self._structure == other._structure


def _structure(hint: Any) -> Any:
    arguments = get_args(hint)
    if not arguments:
        return (type(hint), hint)
    if get_origin(hint) is Literal:
        return (Literal, tuple((type(one), one) for one in arguments))
    return (type(hint), get_origin(hint), tuple(_structure(one) for one in arguments))


def _first_sentence(error: Exception) -> str:
    text = (str(error) or type(error).__name__).partition("\n")[0]
    text, _, is_unknown = text.partition(". Set `arbitrary_types_allowed")
    return f"{text}; use a type of JSON, a dataclass or a pydantic model" if is_unknown else text.rstrip(".")


def _as_it_is(value: Any) -> Any:
    return value


UNDECLARED = ValueType(
    Any,
    decode=from_json,
    marked=lambda encoded: Undeclared(from_json(encoded)),
    coerced=_as_it_is,
    plain=frozenset({type(None), bool, int, float, str}),
    json=frozenset({dict, list}),
)
"""Without a hint a value comes back in JSON's own types: a tuple as a list, a model as a dict."""
