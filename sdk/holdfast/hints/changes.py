"""What a value lost when it was stored and read again: the first difference, with its place and the way out.

Equal is not enough: `True == 1`, a subclass equals its base, one instant in two zones is the same. A value comes back
as it was when its class and everything in it does. Numbers may change their class while they stay equal, an enum of
text may become the text. What its hint does not declare comes back as JSON data, of which nothing may be missing.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel


@dataclass(slots=True, frozen=True)
class Change:
    """One difference. path: where in the value, from the outside."""

    text: str
    path: tuple[str, ...] = ()

    def within(self, part: Any) -> "Change":
        """The same, seen from the value that holds it under `part`."""
        return Change(self.text, (str(part), *self.path))

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.text}" if self.path else self.text


class Undeclared:
    """Something that was read and that its hint says nothing of."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Undeclared) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


_ATOMS = frozenset({type(None), bool, int, str, bytes})
# Of these, equal ones are the same, once their classes are: checked for a whole container at the speed of C.
_COMPARABLE = _ATOMS | {float}
_TEXT = {str}
_JSON_ATOMS = frozenset({type(None), bool, int, float, str})
_LONG = 10**4_000
_NUMBERS = (int, float, Decimal)
_ABSENT: Any = object()

MODEL_FLOATS = (
    "it holds NaN or an infinity in a pydantic model, which would be stored as null; "
    'give the model model_config = ConfigDict(ser_json_inf_nan="constants")'
)
_READ_ONCE = "it can be read only once; give a list"
_KEYS_COLLIDE = "two of its keys become the same text in JSON; use keys of one type, and annotate it"
_SECRET = "it is a secret, which would be stored as asterisks; pass what it hides as text, or a reference to it"


def change_of(value: Any, seen: Any) -> Change | None:
    """The first difference between a value and what is read of it; None when there is none."""
    kind = type(value)
    if kind is type(seen):
        if kind in _ATOMS:
            return None if value == seen else Change(f"it would come back as {_short(seen)}")
        compare = _COMPARED.get(kind)
        return compare(value, seen) if compare is not None else _object(value, seen)
    if type(seen) is Undeclared:
        return _data(value, seen.value)
    return _other_kind(value, seen)


# Values of one class


def _mapping(value: dict[Any, Any], seen: dict[Any, Any]) -> Change | None:
    if len(value) != len(seen):
        return _missing_key(value, seen)
    kinds = {*map(type, value.values())}
    are_atoms = kinds <= _COMPARABLE and {*map(type, value)} <= _TEXT
    if are_atoms and kinds == {*map(type, seen.values())} and value == seen:
        return None
    for (key, item), (seen_key, seen_item) in zip(value.items(), seen.items(), strict=True):
        if type(key) is not str or type(seen_key) is not str or key != seen_key:
            change = change_of(key, seen_key)
            if change is None and type(seen_key) is Undeclared and type(key) is not str:
                change = Change(f"{_a(key)} would come back as text; annotate what the keys are")
            if change is not None:
                return Change(f"as a key, {change.text}").within(key)
        change = change_of(item, seen_item)
        if change is not None:
            return change.within(key)
    return None


def _missing_key(value: dict[Any, Any], seen: dict[Any, Any]) -> Change:
    missing = [key for key in value if isinstance(key, str) and key not in seen]
    return Change("it would be missing").within(missing[0]) if missing else Change(_KEYS_COLLIDE)


def _sequence(value: Any, seen: Any) -> Change | None:
    if len(value) != len(seen):
        return Change(f"it has {len(value)} items and would come back with {len(seen)}")
    kinds = {*map(type, value)}
    if kinds <= _COMPARABLE and kinds == {*map(type, seen)} and value == seen:
        return None
    for number, (item, seen_item) in enumerate(zip(value, seen, strict=True)):
        change = change_of(item, seen_item)
        if change is not None:
            return change.within(number)
    return None


