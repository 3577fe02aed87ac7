"""Spans of what a run waits for: times, signals, children, and people who have to let it go on. Pure."""

from dataclasses import dataclass

from holdfast.api.v1 import journal_pb2
from holdfast.api.v1.status_pb2 import CLOSE_POLICY_ABANDON
from holdfast.statuses import RunStatus
from holdfast.traces import detached_root

from .catalogue import CHILD, PAUSED, SIGNAL_WAIT, SLEEP, STALLED, TIMER, SpanType
from .span_writer import PartSpan, Segment, SpanWriter
from .spans import Attributes, Link, SpanStatus, cut_text, error_attributes, payload_bytes, time_ns

FAILED_RUNS = frozenset({RunStatus.FAILED, RunStatus.TERMINATED, RunStatus.TIMED_OUT})

FIRED = "fired"
RECEIVED = "received"
TIMED_OUT = "timed_out"
CANCELLED = "cancelled"

_OUTCOME = "holdfast.wait.outcome"


@dataclass(slots=True)
class _Timer:
    """signal: the name of the signal whose wait it limits; empty for a timer of its own."""

    number: int
    name: str
    signal: str
    segment: Segment
    start_ns: int
    inside: PartSpan | None


class TimerSpans:
    """The open timers of one run, and its waits for signals: those with a limit are timers too."""

    __slots__ = ("_came", "_timers", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._timers: dict[int, _Timer] = {}
        self._came: list[str] = []

    def set(self, body: journal_pb2.TimerSet, inside: PartSpan | None) -> None:
        if body.number not in self._timers:
            writer = self._writer
            self._timers[body.number] = _Timer(
                body.number, cut_text(body.name), cut_text(body.signal), writer.begin(), writer.now_ns, inside
            )

    def fired(self, number: int, arrived_ns: int) -> None:
        timer = self._timers.get(number)
        if timer is not None:
            end_ns = min(max(arrived_ns, timer.start_ns), self._writer.now_ns)
            self._end(timer, TIMED_OUT if timer.signal else FIRED, end_ns)

    def cancelled(self, body: journal_pb2.TimerCancelled) -> None:
        timer = self._timers.get(body.number)
        if timer is None:
            return
        outcome = CANCELLED
        if timer.signal and timer.signal in self._came:
            # A signal that ends such a wait reaches the code in the same transition.
            self._came.remove(timer.signal)
            outcome = RECEIVED
        self._end(timer, outcome, self._writer.now_ns)

    def signal_consumed(self, body: journal_pb2.MailConsumed) -> None:
        """A signal reached the code, which may have waited for it."""
        name = cut_text(body.mail.signal.name)
        if not body.HasField("awaited_since"):
            self._came.append(name)
            return
        # No entry says that such a wait begins, so it belongs to the segment in which it ends.
        self._writer.write(
            self._writer.segment(), SIGNAL_WAIT, body.mail.number, 1, text=name,
            start_ns=time_ns(body.awaited_since), end_ns=self._writer.now_ns, own=((_OUTCOME, RECEIVED),),
        )  # fmt: skip

    def row_ended(self) -> None:
        """The code has come to rest."""
        if self._came:
            self._came.clear()

    def close(self) -> None:
        for timer in list(self._timers.values()):
            self._end(timer, CANCELLED, self._writer.now_ns)

    def _end(self, timer: _Timer, outcome: str, end_ns: int) -> None:
        what = SLEEP
        own: Attributes = ((_OUTCOME, outcome),)
        if timer.signal:
            what = SIGNAL_WAIT
        elif timer.name:
            what, own = TIMER, (("holdfast.timer.name", timer.name), *own)
        self._writer.write(
            timer.segment, what, timer.number, text=timer.signal, start_ns=timer.start_ns, end_ns=end_ns, own=own,
            inside=timer.inside,
        )  # fmt: skip
        self._writer.end(timer.segment)
        del self._timers[timer.number]


@dataclass(slots=True)
class _Child:
    """A child that is awaited. Not its message: a part of a message keeps all of it in memory, with all arguments."""

    number: int
    workflow: str
    queue: str
    run_id: str
    input_bytes: int
    is_detached: bool
    segment: Segment
    start_ns: int
    inside: PartSpan | None


class ChildSpans:
    """The children that a run awaits. Their own run spans are children of these, so these are always written."""

    __slots__ = ("_children", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._children: dict[int, _Child] = {}

    def started(self, body: journal_pb2.ChildStarted, inside: PartSpan | None) -> None:
        if body.number not in self._children:
            writer = self._writer
            self._children[body.number] = _Child(
                body.number,
                cut_text(body.workflow),
                cut_text(body.queue or writer.facts.queue),
                cut_text(body.run_id),
                payload_bytes(body.arguments),
                body.close_policy == CLOSE_POLICY_ABANDON,
                writer.begin(),
                writer.now_ns,
                inside,
            )

    def closed(self, body: journal_pb2.ChildClosed, arrived_ns: int) -> None:
        child = self._children.get(body.number)
        if child is None:
            return
        status = RunStatus.of_number(body.status) if 1 <= body.status <= len(RunStatus) else RunStatus.CANCELLED
        outcome, tail = SpanStatus.OK, _output(body)
        if status in FAILED_RUNS:
            failure = body.failure if body.HasField("failure") else None
            outcome = SpanStatus.ERROR
            tail = error_attributes(failure, otherwise=status.value, rules=self._writer.rules)
        elif status is RunStatus.CANCELLED:
            outcome = SpanStatus.UNSET
        self._end(child, outcome, min(max(arrived_ns, child.start_ns), self._writer.now_ns), tail)

    def cancelled(self, body: journal_pb2.ChildCancelled) -> None:
        child = self._children.get(body.number)
        if child is not None:
            self._end(child, SpanStatus.UNSET, self._writer.now_ns, ())

    def close(self) -> None:
        for child in list(self._children.values()):
            self._end(child, SpanStatus.UNSET, self._writer.now_ns, ())

    def _end(self, child: _Child, status: SpanStatus, end_ns: int, tail: Attributes) -> None:
        writer = self._writer
        own: Attributes = (("holdfast.queue", child.queue),) if child.queue else ()
        own = (*own, ("holdfast.input.bytes", child.input_bytes), *tail, ("holdfast.child.run.id", child.run_id))
        links: tuple[Link, ...] = ()
        if child.is_detached:
            links = (Link(detached_root(writer.facts.trace, child.run_id), "child"),)
        writer.write(
            child.segment, CHILD, child.number, text=child.workflow, start_ns=child.start_ns, end_ns=end_ns, own=own,
            status=status, links=links, always=True, inside=child.inside,
        )  # fmt: skip
        writer.end(child.segment)
        del self._children[child.number]


@dataclass(slots=True)
class _Halt:
    what: SpanType
    number: int
    segment: Segment
    start_ns: int
    own: Attributes


class HaltSpans:
    """Times in which the run was offered to no session: stalled, or paused by an operator. One after the other."""

    __slots__ = ("_halt", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._halt: _Halt | None = None

    def stalled(self, body: journal_pb2.RunStalled, entry_number: int) -> None:
        build: Attributes = (("holdfast.worker.build", cut_text(body.build)),) if body.build else ()
        self._begin(STALLED, entry_number, (*build, *self._why("holdfast.stall.reason", body.reason)))

    def paused(self, body: journal_pb2.RunPaused, entry_number: int) -> None:
        self._begin(PAUSED, entry_number, self._why("holdfast.pause.reason", body.reason))

    def resumed(self) -> None:
        halt, self._halt = self._halt, None
        if halt is not None:
            self._writer.write(
                halt.segment, halt.what, halt.number, start_ns=halt.start_ns, end_ns=self._writer.now_ns, own=halt.own
            )
            self._writer.end(halt.segment)

    def close(self) -> None:
        self.resumed()

    def _begin(self, what: SpanType, entry_number: int, own: Attributes) -> None:
        if self._halt is not None and self._halt.what is what:
            return
        self.resumed()
        self._halt = _Halt(what, entry_number, self._writer.begin(), self._writer.now_ns, own)

    def _why(self, name: str, reason: str) -> Attributes:
        return ((name, cut_text(reason)),) if reason and self._writer.rules.shows_messages else ()


def _output(body: journal_pb2.ChildClosed) -> Attributes:
    return (("holdfast.output.bytes", len(body.result.data)),) if body.HasField("result") else ()
