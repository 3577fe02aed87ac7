"""Makes the positions of a run and of its attempts current for OpenTelemetry, so that a user's spans hang below them.

Nothing is recorded here: the spans themselves are the coordinator's, made from the journal, and their ids are derived.
Only the API of OpenTelemetry is used. A trace that cannot be read is as good as none, and no error.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from holdfast import traces
from holdfast.journal import RunTrace, TraceContext

if TYPE_CHECKING:
    from holdfast.workflow.instance import WorkflowInstance

_ATTEMPT = traces.SpanOf.ATTEMPT.encode()
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_headers = TraceContextTextMapPropagator()
_baggage = W3CBaggagePropagator()


class RunPosition:
    """The run span of one run, and the places of its attempts below it. One per run that a worker holds.

    created_at: of the run; its segments are counted from there.
    """

    __slots__ = (
        "_around",
        "_created_at",
        "_first",
        "_flags",
        "_length",
        "_run_id",
        "_segments",
        "_state",
    )

    def __init__(
        self,
        first: traces.SpanContext,
        run_id: str,
        created_at: datetime | None,
        *,
        segment: timedelta = traces.SEGMENT,
        baggage: str = "",
    ) -> None:
        self._first = first
        self._run_id = run_id
        self._created_at = created_at
        self._length = segment or traces.SEGMENT
        self._around = _with_baggage(baggage)
        self._flags = _flags_of(first)
        self._state = _state_of(first)
        self._segments: dict[int, tuple[int, Callable[[bytes, int, int], bytes]]] = {}

    @classmethod
    def of(cls, trace: RunTrace | None, run_id: str, created_at: datetime | None) -> "RunPosition | None":
        """That of a leased run; None when tracing is off."""
        if trace is None:
            return None
        context = trace.context
        first = traces.parse_traceparent(context.traceparent, context.tracestate)
        if first is None:
            return None
        return cls(first, run_id, created_at, segment=trace.segment, baggage=context.baggage)

    def attempt(self, number: int, attempt: int, scheduled_at: datetime) -> Context:
        """What is current while this attempt runs. scheduled_at: of the step, which says the segment."""
        return set_span_in_context(_AttemptSpan(self, number, attempt, scheduled_at), self._around)

    def attempt_span(self, number: int, attempt: int, scheduled_at: datetime) -> SpanContext:
        """The position of the span of an attempt. May be asked for from any thread."""
        segment = 0
        if self._created_at is not None:
            segment = traces.segment_number(self._created_at, scheduled_at, self._length)
        trace_id, ids = self._segments.get(segment) or self._enter_segment(segment)
        span_id = int.from_bytes(ids(_ATTEMPT, number, attempt), "big")
        return SpanContext(trace_id, span_id, True, self._flags, self._state)

    def enter_code(self, instance: "WorkflowInstance") -> None:
        """Makes the run span current for workflow code, in whose context this is called."""
        live = _remote(self._first, self._flags, self._state)
        replayed = _remote(self._first, _NOT_SAMPLED, self._state)
        attach(set_span_in_context(_CodeSpan(instance, live, replayed), self._around))

    def _enter_segment(self, number: int) -> tuple[int, Callable[[bytes, int, int], bytes]]:
        root = traces.segment_root(self._first, self._run_id, number)
        made = int.from_bytes(root.trace_id, "big"), traces.span_ids(root.trace_id, self._run_id)
        self._segments = {number: made}  # attempts of earlier ones are few by now
        return made


class _AttemptSpan(NonRecordingSpan):
    """What is around an attempt. Most attempts never ask where they are, so it is worked out when one does."""

    def __init__(self, position: RunPosition, number: int, attempt: int, scheduled_at: datetime) -> None:
        self._asked = (position, number, attempt, scheduled_at)
        self._found: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        found = self._found
        if found is None:
            position, number, attempt, scheduled_at = self._asked
            found = self._found = position.attempt_span(number, attempt, scheduled_at)
        return found

    def __repr__(self) -> str:
        return f"NonRecordingSpan({self.get_span_context()!r})"


class _CodeSpan(NonRecordingSpan):
    """What is around workflow code: one span while it is live, another, not sampled, while it is replayed.

    One object that answers by the state of the run, since the contexts of all its tasks hold it. A sampler that does
    not look at the parent records replays too.
    """

    def __init__(self, instance: "WorkflowInstance", live: SpanContext, replayed: SpanContext) -> None:
        super().__init__(live)
        self._instance = instance
        self._replayed = replayed

    def get_span_context(self) -> SpanContext:
        return self._replayed if self._instance.is_replaying else self._context


def enter_untraced_code(instance: "WorkflowInstance") -> None:
    """Keeps replays of a run that is not traced silent too, since its code may make spans; live it has no parent."""
    if instance.is_replaying:
        digest = hashlib.sha256(instance.info.run_id.encode()).digest()
        trace_id, span_id = int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big")
        replayed = SpanContext(trace_id, span_id, True, _NOT_SAMPLED)
        attach(set_span_in_context(_CodeSpan(instance, INVALID_SPAN_CONTEXT, replayed), _NOTHING))


def attempt_at(trace: TraceContext | None) -> Context | None:
    """What is current while a queued attempt runs, whose place the coordinator says; None when tracing is off."""
    if trace is None:
        return None
    found = traces.parse_traceparent(trace.traceparent, trace.tracestate)
    if found is None:
        return None
    span = NonRecordingSpan(_remote(found, _flags_of(found), _state_of(found)))
    return set_span_in_context(span, _with_baggage(trace.baggage))


def headers_of(context: Context | None) -> dict[str, str]:
    """A position as W3C headers, for where objects cannot go."""
    headers: dict[str, str] = {}
    if context is not None:
        _headers.inject(headers, context)
        _baggage.inject(headers, context)
    return headers


def context_of(headers: Mapping[str, str]) -> Context:
    """The position that `headers_of` wrote down."""
    return _baggage.extract(headers, _headers.extract(headers, Context()))


def _remote(context: traces.SpanContext, flags: TraceFlags, state: TraceState) -> SpanContext:
    trace_id, span_id = int.from_bytes(context.trace_id, "big"), int.from_bytes(context.span_id, "big")
    return SpanContext(trace_id, span_id, True, flags, state)


def _flags_of(context: traces.SpanContext) -> TraceFlags:
    return _SAMPLED if context.is_sampled else _NOT_SAMPLED


def _state_of(context: traces.SpanContext) -> TraceState:
    return TraceState.from_header([context.tracestate]) if context.tracestate else _NO_STATE


def _with_baggage(baggage: str) -> Context:
    return _baggage.extract({"baggage": baggage}, Context()) if baggage else _NOTHING


_NO_STATE = TraceState()
_NOTHING = Context()
