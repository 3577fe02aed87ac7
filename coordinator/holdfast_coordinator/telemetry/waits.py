"""Spans of what a run waits for: times, signals, children, and people who have to let it go on. Pure."""

from dataclasses import dataclass

from holdfast.api.v1 import journal_pb2
from holdfast.api.v1.status_pb2 import CLOSE_POLICY_ABANDON
from holdfast.statuses import RunStatus
from holdfast.traces import SpanOf, detached_root

from .spans import (
    SHORTEST_WAIT_NS,
    Attributes,
    Link,
    SpanKind,
    SpanStatus,
    cut_text,
    error_attributes,
    payload_bytes,
)
from .writer import Segment, SpanWriter

SIGNAL_TIMER = "signal "
"""What the names of timers begin with that limit how long the code waits for a signal."""

FAILED_RUNS = frozenset({RunStatus.FAILED, RunStatus.TERMINATED, RunStatus.TIMED_OUT})

FIRED = "fired"
RECEIVED = "received"
TIMED_OUT = "timed_out"
CANCELLED = "cancelled"


@dataclass(slots=True)
class _Timer:
    number: int
    name: str
    segment: Segment
    start_ns: int

    @property
    def signal(self) -> str:
        """The name of the signal whose wait it limits, or an empty text."""
        return self.name[len(SIGNAL_TIMER) :] if self.name.startswith(SIGNAL_TIMER) else ""


@dataclass(slots=True)
class _Arrived:
    """A signal that the code got last. since_ns: the entry before, when the code had already come to rest."""

    name: str
    number: int
    since_ns: int
    until_ns: int


class TimerSpans:
    """The open timers of one run, and its waits for signals.

    When a receive without a timeout began to wait is in no entry. But what the code does between two entries is
    nothing: if it acts on a signal at once, it has waited for it at least since the entry before.
    """

    __slots__ = ("_signal", "_timers", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._timers: dict[int, _Timer] = {}
        self._signal: _Arrived | None = None

    def set(self, body: journal_pb2.TimerSet) -> None:
        if body.number not in self._timers:
            timer = _Timer(body.number, cut_text(body.name), self._writer.begin(), self._writer.now_ns)
            self._timers[body.number] = timer

    def fired(self, number: int, arrived_ns: int) -> None:
        timer = self._timers.get(number)
        if timer is not None:
            end_ns = min(max(arrived_ns, timer.start_ns), self._writer.now_ns)
            self._end(timer, TIMED_OUT if timer.signal else FIRED, end_ns)

    def cancelled(self, body: journal_pb2.TimerCancelled) -> None:
        timer = self._timers.get(body.number)
        if timer is None:
            return
        came = self._signal is not None and self._signal.name == timer.signal
        self._end(timer, RECEIVED if came else CANCELLED, self._writer.now_ns)
        if came:
            self._signal = None

    def signal_consumed(self, name: str, number: int, *, since_ns: int) -> None:
        """A signal reached the code. since_ns: the time of the entry before."""
        self._signal = _Arrived(cut_text(name), number, since_ns, self._writer.now_ns)

    def code_acted(self) -> None:
        """The code has asked for something: what reached it last is what it waited for."""
        signal, self._signal = self._signal, None
        if signal is None or signal.until_ns - signal.since_ns < SHORTEST_WAIT_NS:
            return
        self._writer.write(
            self._writer.segment(), SpanOf.SIGNAL_WAIT, signal.number, 1, name=f"wait signal {signal.name}",
            kind=SpanKind.INTERNAL, start_ns=signal.since_ns, end_ns=signal.until_ns,
            own=(("holdfast.wait.outcome", RECEIVED),),
        )  # fmt: skip

    def code_rests(self) -> None:
        """Something else happened: the signal was kept for later, or its wait has been told of."""
        self._signal = None

    def close(self) -> None:
        for timer in list(self._timers.values()):
            self._end(timer, CANCELLED, self._writer.now_ns)

    def _end(self, timer: _Timer, outcome: str, end_ns: int) -> None:
        of, name = SpanOf.TIMER, "timer" if timer.name else "sleep"
        own: Attributes = (("holdfast.wait.outcome", outcome),)
        if timer.signal:
            of, name = SpanOf.SIGNAL_WAIT, f"wait {timer.name}"
        elif timer.name:
            own = (("holdfast.timer.name", timer.name), *own)
        self._writer.write(
            timer.segment, of, timer.number, name=name, kind=SpanKind.INTERNAL, start_ns=timer.start_ns,
            end_ns=end_ns, own=own,
        )  # fmt: skip
        self._writer.end(timer.segment)
        del self._timers[timer.number]


@dataclass(slots=True)
class _Child:
    body: journal_pb2.ChildStarted
    segment: Segment
    start_ns: int


class ChildSpans:
    """The children that a run awaits. Their own run spans are children of these, so these are always written."""

    __slots__ = ("_children", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._children: dict[int, _Child] = {}

    def started(self, body: journal_pb2.ChildStarted) -> None:
        if body.number not in self._children:
            self._children[body.number] = _Child(body, self._writer.begin(), self._writer.now_ns)

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
        body, writer = child.body, self._writer
        queue = cut_text(body.queue or writer.facts.queue)
        own: Attributes = (("holdfast.queue", queue),) if queue else ()
        own = (*own, ("holdfast.input.bytes", payload_bytes(body.arguments)), *tail)
        links: tuple[Link, ...] = ()
        if body.close_policy == CLOSE_POLICY_ABANDON:
            links = (Link(detached_root(writer.facts.trace, body.run_id), "child"),)
        writer.write(
            child.segment, SpanOf.CHILD, body.number, name=f"child {cut_text(body.workflow)}", kind=SpanKind.CLIENT,
            start_ns=child.start_ns, end_ns=end_ns, own=(*own, ("holdfast.child.run.id", cut_text(body.run_id))),
            status=status, links=links, always=True,
        )  # fmt: skip
        writer.end(child.segment)
        del self._children[body.number]


@dataclass(slots=True)
class _Halt:
    of: SpanOf
    number: int
    segment: Segment
    start_ns: int
    own: Attributes


class HaltSpans:
    """Times in which the run was offered to nobody: stalled, or paused by an operator."""

    __slots__ = ("_halt", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._halt: _Halt | None = None

    def stalled(self, body: journal_pb2.RunStalled, entry_number: int) -> None:
        own: Attributes = (("holdfast.worker.build", cut_text(body.build)),) if body.build else ()
        if body.reason and self._writer.rules.shows_messages:
            own = (*own, ("holdfast.stall.reason", cut_text(body.reason)))
        self._begin(SpanOf.STALLED, entry_number, own)

    def paused(self, entry_number: int) -> None:
        """An operator holds the run back. The protocol has no entry for it yet."""
        self._begin(SpanOf.PAUSED, entry_number, ())

    def resumed(self) -> None:
        halt, self._halt = self._halt, None
        if halt is not None:
            self._writer.write(
                halt.segment, halt.of, halt.number, name=halt.of.value, kind=SpanKind.INTERNAL,
                start_ns=halt.start_ns, end_ns=self._writer.now_ns, own=halt.own,
            )  # fmt: skip
            self._writer.end(halt.segment)

    def close(self) -> None:
        self.resumed()

    def _begin(self, of: SpanOf, entry_number: int, own: Attributes) -> None:
        if self._halt is None:
            self._halt = _Halt(of, entry_number, self._writer.begin(), self._writer.now_ns, own)


def _output(body: journal_pb2.ChildClosed) -> Attributes:
    return (("holdfast.output.bytes", len(body.result.data)),) if body.HasField("result") else ()
