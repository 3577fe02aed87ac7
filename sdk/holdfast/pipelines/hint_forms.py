"""Type hints taken apart: what they stand for, and their arguments as a wider class sees them. Pure."""

import collections
import types
import typing
from collections import abc
from collections.abc import Mapping
from typing import Annotated, Any, ForwardRef, ParamSpec, TypeVar, TypeVarTuple, Union, get_args, get_origin

VALUES = (
    abc.Iterable, abc.Collection, abc.Container, abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet,
    abc.Reversible, collections.deque,
)  # fmt: skip
"""What has one argument, the type of what is in it."""

PAIRS = (dict, abc.Mapping, abc.MutableMapping)
"""What has two, of its keys and of its values."""

_PYTHONS = ("builtins", "collections", "collections.abc")
_UNSAID = (str, ForwardRef, ParamSpec, TypeVarTuple)
_WRAPPERS = ("Annotated", "Required", "NotRequired", "ReadOnly", "Final")


def plain(hint: Any) -> Any:
    """What the hint stands for: without Annotated and aliases; Any for what says nothing, as a name not known here."""
    while True:
        if hint is None:
            return type(None)
        if isinstance(hint, _UNSAID):
            return Any
        origin = get_origin(hint)
        if origin is Annotated or getattr(origin, "_name", None) in _WRAPPERS:
            hint = get_args(hint)[0]
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif type(origin).__name__ == "TypeAliasType":
            hint = substituted(origin.__value__, dict(zip(origin.__type_params__, get_args(hint), strict=False)))
        elif getattr(hint, "_name", None) == "LiteralString":
            return str
        else:
            return hint


def choices(hint: Any) -> tuple[Any, ...] | None:
    """The members of a union, those of unions inside it too; None for what is no union."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    found: list[Any] = []
    for one in get_args(hint):
        member = plain(one)
        found += choices(member) or (member,)
    return tuple(found)


def is_new_type(hint: Any) -> bool:
    """True for what typing.NewType has made."""
    return isinstance(hint, typing.NewType) or (hasattr(hint, "__supertype__") and callable(hint))


def items_of_tuple(hint: Any) -> tuple[Any, ...] | None:
    """The types of the items of a tuple of fixed length; None for every other hint."""
    origin = get_origin(hint) or hint
    if origin is tuple:
        arguments = get_args(hint)
        is_fixed = hint is not tuple and ... not in arguments and not any(map(_is_unpacked, arguments))
        return arguments if is_fixed else None
    if isinstance(origin, type) and issubclass(origin, tuple) and hasattr(origin, "_fields"):
        hints = hints_of(origin)
        items = tuple(hints.get(name, Any) for name in origin._fields)
        return tuple(substituted(one, _bound(origin, get_args(hint))) for one in items)
    return None


def hints_of(kind: type) -> Mapping[str, Any]:
    """The hints of what a class declares; none of a class with one that cannot be known here."""
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - a name that is not known yet, or for type checkers only
        return {}


def item_of_any_tuple(hint: Any) -> Any:
    """The type of every item of a tuple: of fixed length, or `tuple[int, ...]`. None for what is no tuple."""
    items = items_of_tuple(hint)
    if items is not None:
        return _one_of(tuple(map(plain, items)))
    origin = get_origin(hint) or hint
    if not (isinstance(origin, type) and issubclass(origin, tuple)):
        return None
    arguments = get_args(hint)
    return arguments[0] if len(arguments) == 2 and arguments[1] is ... else Any


def arguments_as(hint: Any, wanted: type) -> tuple[Any, ...] | None:
    """The arguments of a hint as `wanted`, a class that its own derives from, has them; None where they are not known.

    `dict[str, int]` has as an Iterable the argument str; a class Names(list[str]) has it too.
    """
    origin = get_origin(hint) or hint
    if origin is wanted:
        return get_args(hint) or None
    if wanted in VALUES:
        if isinstance(origin, type) and issubclass(origin, str):
            return (str,)
        if isinstance(origin, type) and issubclass(origin, bytes):
            return (int,)
        item = item_of_any_tuple(hint)
        if item is not None:
            return (item,)
    arguments = get_args(hint)
    if arguments and getattr(origin, "__module__", "") in _PYTHONS:
        if _is_of(origin, PAIRS) and wanted in PAIRS:
            return (*arguments, int) if origin is collections.Counter else arguments
        if wanted in VALUES:
            return arguments[:1]
    bound = _bound(origin, arguments)
    for base in _declared(origin):
        inner = get_origin(base)
        if isinstance(inner, type) and inner is not typing.Generic and _is_of(inner, (wanted,)):
            return arguments_as(substituted(base, bound), wanted)
    for parent in origin.__bases__ if isinstance(origin, type) else ():
        if _is_of(parent, (wanted,)) and _declared(parent):
            return arguments_as(parent, wanted)
    return None


def substituted(hint: Any, bound: Mapping[Any, Any]) -> Any:
    """The hint with what its type variables are bound to; those that are not stay."""
    if not bound:
        return hint
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    members = choices(hint)
    if members is not None:
        return _one_of(tuple(substituted(one, bound) for one in members))
    names = getattr(hint, "__parameters__", ())
    if not names or get_origin(hint) is None:
        return hint
    return hint[tuple(bound.get(name, name) for name in names)]


def _one_of(hints: tuple[Any, ...]) -> Any:
    return Union[hints] if hints else Any  # noqa: UP007 - of as many as there are


def _declared(kind: Any) -> tuple[Any, ...]:
    """The bases of a class as they are written, with their arguments."""
    found: tuple[Any, ...] = getattr(kind, "__orig_bases__", ())
    return found


def _bound(origin: Any, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))


def _is_unpacked(argument: Any) -> bool:
    return getattr(argument, "__unpacked__", False) or getattr(get_origin(argument), "_name", None) == "Unpack"


def _is_of(kind: Any, wanted: tuple[type, ...]) -> bool:
    try:
        return isinstance(kind, type) and issubclass(kind, wanted)
    except TypeError:  # a protocol with data, which Python does not compare with classes
        return False
