"""Hooks of one run: places that take one payload from whoever has the token. Each is a signal of a name of its own.

A hook is open from the commit of the timer that limits it until something is delivered, the timer is due or the run
ends. What is delivered waits for the code like any signal.
"""

from datetime import datetime, timedelta
from typing import Any

from holdfast.hints.value_types import ValueType
from holdfast.limits import SPAN_MAX
from holdfast.workflow.calls import Inbox, ReceiveCall
from holdfast.workflow.loop import WorkflowLoop
from holdfast.workflow.tasks import LoopTimer


def signal_of(name: str, number: int = 0) -> str:
    """The name of the signal that a hook takes; without a number that under which its type is registered."""
    return f"hook {name} {number}" if number else f"hook {name}"


class HookCall(ReceiveCall):
    """What a hook is to receive. sha256: of its token."""

    __slots__ = ("_due", "_number", "_sha256", "_title")

    def __init__(
        self, loop: WorkflowLoop, inbox: Inbox, title: str, type: ValueType, *, number: int, sha256: str,
        since: datetime,
    ) -> None:  # fmt: skip
        super().__init__(loop, inbox, signal_of(title, number), type, since=since)
        self._title = title
        self._number = number
        self._sha256 = sha256
        self._due: float | None = None

    def open(self, timeout: timedelta | None) -> None:
        """Take one payload from now on. timeout: None for as long as the run is open."""
        loop: Any = self.get_loop()
        if timeout is not None:
            self._due = loop.time() + timeout.total_seconds()
        left = SPAN_MAX if timeout is None else timeout
        self.timer = loop.set_timer(left, self.time_out, name=signal_of(self._title), signal=self.name)
        if isinstance(self.timer, LoopTimer):
            self.timer.hook = (self._number, self._sha256)

    def was_refused(self) -> None:
        """What was delivered is set aside: take another one, in the time that is left."""
        assert self.timer is not None, self.name
        self.timer.cancel()
        self.open(None if self._due is None else timedelta(seconds=self._due - self.get_loop().time()))

    def _late_words(self) -> str:
        return f"nothing was delivered to the hook {self._title!r} in time"
