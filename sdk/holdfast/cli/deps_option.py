"""`--deps module:factory`: what steps find as `ctx.deps`, made by the user's own code on the loop of the worker."""

import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import typer

from holdfast.errors import HoldfastError

_HINT = "--deps"

DepsOption = Annotated[
    str | None,
    typer.Option(
        _HINT,
        envvar="HOLDFAST_DEPS",
        metavar="MODULE:FACTORY",
        help="What gives steps their ctx.deps: a function, plain or async, or one that gives an async context manager.",
        show_default=False,
    ),
]


class DepsNotMade(HoldfastError):
    """The code that `--deps` names cannot be loaded, or gives no deps."""

    def __init__(self, target: str, problem: str) -> None:
        super().__init__(f"{_HINT} {target} {problem}")
        self.target = target


def checked_target(target: str) -> tuple[str, str]:
    """Module and name of "shop.deps:make". A usage error when it is malformed."""
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise typer.BadParameter(f'{target!r} is not "module:factory", such as "shop.deps:make"', param_hint=_HINT)
    return module_name, attribute


def find_deps(target: str | None) -> Any:
    """What "shop.deps:make" names; None for no target. It is not called yet.

    A usage error when it is malformed, DepsNotMade when it is not there or cannot be called without arguments.
    """
    if target is None:
        return None
    module_name, attribute = checked_target(target)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise DepsNotMade(target, f"cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, attribute, None)
    if found is None:
        raise DepsNotMade(target, f"is not there: {module_name} has no {attribute!r}")
    if not callable(found):
        raise DepsNotMade(target, f"is {found!r}; a function that makes the deps is needed")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise DepsNotMade(target, "is a generator; put @contextlib.asynccontextmanager above it")
    if needed := _needed(found):
        raise DepsNotMade(target, f"is called without arguments, and needs {', '.join(needed)}")
    return found


@asynccontextmanager
async def opened_deps(target: str | None, found: Any) -> AsyncIterator[dict[str, Any]]:
    """The deps as an option of Worker; none without a target. What was opened is closed at the end of the block.

    Raises DepsNotMade with what the user's code raised.
    """
    if target is None:
        yield {}
        return
    stack = AsyncExitStack()
    try:
        made = found()
        if inspect.isawaitable(made):
            made = await made
        if hasattr(type(made), "__aenter__"):
            made = await stack.enter_async_context(made)
    except Exception as error:
        raise DepsNotMade(target, f"gives no deps: {type(error).__name__}: {error}") from error
    try:
        yield {"deps": made}
    finally:
        try:
            await stack.aclose()
        except Exception as error:
            raise DepsNotMade(target, f"cannot be closed: {type(error).__name__}: {error}") from error


def _needed(found: Any) -> list[str]:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # Python finds no signature; calling it says what is wrong
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in variadic]
