"""What a type accepts, as text that needs none of the user's code: as far as it is data, and never more narrow.

A type of values is given as a part of the schemas that pydantic makes, in JSON. What only code can judge, a validator
that runs before, a class of the user's own making, accepts anything here. Who reads such a text reads values as a
worker does, by the same library. Nothing that a text says is ever called. Pure.
"""

import json
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, ValidationError, from_json

from holdfast.hints.refusals import problem_of

TEXT_MAX = 8_192
"""Characters; a type whose text is longer accepts anything here."""
DEPTH_MAX = 32
WORDS_MAX = 300
"""Characters of what a sentence says of a type."""

Schema = Mapping[str, Any]

_ANY: dict[str, Any] = {"type": "any"}
_NUMBERS = ("ge", "gt", "le", "lt", "multiple_of", "allow_inf_nan")
_LENGTHS = ("min_length", "max_length")
_OF_TEXT = (*_LENGTHS, "pattern", "strip_whitespace", "to_lower", "to_upper", "coerce_numbers_to_str")
_PLAIN: dict[str, tuple[str, ...]] = {
    "none": (),
    "bool": (),
    "int": _NUMBERS,
    "float": _NUMBERS,
    "str": _OF_TEXT,
    "date": (),
    "datetime": (),
    "time": (),
    "timedelta": (),
    "decimal": (),
    "uuid": ("version",),
}
"""Types that are one value, with what may limit them. What a limit is not among is left out: then more is accepted."""
_INNER = {
    "default": "schema",
    "function-after": "schema",
    "custom-error": "schema",
    "lax-or-strict": "lax_schema",
    "json-or-python": "json_schema",
}
"""Types around another one that accept what that one accepts, or less."""
_NOTHING_MISSING = getattr(Enum._missing_, "__func__", None)
"""What an enum makes of values that it does not have, unless its class says otherwise."""
_HARMLESS = frozenset(
    {
        "extra_fields_behavior",
        "from_attributes",
        "frozen",
        "loc_by_alias",
        "populate_by_name",
        "ser_json_bytes",
        "ser_json_inf_nan",
        "ser_json_timedelta",
        "strict",
        "title",
        "val_json_bytes",
        "validate_assignment",
        "validate_by_alias",
        "validate_by_name",
        "validate_default",
    }
)
"""Settings of a class that let nothing more through: aliases and names count in any case."""


def text_of_schema(schema: Schema) -> str:
    """The text of a schema of pydantic; "" for one that accepts anything as far as it can be said."""
    found = _Portable().of(schema)
    text = "" if _accepts_all(found) else json.dumps(found, separators=(",", ":"))
    return text if len(text) <= TEXT_MAX else ""


