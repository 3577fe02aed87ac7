"""Hints that no value can satisfy after a round trip through JSON, and those that may not be what was written. Pure."""

import dataclasses
import sys
import types
import typing
from collections import abc
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from typing_extensions import TypeAliasType

from holdfast.hints.refusals import named

_ONCE = frozenset({abc.Iterator, abc.Generator, abc.AsyncIterator, abc.AsyncGenerator, abc.AsyncIterable})
_CODE = frozenset({abc.Callable, abc.Awaitable, abc.Coroutine, type})
_NO_KEYS = (tuple, list, set, frozenset, dict, BaseModel)


def problem_with(hint: Any) -> str:
    """Why no value can come back as `hint` says, and what to write instead; "" when some can."""
    if isinstance(hint, TypeAliasType) or type(hint).__name__ == "TypeAliasType":
        return problem_with(hint.__value__)
    origin, arguments = get_origin(hint), get_args(hint)
    kind = origin or hint
    if kind is Annotated:
        return problem_with(arguments[0])
    if kind is typing.Literal:
        return ""
    if problem := _alone(kind):
        return problem
    if _is_mapping(kind) and arguments and (key := _bad_key(arguments[0])):
        return f"a key of type {key} has no form in JSON; use text or a number as the key, or a list of pairs"
    for argument in arguments:
        if argument is not Ellipsis and not isinstance(argument, list) and (problem := problem_with(argument)):
            return problem
    return ""


def may_be_anothers(hint: Any) -> bool:
    """True when `typing` may have given this hint to code that wrote another one.

    typing.List[str | date] is the very object that typing.List[date | str] has made before, since the unions in it are
    equal; which order it has depends on what else the process has imported.
    """
    parts = [one for one in get_args(hint) if not isinstance(one, list)]
    if type(hint).__module__ == "typing" and get_origin(hint) is not typing.Literal:
        options = [one for one in parts if one is not type(None)]
        is_optional = get_origin(hint) is typing.Union and len(options) < len(parts) and len(options) > 1
        if is_optional or any(_has_choice(one) for one in parts):
            return True
    return any(may_be_anothers(one) for one in parts)


def _has_choice(hint: Any) -> bool:
    parts = [one for one in get_args(hint) if not isinstance(one, list)]
    is_union = get_origin(hint) in (typing.Union, types.UnionType)
    return (is_union and sum(one is not type(None) for one in parts) > 1) or any(_has_choice(one) for one in parts)


def _alone(kind: Any) -> str:
    try:
        if kind in _ONCE:
            return f"{named(kind)} can be read only once; use list"
        if kind in _CODE:
            return f"{named(kind)} stands for code, which has no form in JSON; pass a name or data"
    except TypeError:  # unhashable
        return ""
    if kind in (bytearray, memoryview):
        return f"{named(kind)} cannot be read back; use bytes"
    if sys.version_info < (3, 12) and _is_old_typed_dict(kind):
        return (
            f"{named(kind)} is a typing.TypedDict, which Python 3.11 does not describe; use that of typing_extensions"
        )
    return ""


def _is_old_typed_dict(kind: Any) -> bool:
    return isinstance(kind, type) and type(kind).__module__ == "typing" and typing.is_typeddict(kind)


def _is_mapping(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, abc.Mapping)


def _bad_key(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    kind = origin or hint
    if kind is Annotated:
        return _bad_key(arguments[0])
    if isinstance(kind, type):
        is_bad = issubclass(kind, _NO_KEYS) or dataclasses.is_dataclass(kind)
        return named(hint) if is_bad else ""
    return ""
