"""Spans of parts of the workflow's code that it has named itself. Pure.

The journal tells of such a part when the code leaves it, so inner ones before those around them. They are kept until
then: whether the one around them ever ends is not known before, and a span must not hang below one that never comes.
What is inside one that never ends hangs below the run. So does what ends after the one around it, in a task of its own.
A part belongs, with all inside it, to the segment in which the outermost one ended.
"""

from dataclasses import dataclass

from holdfast.api.v1 import journal_pb2

from .catalogue import USER
from .spans import Attributes, SpanStatus, cut_text, time_ns
from .writer import SpanWriter

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
        return SpanStatus.ERROR if self.error_type not in ("", _CANCELLED) else SpanStatus.UNSET


class UserSpans:
    """The parts that the code has left and that wait for the one around them.

    They are few: the budget counts them when the code leaves them.
    """

    __slots__ = ("_kept", "_left", "_left_below", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._kept: dict[int, list[_Left]] = {}
        # Numbers of parts that were left: all below a number, and some above it.
        self._left_below = 1
        self._left: set[int] = set()

    def left(self, body: journal_pb2.UserSpan) -> None:
        """The code has left a part of itself. What a broken worker says twice passes by."""
        if self._was_left(body.number):
            return
        self._leave(body.number)
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
            self._write(shown)

    def close(self) -> None:
        for parts in self._kept.values():
            self._write(parts)
        self._kept.clear()

    def _was_left(self, number: int) -> bool:
        return number < self._left_below or number in self._left

    def _leave(self, number: int) -> None:
        self._left.add(number)
        while self._left_below in self._left:
            self._left.remove(self._left_below)
            self._left_below += 1

    def _write(self, parts: list[_Left]) -> None:
        """Writes them below the run, with all that is inside them."""
        writer = self._writer
        segment = writer.segment()
        waiting = [(part, b"", 0, writer.now_ns) for part in reversed(parts)]
        while waiting:
            part, parent_id, from_ns, until_ns = waiting.pop()
            id = segment.id_of(USER.word, part.number, 0)
            start_ns, end_ns = max(part.start_ns, from_ns), min(part.end_ns, until_ns)
            if start_ns >= end_ns:
                # Code that waits for nothing takes no time by the journal; Jaeger warns of spans without length.
                start_ns, end_ns = (end_ns - 1, end_ns) if end_ns > from_ns else (start_ns, start_ns + 1)
            own: Attributes = (("error.type", part.error_type),) if part.error_type else ()
            writer.put(segment, USER, id, parent_id, part.name, start_ns, end_ns, own, part.status)
            waiting.extend((inner, id, start_ns, end_ns) for inner in reversed(part.inner))
