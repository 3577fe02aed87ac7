"""The skeleton spans of one run, from its journal: each comes out once, when what it describes has ended. Pure.

What is kept between entries is a function of the entries fed so far: a trace that was rebuilt from the journal goes on
with the spans that the lost one would have made.
"""

from collections.abc import Iterable

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import RunStatus
from holdfast.traces import SpanOf

from .messages import SignalSpans, UpdateSpans
from .spans import Attributes, RunFacts, Span, SpanKind, SpanRules, SpanStatus, error_attributes, instant_ns, time_ns
from .steps import Holder, StepSpans
from .waits import FAILED_RUNS, ChildSpans, HaltSpans, TimerSpans
from .writer import SpanWriter

DEFAULT_RULES = SpanRules()

_OF_THE_CODE = frozenset(
    {"step_scheduled", "step_cancelled", "timer_set", "child_started", "child_cancelled", "run_closed"}
)
"""What code that got a signal may ask for next. A cancelled timer is looked at first: it may be the wait's own."""


class RunTrace:
    """Builds the spans of one run. seq: how many entries it was fed."""

    __slots__ = ("_children", "_created_ns", "_halts", "_holder", "_is_accepted", "_signals", "_steps", "_timers",
                 "_updates", "_writer", "facts", "is_closed", "seq")  # fmt: skip

    def __init__(self, facts: RunFacts, rules: SpanRules = DEFAULT_RULES) -> None:
        self.facts = facts
        self.seq = 0
        self.is_closed = False
        self._created_ns = instant_ns(facts.created_at)
        self._is_accepted = False
        self._holder = Holder(0)
        self._writer = writer = SpanWriter(facts, rules)
        self._steps = StepSpans(writer)
        self._timers = TimerSpans(writer)
        self._children = ChildSpans(writer)
        self._halts = HaltSpans(writer)
        self._signals = SignalSpans(writer)
        self._updates = UpdateSpans(writer)

    def feed(self, row: journal_pb2.JournalRow) -> list[Span]:
        """Takes the next row of the journal, with its seq and epoch; returns the spans that end in it.

        A row that was fed before makes no span. Raises ValueError when rows are missing in between.
        """
        first = row.seq - len(row.entries) + 1
        if row.seq <= self.seq or self.is_closed:
            return []
        if first != self.seq + 1:
            raise ValueError(f"{self.facts.run_id}: a row begins at entry {first}, {self.seq + 1} is next")
        if row.epoch and row.epoch != self._holder.epoch:
            self._holder = Holder(row.epoch)
        for entry in row.entries:
            self._take(entry, row.epoch)
            if self.is_closed:
                break
        self._timers.code_rests()
        self._writer.settle()
        return self._writer.take()

    def _take(self, entry: journal_pb2.Entry, epoch: int) -> None:
        writer = self._writer
        self.seq += 1
        at_ns, before_ns = time_ns(entry.at), writer.now_ns
        # Copied rows keep their times, and have no epoch. The first entries of the run's own worker may be a little
        # early too, by its estimate of the clock.
        writer.is_inherited = bool(self.facts.origin_run_id) and not epoch and at_ns < self._created_ns
        writer.now_ns = max(before_ns, at_ns)
        if not self._is_accepted and epoch:
            self._accepted()
        kind = entry.WhichOneof("body")
        if kind in _OF_THE_CODE:
            self._timers.code_acted()
        elif kind != "timer_cancelled":
            self._timers.code_rests()
        match kind:
            case "step_scheduled":
                self._steps.scheduled(entry.step_scheduled, self._holder)
            case "step_completed":
                self._steps.completed(entry.step_completed, self._holder)
            case "attempt_started":
                self._steps.attempt_started(entry.attempt_started, self._holder)
            case "attempt_ended":
                self._steps.attempt_ended(entry.attempt_ended, self._holder)
            case "step_failed":
                self._steps.failed(entry.step_failed, self._holder)
            case "step_cancelled":
                self._steps.cancelled(entry.step_cancelled, self._holder)
            case "step_queued":
                self._steps.queued(entry.step_queued)
            case "mail_consumed":
                self._mail_consumed(entry.mail_consumed.mail, before_ns)
            case "mail_undelivered":
                self._mail_undelivered(entry.mail_undelivered.mail)
            case "timer_set":
                self._timers.set(entry.timer_set)
            case "timer_cancelled":
                self._timers.cancelled(entry.timer_cancelled)
                self._timers.code_acted()
            case "child_started":
                self._children.started(entry.child_started)
            case "child_cancelled":
                self._children.cancelled(entry.child_cancelled)
            case "run_stalled":
                self._halts.stalled(entry.run_stalled, self.seq)
            case "run_resumed":
                self._halts.resumed()
            case "run_closed":
                self._close(entry.run_closed)
            case _:
                pass  # RunStarted says nothing that the facts do not; what a later version writes passes by

    def _mail_consumed(self, mail: journal_pb2.Mail, before_ns: int) -> None:
        arrived_ns = time_ns(mail.arrived_at)
        match mail.WhichOneof("body"):
            case "signal":
                self._signals.consumed(mail)
                self._timers.signal_consumed(mail.signal.name, mail.number, since_ns=before_ns)
            case "timer":
                self._timers.fired(mail.timer.number, arrived_ns)
            case "retry_due":
                self._steps.retry_due(mail.retry_due.number, arrived_ns)
            case "step_result":
                self._steps.result(mail.step_result, arrived_ns)
            case "child_closed":
                self._children.closed(mail.child_closed, arrived_ns)
            case _:
                pass  # a cancel request shows in what the code does then

    def _mail_undelivered(self, mail: journal_pb2.Mail) -> None:
        arrived_ns = time_ns(mail.arrived_at)
        match mail.WhichOneof("body"):
            case "signal":
                self._signals.consumed(mail)
            case "step_result":
                self._steps.result_unseen(mail.step_result, arrived_ns)
            case _:
                pass  # what it would have ended ends with the run

    def _accepted(self) -> None:
        """The first entries of a worker: the run has been leased."""
        self._is_accepted = True
        self._writer.write(
            self._writer.segment(), SpanOf.ACCEPTED, 0, name="run accepted", kind=SpanKind.INTERNAL,
            start_ns=self._created_ns, end_ns=self._writer.now_ns, always=True,
        )  # fmt: skip

    def _close(self, closed: journal_pb2.RunClosed) -> None:
        self.is_closed = True
        if not self._is_accepted:
            self._accepted()
        for part in (self._steps, self._timers, self._children, self._updates, self._halts):
            part.close()
        status = RunStatus.of_number(closed.status) if 1 <= closed.status <= len(RunStatus) else RunStatus.FAILED
        own: Attributes = ()
        if closed.HasField("result"):
            own = (("holdfast.output.bytes", len(closed.result.data)),)
        outcome = SpanStatus.OK
        if status in FAILED_RUNS:
            outcome = SpanStatus.ERROR
            failure = closed.failure if closed.HasField("failure") else None
            own = error_attributes(failure, otherwise=status.value, rules=self._writer.rules)
        elif status is RunStatus.CANCELLED:
            outcome = SpanStatus.UNSET
        self._writer.close(status.value, outcome, own)


def spans_of(facts: RunFacts, rows: Iterable[journal_pb2.JournalRow], rules: SpanRules = DEFAULT_RULES) -> list[Span]:
    """All finished spans of a journal, from its first row on."""
    trace = RunTrace(facts, rules)
    return [span for row in rows for span in trace.feed(row)]
