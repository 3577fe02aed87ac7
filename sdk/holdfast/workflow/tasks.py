"""Futures, tasks and timers of the workflow loop: they hash by the order in which they were created.

asyncio keeps tasks and futures in sets, and sets iterate by hash; by address, a replay would wake them in
another order. It never decides what runs.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from holdfast.workflow.commands import SetTimer
from holdfast.workflow.unawaited_calls import held_by

if TYPE_CHECKING:
    from holdfast.workflow.loop import WorkflowLoop

_T = TypeVar("_T")


class TimerHost(Protocol):
    """Who makes timers durable."""

    def elapsed_seconds(self) -> float: ...

    def set_timer(self, timer: "LoopTimer") -> None: ...

    def withdraw_timer(self, timer: "LoopTimer") -> None: ...


class Part(Protocol):
    """A named part of the code that something was called in. number: the one that the journal has for it."""

    number: int


def number_of(part: Part | None) -> int:
    """What entries name the part by; 0 for none."""
    return part.number if part is not None else 0


class WorkflowFuture(asyncio.Future[_T]):
    """A future that hashes by the order of creation: sets of futures iterate the same way in every replay."""

    __slots__ = ("_order",)

    _log_traceback: bool

    def __init__(self, loop: "WorkflowLoop") -> None:
        super().__init__(loop=loop)
        self._order = loop.next_order()

    def __hash__(self) -> int:
        return self._order


class WorkflowTask(asyncio.Task[_T]):
    """A task that hashes by the order of creation, and ends without a word when its run leaves memory."""

    __slots__ = ("_order", "context")

    _log_destroy_pending: bool
    _log_traceback: bool

    if TYPE_CHECKING:

        def get_loop(self) -> "WorkflowLoop": ...

    def __init__(
        self, coroutine: Coroutine[Any, Any, _T], loop: "WorkflowLoop", name: str | None, context: Context
    ) -> None:
        self._order = order = loop.next_order()
        self.context = context
        super().__init__(coroutine, loop=loop, name=name or f"task-{order & 0xFFFFF}", context=context)
        self._log_destroy_pending = False

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            # What it has called and not awaited yet is dropped on its way out, which is no mistake.
            self.get_loop().excused += held_by(self.get_coro())
        return super().cancel(msg)

    def __hash__(self) -> int:
        return self._order


class ReadyHandle(asyncio.Handle):
    """A callback in the queue. Without asyncio's debugging, which costs a third of a step's time."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: "WorkflowLoop", context: Context
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._source_traceback = None


class LoopTimer(asyncio.TimerHandle):
    """A timer set through asyncio, for example by `asyncio.sleep` and `asyncio.timeout`.

    hook: the number of the hook whose time it is, and the digest of its token.
    """

    __slots__ = ("delay", "hook", "host", "is_unrecorded", "name", "number", "part", "ready", "signal")

    kind: ClassVar[str] = "timer"

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "WorkflowLoop",
        context: Context,
        *,
        delay: timedelta,
        name: str,
        signal: str = "",
    ) -> None:
        super().__init__(loop.time() + delay.total_seconds(), callback, args, loop, context)
        self.delay = delay
        self.name = name
        self.signal = signal
        self.hook = (0, "")
        self.part: Part | None = None
        self.number = 0
        self.is_unrecorded = False
        self.ready = loop.ready
        self.host: TimerHost | None = None

    def cancel(self) -> None:
        """Stop the timer; nothing happens when it has fired."""
        host, self.host = self.host, None
        self._cancelled = True
        if host is not None:
            host.withdraw_timer(self)

    def fire(self) -> None:
        """Put the callback into the queue of its loop."""
        if self.host is not None:
            self.host = None
            self.ready.append(self)

    def command(self) -> SetTimer:
        return SetTimer(
            self.number, self.name, self.delay, signal=self.signal, span=number_of(self.part), hook=self.hook[0],
            hook_sha256=self.hook[1],
        )  # fmt: skip

    def describe(self) -> str:
        return f"set {timer_words(self.name, self.delay, None)}"


def timer_words(name: str, delay: timedelta | None, until: object) -> str:
    """A timer that has no number yet, in words."""
    when = f"of {delay}" if delay is not None else f"until {until}"
    return f"a timer {when} ({name})" if name else f"a timer {when}"
