"""What a skeleton span is, what a run's spans are told about their run, and the fixed order of attributes. Pure.

Everything in a span is a stored fact or derived from stored facts: two replicas make equal spans.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import value_pb2
from holdfast.traces import SEGMENT, SpanContext, parse_traceparent

TEXT_BYTES_MAX = 1024
"""The longest text that a user controls, in bytes of UTF-8: messages, reasons, names."""

TIME_NS_MAX = 2**63 - 1
"""The latest time and the longest delay that OTLP can carry, in nanoseconds; workers may write any."""

SHORTEST_WAIT_NS = 5_000_000
"""A wait for a worker, or for a signal without a timeout, is left out when it was shorter."""

SPANS_MAX = 5_000
"""How many spans of a run are exported whatever they say; beyond it only failures are."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ATTRIBUTES = (
    "holdfast.namespace",
    "holdfast.workflow.name",
    "holdfast.run.id",
    "holdfast.workflow.id",
    "holdfast.run.status",
    "holdfast.step.name",
    "holdfast.step.number",
    "holdfast.step.id",
    "holdfast.attempt",
    "holdfast.attempt.outcome",
    "holdfast.retry.delay_ms",
    "holdfast.queue",
    "holdfast.placement",
    "holdfast.worker.id",
    "holdfast.worker.build",
    "holdfast.lease.epoch",
    "holdfast.input.bytes",
    "holdfast.output.bytes",
    "error.type",
    "holdfast.error.message",
    "holdfast.origin.run.id",
    "holdfast.parent.run.id",
    "holdfast.child.run.id",
    "holdfast.timer.name",
    "holdfast.wait.outcome",
    "holdfast.stall.reason",
    "holdfast.trace.segment",
    "holdfast.spans.omitted",
)
"""Every attribute of skeleton spans, in the order in which a span has them."""

Attributes = tuple[tuple[str, str | int], ...]


class SpanKind(IntEnum):
    """The kind of a span; the numbers are those of OTLP."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    CONSUMER = 5


class SpanStatus(IntEnum):
    """The status of a span; the numbers are those of OTLP."""

    UNSET = 0
    OK = 1
    ERROR = 2


@dataclass(slots=True, frozen=True)
class Link:
    """Another span that has to do with this one.

    relation: caller, origin, parent, child, sender, or the previous or next segment of the run.
    """

    context: SpanContext
    relation: str


@dataclass(slots=True, frozen=True)
class RunFacts:
    """What is stored of a run when it is created, as far as its spans need it.

    trace: the position of its run span, with the sampling decision. parent: the span that its run span is a child of:
    that of an awaiting parent, or the caller's when it asked to be joined. links: the caller, otherwise; the origin of
    a retry; the parent of a detached child.
    """

    run_id: str
    namespace: str
    workflow: str
    created_at: datetime
    trace: SpanContext
    id: str = ""
    queue: str = ""
    input_bytes: int | None = None
    parent: SpanContext | None = None
    links: tuple[Link, ...] = ()
    origin_run_id: str = ""
    parent_run_id: str = ""
    attributes: Attributes = field(init=False, compare=False)
    """What every span of the run begins with."""

    def __post_init__(self) -> None:
        known: Attributes = (
            ("holdfast.namespace", self.namespace),
            ("holdfast.workflow.name", cut_text(self.workflow)),
            ("holdfast.run.id", self.run_id),
            *((("holdfast.workflow.id", self.id),) if self.id else ()),
        )
        object.__setattr__(self, "attributes", known)


@dataclass(slots=True, frozen=True)
class SpanRules:
    """What an operator may choose. shows_messages: False leaves the texts of errors and stalls out."""

    spans_max: int = SPANS_MAX
    segment: timedelta = SEGMENT
    shows_messages: bool = True


@dataclass(slots=True)
class Span:
    """One finished span. Times are nanoseconds since 1970. parent_id: empty for the root of a trace.

    own: its attributes after those of its run. Treated as immutable; not frozen, since that doubles what it costs to
    make one.
    """

    run: RunFacts
    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    status: SpanStatus
    own: Attributes
    links: tuple[Link, ...]

    @property
    def attributes(self) -> Attributes:
        """All its attributes, in their fixed order."""
        return self.run.attributes + self.own


def cut_text(text: str) -> str:
    """The beginning of a text that a user controls, at most TEXT_BYTES_MAX, at a character."""
    if len(text) * 4 <= TEXT_BYTES_MAX:
        return text
    return text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore")


def error_attributes(failure: value_pb2.Failure | None, *, otherwise: str, rules: SpanRules) -> Attributes:
    """`error.type` and, where there is one, `holdfast.error.message`. otherwise: the type when nothing was raised."""
    if failure is None or not failure.error_type:
        return (("error.type", otherwise),)
    error_type = ("error.type", cut_text(failure.error_type))
    if not failure.message or not rules.shows_messages:
        return (error_type,)
    return (error_type, ("holdfast.error.message", cut_text(failure.message)))


def sender(trace: value_pb2.TraceContext) -> tuple[Link, ...]:
    """The link to whoever sent a piece of mail; none when it was not traced."""
    if not trace.traceparent:
        return ()
    context = parse_traceparent(trace.traceparent, trace.tracestate)
    return () if context is None else (Link(context, "sender"),)


def payload_bytes(arguments: value_pb2.Arguments) -> int:
    """How large the values of a call are."""
    named = arguments.named
    return sum(len(one.data) for one in arguments.positional) + sum(len(named[name].data) for name in named)


def instant_ns(at: datetime) -> int:
    """An aware instant, in nanoseconds since 1970."""
    span = at - _EPOCH
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1_000


def time_ns(message: Timestamp | Duration) -> int:
    """A Timestamp, or a Duration, in nanoseconds: 0 when it is negative, at most TIME_NS_MAX."""
    return min(max(message.seconds * 1_000_000_000 + message.nanos, 0), TIME_NS_MAX)
