"""`inline`: any callable as a step of one call, for what is not worth a step of its own.

It never runs anything by itself: inside a run it asks the runtime, as every step does.
"""

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from holdfast.authoring import plain_calls
from holdfast.authoring.steps import Step
from holdfast.backoff import DEFAULT_BACKOFF
from holdfast.definitions.definitions import StepDefinition, StepOptions, StepOverrides
from holdfast.definitions.functions import described, is_async
from holdfast.definitions.options import DEFAULT_RETRIES, checked_name
from holdfast.definitions.signatures import CallSignature
from holdfast.hints.refusals import HopelessHint
from holdfast.workflow.current_run import runtime_here
from holdfast.workflow.styles import in_style

if TYPE_CHECKING:
    from holdfast.workflow.result_or_call import ResultOrCall

P = ParamSpec("P")
T = TypeVar("T")

_OPTIONS = StepOptions(retries=DEFAULT_RETRIES, backoff=DEFAULT_BACKOFF, placement="inline")
_NOTHING_OVERRIDDEN = StepOverrides()


@overload
def inline(
    name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
) -> "ResultOrCall[T]": ...
@overload
def inline(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "ResultOrCall[T]": ...
def inline(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "ResultOrCall[Any]":
    """A step around any callable: `await holdfast.inline("read rates", read_rates, "EUR")`.

    It has the options of a step that says nothing about them (3 retries), a name in the history and a span in the
    trace, and runs in the worker that has the run, without a queue; a plain function runs in a thread. Only its result
    comes back, as its annotation says, else in JSON's own types: what it changes in variables of the workflow is not
    there when a replay goes on with the recorded result. Outside a run it calls the function.
    Raises ValueError or TypeError naming what cannot be called like this.
    """
    checked_name("inline", "name", name)
    definition = StepDefinition(name, *_called(name, function), _OPTIONS)
    runtime = runtime_here()
    if runtime is None:
        made: Any = plain_calls.call_as_step(definition.function, definition.is_async, args, kwargs)
    else:
        frame = sys._getframe(1)
        made = runtime.call_step(definition, args, kwargs, _NOTHING_OVERRIDDEN, (frame.f_code, frame.f_lasti))
    return in_style(made)


def _called(name: str, function: Callable[..., Any]) -> tuple[Callable[..., Any], bool, CallSignature]:
    """What is called, whether it is async, and how it can be called."""
    what = f"inline {name!r}"
    if isinstance(function, Step):
        function = function.function
    if inspect.iscoroutine(function):
        function.close()
        raise TypeError(f"{what} takes the function and its arguments, not the call: inline({name!r}, function, ...)")
    if not callable(function):
        raise TypeError(f"{what} takes a function and its arguments, not {function!r}")
    plain = function.func if isinstance(function, functools.partial) else function
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise TypeError(f"{what} cannot take {described(function)}: it is a generator, and a step has one result")
    if not inspect.isroutine(plain) or not hasattr(plain, "__annotations__"):
        # Classes and functions of C: what their hints are, or whether they have a signature, depends on the Python.
        function = _WithoutHints(function)
    try:
        return function, is_async(plain), CallSignature.of(function)
    except HopelessHint as error:
        raise TypeError(f"{what} cannot take {described(plain)}: {error}") from error


class _WithoutHints:
    """A callable that takes whatever it is given and says nothing of its result."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)
