"""What kind of function was decorated: refuses what cannot be a step or workflow, with the way out. Pure."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from holdfast.definitions.options import checked_name
from holdfast.definitions.signatures import hints_as_known, is_awaitable_hint

DEFINED_AT = "__holdfast_defined_at__"
"""Where (path and line) the user defined what a function stands for that was made of something else, as of a graph."""


def checked_function(decorator: str, function: Any) -> None:
    """Raises TypeError naming the function when `decorator` ("step", "workflow") cannot take it."""
    name = described(function)
    if isinstance(function, (staticmethod, classmethod)):
        raise TypeError(
            f"@{decorator} stands above @{type(function).__name__} on {name}; make it a module-level function, "
            f"or put @staticmethod above @{decorator}"
        )
    if isinstance(function, type):
        raise TypeError(f"@{decorator} takes a function, and {name} is a class")
    if not callable(function):
        raise TypeError(f"@{decorator} takes a function, not {function!r}")
    inner = inspect.unwrap(_called(function))
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(
            f"@{decorator} cannot take {name}: it is a generator, and a {decorator} has one result; "
            "return a list instead"
        )
    if _is_method(function):
        raise TypeError(
            f"@{decorator} cannot take the method {name}: its `self` lives in one process only; make it a "
            "module-level function and pass what it needs as arguments, or as deps through a Context parameter"
        )
    try:
        inspect.signature(function)
    except (ValueError, TypeError):
        raise TypeError(f"@{decorator} cannot take {name}: Python finds no signature of it; wrap it in a def") from None


def name_for(decorator: str, function: Callable[..., Any], given: str | None) -> str:
    """The name it is registered under: the one given, else the function's own."""
    if given is not None:
        return checked_name(f"{decorator} {described(function)}", "name", given)
    name = getattr(function, "__name__", None)
    if not name or name == "<lambda>":
        raise ValueError(f"{described(function)} has no name of its own; use @{decorator}(name=...)")
    return checked_name(decorator, "name", name)


def is_async(function: Callable[..., Any]) -> bool:
    """True for an `async def`: not for a `def` around one, which may run it to its end."""
    return inspect.iscoroutinefunction(_called(function))


def can_be_awaited(function: Callable[..., Any]) -> bool:
    """True for an `async def`, and for a `def` around one or with an awaitable as its annotated result."""
    called = _called(function)
    if inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(inspect.unwrap(called)):
        return True
    return is_awaitable_hint(hints_as_known(function).get("return"))


def is_awaitable(value: Any) -> bool:
    """True for what `await` takes."""
    return hasattr(type(value), "__await__")


def described(function: Any, *, with_place: bool = False) -> str:
    """Where it is defined, for errors: "shop.flows.charge", with_place: "shop.flows.charge (flows.py, line 3)"."""
    inner = inspect.unwrap(_called(function)) if callable(function) else function
    name = getattr(inner, "__qualname__", None) or getattr(getattr(inner, "__func__", None), "__qualname__", None)
    if not name:
        return repr(function)
    path, line = _place(inner)
    place = f" ({path}, line {line})" if with_place and path else ""
    return f"{getattr(inner, '__module__', None) or ''}.{name}".lstrip(".") + place


def place_of_caller(module: str) -> tuple[str, str, int]:
    """Module, path and line of the code that called into the package of this module."""
    package = module.rpartition(".")[0]
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(package):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, frame.f_lineno


def are_same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """True when both come from one definition, imported or run twice.

    Two definitions under one name in one file are different: the second one hides the first by mistake.
    """
    first, second = inspect.unwrap(_called(one)), inspect.unwrap(_called(other))
    if first is second:
        return True
    if getattr(first, "__qualname__", None) != getattr(second, "__qualname__", None):
        return False
    here, there = _place(first), _place(second)
    if here[0] == there[0]:
        return here[1] == there[1]
    return getattr(first, "__module__", None) == getattr(second, "__module__", None)


def innermost(function: Any) -> Any:
    """The function that a user wrote, below partial and callable objects and decorators that name what they wrap."""
    return inspect.unwrap(_called(function))


def _called(function: Any) -> Any:
    """The function that runs in the end, under partial objects, bound methods and callable objects."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type) or not callable(function):
        return function
    return type(function).__call__


def _place(function: Any) -> tuple[str, int]:
    said = getattr(function, DEFINED_AT, None)
    if said is not None:
        path, line = said
        return path, line
    code = getattr(function, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("", 0)


def _is_method(function: Any) -> bool:
    if inspect.ismethod(function) or not inspect.isfunction(function):
        return False
    first = next(iter(inspect.signature(function).parameters), "")
    return first in ("self", "cls")
