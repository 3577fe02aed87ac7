"""The skeleton spans of one run, from its journal: each comes out once, when what it describes has ended. Pure.

What is kept between entries is a function of the entries fed so far: a trace that was rebuilt from the journal goes on
with the spans that the lost one would have made.
"""

from collections.abc import Sequence

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import RunStatus
from holdfast.traces import successor_root

from .catalogue import ACCEPTED
from .message_spans import SignalSpans, UpdateSpans
from .span_writer import RunEnd, SpanWriter
from .spans import (
    TIME_NS_MAX,
    Attributes,
    Link,
    RunFacts,
    Span,
    SpanRules,
    SpanStatus,
    cut_text,
    error_attributes,
    instant_ns,
    time_ns,
)
from .step_spans import Holder, StepSpans
from .user_spans import UserSpans
from .wait_spans import FAILED_RUNS, ChildSpans, HaltSpans, TimerSpans

DEFAULT_RULES = SpanRules()


class RunSpanBuilder:
    """Builds the spans of one run. seq: how many entries it was fed."""

    __slots__ = ("_children", "_created_ns", "_halts", "_holder", "_is_accepted", "_signals", "_steps", "_timers",
                 "_updates", "_users", "_writer", "facts", "is_closed", "seq")  # fmt: skip

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
        self._users = UserSpans(writer)

    def feed(self, row: journal_pb2.JournalRow) -> list[Span]:
        """Takes the next row of the journal, with its seq and epoch; returns the spans that end in it.

        A row that was fed before makes no span. Raises ValueError when rows are missing in between.
        """
        # A slice is a list, which is read in half the time.
        return self.feed_entries(row.entries[:], row.seq, row.epoch)

    def feed_entries(self, entries: Sequence[journal_pb2.Entry], last: int, epoch: int) -> list[Span]:
        """The same of the entries of a row. last: the number of the last one."""
        first = last - len(entries) + 1
        if last <= self.seq or self.is_closed:
            return []
        if first != self.seq + 1:
            raise ValueError(f"{self.facts.run_id}: a row begins at entry {first}, {self.seq + 1} is next")
        if epoch and epoch != self._holder.epoch:
            self._holder = Holder(epoch)
        for entry in entries:
            self._take(entry, epoch)
            if self.is_closed:
                break
        self._timers.row_ended()
        return self._writer.take()

    def _take(self, entry: journal_pb2.Entry, epoch: int) -> None:
        writer = self._writer
        self.seq += 1
        at = entry.at
        at_ns = at.seconds * 1_000_000_000 + at.nanos
        if at_ns > writer.now_ns:
            writer.now_ns = min(at_ns, TIME_NS_MAX)
        if epoch:
            writer.is_inherited = False
            if not self._is_accepted:
                self._accepted()
        else:
            # Copied rows keep their times, and have no epoch. The first entries of the run's own worker may be a
            # little early too, by its estimate of the clock.
            writer.is_inherited = bool(self.facts.origin_run_id) and at_ns < self._created_ns
        match entry.WhichOneof("body"):
            case "step_scheduled":
                scheduled = entry.step_scheduled
                self._steps.scheduled(scheduled, self._holder, self._users.part(scheduled.span))
            case "step_completed":
                self._steps.completed(entry.step_completed)
            case "attempt_started":
                self._steps.attempt_started(entry.attempt_started, self._holder)
            case "attempt_ended":
                self._steps.attempt_ended(entry.attempt_ended)
            case "step_failed":
                self._steps.failed(entry.step_failed)
            case "step_cancelled":
                self._steps.cancelled(entry.step_cancelled)
            case "mail_consumed":
                self._mail_consumed(entry.mail_consumed)
            case "mail_undelivered":
                self._mail_undelivered(entry.mail_undelivered.mail)
            case "timer_set":
                self._timers.set(entry.timer_set, self._users.part(entry.timer_set.span))
            case "timer_cancelled":
                self._timers.cancelled(entry.timer_cancelled)
            case "child_started":
                self._children.started(entry.child_started, self._users.part(entry.child_started.span))
            case "child_cancelled":
                self._children.cancelled(entry.child_cancelled)
            case "user_span_began":
                self._users.began(entry.user_span_began)
            case "user_span":
                self._users.left(entry.user_span)
            case "noted":
                self._users.noted(entry.noted, self.seq)
            case "update_completed":
                self._updates.completed(entry.update_completed)
            case "run_stalled":
                self._halts.stalled(entry.run_stalled, self.seq)
            case "run_paused":
                self._halts.paused(entry.run_paused, self.seq)
            case "run_resumed":
                self._halts.resumed()
            case "run_closed":
                self._close(entry.run_closed)
            case _:
                pass  # RunStarted says nothing that the facts do not; what a later version writes passes by

    def _mail_consumed(self, body: journal_pb2.MailConsumed) -> None:
        mail = body.mail
        arrived_ns = time_ns(mail.arrived_at)
        if arrived_ns > self._writer.now_ns:
            # By the database's clock: the worker's estimate of it, in the entry, may be a little behind.
            self._writer.now_ns = arrived_ns
        match mail.WhichOneof("body"):
            case "signal":
                self._signals.consumed(mail)
                self._timers.signal_consumed(body)
            case "timer":
                self._timers.fired(mail.timer.number, arrived_ns)
            case "retry_due":
                self._steps.retry_due(mail.retry_due.number, arrived_ns)
            case "step_result":
                self._steps.result(mail.step_result, arrived_ns)
            case "child_closed":
                self._children.closed(mail.child_closed, arrived_ns)
            case "update":
                self._updates.accepted(mail)
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
            self._writer.segment(), ACCEPTED, 0, start_ns=self._created_ns, end_ns=self._writer.now_ns, always=True
        )

    def _close(self, closed: journal_pb2.RunClosed) -> None:
        self.is_closed = True
        if not self._is_accepted:
            self._accepted()
        for part in (self._steps, self._timers, self._children, self._updates, self._halts, self._users):
            part.close()
        self._writer.close(self._end(closed))

    def _end(self, closed: journal_pb2.RunClosed) -> RunEnd:
        status = RunStatus.of_number(closed.status) if 1 <= closed.status <= len(RunStatus) else RunStatus.FAILED
        if status in FAILED_RUNS:
            failure = closed.failure if closed.HasField("failure") else None
            error = error_attributes(failure, otherwise=status.value, rules=self._writer.rules)
            return RunEnd(status.value, SpanStatus.ERROR, error)
        if status is RunStatus.CANCELLED:
            return RunEnd(status.value)
        output: Attributes = (("holdfast.output.bytes", len(closed.result.data)),) if closed.HasField("result") else ()
        successor = cut_text(closed.successor_run_id)
        if not successor:
            return RunEnd(status.value, SpanStatus.OK, output)
        link = Link(successor_root(self.facts.trace, successor), "successor")
        return RunEnd(status.value, SpanStatus.OK, output, successor, (link,))
