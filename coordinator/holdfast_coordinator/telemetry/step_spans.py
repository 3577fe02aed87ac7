"""Spans of steps: the step, its attempts, and what it waited for between them. Pure.

    step    |------------------------------------------------------|
            | queue wait | attempt 1 | retry wait | queue wait | attempt 2 |

An attempt under the run's lease begins and ends with entries of the journal. Queued attempts come all at once, in the
mail that brings the result of their step. Times are made to fit: attempts of a step never overlap and never leave it.
"""

from collections.abc import Sequence

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.api.v1.status_pb2 import STEP_PLACEMENT_QUEUED
from holdfast.statuses import AttemptOutcome

from .catalogue import ATTEMPT, QUEUE_WAIT, RETRY_WAIT, STEP, SpanType
from .span_writer import PartSpan, Segment, SpanWriter
from .spans import SHORTEST_WAIT_NS, Attributes, SpanStatus, cut_text, error_attributes, payload_bytes, time_ns

_OK, _UNSET, _ERROR = SpanStatus.OK, SpanStatus.UNSET, SpanStatus.ERROR

_STATUS = {
    AttemptOutcome.COMPLETED: _OK,
    AttemptOutcome.FAILED_RETRYABLE: _ERROR,
    AttemptOutcome.FAILED_FINAL: _ERROR,
    AttemptOutcome.TIMED_OUT: _ERROR,
    AttemptOutcome.LOST: _ERROR,
    AttemptOutcome.HANDED_BACK: _UNSET,
    AttemptOutcome.CANCELLED: _UNSET,
}
_OUTCOMES = {
    outcome.value: (("holdfast.attempt.outcome", outcome.name.lower()), status) for outcome, status in _STATUS.items()
}
"""What the span of an attempt says of its end, by the number of its outcome."""

_CANCELLED = AttemptOutcome.CANCELLED.value
_FINAL = frozenset({AttemptOutcome.COMPLETED.value, AttemptOutcome.FAILED_FINAL.value, _CANCELLED})

_INLINE, _QUEUED = ("holdfast.placement", "inline"), ("holdfast.placement", "queued")


class Holder:
    """Who had a lease, of the run or of a queued attempt. attributes: the same, for the spans of attempts.

    The worker that leases the run is known as soon as a record has named it.
    """

    __slots__ = ("attributes", "epoch", "is_named")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.is_named = False
        self.attributes: Attributes = (("holdfast.lease.epoch", epoch),) if epoch else ()

    def named(self, record: journal_pb2.AttemptRecord) -> None:
        """A record says who ran an attempt under this lease; the first one that does is enough."""
        session_id = record.session_id
        if not session_id:
            return
        self.is_named = True
        own: Attributes = (("holdfast.worker.id", cut_text(session_id)),)
        if record.build:
            own = (*own, ("holdfast.worker.build", cut_text(record.build)))
        self.attributes = own + self.attributes


class _Step:
    """A step without a final result.

    attempts: the newest attempt; holder: who runs it under the run's lease; None: no session. idle_ns: since when
    no attempt of it runs. eligible_ns: when the next one may start. is_retrying: until then it waits because an attempt
    failed. is_elsewhere: a queue has it, so what became of it is not known yet. inside: the named part of the code that
    called it.
    """

    __slots__ = ("attempts", "begun_ns", "delay_ns", "eligible_ns", "holder", "identity", "idle_ns", "input_bytes",
                 "inside", "is_elsewhere", "is_queued", "is_retrying", "is_shown", "name", "number", "queue", "segment",
                 "span_id", "start_ns")  # fmt: skip

    def __init__(
        self, body: journal_pb2.StepScheduled, segment: Segment, start_ns: int, inside: PartSpan | None
    ) -> None:
        self.number = body.number
        self.inside = inside
        self.name = cut_text(body.name)
        identity: Attributes = (("holdfast.step.name", self.name), ("holdfast.step.number", self.number))
        step_id = body.step_id
        self.identity = (*identity, ("holdfast.step.id", cut_text(step_id))) if step_id else identity
        self.segment = segment
        self.span_id = segment.id_of(STEP.word, self.number, 0)
        self.start_ns = self.idle_ns = self.eligible_ns = self.begun_ns = start_ns
        self.input_bytes = payload_bytes(body.arguments)
        queue = body.queue
        self.queue = cut_text(queue) if queue else ""
        self.attempts = 0
        self.delay_ns = 0
        self.is_retrying = False
        self.is_queued = self.is_elsewhere = body.placement == STEP_PLACEMENT_QUEUED
        self.is_shown = False
        self.holder: Holder | None = None