def _members(value: Any, seen: Any) -> Change | None:
    if len(value) != len(seen):
        return Change(f"it has {len(value)} members and would come back with {len(seen)}")
    found = {one.value if type(one) is Undeclared else one: one for one in seen}
    for item in value:
        match = found.get(item, _ABSENT)
        if match is _ABSENT:
            if any(type(one) is Undeclared for one in seen):
                continue
            return Change(f"{_short(item)} would be missing in it")
        change = change_of(item, match)
        if change is not None:
            return change
    return None


def _float(value: float, seen: float) -> Change | None:
    return None if value == seen or (value != value and seen != seen) else Change(f"it would come back as {seen!r}")


def _decimal(value: Decimal, seen: Decimal) -> Change | None:
    return None if value.as_tuple() == seen.as_tuple() else Change(f"it would come back as {seen}")


def _instant(value: datetime | time, seen: datetime | time) -> Change | None:
    zone = value.tzinfo
    if zone is not None and zone.utcoffset(None) is None:
        return Change(
            f"its time zone {zone} would be lost, of which only the offset is stored; "
            "give it in UTC, and the name of the zone beside it"
        )
    if value != seen or value.utcoffset() != seen.utcoffset():
        return Change(f"it would come back as {seen.isoformat()}")
    # Where a zone is given, it is a fixed one, in which no time comes twice.
    return None if zone is not None or value.fold == seen.fold else Change("its fold would be lost; give it in UTC")


def _queue(value: Any, seen: Any) -> Change | None:
    return _sequence(value, seen) if value.maxlen == seen.maxlen else Change("its maxlen would be lost")


_COMPARED: dict[type, Callable[[Any, Any], Change | None]] = {
    dict: _mapping,
    list: _sequence,
    tuple: _sequence,
    set: _members,
    frozenset: _members,
    deque: _queue,
    float: _float,
    Decimal: _decimal,
    datetime: _instant,
    time: _instant,
}


def _object(value: Any, seen: Any) -> Change | None:
    """Two objects of one class."""
    if isinstance(value, BaseModel):
        return _model(value, seen)
    if is_dataclass(value):
        return _attributes(value, seen, (one.name for one in fields(value) if one.compare))
    if isinstance(value, Iterator):
        return Change(_READ_ONCE)
    if _is_secret(value):
        return None if value == seen else Change(_SECRET)
    if isinstance(value, BaseException):
        return _attributes(value, seen, ("args", "__dict__"))
    for base, compare in _COMPARED.items():
        if isinstance(value, base):
            change = compare(value, seen)
            if change is None and getattr(value, "default_factory", None) != getattr(seen, "default_factory", None):
                return Change("its default_factory would be lost")
            return change or _attributes(value, seen, getattr(value, "__dict__", ()))
    return None if value == seen else Change(f"it would come back as {_short(seen)}, which is not equal to it")


def _model(value: BaseModel, seen: BaseModel) -> Change | None:
    change = _attributes(value, seen, type(value).__pydantic_fields__)
    if change is None:
        change = change_of(value.__pydantic_extra__, seen.__pydantic_extra__)
    if change is None and value.__pydantic_private__ != seen.__pydantic_private__:
        change = Change("its private attributes would be lost")
    return change


def _attributes(value: Any, seen: Any, names: Iterable[str]) -> Change | None:
    for name in names:
        own, other = getattr(value, name, _ABSENT), getattr(seen, name, _ABSENT)
        if own is other or (type(own) in _ATOMS and type(own) is type(other) and own == other):
            continue
        change = change_of(own, other) if other is not _ABSENT else Change("it would be missing")
        if change is not None:
            return change.within(name)
    return None


# Values of two classes


def _other_kind(value: Any, seen: Any) -> Change | None:
    if isinstance(value, _NUMBERS) and isinstance(seen, _NUMBERS):
        # numpy's numbers too, which are Python's.
        return None if value == seen or value != value else Change(f"it would come back as {seen!r}")
    if isinstance(value, str) and isinstance(value, Enum) and value == seen:
        return None
    if isinstance(value, PurePath) and value == seen:
        return None
    if isinstance(value, BaseModel) and isinstance(seen, BaseModel) and _origin(value) is _origin(seen):
        return _model(value, seen)
    if isinstance(value, Iterator):
        return Change(_READ_ONCE)
    if isinstance(value, float) and seen is None and not math.isfinite(value):
        return Change(MODEL_FLOATS)
    return Change(f"{_a(value)} would come back as {_a(seen)}{_way_out(value, seen)}")


