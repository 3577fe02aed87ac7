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
from holdfast.traces import SpanOf, span_id

from .spans import (
    SHORTEST_WAIT_NS,
    Attributes,
    SpanKind,
    SpanStatus,
    cut_text,
    error_attributes,
    payload_bytes,
    time_ns,
)
from .writer import Segment, SpanWriter

_OUTCOMES = {outcome.value: outcome.name.lower() for outcome in AttemptOutcome}
_FAILED = frozenset(
    {
        AttemptOutcome.FAILED_RETRYABLE.value,
        AttemptOutcome.FAILED_FINAL.value,
        AttemptOutcome.TIMED_OUT.value,
        AttemptOutcome.LOST.value,
    }
)
_COMPLETED = AttemptOutcome.COMPLETED.value
_CANCELLED = AttemptOutcome.CANCELLED.value


class Holder:
    """Who had the run's lease: the worker is known as soon as it has reported an attempt of its own."""

    __slots__ = ("build", "epoch", "session_id")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.session_id = ""
        self.build = ""


class _Running:
    """An attempt under the run's lease that has not ended."""

    __slots__ = ("attempt", "holder", "start_ns")

    def __init__(self, attempt: int, start_ns: int, holder: Holder) -> None:
        self.attempt = attempt
        self.start_ns = start_ns
        self.holder = holder


class _Step:
    """A step without a final result.

    idle_ns: since when no attempt of it runs. eligible_ns: when the next one may start. is_retrying: until then it
    waits because an attempt failed. is_elsewhere: a queue has it, so what became of it is not known yet.
    """

    __slots__ = ("attempts", "body", "delay_ns", "eligible_ns", "identity", "idle_ns", "input_bytes", "is_elsewhere",
                 "is_queued", "is_retrying", "is_shown", "name", "queue", "running", "segment", "span_id",
                 "start_ns")  # fmt: skip

    def __init__(self, body: journal_pb2.StepScheduled, segment: Segment, span: bytes, start_ns: int) -> None:
        self.name = cut_text(body.name)
        identity: Attributes = (("holdfast.step.name", self.name), ("holdfast.step.number", body.number))
        self.identity = (*identity, ("holdfast.step.id", cut_text(body.step_id))) if body.step_id else identity
        self.body = body
        self.segment = segment
        self.span_id = span
        self.start_ns = self.idle_ns = self.eligible_ns = start_ns
        self.input_bytes = payload_bytes(body.arguments)
        self.queue = cut_text(body.queue)
        self.attempts = 0
        self.delay_ns = 0
        self.is_retrying = False
        self.is_queued = self.is_elsewhere = body.placement == STEP_PLACEMENT_QUEUED
        self.is_shown = False
        self.running: _Running | None = None


