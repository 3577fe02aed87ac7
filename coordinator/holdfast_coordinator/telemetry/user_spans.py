"""Spans of parts of the workflow's code that it has named itself. Pure.

The journal has the beginning of a part in which something is called. Such a part has its span whatever comes, at the
latest when the run ends; steps, timers and children hang below it. It belongs to the segment in which it began.

A part in which nothing is called has only an entry of its end, so inner ones come before those around them. They are
kept until then: a span must not hang below one that never comes. What is inside one that never ends hangs below the
run. Such a part belongs, with all inside it, to the segment in which the outermost one ended.

What ends after the part around it, in a task of its own, belongs to the next one out that goes on.
"""

from dataclasses import dataclass

from holdfast.api.v1 import journal_pb2

from .catalogue import NOTE, USER
from .span_writer import PartSpan, Segment, SpanWriter, innermost
from .spans import Attributes, SpanStatus, cut_text, time_ns

_CANCELLED = "CancelledError"


@dataclass(slots=True)
class _Left:
    """A part that the code has left. inner: those inside it that are to be seen."""

    number: int
    name: str
    start_ns: int
    end_ns: int
    error_type: str
    inner: list["_Left"]

    @property
    def status(self) -> SpanStatus:
        return _status(self.error_type)


class UserSpans:
    """The parts that have begun and go on, and those that the code has left and that wait for the one around them.

    They are few: the budget counts them when the code leaves them.
    """

    __slots__ = ("_begun", "_kept", "_left", "_left_below", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._begun: dict[int, PartSpan] = {}
        self._kept: dict[int, list[_Left]] = {}
        # Numbers of parts that were left: all below a number, and some above it.
        self._left_below = 1
        self._left: set[int] = set()

    def part(self, number: int) -> PartSpan | None:
        """The part of this number, if it has begun and goes on."""
        return self._begun.get(number) if number else None

    def began(self, body: journal_pb2.UserSpanBegan) -> None:
        """Something is called in a part of the code. What a broken worker says twice passes by."""
        number = body.number
        if number in self._begun or self._was_left(number):
            return
        writer = self._writer
        segment = writer.begin()
        around = innermost(self.part(body.parent), segment)
        start_ns = min(time_ns(body.began_at), writer.now_ns)
        if around is not None and start_ns < around.start_ns:
            start_ns = around.start_ns
        id = segment.id_of(USER.word, number, 0)
        self._begun[number] = PartSpan(number, cut_text(body.name), id, segment, start_ns, around)

    def left(self, body: journal_pb2.UserSpan) -> None:
        """The code has left a part of itself. What a broken worker says twice passes by."""
        if self._was_left(body.number):
            return
        self._leave(body.number)
        begun = self._begun.pop(body.number, None)
        if begun is not None:
            self._end(begun, cut_text(body.error_type))
            return
        writer = self._writer
        part = _Left(
            body.number,
            cut_text(body.name),
            min(time_ns(body.began_at), writer.now_ns),
            writer.now_ns,
            cut_text(body.error_type),
            self._kept.pop(body.number, []),
        )
        shown = [part] if writer.admits(writer.segment(), part.status) else part.inner
        # Parts are numbered in the order in which they are entered.
        if 0 < body.parent < body.number and not self._was_left(body.parent):
            self._kept.setdefault(body.parent, []).extend(shown)
        else:
            self._write(shown, writer.segment())

    def noted(self, body: journal_pb2.Noted, entry_number: int) -> None:
        """The code has written a note, in the part that is named or in none."""
        writer = self._writer
        segment = writer.begin()
        own = (("holdfast.note.level", cut_text(body.level)), ("holdfast.note.text", cut_text(body.text)))
        writer.write(
            segment, NOTE, entry_number, start_ns=writer.now_ns, end_ns=writer.now_ns, own=own,
            inside=self.part(body.span),
        )  # fmt: skip
        writer.end(segment)

    def close(self) -> None:
        # Inner ones first: they began later.
        for part in reversed(list(self._begun.values())):
            self._end(part, "")
        self._begun.clear()
        for parts in self._kept.values():
            self._write(parts, self._writer.segment())
        self._kept.clear()

    def _end(self, part: PartSpan, error_type: str) -> None:
        """Writes the span of a part that had begun, and of those inside it that wait for it."""
        writer, segment = self._writer, part.segment
        part.is_left = True
        status, inner = _status(error_type), self._kept.pop(part.number, [])
        if writer.admits(segment, status, always=part.is_shown or bool(inner)):
            writer.put(
                segment, USER, part.id, b"", part.name, part.earliest_ns, writer.now_ns, _error(error_type), status,
                inside=part.around,
            )  # fmt: skip
            self._write(inner, segment, part.id, part.start_ns)
        writer.end(segment)

    def _was_left(self, number: int) -> bool:
        return number < self._left_below or number in self._left

    def _leave(self, number: int) -> None:
        self._left.add(number)
        while self._left_below in self._left:
            self._left.remove(self._left_below)
            self._left_below += 1

    def _write(self, parts: list[_Left], segment: Segment, below: bytes = b"", from_ns: int = 0) -> None:
        """Writes them below the run or the part of this id, with all that is inside them."""
        writer = self._writer
        waiting = [(part, below, from_ns, writer.now_ns) for part in reversed(parts)]
        while waiting:
            part, parent_id, from_ns, until_ns = waiting.pop()
            id = segment.id_of(USER.word, part.number, 0)
            start_ns, end_ns = max(part.start_ns, from_ns), min(part.end_ns, until_ns)
            if start_ns >= end_ns:
                # Code that waits for nothing takes no time by the journal; Jaeger warns of spans without length.
                start_ns, end_ns = (end_ns - 1, end_ns) if end_ns > from_ns else (start_ns, start_ns + 1)
            own = _error(part.error_type)
            writer.put(segment, USER, id, parent_id, part.name, start_ns, end_ns, own, part.status)
            waiting.extend((inner, id, start_ns, end_ns) for inner in reversed(part.inner))


def _status(error_type: str) -> SpanStatus:
    return SpanStatus.ERROR if error_type not in ("", _CANCELLED) else SpanStatus.UNSET


def _error(error_type: str) -> Attributes:
    return (("error.type", error_type),) if error_type else ()
