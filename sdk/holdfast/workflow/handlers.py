"""Functions inside a workflow that take the signals of one name: `@holdfast.on_signal("add")`.

Each signal makes a task of its own. The workflow function and these tasks end like the body and the tasks of one
TaskGroup: the main function sees to that. Which signals a handler gets is the matter of the inbox.
"""

import asyncio
import inspect
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Optional

from holdfast.definitions.context import Context
from holdfast.definitions.functions import described
from holdfast.definitions.signatures import hints_as_known
from holdfast.errors import add_note
from holdfast.hints.refusals import HopelessHint, UnknownYet
from holdfast.hints.value_types import ValueType, value_type
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.styles import result_of
from holdfast.workflow.tasks import WorkflowTask

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EMPTY = inspect.Parameter.empty


class SignalHandler:
    """What takes the signals of one name. type: what a payload is read as."""

    __slots__ = ("_context", "_function", "_has_default", "_takes_payload", "name", "type")

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        """Raises TypeError for what cannot take a signal, and for a type that no signal can fit."""
        self.name = name
        self._function = function
        parameter = _parameter_of(name, function)
        self._takes_payload = parameter is not None
        self._has_default = parameter is not None and parameter.default is not _EMPTY
        self.type = _type_of(name, function, parameter)
        # What the code has set where it registers the handler counts in the handler too, as for callbacks of asyncio.
        self._context = copy_context()

    def begin(self, loop: WorkflowLoop, value: Any) -> WorkflowTask[None]:
        """A task that handles this payload."""
        without = not self._takes_payload or (value is None and self._has_default)
        called = self._called(() if without else (value,))
        return loop.create_task(called, name=f"signal {self.name}", context=self._context.copy())

    async def _called(self, args: tuple[Any, ...]) -> None:
        await result_of(self._function, args)

    def __str__(self) -> str:
        return described(self._function, with_place=True)


class RunningHandlers:
    """The handlers of one run that are at work, in the order in which they began.

    failure: the first error that one of them raised. on_failure: called then, once.
    """

    __slots__ = ("_is_over", "_loop", "_tasks", "failure", "on_failure")

    def __init__(self, loop: WorkflowLoop) -> None:
        self._loop = loop
        self._is_over = False
        self._tasks: dict[asyncio.Task[None], SignalHandler] = {}
        self.failure: BaseException | None = None
        self.on_failure: Callable[[], object] = _nothing

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def begin(self, handler: SignalHandler, value: Any) -> None:
        """Let the handler have this payload; after `cancel` nothing begins."""
        if self._is_over or self._loop.is_dead:
            return
        task = handler.begin(self._loop, value)
        self._tasks[task] = handler
        task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Cancel all of them, and let none begin."""
        self._is_over = True
        for task in list(self._tasks):
            task.cancel()

    async def wait(self) -> None:
        """Wait until none is at work. Who is cancelled meanwhile leaves them at work."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        handler = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        add_note(error, f"raised by {handler}, which handles signal {handler.name!r}")
        if self.failure is None:
            self.failure = error
            self.on_failure()
        else:
            self.report(error, f"a handler of signal {handler.name!r} failed, after another one had")

    def report(self, error: BaseException, message: str) -> None:
        """Log an error that the run does not end with, since another one was first."""
        self._loop.call_exception_handler({"message": message, "exception": error})


def _nothing() -> None:
    """Before the function has begun there is nobody to tell of failures."""


def _parameter_of(name: str, function: Callable[..., object]) -> inspect.Parameter | None:
    """The parameter that takes the payload; None when the function takes none."""
    words = f"on_signal {name!r}"
    if not callable(function):
        raise TypeError(f"{words} takes a function, not {function!r}")
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(f"{words}: {described(function)} is a generator, which nobody would iterate")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        raise TypeError(f"{words}: Python finds no signature of {described(function)}; wrap it in a def") from None
    by_position = [one for one in parameters if one.kind in _BY_POSITION]
    others = [
        one.name
        for one in (*by_position[1:], *(one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY))
        if one.default is _EMPTY
    ]
    if others:
        raise TypeError(
            f"{words}: {described(function)} needs {', '.join(others)} too; a signal has one payload: "
            "take one parameter, a dataclass or a model for instance"
        )
    return by_position[0] if by_position else None


def _type_of(name: str, function: Callable[..., object], parameter: inspect.Parameter | None) -> ValueType:
    if parameter is None:
        return value_type(type(None))
    hint = hints_as_known(function).get(parameter.name, Any)
    if hint is Context or getattr(hint, "__origin__", None) is Context:
        raise TypeError(f"on_signal {name!r}: {described(function)} takes a Context, which steps alone have")
    try:
        # Outside Python's own unions: `|` does not take every hint.
        found = value_type(hint if parameter.default is _EMPTY else Optional[hint])  # noqa: UP045
    except (HopelessHint, UnknownYet) as error:
        text = f"on_signal {name!r}: no signal can be {hint}, which {described(function)} takes: {error}"
        raise TypeError(text) from error
    return found