def _origin(model: BaseModel) -> type:
    return model.__pydantic_generic_metadata__["origin"] or type(model)


def _way_out(value: Any, seen: Any) -> str:
    name = type(value).__qualname__
    if isinstance(seen, str) and not isinstance(value, str):
        return f"; annotate it as {name}, with no text to choose instead"
    if isinstance(value, type(seen)):
        return f"; annotate it as {name}, or give {_a(seen)}"
    if (isinstance(value, BaseModel) or is_dataclass(value)) and (isinstance(seen, BaseModel) or is_dataclass(seen)):
        return "; give the classes of the union a Literal field that tells them apart"
    return f"; give {_a(seen)}, or annotate it as {name}"


# Values without a hint


def is_json(value: Any, *, digits_fit: bool, levels: int = 100) -> bool:
    """True when the value is made of JSON's own types alone, so that nothing of it can change.

    digits_fit: no number in it can be too long to be read. levels: how deeply it may be nested to be looked at.
    """
    if type(value) is dict:
        if not {*map(type, value)} <= _TEXT:
            return False
        value = value.values()
    elif type(value) is not list:
        return type(value) in _JSON_ATOMS and (digits_fit or type(value) is not int)
    kinds = {*map(type, value)}
    if kinds <= _JSON_ATOMS:
        return digits_fit or int not in kinds or all(-_LONG < one < _LONG for one in value if type(one) is int)
    return levels > 0 and all(is_json(one, digits_fit=digits_fit, levels=levels - 1) for one in value)


def _data(value: Any, seen: Any) -> Change | None:
    kind = type(value)
    if kind in _ATOMS and kind is type(seen):
        return None
    if seen is None and value is not None:
        return Change(MODEL_FLOATS if isinstance(value, float) else "it would come back as None")
    parts = _data_parts(value)
    if parts is None:
        return _scalar_data(value, seen)
    if isinstance(parts, dict):
        return _mapping_data(parts, seen)
    if not isinstance(seen, list):
        return None  # a class with a form of its own, which says itself what is stored of it
    if len(parts) != len(seen):
        return Change(f"it has {len(parts)} items and would come back with {len(seen)}")
    for number, (item, seen_item) in enumerate(zip(parts, seen, strict=True)):
        change = _data(item, seen_item)
        if change is not None:
            return change.within(number)
    return None


def _mapping_data(parts: dict[Any, Any], seen: Any) -> Change | None:
    if not isinstance(seen, dict):
        return None
    if len(seen) < len(parts):
        return _missing_key(parts, seen)
    for (key, item), seen_item in zip(parts.items(), seen.values(), strict=False):
        change = _data(item, seen_item)
        if change is not None:
            return change.within(key)
    return None


def _data_parts(value: Any) -> Any:
    """What the value holds, as a dict or in a row; None when it is a scalar."""
    if isinstance(value, (dict, list, tuple)):
        return value
    if isinstance(value, (set, frozenset, deque)):
        return list(value)
    if isinstance(value, BaseModel):
        if type(value).__pydantic_root_model__:
            return _data_parts(value.root)  # type: ignore[attr-defined]
        own = {name: getattr(value, name, None) for name in type(value).__pydantic_fields__}
        return own | (value.model_extra or {})
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return None


def _scalar_data(value: Any, seen: Any) -> Change | None:
    if _is_secret(value) and value.get_secret_value() != seen:
        return Change(_SECRET)
    if isinstance(value, Iterator):
        return Change(_READ_ONCE)
    return None


def _is_secret(value: Any) -> bool:
    # Not imported: pydantic loads its own types when they are first asked for, and who has a secret has asked.
    loaded: Any = sys.modules.get("pydantic.types")
    return loaded is not None and isinstance(value, (loaded.SecretStr, loaded.SecretBytes))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _a(value: Any) -> str:
    name = "None" if value is None else type(value).__qualname__
    return name if value is None else f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
