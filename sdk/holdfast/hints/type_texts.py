"""Type hints of Python's own types as text, for those who have none of the user's code: `list[int] | None`.

What consists of other types is Any: a class of the user may take whatever it likes. Pure.
"""

import ast
import types
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

TEXT_MAX = 500
"""Characters; a longer text says no more than "Any"."""

_TYPES: dict[str, Any] = {
    one.__name__: one for one in (bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal, UUID)
}
_CONTAINERS: dict[str, Any] = {one.__name__: one for one in (list, set, frozenset, dict, tuple)}
_ARGUMENTS = {"list": 1, "set": 1, "frozenset": 1, "dict": 2}
_NAMES = {found: name for name, found in (_TYPES | _CONTAINERS).items()}


def text_of(hint: Any) -> str:
    """The hint as text; "" where nothing can be said about it."""
    text = _text(hint)
    return "" if text == "Any" or len(text) > TEXT_MAX else text


def hint_of(text: str) -> Any:
    """The hint of a text. Raises ValueError for one that `text_of` does not make; never runs anything."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"a type has at most {TEXT_MAX} characters")
    try:
        return _hint(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text[:100]!r} is no hint of types of Python's own") from error


def _text(hint: Any) -> str:
    if hint is None or hint is type(None):
        return "None"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is None:
        return _NAMES.get(hint, "Any") if isinstance(hint, type) else "Any"
    if origin is Union or origin is types.UnionType:
        parts = [_text(one) for one in arguments]
        return "Any" if "Any" in parts else " | ".join(parts)
    if origin is Literal:
        plain = all(type(one) in (str, int, bool, type(None)) for one in arguments)
        return f"Literal[{', '.join(map(repr, arguments))}]" if plain else "Any"
    if origin not in _CONTAINERS.values() or not arguments:
        return "Any"
    return f"{_NAMES[origin]}[{', '.join('...' if one is ... else _text(one) for one in arguments)}]"


def _hint(node: ast.expr) -> Any:
    match node:
        case ast.Name("Any"):
            return Any
        case ast.Name(name):
            return (_TYPES | _CONTAINERS)[name]
        case ast.Constant(None):
            return None
        case ast.BinOp(left, ast.BitOr(), right):
            return Union[_hint(left), _hint(right)]  # noqa: UP007 - None | None is no union
        case ast.Subscript(ast.Name("Literal"), inner):
            return Literal[tuple(ast.literal_eval(one) for one in _parts(inner))]
        case ast.Subscript(ast.Name(name), inner):
            return _container(name, _parts(inner))
        case _:
            raise ValueError("it is no hint of types of Python's own")


def _parts(inner: ast.expr) -> list[ast.expr]:
    return inner.elts if isinstance(inner, ast.Tuple) else [inner]


def _container(name: str, parts: list[ast.expr]) -> Any:
    arguments = [... if isinstance(one, ast.Constant) and one.value is ... else _hint(one) for one in parts]
    if name == "tuple":
        if ... in arguments and (len(arguments) != 2 or arguments[0] is ...):
            raise ValueError("`...` follows the one type of a tuple")
    elif len(arguments) != _ARGUMENTS[name] or ... in arguments:
        raise ValueError(f"{name} takes {_ARGUMENTS[name]}")
    made: Callable[[Any], Any] = _CONTAINERS[name].__class_getitem__
    return made(tuple(arguments))
