"""The trace of a run: decided once, when the run is created, and stored with it. Pure; what is random is given.

A run that was created while tracing was off has none stored. It gets one that is derived from its id, so that it can be
shown and exported all the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from holdfast.api.v1 import value_pb2
from holdfast.limits import BAGGAGE_BYTES_MAX
from holdfast.statuses import ClosePolicy
from holdfast.traces import (
    SEGMENT,
    SpanContext,
    SpanOf,
    attempt_context,
    child_context,
    derived_trace_id,
    detached_root,
    format_traceparent,
    parse_traceparent,
    segment_number,
    segment_root,
    span_id,
    successor_root,
)
from holdfast_coordinator.domain.rows import RunRow, Side

from .run_spans import RunSpanBuilder
from .spans import TIME_NS_MAX, Link, RunFacts, SpanRules, payload_bytes

_TRACE_IDS = 2**56
"""Of a trace id the last 7 bytes are random for sure (W3C Trace Context, level 2): they decide about sampling."""


@dataclass(slots=True, frozen=True)
class IdentityRules:
    """What an operator chooses about the traces of new runs.

    ratio: the share of runs that is sampled, 0 to 1; ratios: the same for one workflow ("namespace/workflow") or for
    all of a namespace ("namespace"). on_failure: runs that were not sampled and fail are exported all the same.
    baggage: the keys of a caller's baggage that a run keeps.
    """

    ratio: float = 1.0
    ratios: Mapping[str, float] = field(default_factory=dict)
    on_failure: bool = True
    segment: timedelta = SEGMENT
    baggage: frozenset[str] = frozenset()

    def samples(self, namespace: str, workflow: str, trace_id: bytes) -> bool:
        """Whether the ratio takes a run; runs of one trace get the same answer where the same ratio holds."""
        ratio = self.ratios.get(f"{namespace}/{workflow}", self.ratios.get(namespace, self.ratio))
        return int.from_bytes(trace_id[-7:]) < ratio * _TRACE_IDS


@dataclass(slots=True, frozen=True)
class Identity:
    """What is stored of the trace of a run. trace: RunTrace bytes. side: how its end is to be exported."""

    trace: bytes
    side: Side


def of_start(
    rules: IdentityRules,
    run_id: str,
    namespace: str,
    workflow: str,
    *,
    drawn: bytes,
    caller: value_pb2.TraceContext | None = None,
    joins: bool = False,
    sampled: bool | None = None,
) -> Identity:
    """The trace of a run that a client starts. drawn: 16 random bytes. joins: below the caller, in its trace.

    sampled: what the caller asks for; else a joined run does as its caller, and the ratio decides about the others.
    """
    asking = None if caller is None else parse_traceparent(caller.traceparent, caller.tracestate)
    kept = _allowed(caller.baggage, rules.baggage) if caller is not None and caller.baggage else ""
    if asking is not None and joins:
        root = SpanContext(
            asking.trace_id,
            span_id(asking.trace_id, run_id, SpanOf.RUN),
            asking.is_sampled if sampled is None else sampled,
            asking.tracestate,
        )
        return _identity(rules, root, baggage=kept, parent=asking)
    trace_id = derived_trace_id(drawn, run_id, "drawn") if not any(drawn) else drawn
    is_sampled = rules.samples(namespace, workflow, trace_id) if sampled is None else sampled
    root = SpanContext(trace_id, span_id(trace_id, run_id, SpanOf.RUN), is_sampled)
    return _identity(rules, root, baggage=kept, links=() if asking is None else (Link(asking, "caller"),))


def of_child(
    rules: IdentityRules, run_id: str, parent: RunRow, number: int, at: datetime, policy: ClosePolicy
) -> Identity:
    """The trace of child `number` of a run, asked for at `at`: its parent's, or one of its own if it may outlive it."""
    stored = value_pb2.RunTrace.FromString(parent.trace)
    of_parent, segment = _root(parent, stored), _segment(stored)
    began = segment_root(of_parent, parent.run_id, segment_number(parent.created_at, at, segment))
    above = child_context(began, parent.run_id, number)
    rules = replace(rules, segment=segment)
    if policy is ClosePolicy.ABANDON:
        root = detached_root(of_parent, run_id)
        return _identity(rules, root, baggage=stored.context.baggage, links=(Link(above, "parent"),))
    root = replace(above, span_id=span_id(above.trace_id, run_id, SpanOf.RUN))
    return _identity(rules, root, baggage=stored.context.baggage, parent=above)


def of_retry(rules: IdentityRules, run_id: str, origin: RunRow, *, drawn: bytes) -> Identity:
    """The trace of a run that continues a closed one: its own, sampled as its origin was."""
    stored = value_pb2.RunTrace.FromString(origin.trace)
    of_origin = _root(origin, stored)
    root = SpanContext(drawn, span_id(drawn, run_id, SpanOf.RUN), of_origin.is_sampled)
    return _identity(rules, root, baggage=stored.context.baggage, links=(Link(of_origin, "origin"),))


def of_successor(rules: IdentityRules, run_id: str, before: RunRow) -> Identity:
    """The trace of the run that goes on where one continues as new: its own, sampled as that one."""
    stored = value_pb2.RunTrace.FromString(before.trace)
    of_before = _root(before, stored)
    links = (Link(of_before, "predecessor"),)
    return _identity(rules, successor_root(of_before, run_id), baggage=stored.context.baggage, links=links)


