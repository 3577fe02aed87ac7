"""What a skeleton span is, and what a run's spans are given of their run. Pure.

Everything in a span is a stored fact or derived from stored facts: two replicas make equal spans.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import value_pb2
from holdfast.journal import Failure
from holdfast.record import record
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


@record
class Link:
    """Another span that has to do with this one.

    relation: one of `catalogue.LINKS`.
    """

    context: SpanContext
    relation: str


@dataclass(slots=True)
class RunFacts:
    """What is stored of a run when it is created, as far as its spans need it.

    trace: the position of its run span, with the sampling decision. parent: the span that its run span is a child of:
    that of an awaiting parent, or the caller's when it asked to be joined. links: the caller, otherwise; the origin of
    a retry; the parent of a detached child. Treated as immutable, see Span.
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
    encoded: tuple[bytes, bytes, bytes] | None = field(init=False, compare=False, repr=False, default=None)
    """The same as bytes, once the encoder has needed them."""

    def __post_init__(self) -> None:
        self.attributes = (
            ("holdfast.namespace", self.namespace),
            ("holdfast.workflow.name", cut_text(self.workflow)),
            ("holdfast.run.id", self.run_id),
            *((("holdfast.workflow.id", self.id),) if self.id else ()),
        )


@record
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


def error_attributes(failure: value_pb2.Failure | Failure | None, *, otherwise: str, rules: SpanRules) -> Attributes:
    """`error.type` and, where there is one, `holdfast.error.message`. otherwise: the type when nothing was raised."""
    if failure is None or not failure.error_type:
        return (("error.type", otherwise),)
    error_type = ("error.type", cut_text(failure.error_type))
    if not failure.message or not rules.shows_messages:
        return (error_type,)
    return (error_type, ("holdfast.error.message", cut_text(failure.message)))


def sender(trace: value_pb2.TraceContext, relation: str) -> tuple[Link, ...]:
    """The link to whoever sent a piece of mail; none when it was not traced."""
    if not trace.traceparent:
        return ()
    context = parse_traceparent(trace.traceparent, trace.tracestate)
    return () if context is None else (Link(context, relation),)


def payload_bytes(arguments: value_pb2.Arguments) -> int:
    """How large the values of a call are."""
    size = 0
    for value in arguments.positional[:]:  # a list is read in half the time
        size += len(value.data)
    named = arguments.named
    if named:
        size += sum(len(named[name].data) for name in named)
    return size


def instant_ns(at: datetime) -> int:
    """An aware instant, in nanoseconds since 1970."""
    span = at - _EPOCH
    return ((span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds) * 1_000


def time_ns(message: Timestamp | Duration) -> int:
    """A Timestamp, or a Duration, in nanoseconds: 0 when it is negative, at most TIME_NS_MAX."""
    at_ns = message.seconds * 1_000_000_000 + message.nanos
    if 0 <= at_ns <= TIME_NS_MAX:
        return at_ns
    return 0 if at_ns < 0 else TIME_NS_MAX
