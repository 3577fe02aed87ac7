"""The ids of traces and spans, and W3C Trace Context. Shared by the SDK and the coordinator.

Ids of skeleton spans are derived and never drawn, so that any replica and the worker that runs an attempt compute the
same. Pure. Nothing a caller sends is ever an error here: what is malformed is ignored.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256

SEGMENT = timedelta(hours=24)
"""How much of a run one trace covers, unless the operator says otherwise."""

TRACESTATE_MAX = 512
"""The longest `tracestate` that is kept, in characters; what W3C asks everybody to carry."""

SAMPLED = 0x01

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE = bytes(16)
_NO_SPAN = bytes(8)


class SpanOf(StrEnum):
    """What a skeleton span describes. The words enter the span ids: they are never changed."""

    RUN = "run"
    ACCEPTED = "accepted"
    STEP = "step"
    QUEUE_WAIT = "queue_wait"
    ATTEMPT = "attempt"
    RETRY_WAIT = "retry_wait"
    TIMER = "timer"
    SIGNAL_WAIT = "signal_wait"
    SIGNAL = "signal"
    UPDATE = "update"
    CHILD = "child"
    STALLED = "stalled"
    PAUSED = "paused"
    USER = "user"
    NOTE = "note"


@dataclass(slots=True, frozen=True)
class SpanContext:
    """The position of one span. trace_id: 16 bytes, span_id: 8 bytes, neither all zero."""

    trace_id: bytes
    span_id: bytes
    is_sampled: bool = True
    tracestate: str = ""


def parse_traceparent(text: str, tracestate: str = "") -> SpanContext | None:
    """The position that the W3C headers name, or None when `text` is not a valid traceparent.

    A tracestate that is too long or not printable ASCII is left out.
    """
    match = _TRACEPARENT.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    found = SpanContext(bytes.fromhex(trace_id), bytes.fromhex(parent_id), bool(int(flags, 16) & SAMPLED))
    if found.trace_id == _NO_TRACE or found.span_id == _NO_SPAN:
        return None
    kept = len(tracestate) <= TRACESTATE_MAX and tracestate.isascii() and tracestate.isprintable()
    return replace(found, tracestate=tracestate) if tracestate and kept else found


def format_traceparent(context: SpanContext) -> str:
    """The `traceparent` header of a position."""
    return f"00-{context.trace_id.hex()}-{context.span_id.hex()}-{SAMPLED if context.is_sampled else 0:02x}"


def span_id(trace_id: bytes, run_id: str, of: SpanOf, number: int = 0, attempt: int = 0) -> bytes:
    """The id of a skeleton span, 8 bytes: always the same for the same thing in the same trace.

    number: of the step, timer, child, mail or user span; of the first entry of a stall or pause; 0 for the run itself.
    """
    return span_ids(trace_id, run_id)(of.encode(), number, attempt)


def span_ids(trace_id: bytes, run_id: str) -> Callable[[bytes, int, int], bytes]:
    """`span_id` for many spans of one run in one trace: what they have in common is put together once.

    The function takes the word of a SpanOf as bytes, number and attempt.
    """
    beginning = sha256(trace_id + f"{run_id}/".encode())

    def one(word: bytes, number: int, attempt: int) -> bytes:
        whole = beginning.copy()
        whole.update(b"%b/%d/%d" % (word, number, attempt))
        id = whole.digest()[:8]
        return id if id != _NO_SPAN else _valid(id)

    return one


def derived_trace_id(trace_id: bytes, run_id: str, why: str, number: int = 0) -> bytes:
    """The id of another trace that belongs to a run of this trace, 16 bytes."""
    return _valid(sha256(trace_id + f"{run_id}/{why}/{number}".encode()).digest()[:16])


def segment_number(created_at: datetime, at: datetime, segment: timedelta = SEGMENT) -> int:
    """The segment of a run in which something that begins at `at` belongs, from 0."""
    return max((at - created_at) // segment, 0)


def segment_root(run: SpanContext, run_id: str, number: int) -> SpanContext:
    """The position of the run span of a segment. run: that of segment 0, which is stored with the run."""
    if number == 0:
        return run
    trace_id = derived_trace_id(run.trace_id, run_id, "segment", number)
    return replace(run, trace_id=trace_id, span_id=span_id(trace_id, run_id, SpanOf.RUN))


def detached_root(parent: SpanContext, run_id: str) -> SpanContext:
    """The position of the run span of a child that may outlive its parent and so gets a trace of its own.

    parent: that of the parent's run span. Derived, so that both sides can link to each other.
    """
    trace_id = derived_trace_id(parent.trace_id, run_id, "detached")
    return replace(parent, trace_id=trace_id, span_id=span_id(trace_id, run_id, SpanOf.RUN))


def successor_root(run: SpanContext, successor_run_id: str) -> SpanContext:
    """The position of the run span of the run that goes on where another one continued as new, in a trace of its own.

    run: that of the run which was continued. Derived, so that both sides can link to each other.
    """
    trace_id = derived_trace_id(run.trace_id, successor_run_id, "successor")
    return replace(run, trace_id=trace_id, span_id=span_id(trace_id, successor_run_id, SpanOf.RUN))


def attempt_context(root: SpanContext, run_id: str, number: int, attempt: int) -> SpanContext:
    """The position of an attempt's span, which is made current while the step runs.

    root: of the segment in which the step was scheduled.
    """
    return replace(root, span_id=span_id(root.trace_id, run_id, SpanOf.ATTEMPT, number, attempt))


def child_context(root: SpanContext, run_id: str, number: int) -> SpanContext:
    """The position of the span under which an awaited child's run span hangs.

    root: of the parent's segment in which the child was started. run_id: the parent's.
    """
    return replace(root, span_id=span_id(root.trace_id, run_id, SpanOf.CHILD, number))


def _valid(id: bytes) -> bytes:
    # All zero means "none" to every backend. It is too unlikely to happen.
    return id if any(id) else id[:-1] + b"\x01"