class Origins:
    """Gives the runs that this replica makes their traces. draw: 16 random bytes, new ones each time."""

    def __init__(self, rules: IdentityRules, draw: Callable[[], bytes]) -> None:
        self._rules = rules
        self._draw = draw

    def of_start(
        self,
        run_id: str,
        namespace: str,
        workflow: str,
        *,
        caller: value_pb2.TraceContext | None = None,
        joins: bool = False,
        sampled: bool | None = None,
    ) -> Identity:
        """The trace of a run that a client starts; see of_start()."""
        return of_start(
            self._rules, run_id, namespace, workflow, drawn=self._draw(), caller=caller, joins=joins, sampled=sampled
        )

    def of_child(self, run_id: str, parent: RunRow, number: int, at: datetime, policy: ClosePolicy) -> Identity:
        """The trace of a child run; see of_child()."""
        return of_child(self._rules, run_id, parent, number, at, policy)

    def of_retry(self, run_id: str, origin: RunRow) -> Identity:
        """The trace of a run that continues a closed one; see of_retry()."""
        return of_retry(self._rules, run_id, origin, drawn=self._draw())

    def of_successor(self, run_id: str, before: RunRow) -> Identity:
        """The trace of the run that goes on where one continues as new; see of_successor()."""
        return of_successor(self._rules, run_id, before)


def facts_of(record: RunRow) -> RunFacts:
    """What the spans of a run are given of it."""
    return _facts(record, value_pb2.RunTrace.FromString(record.trace))


def sampled_trace_id(record: RunRow, ended_ns: int) -> str:
    """The trace in which the spans of a sampled run are that end at a time; an empty text when it is not sampled.

    ended_ns: since 1970; a worker may have written any.
    """
    stored = value_pb2.RunTrace.FromString(record.trace)
    context = parse_traceparent(stored.context.traceparent)
    if context is None or not context.is_sampled:
        return ""
    segment = stored.segment.ToTimedelta()
    ended_at = datetime.fromtimestamp(min(max(ended_ns, 0), TIME_NS_MAX) / 1e9, UTC)
    number = segment_number(record.created_at, ended_at, segment) if segment else 0
    return segment_root(context, record.run_id, number).trace_id.hex()


def trace_of(record: RunRow, rules: SpanRules) -> RunSpanBuilder:
    """Builds the spans of a run, from its first entry on."""
    stored = value_pb2.RunTrace.FromString(record.trace)
    segment = _segment(stored)
    return RunSpanBuilder(
        _facts(record, stored), rules if segment == rules.segment else replace(rules, segment=segment)
    )


def attempt_position(record: RunRow, number: int, attempt: int, scheduled_at: datetime) -> value_pb2.TraceContext:
    """The position of the span of a queued attempt. scheduled_at: of its step."""
    stored = value_pb2.RunTrace.FromString(record.trace)
    in_segment = segment_number(record.created_at, scheduled_at, _segment(stored))
    root = segment_root(_root(record, stored), record.run_id, in_segment)
    context = _message(attempt_context(root, record.run_id, number, attempt))
    context.baggage = stored.context.baggage
    return context


def _identity(
    rules: IdentityRules,
    root: SpanContext,
    *,
    baggage: str,
    parent: SpanContext | None = None,
    links: tuple[Link, ...] = (),
) -> Identity:
    stored = value_pb2.RunTrace(context=_message(root))
    stored.context.baggage = baggage
    if parent is not None:
        stored.parent.CopyFrom(_message(parent))
    for link in links:
        stored.links.add(context=_message(link.context), relation=link.relation)
    stored.segment.FromTimedelta(rules.segment)
    side = Side.TRACE if root.is_sampled else Side.TRACE_FAILURE if rules.on_failure else Side.NONE
    return Identity(stored.SerializeToString(), side)


def _facts(record: RunRow, stored: value_pb2.RunTrace) -> RunFacts:
    return RunFacts(
        run_id=record.run_id,
        namespace=record.namespace,
        workflow=record.workflow,
        created_at=record.created_at,
        trace=_root(record, stored),
        id=record.id or "",
        queue=record.queue,
        input_bytes=payload_bytes(value_pb2.Arguments.FromString(record.arguments)),
        parent=_position(stored.parent),
        links=tuple(
            Link(position, link.relation) for link in stored.links if (position := _position(link.context)) is not None
        ),
        origin_run_id=record.origin_run_id or "",
        parent_run_id=record.parent_run_id or "",
    )


def _root(record: RunRow, stored: value_pb2.RunTrace) -> SpanContext:
    if (position := _position(stored.context)) is not None:
        return position
    trace_id = derived_trace_id(bytes(16), record.run_id, "untraced")
    return SpanContext(trace_id, span_id(trace_id, record.run_id, SpanOf.RUN), is_sampled=False)


def _segment(stored: value_pb2.RunTrace) -> timedelta:
    return stored.segment.ToTimedelta() if stored.HasField("segment") else SEGMENT


def _position(message: value_pb2.TraceContext) -> SpanContext | None:
    return parse_traceparent(message.traceparent, message.tracestate) if message.traceparent else None


def _message(context: SpanContext) -> value_pb2.TraceContext:
    return value_pb2.TraceContext(traceparent=format_traceparent(context), tracestate=context.tracestate)


def _allowed(baggage: str, keys: frozenset[str]) -> str:
    """The members of a baggage header that are kept; none of one that is too long."""
    if not keys or len(baggage) > BAGGAGE_BYTES_MAX or not baggage.isascii() or not baggage.isprintable():
        return ""
    members = [member.strip() for member in baggage.split(",")]
    return ",".join(member for member in members if member.partition("=")[0].strip() in keys and "=" in member)