class StepSpans:
    """The open steps of one run, and the spans that end with their entries.

    Entries of unknown steps pass by, and so does what a broken worker says twice.
    """

    __slots__ = ("_inline", "_steps", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._steps: dict[int, _Step] = {}
        self._inline = _place(writer.facts.queue, _INLINE)

    # Entries

    def scheduled(self, body: journal_pb2.StepScheduled, holder: Holder, inside: PartSpan | None) -> None:
        if body.number in self._steps:
            return
        writer = self._writer
        step = _Step(body, writer.begin(), writer.now_ns, inside)
        self._steps[step.number] = step
        if body.started:
            step.attempts = 1
            step.holder = holder

    def attempt_started(self, body: journal_pb2.AttemptStarted, holder: Holder) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            self._write_wait(step, body.attempt, self._writer.now_ns)
            step.attempts = body.attempt
            step.is_retrying = False
            step.begun_ns = self._writer.now_ns
            step.holder = holder

    def attempt_ended(self, body: journal_pb2.AttemptEnded) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            self._end_attempt(step, body.attempt)

    def retry_due(self, number: int, arrived_ns: int) -> None:
        """The coordinator has kept the wait before a retry, and it is over."""
        step = self._steps.get(number)
        if step is not None and step.holder is None and step.is_retrying:
            step.eligible_ns = min(max(arrived_ns, step.idle_ns), self._writer.now_ns)
            self._write_retry_wait(step, step.attempts + 1, self._writer.now_ns)

    def completed(self, body: journal_pb2.StepCompleted) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            if body.HasField("attempt"):
                self._end_attempt(step, body.attempt)
            self._end(step, _OK, self._writer.now_ns, (("holdfast.output.bytes", len(body.result.data)),))

    def failed(self, body: journal_pb2.StepFailed) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            if body.HasField("attempt"):
                self._end_attempt(step, body.attempt)
            self._end(step, _ERROR, self._writer.now_ns, self._error(body.failure))

    def cancelled(self, body: journal_pb2.StepCancelled) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            if body.HasField("attempt"):
                self._end_attempt(step, body.attempt)
            self._all_queued_attempts(step, body.attempts, self._writer.now_ns)
            self._end(step, _UNSET, self._writer.now_ns)

    def result(self, body: journal_pb2.StepResult, arrived_ns: int) -> None:
        """A queued step has ended, and the code has got its result. arrived_ns: when the result was committed."""
        step = self._steps.get(body.number)
        if step is None:
            return
        end_ns = min(max(arrived_ns, step.idle_ns), self._writer.now_ns)
        self._queued_attempts(step, body.attempts, end_ns)
        if body.HasField("failure"):
            self._end(step, _ERROR, end_ns, self._error(body.failure))
        else:
            self._end(step, _OK, end_ns, (("holdfast.output.bytes", len(body.result.data)),))

    def result_unseen(self, body: journal_pb2.StepResult, arrived_ns: int) -> None:
        """The run closed before the code got the result, or before there was one: only the attempts are known."""
        step = self._steps.get(body.number)
        if step is not None:
            self._all_queued_attempts(step, body.attempts, min(max(arrived_ns, step.idle_ns), self._writer.now_ns))

    def close(self) -> None:
        """The run has ended, and with it all its steps."""
        for step in list(self._steps.values()):
            if step.is_elsewhere and not step.attempts:
                # The attempts of queued steps come with the close; this one had none.
                step.is_elsewhere = False
            self._end(step, _UNSET, self._writer.now_ns)

    # Attempts

    def _end_attempt(self, step: _Step, record: journal_pb2.AttemptRecord) -> None:
        """An attempt under the lease of the run has ended."""
        holder, step.holder = step.holder, None
        if holder is None:
            return
        if not holder.is_named:
            holder.named(record)
        end_ns = time_ns(record.ended_at)
        if end_ns > self._writer.now_ns:
            end_ns = self._writer.now_ns
        if end_ns < step.begun_ns:
            end_ns = step.begun_ns
        self._write_attempt(step, record, step.begun_ns, end_ns, holder)

    def _queued_attempts(self, step: _Step, records: Sequence[journal_pb2.AttemptRecord], end_ns: int) -> None:
        for record in records:
            start_ns = min(max(time_ns(record.started_at), step.idle_ns), end_ns)
            ended_ns = min(max(time_ns(record.ended_at), start_ns), end_ns)
            if record.HasField("eligible_at"):
                step.eligible_ns = max(time_ns(record.eligible_at), step.idle_ns)
            self._write_wait(step, record.attempt, start_ns)
            step.attempts = record.attempt
            holder = Holder(record.epoch)
            holder.named(record)
            self._write_attempt(step, record, start_ns, ended_ns, holder)

    def _all_queued_attempts(self, step: _Step, records: Sequence[journal_pb2.AttemptRecord], end_ns: int) -> None:
        """Those of a step whose result will not be used. If the last one was not final, it waited for another."""
        self._queued_attempts(step, records, end_ns)
        last = records[-1].outcome if records else None
        step.is_elsewhere = last in _FINAL

    # Spans

    def _write_attempt(
        self, step: _Step, record: journal_pb2.AttemptRecord | None, start_ns: int, end_ns: int, holder: Holder
    ) -> None:
        """Writes the span of the newest attempt; the step is idle then. record: None when the run closed meanwhile."""
        outcome, status = _OUTCOMES.get(_CANCELLED if record is None else record.outcome, _OUTCOMES[_CANCELLED])
        attempt = ("holdfast.attempt", step.attempts)
        step.idle_ns = step.eligible_ns = end_ns
        if status is _OK or record is None:
            own: Attributes = (*step.identity, attempt, outcome, *holder.attributes)
        else:
            retry: Attributes = ()
            step.is_retrying = False
            if record.HasField("retry_delay"):
                step.delay_ns = time_ns(record.retry_delay)
                step.is_retrying = step.delay_ns > 0
                step.eligible_ns += step.delay_ns
                retry = (("holdfast.retry.delay_ms", step.delay_ns // 1_000_000),)
            own = (*step.identity, attempt, outcome, *retry, *holder.attributes)
            if status is _ERROR:
                failure = record.failure if record.HasField("failure") else None
                own = (*own, *self._error(failure, otherwise=outcome[1]))
        self._write_below(step, ATTEMPT, step.attempts, ATTEMPT.prefix + step.name, start_ns, end_ns, own, status)

    def _write_wait(self, step: _Step, attempt: int, until_ns: int) -> None:
        """What the step did since its last attempt: it waited for its retry, then for a worker."""
        self._write_retry_wait(step, attempt, until_ns)
        since_ns = min(max(step.eligible_ns, step.idle_ns), until_ns)
        if until_ns - since_ns >= SHORTEST_WAIT_NS:
            own = (*step.identity, ("holdfast.attempt", attempt), *self._place(step))
            self._write_below(step, QUEUE_WAIT, attempt, QUEUE_WAIT.name, since_ns, until_ns, own)

    def _write_retry_wait(self, step: _Step, attempt: int, until_ns: int) -> None:
        end_ns = min(step.eligible_ns, until_ns)
        if step.is_retrying and end_ns > step.idle_ns:
            delay = ("holdfast.retry.delay_ms", step.delay_ns // 1_000_000)
            own = (*step.identity, ("holdfast.attempt", attempt), delay)
            self._write_below(step, RETRY_WAIT, attempt, RETRY_WAIT.name, step.idle_ns, end_ns, own)
            step.idle_ns = end_ns
        step.is_retrying = False

    def _write_below(
        self,
        step: _Step,
        what: SpanType,
        attempt: int,
        name: str,
        start_ns: int,
        end_ns: int,
        own: Attributes,
        status: SpanStatus = _UNSET,
    ) -> None:
        writer, segment = self._writer, step.segment
        if writer.admits(segment, status):
            id = segment.id_of(what.word, step.number, attempt)
            writer.put(segment, what, id, step.span_id, name, start_ns, end_ns, own, status)
            step.is_shown = True

    def _end(self, step: _Step, status: SpanStatus, end_ns: int, outcome: Attributes = ()) -> None:
        """Writes the span of the step itself. outcome: what it returned, or why it failed."""
        writer, segment = self._writer, step.segment
        if step.holder is not None:
            self._write_attempt(step, None, step.begun_ns, end_ns, step.holder)
        elif not step.is_elsewhere and status is _UNSET:
            self._write_wait(step, step.attempts + 1, end_ns)
        if writer.admits(segment, status, always=step.is_shown):
            own = (*step.identity, *self._place(step), ("holdfast.input.bytes", step.input_bytes), *outcome)
            writer.put(
                segment, STEP, step.span_id, b"", STEP.prefix + step.name, step.start_ns, end_ns, own, status,
                inside=step.inside,
            )  # fmt: skip
        writer.end(segment)
        del self._steps[step.number]

    def _place(self, step: _Step) -> Attributes:
        if not step.is_queued and not step.queue:
            return self._inline
        return _place(step.queue or self._writer.facts.queue, _QUEUED if step.is_queued else _INLINE)

    def _error(self, failure: value_pb2.Failure | None, *, otherwise: str = "failed") -> Attributes:
        return error_attributes(failure, otherwise=otherwise, rules=self._writer.rules)


def _place(queue: str, placement: tuple[str, str]) -> Attributes:
    return (("holdfast.queue", queue), placement) if queue else (placement,)
