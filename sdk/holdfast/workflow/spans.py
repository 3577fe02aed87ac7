"""The parts of workflow code that its author named for traces: `with holdfast.span("checkout")`.

A part becomes one journal entry when the code leaves it. It is no command: a replay passes over the entries, so code
may gain and lose spans between deployments. What was left in a replayed stretch and has no entry is not recorded later,
since only its beginning would be true.
"""

import asyncio
from contextvars import ContextVar
from datetime import datetime
from typing import ClassVar

from holdfast.limits import NAME_MAX
from holdfast.workflow.commands import LeaveSpan
from holdfast.workflow.matching import Ledger


class OpenSpan:
    """One part that the code is in, or was in. around: the part that it began in, which may be left before it."""

    __slots__ = (
        "_error_type",
        "_spans",
        "around",
        "began_at",
        "is_open",
        "is_unrecorded",
        "name",
        "number",
        "parent",
    )

    kind: ClassVar[str] = "span"

    def __init__(self, spans: "RunSpans", number: int, name: str, began_at: datetime) -> None:
        self.number = number
        self.name = name
        self.began_at = began_at
        self.around = innermost_open(_current.get())
        self.parent = 0
        self.is_open = True
        self.is_unrecorded = False
        self._spans = spans
        self._error_type = ""
        _current.set(self)

    def leave(self, error: type[BaseException] | None) -> None:
        """The code leaves it, with this error; to be cancelled or closed is none."""
        # Not by a token: a generator may end while a later part is open, or in another context than it began in.
        if _current.get() is self:
            _current.set(self.around)
        if error is not None and not issubclass(error, (asyncio.CancelledError, GeneratorExit)):
            self._error_type = storable_name(error.__name__)
        self._spans.left(self)

    def command(self) -> LeaveSpan:
        return LeaveSpan(self.number, self.name, self.began_at, self.parent, self._error_type)

    def describe(self) -> str:
        return f"left span {self.name}"


_current: ContextVar[OpenSpan | None] = ContextVar("holdfast_current_span", default=None)
"""The part that the running task of workflow code is in, or left last. A task begins in that of its maker."""


class RunSpans:
    """The spans of one run: numbers them in the order in which they are entered."""

    __slots__ = ("_last", "_ledger", "_left", "_open", "_recorded")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last = 0
        self._open: dict[int, OpenSpan] = {}
        self._left: list[OpenSpan] = []
        self._recorded: set[int] = set()

    def enter(self, name: str, at: datetime) -> OpenSpan | None:
        """The code enters a part of itself; None when it is being unwound and nothing can be recorded."""
        if self._ledger.is_ended:
            return None
        self._last += 1
        span = self._open[self._last] = OpenSpan(self, self._last, storable_name(name), at)
        return span

    def left(self, span: OpenSpan) -> None:
        """The code leaves a part; to leave it twice, or after the end of the run, means nothing."""
        if not span.is_open or self._ledger.is_ended:
            return
        span.is_open = False
        del self._open[span.number]
        if span.number in self._recorded:
            # Code of a former deployment has used the number.
            self._last = span.number = self._last + 1
        # Looked up now: a part that lasts longer than the one around it belongs to the next one out.
        around = innermost_open(span.around)
        span.parent = around.number if around is not None else 0
        self._left.append(span)
        self._ledger.ask(span)

    def leave_all(self) -> None:
        """The code has ended: what other tasks have left open ends with it, the inner parts first."""
        for number in sorted(self._open, reverse=True):
            self.left(self._open[number])

    def turn(self) -> None:
        """The code goes on. What it left before has its entry by now, or will never have one."""
        if self._left:
            for span in self._left:
                span.is_unrecorded = False
            self._left.clear()

    def recorded(self, number: int) -> None:
        """The journal has the entry of this number, whatever the code does now."""
        self._recorded.add(number)
        self._last = max(self._last, number)
        for span in self._left:
            if span.number == number:
                span.is_unrecorded = False


def innermost_open(span: OpenSpan | None) -> OpenSpan | None:
    """This part, or the nearest around it that the code has not left; None outside of all."""
    while span is not None and not span.is_open:
        span = span.around
    return span


def storable_name(name: str) -> str:
    """A name that can be stored, cut to NAME_MAX."""
    return name[:NAME_MAX].encode("utf-8", "replace").decode()
