"""One type hint and what becomes of values that have it. pydantic compiles it, and is imported when it first does.

A signature has its hints compiled when its function is registered, except those that cannot fail: they wait for their
first value. Other hints, as those of `receive`, are kept in a small cache.
"""

import types
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Never, NoReturn, Union, get_args, get_origin

from holdfast.errors import CodecMissing
from holdfast.hints.refusals import named

if TYPE_CHECKING:
    from holdfast.hints.changes import Change
    from holdfast.journal import Payload

HINTS_CACHED = 256
"""Hints outside of signatures whose compiled form is kept. A class that every run makes anew must not pile up."""

_SIMPLE: tuple[type, ...] = (type(None), bool, int, float, str, bytes)
_OWN = (*_SIMPLE, date, datetime, time, timedelta, list, dict, tuple, set, frozenset)
_COMPILED = ("decode", "plain", "change", "change_of_argument", "core_schema")


class ValueType:
    """A hint that is compiled when it is first needed. What it does is said at CompiledHint."""

    __slots__ = (*_COMPILED, "_schema_text", "hint", "name", "problem")

    decode: Callable[[bytes], Any]
    plain: frozenset[type]
    change: "Callable[[Any, bytes], Change | None]"
    change_of_argument: "Callable[[Any, bytes], Change | None]"
    core_schema: Mapping[str, Any]
    _schema_text: str

    def __init__(self, hint: Any, *, problem: str = "") -> None:
        """problem: why no value fits."""
        self.hint = hint
        self.name = named(hint)
        self.problem = problem

    def prepare(self) -> None:
        """Compiles it unless that is done: for whom its first value should not keep waiting."""
        getattr(self, _COMPILED[0])

    def compile(self) -> None:
        """Compiles it now. Raises HopelessHint or UnknownYet."""
        from holdfast.hints.compiled_hints import compile_hint

        made = compile_hint(self.hint)
        for name in _COMPILED:
            setattr(self, name, getattr(made, name))

    def schema_text(self) -> str:
        """What it accepts, for those who have none of the user's code; "" for anything. See `schemas`."""
        try:
            return self._schema_text
        except AttributeError:
            from holdfast.hints.schemas import text_of_schema

            self._schema_text = text = text_of_schema(self.core_schema)
            return text

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A slot that is empty so far; once it is filled, reading it costs no call."""
            if name not in _COMPILED:
                raise AttributeError(name)
            self.compile()
            return getattr(self, name)

    def read(self, payload: "Payload") -> Any:
        """The value. Raises what decoding raises; `problem_of` says it in words."""
        if payload.encoding and payload.encoding != "json":
            return _read_otherwise(payload)
        return self.decode(payload.data)


def _read_otherwise(payload: "Payload") -> Any:
    """A value that is not JSON. Raises CodecMissing unless it is pickled and this process may read that."""
    from holdfast.journal.values import AllowedPickle

    if payload.encoding.__class__ is not AllowedPickle:
        raise CodecMissing(payload.encoding)
    import pickle

    return pickle.loads(payload.data)


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
    """The hint for a signature, which keeps it. Raises HopelessHint or UnknownYet."""
    if hint is Any or hint is object:
        return UNDECLARED
    if hint is NoReturn or hint is Never:
        return refusing(hint, "a function that never returns has no result")
    if isinstance(hint, type) and hint in _SIMPLE:
        return _simple(hint)
    made = ValueType(hint)
    if not _is_pythons_own(hint):
        made.compile()
    return made


def refusing(hint: Any, problem: str) -> ValueType:
    """A type that no value fits, for the reason that is given."""

    def refuse(*_: Any) -> Any:
        raise ValueError(problem)

    made = ValueType(hint, problem=problem)
    made.decode = made.change = made.change_of_argument = refuse
    made.plain = frozenset()
    made.core_schema = {"type": "any"}
    return made


def _is_pythons_own(hint: Any) -> bool:
    """True for what consists of Python's own types, so that it can be compiled whenever that is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is None:
        return hint is Any or any(hint is one for one in _OWN)
    if origin is Literal:
        return all(type(one) in _SIMPLE for one in arguments)
    if origin is tuple:
        arguments = arguments[:1] if arguments[1:] == (...,) else arguments
    elif origin is dict:
        return len(arguments) == 2 and arguments[0] in (str, int) and _is_pythons_own(arguments[1])
    elif origin is not Union and origin is not types.UnionType and (origin is not list or len(arguments) != 1):
        return False
    return all(map(_is_pythons_own, arguments))


@lru_cache(maxsize=len(_SIMPLE))
def _simple(hint: Any) -> ValueType:
    return ValueType(hint)


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


UNDECLARED = ValueType(Any)
"""Without a hint a value comes back in JSON's own types: a tuple as a list, a model as a dict."""
