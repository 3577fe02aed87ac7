"""What workflow code waits for that is no message: predicates over its own variables.

They are looked at again whenever the code has gone on and waits, until none of them holds, so that the order in which
entries came decides everything. Each is called in the task that waits for it, which goes on in the same breath: what
holds when it is looked at holds when `wait_until` returns.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from holdfast.definitions.functions import is_awaitable
from holdfast.workflow.loop import CALLBACKS_MAX, CodeDoesNotPause, WorkflowLoop
from holdfast.workflow.tasks import WorkflowFuture
from holdfast.workflow.unawaited_calls import close_unawaited


class Conditions:
    """The predicates that the code of one run waits for, in the order in which it began to."""

    __slots__ = ("_has_gone_on", "_loop", "_waiting", "_wakes")

    def __init__(self, loop: WorkflowLoop) -> None:
        self._loop = loop
        self._waiting: dict[object, tuple[WorkflowFuture[None], Callable[[], object]]] = {}
        self._has_gone_on = True
        self._wakes = 0

    async def wait(self, predicate: Callable[[], object], timeout: timedelta | None) -> None:
        """Wait until the predicate holds. Raises TimeoutError after `timeout`, and what the predicate raises."""
        if self._holds(predicate):
            return
        me = object()
        is_late = False

        def time_out() -> None:
            nonlocal is_late
            is_late = True
            self._wake(me)

        timer = None if timeout is None else self._loop.set_timer(timeout, time_out, name="wait_until")
        try:
            while True:
                woken = self._loop.create_future()
                self._waiting[me] = woken, predicate
                await woken
                # Looked at once more when it is late: what has come true in the same moment counts.
                if self._holds(predicate):
                    return
                if is_late:
                    raise TimeoutError(f"wait_until: the condition ({_place_of(predicate)}) did not come true in time")
        finally:
            self._has_gone_on = True
            del self._waiting[me]
            if timer is not None:
                timer.cancel()

    def look_again(self) -> bool:
        """Wake everyone who waits, to look. Called when nothing is ready; True: something is, now.

        False when nobody waits, or when nobody has gone on since everyone looked last.
        """
        if not self._waiting or not self._has_gone_on:
            self._has_gone_on = True
            self._wakes = 0
            return False
        self._wakes += len(self._waiting)
        if self._wakes > CALLBACKS_MAX:
            raise CodeDoesNotPause(f"looked at conditions {CALLBACKS_MAX:,} times after one entry, and some came true")
        self._has_gone_on = False
        for me in list(self._waiting):
            self._wake(me)
        return True

    def words(self) -> list[str]:
        """What is waited for, in words."""
        return [f"condition {_place_of(predicate)}" for _, predicate in self._waiting.values()]

    def _wake(self, me: object) -> None:
        woken, _ = self._waiting[me]
        if not woken.done():
            woken.set_result(None)

    def _holds(self, predicate: Callable[[], object]) -> bool:
        loop = self._loop
        loop.is_looking = True
        try:
            value: Any = predicate()
            if is_awaitable(value):
                raise _is_no_answer(predicate, value)
            return bool(value)
        finally:
            loop.is_looking = False


def _is_no_answer(predicate: Callable[[], object], value: Any) -> TypeError:
    place, kind = _place_of(predicate), type(value).__name__
    error = TypeError(
        f"wait_until: the predicate ({place}) returned a {kind} and no answer; it is a plain function that looks at "
        "variables of the workflow: await elsewhere, and keep what came of it in one of them"
    )
    if hasattr(value, "cr_frame"):
        error.__cause__ = close_unawaited(value)
    return error


def _place_of(predicate: Callable[[], object]) -> str:
    code = getattr(predicate, "__code__", None)
    if code is None:
        return type(predicate).__name__
    return f"{os.path.basename(code.co_filename)} line {code.co_firstlineno}"
