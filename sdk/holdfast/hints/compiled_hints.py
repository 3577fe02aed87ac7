"""What pydantic makes of a type hint: decodes JSON to what the hint says, and finds what a value would lose on the way.

Lax as pydantic is in JSON mode ("3" fits int, "x" does not). Nothing here executes what it reads. Imported when the
first hint is compiled: importing pydantic takes longer than all of holdfast that a module with steps needs.
"""

import re
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import Any

from pydantic import ConfigDict, PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema, from_json
from typing_extensions import TypeAliasType

from holdfast.hints.changes import Change, Undeclared, change_of, is_json
from holdfast.hints.hopeless import may_be_anothers, problem_with
from holdfast.hints.refusals import HopelessHint, UnknownYet, problem_of

# Bytes travel as base64, so that all of them survive. Pydantic models keep their own configuration.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")

_STR = {"type": "str"}
_ANY = {"type": "any"}

DIGITS_MAX = 4_300
"""Digits of an int that can be read again, by Python's own limit."""

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


class CompiledHint:
    """It never looks at values of other hints, so it decodes alike in every process.

    decode: from JSON; raises what decoding raises.
    plain: exact types whose values come back as they were, whatever they are; nothing needs to be compared.
    core_schema: what pydantic has made of the hint.
    """

    __slots__ = ("_coerced", "_json", "_marked", "core_schema", "decode", "plain")

    def __init__(
        self,
        *,
        decode: Callable[[bytes], Any],
        marked: Callable[[bytes], Any],
        coerced: Callable[[Any], Any],
        plain: frozenset[type],
        json: frozenset[type],
        core_schema: Mapping[str, Any],
    ) -> None:
        """marked: as `decode`, with what the hint does not declare inside of Undeclared.

        json: containers that fit whatever they hold, if that is JSON data.
        """
        self.decode = decode
        self.plain = plain
        self.core_schema = core_schema
        self._json = json
        self._marked = marked
        self._coerced = coerced

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


def compile_hint(hint: Any) -> CompiledHint:
    """Raises HopelessHint or UnknownYet."""
    if hint is Any:
        return _UNDECLARED
    if problem := problem_with(hint):
        raise HopelessHint(problem)
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
    return CompiledHint(
        decode=_reader(validator.validate_json, schema),
        marked=_reader((validator if marked is listed else _validator(marked)).validate_json, schema),
        coerced=_reader(validator.validate_python, schema),
        plain=_plain(bare),
        json=_json(bare),
        core_schema=listed,
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


def _first_sentence(error: Exception) -> str:
    text = (str(error) or type(error).__name__).partition("\n")[0]
    text, _, is_unknown = text.partition(". Set `arbitrary_types_allowed")
    return f"{text}; use a type of JSON, a dataclass or a pydantic model" if is_unknown else text.rstrip(".")


def _as_it_is(value: Any) -> Any:
    return value


_UNDECLARED = CompiledHint(
    decode=from_json,
    marked=lambda encoded: Undeclared(from_json(encoded)),
    coerced=_as_it_is,
    plain=frozenset({type(None), bool, int, float, str}),
    json=frozenset({dict, list}),
    core_schema=_ANY,
)