class StepSpans:
    """The open steps of one run, and the spans that end with their entries.

    Entries of unknown steps pass by, and so does what a broken worker says twice.
    """

    __slots__ = ("_steps", "_writer")

    def __init__(self, writer: SpanWriter) -> None:
        self._writer = writer
        self._steps: dict[int, _Step] = {}

    # Entries

    def scheduled(self, body: journal_pb2.StepScheduled, holder: Holder) -> None:
        if body.number in self._steps:
            return
        writer = self._writer
        segment = writer.begin()
        span = span_id(segment.root.trace_id, writer.facts.run_id, SpanOf.STEP, body.number)
        step = self._steps[body.number] = _Step(body, segment, span, writer.now_ns)
        if body.started:
            self._start(step, 1, holder)

    def queued(self, body: journal_pb2.StepQueued) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            step.is_queued = step.is_elsewhere = True
            step.queue = cut_text(body.queue) or step.queue

    def attempt_started(self, body: journal_pb2.AttemptStarted, holder: Holder) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            self._write_wait(step, body.attempt, self._writer.now_ns)
            self._start(step, body.attempt, holder)

    def attempt_ended(self, body: journal_pb2.AttemptEnded, holder: Holder) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            self._end_attempt(step, body.attempt, holder)

    def retry_due(self, number: int, arrived_ns: int) -> None:
        """The coordinator has kept the wait before a retry, and it is over."""
        step = self._steps.get(number)
        if step is not None and step.running is None and step.is_retrying:
            step.eligible_ns = min(max(arrived_ns, step.idle_ns), self._writer.now_ns)
            self._write_retry_wait(step, step.attempts + 1, self._writer.now_ns)

    def completed(self, body: journal_pb2.StepCompleted, holder: Holder) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            self._last_attempt(step, body, holder)
            self._end(step, SpanStatus.OK, self._writer.now_ns, result=body.result)

    def failed(self, body: journal_pb2.StepFailed, holder: Holder) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            self._last_attempt(step, body, holder)
            self._end(step, SpanStatus.ERROR, self._writer.now_ns, failure=body.failure)

    def cancelled(self, body: journal_pb2.StepCancelled, holder: Holder) -> None:
        step = self._steps.get(body.number)
        if step is not None:
            self._last_attempt(step, body, holder)
            self._end(step, SpanStatus.UNSET, self._writer.now_ns)

    def result(self, body: journal_pb2.StepResult, arrived_ns: int) -> None:
        """A queued step has ended, and the code has heard of it. arrived_ns: when the result was committed."""
        step = self._steps.get(body.number)
        if step is None:
            return
        end_ns = min(max(arrived_ns, step.idle_ns), self._writer.now_ns)
        self._queued_attempts(step, body.attempts, end_ns)
        if body.HasField("failure"):
            self._end(step, SpanStatus.ERROR, end_ns, failure=body.failure)
        else:
            self._end(step, SpanStatus.OK, end_ns, result=body.result)

    def result_unseen(self, body: journal_pb2.StepResult, arrived_ns: int) -> None:
        """The run closed before the code heard of the result, or before there was one: only the attempts are known."""
        step = self._steps.get(body.number)
        if step is not None:
            end_ns = min(max(arrived_ns, step.idle_ns), self._writer.now_ns)
            self._queued_attempts(step, body.attempts, end_ns)
            last = body.attempts[-1].outcome if body.attempts else _CANCELLED
            step.is_elsewhere = last in (_COMPLETED, _CANCELLED, AttemptOutcome.FAILED_FINAL)

    def close(self) -> None:
        """The run has ended, and with it all its steps."""
        for step in list(self._steps.values()):
            if step.is_elsewhere and not step.attempts:
                # The attempts of queued steps come with the close; this one had none.
                step.is_elsewhere = False
            self._end(step, SpanStatus.UNSET, self._writer.now_ns)

    # Attempts under the lease

    def _start(self, step: _Step, attempt: int, holder: Holder) -> None:
        step.attempts = attempt
        step.is_retrying = False
        step.running = _Running(attempt, self._writer.now_ns, holder)

    def _last_attempt(
        self,
        step: _Step,
        body: journal_pb2.StepCompleted | journal_pb2.StepFailed | journal_pb2.StepCancelled,
        holder: Holder,
    ) -> None:
        if step.running is not None and body.HasField("attempt"):
            self._end_attempt(step, body.attempt, holder)

    def _end_attempt(self, step: _Step, record: journal_pb2.AttemptRecord, holder: Holder) -> None:
        running, step.running = step.running, None
        if running is None:
            return
        if record.session_id:
            # Records name who wrote them. That is not who ran the attempt when it was lost with an earlier holder.
            holder.session_id, holder.build = record.session_id, record.build
        end_ns = min(max(time_ns(record.ended_at), running.start_ns), self._writer.now_ns)
        self._write_attempt(step, running.attempt, record, running.start_ns, end_ns, running.holder)
        self._now_idle(step, end_ns, record)

    def _now_idle(self, step: _Step, idle_ns: int, record: journal_pb2.AttemptRecord) -> None:
        step.delay_ns = time_ns(record.retry_delay)
        step.is_retrying = step.delay_ns > 0
        step.idle_ns = idle_ns
        step.eligible_ns = idle_ns + step.delay_ns

    # Attempts in a queue

    def _queued_attempts(self, step: _Step, records: Sequence[journal_pb2.AttemptRecord], end_ns: int) -> None:
        for record in records:
            start_ns = min(max(time_ns(record.started_at), step.idle_ns), end_ns)
            ended_ns = min(max(time_ns(record.ended_at), start_ns), end_ns)
            self._write_wait(step, record.attempt, start_ns)
            step.attempts = record.attempt
            holder = Holder(0)
            holder.session_id, holder.build = record.session_id, record.build
            self._write_attempt(step, record.attempt, record, start_ns, ended_ns, holder)
            self._now_idle(step, ended_ns, record)

    # Spans

    def _write_attempt(
        self,
        step: _Step,
        attempt: int,
        record: journal_pb2.AttemptRecord | None,
        start_ns: int,
        end_ns: int,
        holder: Holder,
    ) -> None:
        outcome = record.outcome if record is not None and record.outcome in _OUTCOMES else _CANCELLED
        own: list[tuple[str, str | int]] = [
            *step.identity,
            ("holdfast.attempt", attempt),
            ("holdfast.attempt.outcome", _OUTCOMES[outcome]),
        ]
        if record is not None and record.HasField("retry_delay"):
            own.append(("holdfast.retry.delay_ms", time_ns(record.retry_delay) // 1_000_000))
        if holder.session_id:
            own.append(("holdfast.worker.id", cut_text(holder.session_id)))
        if holder.build:
            own.append(("holdfast.worker.build", cut_text(holder.build)))
        if holder.epoch:
            own.append(("holdfast.lease.epoch", holder.epoch))
        status = SpanStatus.OK if outcome == _COMPLETED else SpanStatus.UNSET
        if outcome in _FAILED:
            status = SpanStatus.ERROR
            failure = record.failure if record is not None and record.HasField("failure") else None
            own += error_attributes(failure, otherwise=_OUTCOMES[outcome], rules=self._writer.rules)
        self._write_below(
            step, SpanOf.ATTEMPT, attempt, f"attempt {step.name}", start_ns, end_ns, tuple(own),
            kind=SpanKind.SERVER, status=status,
        )  # fmt: skip

    def _write_wait(self, step: _Step, attempt: int, until_ns: int) -> None:
        """What the step did since its last attempt: it waited for its retry, then for a worker."""
        self._write_retry_wait(step, attempt, until_ns)
        since_ns = min(max(step.eligible_ns, step.idle_ns), until_ns)
        if until_ns - since_ns >= SHORTEST_WAIT_NS:
            own = (*step.identity, ("holdfast.attempt", attempt), *self._place(step))
            self._write_below(step, SpanOf.QUEUE_WAIT, attempt, "queue wait", since_ns, until_ns, own)

    def _write_retry_wait(self, step: _Step, attempt: int, until_ns: int) -> None:
        end_ns = min(step.eligible_ns, until_ns)
        if step.is_retrying and end_ns > step.idle_ns:
            delay = ("holdfast.retry.delay_ms", step.delay_ns // 1_000_000)
            own = (*step.identity, ("holdfast.attempt", attempt), delay)
            self._write_below(step, SpanOf.RETRY_WAIT, attempt, "retry wait", step.idle_ns, end_ns, own)
            step.idle_ns = end_ns
        step.is_retrying = False

    def _write_below(
        self,
        step: _Step,
        of: SpanOf,
        attempt: int,
        name: str,
        start_ns: int,
        end_ns: int,
        own: Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        status: SpanStatus = SpanStatus.UNSET,
    ) -> None:
        written = self._writer.write(
            step.segment, of, step.body.number, attempt, name=name, kind=kind, start_ns=start_ns, end_ns=end_ns,
            own=own, status=status, parent_id=step.span_id,
        )  # fmt: skip
        step.is_shown |= written

    def _end(
        self,
        step: _Step,
        status: SpanStatus,
        end_ns: int,
        *,
        result: value_pb2.Payload | None = None,
        failure: value_pb2.Failure | None = None,
    ) -> None:
        writer = self._writer
        if step.running is not None:
            self._write_attempt(step, step.running.attempt, None, step.running.start_ns, end_ns, step.running.holder)
        elif not step.is_elsewhere and status is SpanStatus.UNSET:
            self._write_wait(step, step.attempts + 1, end_ns)
        own: list[tuple[str, str | int]] = [*step.identity, *self._place(step)]
        own.append(("holdfast.input.bytes", step.input_bytes))
        if result is not None:
            own.append(("holdfast.output.bytes", len(result.data)))
        if status is SpanStatus.ERROR:
            own += error_attributes(failure, otherwise="failed", rules=writer.rules)
        writer.write(
            step.segment, SpanOf.STEP, step.body.number, name=f"step {step.name}", kind=SpanKind.CLIENT,
            start_ns=step.start_ns, end_ns=end_ns, own=tuple(own), status=status, always=step.is_shown,
        )  # fmt: skip
        writer.end(step.segment)
        del self._steps[step.body.number]

    def _place(self, step: _Step) -> Attributes:
        queue = step.queue or self._writer.facts.queue
        placement = ("holdfast.placement", "queued" if step.is_queued else "inline")
        return (("holdfast.queue", queue), placement) if queue else (placement,)
