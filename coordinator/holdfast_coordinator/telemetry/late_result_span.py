"""The span of a late result: a report of an attempt that was superseded, and refused. Pure; the id is given.

It is no part of the skeleton, since nothing of it is in the journal: it is made once, by the replica that refused.
"""

from dataclasses import dataclass
from datetime import datetime

from holdfast.statuses import AttemptOutcome
from holdfast.traces import SpanContext, parse_traceparent
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.wire.reported_attempts import ReportedAttempt

from .catalogue import LATE_RESULT
from .identity import attempt_position, facts_of
from .spans import Attributes, Span, SpanRules, SpanStatus, cut_text, error_attributes, instant_ns

_FAILED = frozenset({"failed_retryable", "failed_final", "timed_out"})
_OUTCOMES = {int(outcome): outcome.name.lower() for outcome in AttemptOutcome}


@dataclass(slots=True, frozen=True)
class LateResult:
    """What a worker reported of an attempt that was no longer its own. epoch: under which it had it."""

    run_id: str
    step: int
    epoch: int
    attempt: ReportedAttempt

    @property
    def outcome(self) -> str:
        """How the worker says that the attempt ended."""
        return _OUTCOMES.get(self.attempt.outcome, "unknown")


def attempt_span_of(record: RunRow, late: LateResult) -> SpanContext | None:
    """The position of the attempt's own span; None when its run is not traced, or the report has no sensible time."""
    attempt = late.attempt
    if not record.trace or attempt.scheduled_at is None:
        return None
    position = attempt_position(record, late.step, attempt.attempt, attempt.scheduled_at)
    return parse_traceparent(position.traceparent, position.tracestate)


def late_result_span(
    record: RunRow, late: LateResult, parent: SpanContext, *, at: datetime, span_id: bytes, rules: SpanRules
) -> Span:
    """A moment, drawn as 1 ns: backends take a span without any length for a broken one.

    parent: of the attempt, see attempt_span_of. at: the database's time. span_id: random.
    """
    attempt = late.attempt
    own: Attributes = (
        ("holdfast.step.number", late.step),
        ("holdfast.attempt", attempt.attempt),
        ("holdfast.attempt.outcome", late.outcome),
        ("holdfast.worker.id", cut_text(attempt.session_id)),
        *((("holdfast.worker.build", cut_text(attempt.build)),) if attempt.build else ()),
        ("holdfast.lease.epoch", late.epoch),
    )
    if late.outcome in _FAILED:
        own = (*own, *error_attributes(attempt.failure, otherwise=late.outcome, rules=rules))
    at_ns = instant_ns(at)
    return Span(
        facts_of(record), parent.trace_id, span_id, parent.span_id, LATE_RESULT.name, LATE_RESULT.kind,
        at_ns, at_ns + 1, SpanStatus.UNSET, own, (),
    )  # fmt: skip
