"""Spans of what reaches a run from outside: signals, and updates, whose senders wait for an answer. Pure."""

from dataclasses import dataclass

from holdfast.api.v1 import journal_pb2

from .catalogue import SIGNAL, UPDATE
from .span_writer import Segment, SpanWriter
from .spans import Attributes, Link, SpanStatus, cut_text, error_attributes, payload_bytes, sender, time_ns


class SignalSpans:
    """Signals from their arrival until the code got them, or until the run closed without."""

    __slots__ = ("_writer",)

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer

    def consumed(self, mail: journal_pb2.Mail) -> None:
        writer = self._writer
        payload = mail.signal.payload.data
        writer.write(
            writer.segment(), SIGNAL, mail.number, text=cut_text(mail.signal.name),
            start_ns=min(time_ns(mail.arrived_at), writer.now_ns), end_ns=writer.now_ns,
            own=(("holdfast.input.bytes", len(payload)),) if payload else (), links=sender(mail.trace, "sender"),
        )  # fmt: skip


@dataclass(slots=True)
class _Update:
    name: str
    input_bytes: int
    segment: Segment
    start_ns: int
    links: tuple[Link, ...]


class UpdateSpans:
    """Updates from when the code accepted them until it answered them, or until the run closed without."""

    __slots__ = ("_updates", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._updates: dict[int, _Update] = {}

    def accepted(self, mail: journal_pb2.Mail) -> None:
        if mail.number in self._updates:
            return
        update, writer = mail.update, self._writer
        self._updates[mail.number] = _Update(
            cut_text(update.name),
            payload_bytes(update.arguments),
            writer.begin(),
            writer.now_ns,
            sender(mail.trace, "caller"),
        )

    def completed(self, body: journal_pb2.UpdateCompleted) -> None:
        update = self._updates.get(body.number)
        if update is None:
            return
        if body.HasField("failure"):
            error = error_attributes(body.failure, otherwise="failed", rules=self._writer.rules)
            self._end(body.number, update, SpanStatus.ERROR, error)
        else:
            self._end(body.number, update, SpanStatus.OK, (("holdfast.output.bytes", len(body.result.data)),))

    def close(self) -> None:
        for number, update in list(self._updates.items()):
            self._end(number, update, SpanStatus.UNSET, ())

    def _end(self, number: int, update: _Update, status: SpanStatus, outcome: Attributes) -> None:
        self._writer.write(
            update.segment, UPDATE, number, text=update.name, start_ns=update.start_ns, end_ns=self._writer.now_ns,
            own=(("holdfast.input.bytes", update.input_bytes), *outcome), status=status, links=update.links,
        )  # fmt: skip
        self._writer.end(update.segment)
        del self._updates[number]
