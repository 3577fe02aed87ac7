"""`Saga`: what was done is undone in reverse order when the block fails or is cancelled. Ordinary workflow code.

It never decides whether something was done: it undoes what was added to it.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self

from holdfast.authoring.steps import Step
from holdfast.definitions.functions import described
from holdfast.errors import add_note
from holdfast.workflow.continuing import continuing
from holdfast.workflow.current_run import EnteredSteps, runtime_here
from holdfast.workflow.styles import in_style, is_blocking_code, result_of

P = ParamSpec("P")

STEPS_WAIT_MAX = timedelta(seconds=30)
"""How long the undoing waits for steps that still run, so that none overlaps what it undoes."""


class Saga:
    """Undoes in reverse what was added, when its block fails or is cancelled: `async with Saga() as saga:`.

    In a plain `def` workflow: `with Saga() as saga:`.
    The compensations run one after the other, the one that was added last first, and nothing interrupts them: a cancel
    request that comes meanwhile is raised afterwards. A compensation that fails does not keep the others from running;
    then an ExceptionGroup is raised with the error of the block, unless that was a cancellation, and those of the
    compensations. Otherwise the error of the block goes on as it was.

    So that no compensation overlaps what it undoes, a step that is called in the block goes on to its end when the code
    no longer awaits it. A block that fails waits for such steps, at most 30 seconds, and cancels the others; one that
    ends well cancels them.
    """

    def __init__(self) -> None:
        self._undos: list[_Undo] = []
        self._steps: EnteredSteps | None = None
        self._is_entered = False
        self._is_over = False

    def add(self, undo: Callable[P, object], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have `undo(*args, **kwargs)` called if the block fails. A step, or a function of workflow code.

        Raises TypeError, or ArgumentsRejected for a step, when it cannot be called like this, and RuntimeError outside
        of the block.
        """
        if asyncio.iscoroutine(undo):
            undo.close()
            raise TypeError("saga.add takes the function and its arguments, not the call: saga.add(refund, receipt)")
        if not callable(undo):
            raise TypeError(f"saga.add takes a function and its arguments, not {undo!r}")
        if not self._is_entered or self._is_over:
            when = "has ended" if self._is_over else "is not entered yet"
            raise RuntimeError(f"the saga {when}: call saga.add inside of the block of `with Saga() as saga:`")
        _check_call(undo, args, kwargs)
        self._undos.append(_Undo(undo, args, kwargs))

    def __enter__(self) -> Self:
        if not is_blocking_code():
            raise RuntimeError("in `async` code a saga is entered with `async with Saga() as saga:`, since it may wait")
        return self._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._must_undo(error) and error is not None:
            in_style(self._undo_after(error))

    async def __aenter__(self) -> Self:
        return self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._must_undo(error) and error is not None:
            await self._undo_after(error)

    def _enter(self) -> Self:
        if self._is_entered:
            raise RuntimeError("a saga is entered once; make one for each block")
        self._is_entered = True
        runtime = runtime_here()
        self._steps = runtime.enter_steps() if runtime is not None else None
        return self

    def _must_undo(self, error: BaseException | None) -> bool:
        """The block ends with this error, or well."""
        steps = self._steps
        if steps is not None:
            steps.leave()
        # GeneratorExit: the code is dropped where it is, not cancelled. Who is at the keyboard ends the process.
        if (steps is not None and steps.is_over) or isinstance(error, (GeneratorExit, KeyboardInterrupt)):
            return False
        if error is None or continuing(error) is not None:
            self._is_over = True
            if steps is not None:
                steps.let_go()
            return False
        return True

    async def _undo_after(self, error: BaseException) -> None:
        undoing = asyncio.create_task(self._undo())
        cancelled = await _ended(undoing)
        count, failures = undoing.result()
        if failures:
            raise _not_undone(error, failures, count) from error
        if cancelled is not None and not isinstance(error, asyncio.CancelledError):
            raise cancelled from error

    async def _undo(self) -> "tuple[int, list[BaseException]]":
        """How many compensations there were, and the errors of those that failed."""
        if self._steps is not None:
            await self._steps.settle(STEPS_WAIT_MAX, "saga: steps that still run")
        count = 0
        failures: list[BaseException] = []
        # What tasks of the block add meanwhile is undone too.
        while self._undos:
            undo = self._undos.pop()
            count += 1
            try:
                await undo.call()
            except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - the others must run whatever it is
                add_note(failure, f"raised by {undo}, which was to undo a part of a saga")
                failures.append(failure)
        self._is_over = True
        return count, failures


class _Undo:
    """One compensation."""

    __slots__ = ("_args", "_function", "_kwargs")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs

    async def call(self) -> None:
        await result_of(self._function, self._args, self._kwargs)

    def __str__(self) -> str:
        return f"step {self._function.name}" if isinstance(self._function, Step) else described(self._function)


async def _ended(task: "asyncio.Task[Any]") -> asyncio.CancelledError | None:
    """Wait until the task is done, whatever cancels who waits; returns the last cancellation."""
    cancelled = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


def _not_undone(error: BaseException, failures: list[BaseException], count: int) -> BaseExceptionGroup[BaseException]:
    why = "was cancelled" if isinstance(error, asyncio.CancelledError) else f"failed with {type(error).__name__}"
    message = f"a saga {why}, and {len(failures)} of {count} compensations failed"
    return BaseExceptionGroup(message, [error, *failures] if isinstance(error, Exception) else failures)


def _check_call(undo: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Now, and not when it is needed: raises what a call with these arguments would."""
    if isinstance(undo, Step):
        undo.definition.signature.bind(args, kwargs, target=f"step {undo.name}")
        return
    try:
        signature = inspect.signature(undo)
    except (ValueError, TypeError):
        # Python finds no signature of some functions of C: the call will show.
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"saga.add({described(undo)}, ...): {error}") from None
