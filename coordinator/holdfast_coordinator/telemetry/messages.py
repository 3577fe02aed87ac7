"""Spans of what reaches a run from outside: signals, and updates, whose senders wait for an answer. Pure."""

from dataclasses import dataclass

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.traces import SpanOf

from .spans import Attributes, Link, SpanKind, SpanStatus, cut_text, error_attributes, sender, time_ns
from .writer import Segment, SpanWriter


class SignalSpans:
    """Signals from their arrival until the code got them, or until the run closed without."""

    __slots__ = ("_writer",)

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer

    def consumed(self, mail: journal_pb2.Mail) -> None:
        writer = self._writer
        payload, name = mail.signal.payload.data, cut_text(mail.signal.name)
        own: Attributes = (("holdfast.input.bytes", len(payload)),) if payload else ()
        writer.write(
            writer.segment(), SpanOf.SIGNAL, mail.number, name=f"signal {name}", kind=SpanKind.CONSUMER,
            start_ns=min(time_ns(mail.arrived_at), writer.now_ns), end_ns=writer.now_ns, own=own,
            links=sender(mail.trace),
        )  # fmt: skip


@dataclass(slots=True)
class _Update:
    name: str
    segment: Segment
    start_ns: int
    links: tuple[Link, ...]


class UpdateSpans:
    """Updates from their acceptance until their outcome. The protocol has no entries for them yet."""

    __slots__ = ("_updates", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._updates: dict[int, _Update] = {}

    def accepted(self, number: int, name: str, trace: value_pb2.TraceContext) -> None:
        """The code has taken update `number`, counted as mail."""
        self._updates[number] = _Update(name, self._writer.begin(), self._writer.now_ns, sender(trace))

    def completed(self, number: int, *, failure: value_pb2.Failure | None = None) -> None:
        update = self._updates.get(number)
        if update is None:
            return
        own: Attributes = ()
        if failure is not None:
            own = error_attributes(failure, otherwise="failed", rules=self._writer.rules)
        self._end(number, update, SpanStatus.OK if failure is None else SpanStatus.ERROR, own)

    def close(self) -> None:
        for number, update in list(self._updates.items()):
            self._end(number, update, SpanStatus.UNSET, ())

    def _end(self, number: int, update: _Update, status: SpanStatus, own: Attributes) -> None:
        self._writer.write(
            update.segment, SpanOf.UPDATE, number, name=f"update {cut_text(update.name)}", kind=SpanKind.SERVER,
            start_ns=update.start_ns, end_ns=self._writer.now_ns, own=own, status=status, links=update.links,
        )  # fmt: skip
        self._writer.end(update.segment)
        del self._updates[number]