class PortableType:
    """What a text accepts. Raises ValueError for a text that `text_of_schema` does not make."""

    __slots__ = ("_validate", "words")

    def __init__(self, text: str) -> None:
        if len(text) > TEXT_MAX:
            raise ValueError(f"a schema has at most {TEXT_MAX:,} characters")
        try:
            schema = _Portable().of(from_json(text))
            self._validate = SchemaValidator(schema).validate_json
        except (SchemaError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(f"{text[:100]!r} is no schema of a value") from error
        words = _words(schema, {one["ref"]: one for one in schema.get("definitions", ())}, 0)
        self.words = words if len(words) <= WORDS_MAX else f"{words[: WORDS_MAX - 3]}..."
        """What it accepts, for people: "{approved: bool, note?: str}"."""

    def problem(self, data: bytes) -> tuple[str, str] | None:
        """Where in this JSON something is not accepted, as "items.0", and why; None when all of it is."""
        try:
            self._validate(data, by_alias=True, by_name=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            return where, problem_of(error).removeprefix(f"{where}: ")
        return None


class _Portable:
    """Rewrites one schema: only what is known to be data stays. refs: names of the types that are used by name."""

    def __init__(self) -> None:
        self._refs: dict[str, str] = {}

    def of(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        kind = schema.get("type") if isinstance(schema, Mapping) else None
        if not isinstance(kind, str) or depth > DEPTH_MAX:
            return _ANY
        made: dict[str, Any]
        if kind in _PLAIN:
            made = {"type": kind, **_limits(schema, _PLAIN[kind])}
        elif kind == "bytes":
            made = {"type": "str"}  # by which rule text is bytes, the class around them says
        elif kind in _INNER:
            made = _ANY if schema.get("on_error", "raise") != "raise" else self.of(schema[_INNER[kind]], depth)
        else:
            make = _MAKERS.get(kind)
            made = _ANY if make is None else make(self, schema, depth + 1)
        return made

    def _name(self, ref: str) -> str:
        return self._refs.setdefault(ref, f"r{len(self._refs)}")

    def _definitions(self, schema: Schema, depth: int) -> dict[str, Any]:
        inner = self.of(schema["schema"], depth)
        known = [{**self.of(one, depth), "ref": self._name(one["ref"])} for one in schema["definitions"]]
        return {"type": "definitions", "schema": inner, "definitions": known}

    def _reference(self, schema: Schema, depth: int) -> dict[str, Any]:
        return {"type": "definition-ref", "schema_ref": self._name(schema["schema_ref"])}

    def _list(self, schema: Schema, depth: int) -> dict[str, Any]:
        # Of a set: what is in it twice counts once, so that it may be longer as a list.
        lengths = ("min_length",) if schema["type"] in ("set", "frozenset") else _LENGTHS
        items = self.of(schema.get("items_schema", _ANY), depth)
        return {"type": "list", "items_schema": items, **_limits(schema, lengths)}

    def _tuple(self, schema: Schema, depth: int) -> dict[str, Any]:
        items = [self.of(one, depth) for one in schema["items_schema"]]
        if not 0 <= schema.get("variadic_item_index", 0) < max(len(items), 1):
            return _ANY
        return {"type": "tuple", "items_schema": items, **_limits(schema, ("variadic_item_index", *_LENGTHS))}

    def _dict(self, schema: Schema, depth: int) -> dict[str, Any]:
        parts = {name: self.of(schema[name], depth) for name in ("keys_schema", "values_schema") if name in schema}
        return {"type": "dict", **parts, **_limits(schema, ("min_length",))}

    def _nullable(self, schema: Schema, depth: int) -> dict[str, Any]:
        return {"type": "nullable", "schema": self.of(schema["schema"], depth)}

    def _union(self, schema: Schema, depth: int) -> dict[str, Any]:
        choices = schema["choices"]
        listed = choices.values() if isinstance(choices, Mapping) else choices
        made = [self.of(one[0] if isinstance(one, (tuple, list)) else one, depth) for one in listed]
        return _ANY if any(map(_accepts_all, made)) else {"type": "union", "choices": made}

    def _literal(self, schema: Schema, depth: int) -> dict[str, Any]:
        return _one_of(schema["expected"])

    def _enum(self, schema: Schema, depth: int) -> dict[str, Any]:
        if getattr(schema["cls"]._missing_, "__func__", None) is not _NOTHING_MISSING:
            return _ANY
        values = [one.value if isinstance(one, Enum) else one for one in schema["members"]]
        return _one_of(values) if all(type(one) is str for one in values) else _ANY

    def _chain(self, schema: Schema, depth: int) -> dict[str, Any]:
        return self.of(schema["steps"][0], depth)

    def _model(self, schema: Schema, depth: int) -> dict[str, Any]:
        if schema.get("custom_init") or not _is_harmless(schema):
            return _ANY
        inner = self.of(schema["schema"], depth)
        forbids = _forbids(schema) and inner.get("type") == "typed-dict" and "extra_behavior" not in schema["schema"]
        return {**inner, "extra_behavior": "forbid"} if forbids else inner

    def _fields(self, schema: Schema, depth: int) -> dict[str, Any]:
        """Of a model, a dataclass or a TypedDict: the fields, by name."""
        given = schema["fields"]
        named = given.items() if isinstance(given, Mapping) else [(one["name"], one) for one in given]
        is_total = schema["type"] == "typed-dict" and schema.get("total", True)
        fields = {}
        for name, field in named:
            alias = field.get("validation_alias")
            if not _is_harmless(schema) or field.get("init") is False or not isinstance(alias, (str, type(None))):
                return _ANY
            is_required = field.get("required", is_total or not _has_default(field["schema"]))
            fields[name] = {
                "type": "typed-dict-field",
                "schema": self.of(field["schema"], depth),
                "required": bool(is_required),
                **({} if alias is None else {"validation_alias": alias}),
            }
        extra = {"extra_behavior": "forbid"} if _forbids(schema) else {}
        return {"type": "typed-dict", "fields": fields, **extra}


_MAKERS: dict[str, Callable[[_Portable, Schema, int], dict[str, Any]]] = {
    "definitions": _Portable._definitions,
    "definition-ref": _Portable._reference,
    "list": _Portable._list,
    "generator": _Portable._list,
    "set": _Portable._list,
    "frozenset": _Portable._list,
    "tuple": _Portable._tuple,
    "dict": _Portable._dict,
    "nullable": _Portable._nullable,
    "union": _Portable._union,
    "tagged-union": _Portable._union,
    "literal": _Portable._literal,
    "enum": _Portable._enum,
    "chain": _Portable._chain,
    "model": _Portable._model,
    "dataclass": _Portable._model,
    "model-fields": _Portable._fields,
    "dataclass-args": _Portable._fields,
    "typed-dict": _Portable._fields,
}


def _limits(schema: Schema, names: tuple[str, ...]) -> dict[str, Any]:
    found = {name: schema[name] for name in names if type(schema.get(name)) in (bool, int, float, str)}
    if "regex_engine" in schema:
        found.pop("pattern", None)  # of another engine, which reads other patterns
    return found


def _one_of(values: Any) -> dict[str, Any]:
    plain = [one for one in values if type(one) in (str, int, bool, type(None))]
    return {"type": "literal", "expected": plain} if plain and len(plain) == len(values) else _ANY


def _is_harmless(schema: Schema) -> bool:
    config = schema.get("config") or {}
    return _HARMLESS.issuperset(config)


def _forbids(schema: Schema) -> bool:
    config = schema.get("config") or {}
    return "forbid" in (schema.get("extra_behavior"), config.get("extra_fields_behavior"))


def _has_default(schema: Any) -> bool:
    """Whether a field may be left out: pydantic writes its default somewhere around its type."""
    while isinstance(schema, Mapping):
        if schema.get("type") == "default":
            return True
        schema = schema.get("schema")
    return False


def _accepts_all(schema: Schema) -> bool:
    kind = schema["type"]
    return kind == "any" or (kind in ("nullable", "definitions") and _accepts_all(schema["schema"]))


def _words(schema: Schema, known: Mapping[str, Schema], depth: int) -> str:
    """The type as one would write it."""
    kind = schema["type"]
    if depth > 4:
        return "..."
    match kind:
        case "definitions":
            return _words(schema["schema"], known, depth)
        case "definition-ref":
            found = known.get(schema["schema_ref"])
            return "..." if found is None else _words(found, known, depth + 1)
        case "list":
            return f"list[{_words(schema['items_schema'], known, depth + 1)}]"
        case "tuple":
            return f"[{', '.join(_words(one, known, depth + 1) for one in schema['items_schema'])}]"
        case "dict":
            return f"dict[str, {_words(schema.get('values_schema', _ANY), known, depth + 1)}]"
        case "nullable":
            return f"{_words(schema['schema'], known, depth)} | None"
        case "union":
            return " | ".join(_words(one, known, depth + 1) for one in schema["choices"])
        case "literal":
            return " | ".join(map(repr, schema["expected"]))
        case "typed-dict":
            fields = [
                f"{field.get('validation_alias', name)}{'' if field['required'] else '?'}: "
                f"{_words(field['schema'], known, depth + 1)}"
                for name, field in schema["fields"].items()
            ]
            return f"{{{', '.join(fields)}}}"
        case "none":
            return "None"
        case _:
            return kind if depth or kind != "any" else "anything"
