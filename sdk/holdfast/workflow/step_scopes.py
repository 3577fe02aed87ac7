"""The steps that were called in one part of workflow code, for who must not go on while their attempts run: a Saga.

In such a part a step goes on when the code no longer awaits it, until the part is left: the journal says of a step that
ended how it ended, and of one that was given up nothing more.
"""

import asyncio
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from holdfast.workflow.calls import StepCall
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.tasks import WorkflowFuture


class StepScope:
    """One part that the code is in, or was in. around: the part that it began in."""

    __slots__ = ("_abandoned", "_around", "_calls", "_is_open", "_loop", "_settled")

    def __init__(self, loop: WorkflowLoop) -> None:
        self._loop = loop
        self._around = _current.get()
        # Both as dicts, which keep the order of the calls. Those are open; of these nobody awaits the end any more.
        self._calls: dict[StepCall, None] = {}
        self._abandoned: dict[StepCall, None] = {}
        self._settled: WorkflowFuture[None] | None = None
        self._is_open = True
        _current.set(self)

    @property
    def is_over(self) -> bool:
        """True when the run has ended, or its code was dropped: nothing that is asked for now has an effect."""
        return self._loop.is_dead

    def leave(self) -> None:
        """The code leaves the part: what is called from now on is called in the part around it."""
        self._is_open = False
        if _current.get() is self:
            _current.set(self._around)

    async def settle(self, limit: timedelta, name: str) -> None:
        """Wait until the steps that were called in the part have ended; at the limit they are cancelled.

        name: of the limit, as the history shows it.
        """
        if not self._calls:
            return
        self._settled = settled = self._loop.create_future()
        timer = self._loop.set_timer(limit, _wake, settled, name=name)
        try:
            await settled
        finally:
            self._settled = None
            timer.cancel()
            for call in list(self._calls):
                call.cancel()

    def let_go(self) -> None:
        """Cancel the steps that nobody awaits any more; where another part is around, they go on until that is left."""
        outer = innermost_open(self._around)
        for call in list(self._abandoned):
            if outer is not None:
                outer._abandoned[call] = None
            else:
                call.cancel()

    async def result_of(self, call: StepCall) -> Any:
        """Await a step that is called in this part."""
        woken = self._loop.create_future()
        call.add_done_callback(lambda _: _wake(woken))
        inner: StepScope | None = self
        while inner is not None:
            inner._add(call)
            inner = inner._around
        try:
            await woken
        except asyncio.CancelledError:
            scope = innermost_open(self)
            if scope is None:
                call.cancel()
            elif not call.done():
                scope._abandoned[call] = None
            raise
        return call.result()

    def _add(self, call: StepCall) -> None:
        if self._is_open or self._settled is not None:
            self._calls[call] = None
            call.add_done_callback(self._ended)

    def _ended(self, call: Any) -> None:
        self._calls.pop(call, None)
        self._abandoned.pop(call, None)
        if not self._calls and self._settled is not None:
            _wake(self._settled)


_current: ContextVar[StepScope | None] = ContextVar("holdfast_step_scope", default=None)
"""The part that the running task of workflow code is in, or left last. A task begins in that of its maker."""


def scope_here() -> StepScope | None:
    """The innermost part that a step which is called now belongs to; None outside of all."""
    return innermost_open(_current.get())


def innermost_open(scope: StepScope | None) -> StepScope | None:
    """This part, or the nearest around it that the code has not left, or whose steps are waited for."""
    while scope is not None and not scope._is_open and scope._settled is None:
        scope = scope._around
    return scope


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
