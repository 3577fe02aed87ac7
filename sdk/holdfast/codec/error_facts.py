"""What an error is made of, as JSON, and the error again: its arguments and attributes, those of C included.

An error is taken apart only if putting it together gives the same again: class, text, arguments, attributes. That is
tried where it was raised, so that no half of it ever comes back. Putting together imports the module of the class and
makes an object of it without running its constructor, unless the class asks for that call by `__reduce__`.
Nothing is pickled.
"""

import importlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from types import GetSetDescriptorType, MemberDescriptorType
from typing import Any

from pydantic_core import from_json

from holdfast.codec.values import Codec
from holdfast.hints.changes import change_of
from holdfast.hints.value_types import value_type

_NOT_FACTS = frozenset({"args", "exceptions", "message"})
# Any object at all, of which only the name matters: what an attribute was looked for in.
_NEVER_STORED = frozenset({"obj"})
_ATOMS = (type(None), bool, int, float, str)
_ROWS: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_TAG, _VALUE = "$", "value"
_LEVELS_MAX = 20

Facts = dict[str, Any]
"""{"arguments": [...], "attributes": {...}, "calls": bool}, or {"notes": [...]} of an error that is not whole.

calls: the arguments are for the constructor. What JSON has no form for is {"$": its class, "value": ...}.
"""


def class_path(kind: type) -> str:
    """Where a class can be imported from; "" for one that cannot be."""
    return "" if "<" in kind.__qualname__ else f"{kind.__module__}:{kind.__qualname__}"


def class_at(path: str) -> type | None:
    """The class at a path, None when there is none. Imports its module, and raises what that raises."""
    module, _, qualname = path.partition(":")
    if not module or not qualname:
        return None
    found: Any = importlib.import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found if isinstance(found, type) else None


def taken_apart(error: BaseException) -> Facts | None:
    """The facts of the error; None when it could not be made whole of them. Runs its `__reduce__`, never raises."""
    try:
        leaves = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for facts in _candidates(error):
            stored = from_json(Codec().encode(facts, what="the facts of an error").data)
            again = put_together(type(error), stored, leaves)
            if _are_same(error, again):
                return facts
    except Exception:  # noqa: BLE001 - attributes of any type, classes of any kind; the text is kept without them
        return None
    return None


def put_together(kind: type, facts: Mapping[str, Any], leaves: tuple[BaseException, ...] = ()) -> BaseException:
    """The error again. leaves: of a group. Raises whatever the class raises."""
    arguments = tuple(_value_of(one) for one in facts["arguments"])
    if leaves:
        arguments = (*arguments[:1], list(leaves))
    made: BaseException = kind(*arguments) if facts.get("calls") else _made(kind, arguments)
    for name, encoded in facts.get("attributes", {}).items():
        setattr(made, name, _value_of(encoded))
    return made


def notes_of(error: BaseException) -> list[str]:
    """What was added to the error by `add_note`."""
    notes = getattr(error, "__notes__", None)
    return [one for one in notes if isinstance(one, str)] if isinstance(notes, list) else []


def _candidates(error: BaseException) -> Iterator[Facts]:
    kind = type(error)
    given: Any = error.__reduce__()
    asks = isinstance(given, tuple) and len(given) > 1 and given[0] is kind
    arguments: tuple[Any, ...] = given[1] if asks else error.args  # of an OSError, `args` lacks the file names
    group = isinstance(error, BaseExceptionGroup)
    bare = error if group else _made(kind, arguments)
    attributes = {
        name: _encoded(value)
        for name, value in _attributes(error)
        if group or name in vars(error) or change_of(value, getattr(bare, name, None)) is not None
    }
    encoded = [_encoded(one) for one in (arguments[:1] if group else arguments)]
    yield {"arguments": encoded, "attributes": attributes}
    if asks and not _is_of_python(kind.__reduce__):
        yield {"arguments": encoded, "attributes": attributes, "calls": True}


def _is_of_python(reduce: Any) -> bool:
    return not hasattr(reduce, "__code__")


def _made(kind: type, arguments: tuple[Any, ...]) -> BaseException:
    """An error without running code of its class: only Python's own classes below it see the arguments."""
    made: BaseException = kind.__new__(kind, *arguments)
    below = next(one for one in kind.__mro__ if one.__module__ == "builtins")
    below.__init__(made, *arguments)  # type: ignore[misc]
    return made


def _attributes(error: BaseException) -> Iterator[tuple[str, Any]]:
    """Its attributes: what C keeps (errno, filename), slots, and what code has set."""
    for kind in type(error).__mro__:
        for name, found in vars(kind).items():
            if isinstance(found, (MemberDescriptorType, GetSetDescriptorType)) and not name.startswith("__"):
                value = getattr(error, name, None)
                if value is not None and name not in _NOT_FACTS | _NEVER_STORED:
                    yield name, value
    yield from vars(error).items()


def _are_same(error: BaseException, again: BaseException) -> bool:
    if type(error) is not type(again):
        return False
    if isinstance(error, BaseExceptionGroup):
        return True
    if str(error) != str(again) or change_of(error.args, again.args) is not None:
        return False
    return change_of(dict(_attributes(error)), dict(_attributes(again))) is None


# Values of any class


def _encoded(value: Any, levels: int = _LEVELS_MAX) -> Any:
    """The value as JSON data. Raises for what could not be read again."""
    kind = type(value)
    if levels == 0:
        raise ValueError("nested too deeply")
    if kind in _ATOMS:
        return value
    if kind is list:
        return [_encoded(one, levels - 1) for one in value]
    if kind is dict:
        if all(type(key) is str for key in value) and _TAG not in value:
            return {key: _encoded(one, levels - 1) for key, one in value.items()}
        pairs = [[_encoded(key, levels - 1), _encoded(one, levels - 1)] for key, one in value.items()]
        return {_TAG: "dict", _VALUE: pairs}
    if kind.__name__ in _ROWS and kind is _ROWS[kind.__name__]:
        return {_TAG: kind.__name__, _VALUE: [_encoded(one, levels - 1) for one in value]}
    path = class_path(kind)
    if isinstance(value, BaseException):
        facts = None if isinstance(value, BaseExceptionGroup) else taken_apart(value)
        if facts is None or not path:
            raise ValueError(f"{kind.__qualname__} is not whole")
        return {_TAG: path, "error": facts}
    if not path:
        raise ValueError(f"{kind.__qualname__} cannot be imported")
    return {_TAG: path, _VALUE: from_json(Codec().encode(value, kind, what="a fact of an error").data)}


def _value_of(encoded: Any) -> Any:
    if isinstance(encoded, list):
        return [_value_of(one) for one in encoded]
    if not isinstance(encoded, dict):
        return encoded
    if _TAG not in encoded:
        return {key: _value_of(one) for key, one in encoded.items()}
    tag = encoded[_TAG]
    if tag == "dict":
        return {_value_of(key): _value_of(one) for key, one in encoded[_VALUE]}
    if tag in _ROWS:
        return _ROWS[tag](_value_of(one) for one in encoded[_VALUE])
    kind = class_at(tag)
    if kind is None:
        raise ValueError(f"no class {tag}")
    if "error" in encoded:
        if not issubclass(kind, BaseException):
            raise ValueError(f"{tag} is no error")
        return put_together(kind, encoded["error"])
    value = value_type(kind).read(Codec().encode(encoded[_VALUE], what="a fact of an error"))
    if isinstance(value, datetime) and (offset := value.utcoffset()) is not None:
        # A text that is made of it names the class of its zone.
        return value.replace(tzinfo=timezone(offset))
    return value
