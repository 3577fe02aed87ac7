"""Code that waits without `await`: it runs on a stack of its own, which is put aside while something is awaited for it.

Each stack belongs to one coroutine, and so to one task of a loop. What the code waits for is awaited there, and what
comes of that is returned or raised where the code waits. So the loop decides everything, as it does for `async` code,
and a task that is cancelled, or closed because its run leaves memory, raises in the code what it would raise there.

A stack ends before it is let go of: what is left of it Python would end at a moment of its own, in the middle of
whatever runs then. It must never decide what runs.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from holdfast.workflow import unawaited_calls

T = TypeVar("T")

_logger = logging.getLogger("holdfast.workflow")
_NO_NAMES: Mapping[str, Any] = {}
_left_behind: list["BlockingCode"] = []
"""Code that went on waiting whatever it was told. It never runs again, and is held so that nothing ends it later."""


class BlockingCode(greenlet):  # type: ignore[misc]
    """One stack. Its context variables are those of the task that it belongs to.

    coming: what the code gets when it goes on, an error to raise or a value.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self._called = function, args, kwargs
        self._error: BaseException | None = None
        self._result: Any = None
        self.coming: tuple[BaseException | None, Any] = None, None

    def run(self) -> None:
        function, args, kwargs = self._called
        try:
            self._result = function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised in the coroutine, where the loop judges it
            self._error = error

    def wait_for(self, awaitable: Awaitable[T]) -> T:
        """What the awaitable gives or raises. Called on this stack."""
        self.parent.switch(awaitable)
        (error, value), self.coming = self.coming, (None, None)
        if error is not None:
            trace = error.__traceback__
            try:
                # The first frame is that of the coroutine, and says nothing to the user.
                raise error.with_traceback(trace.tb_next if trace is not None else None)
            finally:
                del error, trace
        found: T = value
        return found

    def go_on(self) -> Any:
        """Let the code run until it waits or ends; what it waits for. Called elsewhere."""
        here = getcurrent()
        if self.parent is not here:
            self.parent: Any = here
        return self.switch()

    def outcome(self) -> Any:
        """What the code has returned; raises what it has raised."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        return self._result

    def end(self) -> None:
        """Raise GeneratorExit in the code, as in a coroutine that is closed."""
        self.coming = GeneratorExit(), None
        awaited = self.go_on()
        if not self.dead:
            self.leave_behind(awaited)

    def leave_behind(self, awaited: Any) -> None:
        """The code waits for something although it was told that it is over."""
        if hasattr(awaited, "close"):
            awaited.close()
        _left_behind.append(self)
        function = self._called[0]
        _logger.error(
            "%s goes on waiting although its run has left memory, whatever it is told; it is left where it is, and its "
            "memory is not given back before this process ends",
            getattr(function, "__qualname__", function),
        )


async def run_blocking(
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = _NO_NAMES,
    *,
    is_over: Callable[[], bool],
) -> Any:
    """Call a function that may wait without `await`; gives what it returns.

    is_over: whether nothing of it counts any more, when it is closed.
    """
    code = BlockingCode(function, args, kwargs)
    # The same object, no copy: what the code sets is seen by what is awaited for it, and the other way round.
    code.gr_context = getcurrent().gr_context
    try:
        awaited = code.switch()
        while not code.dead:
            is_closing = False
            try:
                code.coming = None, await awaited
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the code waits
                code.coming = error, None
                is_closing = error.__class__ is GeneratorExit and is_over()
            awaited = code.go_on()
            if is_closing and not code.dead:
                # Who closes a coroutine gets nothing to wait for from it.
                code.leave_behind(awaited)
                raise GeneratorExit
        return code.outcome()
    finally:
        # Only after an error that another thread has raised right here.
        if not code.dead and code not in _left_behind:
            code.end()


def blocking_code_here() -> BlockingCode | None:
    """The stack that the caller runs on, where it is one of these."""
    here = getcurrent()
    return here if here.__class__ is BlockingCode else None


def _frames_of(coroutine: Any) -> list[FrameType]:
    """The frames of the code that this coroutine runs, where it is one of `run_blocking`."""
    frames: list[FrameType] = []
    if coroutine.cr_code is run_blocking.__code__:
        code = coroutine.cr_frame.f_locals.get("code")
        frame = code.gr_frame if code is not None else None
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
    return frames


unawaited_calls.frames_beside = _frames_of
