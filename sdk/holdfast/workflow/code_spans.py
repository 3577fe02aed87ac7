"""The parts of workflow code that its author named for traces: `with holdfast.span("checkout")`.

A part becomes one journal entry when the code leaves it, and has one more from the first call of a step, a timer or a
child run in it: what is called there names it, and hangs below it in the trace. A replay passes over these entries, so
code may gain and lose spans between deployments. What was left in a replayed stretch and has no entry is not recorded
later, since only its beginning would be true.
"""

import asyncio
from contextvars import ContextVar
from datetime import datetime
from typing import ClassVar

from holdfast.journal import UserSpanBegan
from holdfast.limits import NAME_MAX
from holdfast.workflow.commands import EnterSpan, LeaveSpan
from holdfast.workflow.ledger import Ledger


class OpenSpan:
    """One part that the code is in, or was in.

    around: the part that it began in, which may be left before it. has_begun: the journal has its beginning, or gets it
    before what is called in it.
    """

    __slots__ = (
        "_error_type",
        "_spans",
        "around",
        "began_at",
        "has_begun",
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
        self.has_begun = False
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


class SpanBeginning:
    """Something is called in a part for the first time. around: the number of the part around it; 0 for none."""

    __slots__ = ("around", "is_unrecorded", "number", "span")

    kind: ClassVar[str] = "span"

    def __init__(self, span: OpenSpan) -> None:
        around = innermost_open(span.around)
        self.around = around.number if around is not None else 0
        self.span = span
        self.number = 0
        self.is_unrecorded = False

    def command(self) -> EnterSpan:
        span = self.span
        return EnterSpan(span.number, span.name, span.began_at, self.around)

    def describe(self) -> str:
        return f"entered span {self.span.name}"


_current: ContextVar[OpenSpan | None] = ContextVar("holdfast_current_span", default=None)
"""The part that the running task of workflow code is in, or left last. A task begins in that of its maker."""


class RunSpans:
    """The spans of one run: numbers them in the order in which they are entered."""

    __slots__ = ("_beginnings", "_last", "_ledger", "_left", "_open", "_recorded")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._last = 0
        self._open: dict[int, OpenSpan] = {}
        self._left: list[OpenSpan] = []
        self._beginnings: list[SpanBeginning] = []
        # Numbers of parts that ended, and of those that code of a former deployment had begun.
        self._recorded: set[int] = set()

    def enter(self, name: str, at: datetime) -> OpenSpan | None:
        """The code enters a part of itself; None when it is being unwound and nothing can be recorded."""
        if self._ledger.is_ended:
            return None
        self._last += 1
        span = self._open[self._last] = OpenSpan(self, self._last, storable_name(name), at)
        return span

    def here(self) -> OpenSpan | None:
        """The part in which the code calls something now, and whose beginning is in the journal before that."""
        span = _current.get()
        if span is None:
            return None
        innermost = span = innermost_open(span)
        beginning = []
        while span is not None and not span.has_begun:
            beginning.append(span)
            span = innermost_open(span.around)
        for span in reversed(beginning):
            self._begin(span)
        return innermost

    def _begin(self, span: OpenSpan) -> None:
        if span.number in self._recorded:
            self._renumber(span)
        span.has_begun = True
        beginning = SpanBeginning(span)
        self._beginnings.append(beginning)
        self._ledger.ask(beginning)

    def _renumber(self, span: OpenSpan) -> None:
        """Code of a former deployment has used the number."""
        if self._open.get(span.number) is span:
            del self._open[span.number]
        self._last = span.number = self._last + 1
        if span.is_open:
            self._open[span.number] = span

    def left(self, span: OpenSpan) -> None:
        """The code leaves a part; to leave it twice, or after the end of the run, means nothing."""
        if not span.is_open or self._ledger.is_ended:
            return
        span.is_open = False
        del self._open[span.number]
        if span.number in self._recorded:
            self._renumber(span)
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
        if self._beginnings:
            for beginning in self._beginnings:
                if beginning.is_unrecorded:
                    # The next call in it, if there is one, asks for its beginning anew.
                    beginning.is_unrecorded = beginning.span.has_begun = False
            self._beginnings.clear()

    def began(self, entry: UserSpanBegan) -> None:
        """The journal says that a part began: the one of this name, if the code is in one now."""
        self._last = max(self._last, entry.number)
        for beginning in self._beginnings:
            if beginning.is_unrecorded and beginning.span.name == entry.name:
                beginning.is_unrecorded = False
                self._take_number(entry.number, beginning.span)
                return
        self._recorded.add(entry.number)
        self._take_number(entry.number, None)

    def _take_number(self, number: int, owner: OpenSpan | None) -> None:
        """The number belongs to this part, or to none that the code has now; whichever had it gets another."""
        for span in [self._open.get(number), *self._left]:
            if span is not None and span is not owner and span.number == number:
                self._renumber(span)
        if owner is not None and owner.number != number:
            if self._open.pop(owner.number, None) is not None:
                self._open[number] = owner
            owner.number = number

    def recorded(self, number: int) -> None:
        """The journal says that the part of this number has ended, whatever the code does now."""
        self._recorded.add(number)
        self._last = max(self._last, number)
        still_open = self._open.get(number)
        if still_open is not None:
            # Code of a former deployment left it earlier: what is called in it from now on has another one around it.
            still_open.has_begun = False
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
