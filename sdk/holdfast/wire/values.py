"""Values, times, failures and retry policies as protobuf messages, both ways. Entries and mail are made of these.

Hot path, so it writes into messages that exist (`write_*`): filling a submessage in place costs a third of
passing it to the constructor, which copies it through its serialized form. Nothing is checked here: what
comes from a peer was checked by the coordinator, what goes to one is checked there.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.backoff import Backoff, Constant, Exponential, Linear, Listed
from holdfast.journal import (
    Arguments,
    Failure,
    Payload,
    RetryPolicy,
    RunTrace,
    StepOrigin,
    TraceContext,
)
from holdfast.statuses import AttemptOutcome, ClosePolicy, Placement, RunStatus

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOMES: tuple[AttemptOutcome | None, ...] = (None, *AttemptOutcome)
_STATUSES: tuple[RunStatus | None, ...] = (None, *RunStatus)
PLACEMENTS = (Placement.INLINE, *Placement)
"""By their numbers; what does not say where it runs, runs under the lease."""
CLOSE_POLICIES = (ClosePolicy.CANCEL, *ClosePolicy)
"""By their numbers; 0 is the default."""

# Times. Integer arithmetic: exact, and a fifth of the time of Timestamp.FromDatetime.


def set_time(message: Timestamp, instant: datetime) -> None:
    """Writes an aware instant, to the microsecond."""
    since = instant - _EPOCH
    message.seconds = since.days * 86400 + since.seconds
    message.nanos = since.microseconds * 1000


def time_from(message: Timestamp) -> datetime:
    """The instant, aware UTC; what is finer than a microsecond is dropped."""
    return _instant(message.seconds, message.nanos)


# An entry and its attempt name the same instant up to five times, and timeouts are few: remembering the last
# ones takes a third off reading a journal.
@lru_cache(maxsize=128)
def _instant(seconds: int, nanos: int) -> datetime:
    return _EPOCH + timedelta(0, seconds, nanos // 1000)


@lru_cache(maxsize=128)
def _span(seconds: int, nanos: int) -> timedelta:
    return timedelta(0, seconds, nanos // 1000)


def set_span(message: Duration, span: timedelta) -> None:
    """Writes a span of time, which is never negative."""
    message.seconds = span.days * 86400 + span.seconds
    message.nanos = span.microseconds * 1000


def span_from(message: Duration) -> timedelta:
    """The span of time; what is finer than a microsecond is dropped."""
    return _span(message.seconds, message.nanos)


# Values


def write_payload(message: value_pb2.Payload, payload: Payload) -> None:
    """Writes into an empty message."""
    message.data = payload.data
    if payload.encoding:
        message.encoding = payload.encoding
    if payload.content_sha256:
        message.content_sha256 = payload.content_sha256


def payload_from_message(message: value_pb2.Payload) -> Payload:
    return Payload(message.data, message.encoding, message.content_sha256)


def write_arguments(message: value_pb2.Arguments, arguments: Arguments) -> None:
    """Writes into an empty message."""
    if arguments.positional:
        add = message.positional.add
        for payload in arguments.positional:
            write_payload(add(), payload)
    if arguments.named:
        named = message.named
        for name, payload in arguments.named.items():
            write_payload(named[name], payload)
    if arguments.context is not None:
        write_payload(message.context, arguments.context)


def arguments_from_message(message: value_pb2.Arguments) -> Arguments:
    # Sorted: a protobuf map has no order of its own, and workflow code must see the same one each time.
    named = message.named
    return Arguments(
        tuple([Payload(one.data, one.encoding, one.content_sha256) for one in message.positional]),
        {name: payload_from_message(named[name]) for name in sorted(named)} if named else {},
        payload_from_message(message.context) if message.HasField("context") else None,
    )


def write_trace(message: value_pb2.TraceContext, trace: TraceContext) -> None:
    """Writes into an empty message."""
    message.traceparent = trace.traceparent
    message.tracestate = trace.tracestate
    message.baggage = trace.baggage


def trace_from_message(message: value_pb2.TraceContext) -> TraceContext:
    return TraceContext(message.traceparent, message.tracestate, message.baggage)


def run_trace_from_message(message: value_pb2.RunTrace) -> RunTrace:
    return RunTrace(trace_from_message(message.context), span_from(message.segment))


# Failures


def write_failure(message: value_pb2.Failure, failure: Failure) -> None:
    """Writes into an empty message, with all its causes and leaves."""
    message.error_type = failure.error_type
    message.error_class = failure.error_class
    message.message = failure.message
    message.traceback = failure.traceback
    message.cut = failure.cut
    message.child_run_id = failure.child_run_id
    if failure.facts is not None:
        write_payload(message.facts, failure.facts)
    if failure.step is not None:
        step = message.step
        step.name = failure.step.name
        step.number = failure.step.number
        step.attempts = failure.step.attempts
    if failure.cause is not None:
        write_failure(message.cause, failure.cause)
    for leaf in failure.leaves:
        write_failure(message.leaves.add(), leaf)


def failure_to_message(failure: Failure) -> value_pb2.Failure:
    message = value_pb2.Failure()
    write_failure(message, failure)
    return message


def failure_from_message(message: value_pb2.Failure) -> Failure:
    step = message.step if message.HasField("step") else None
    return Failure(
        error_type=message.error_type,
        message=message.message,
        error_class=message.error_class,
        traceback=message.traceback,
        cut=message.cut,
        facts=payload_from_message(message.facts) if message.HasField("facts") else None,
        step=StepOrigin(step.name, step.number, step.attempts) if step is not None else None,
        child_run_id=message.child_run_id,
        cause=failure_from_message(message.cause) if message.HasField("cause") else None,
        leaves=tuple([failure_from_message(leaf) for leaf in message.leaves]),
    )


def failure_of(body: Any) -> Failure | None:
    """The failure of a message that may have one."""
    return failure_from_message(body.failure) if body.HasField("failure") else None


def result_of(body: Any) -> Payload | None:
    """The result of a message that may have one."""
    return payload_from_message(body.result) if body.HasField("result") else None


# Retries


def write_retry(message: journal_pb2.RetryPolicy, retry: RetryPolicy) -> None:
    """Writes into an empty message."""
    message.retries = retry.retries
    match retry.backoff:
        case Exponential() as exponential:
            message.exponential.base = exponential.base
            message.exponential.jitter = exponential.jitter
            message.exponential.first_exponent = exponential.first_exponent
            set_span(message.exponential.max, exponential.max)
        case Linear() as linear:
            set_span(message.linear.start, linear.start)
            set_span(message.linear.step, linear.step)
            if linear.max is not None:
                set_span(message.linear.max, linear.max)
        case Constant() as constant:
            set_span(message.constant, constant.delay)
        case Listed() as listed:
            for wait in listed.waits:
                set_span(message.listed.waits.add(), wait)


def retry_from_message(message: journal_pb2.RetryPolicy) -> RetryPolicy:
    return RetryPolicy(message.retries, _backoff_from(message))


def _backoff_from(message: journal_pb2.RetryPolicy) -> Backoff:
    match message.WhichOneof("backoff"):
        case "exponential":
            given = message.exponential
            return Exponential(
                base=given.base,
                max=span_from(given.max),
                jitter=given.jitter,
                first_exponent=given.first_exponent,
            )
        case "linear":
            linear = message.linear
            return Linear(
                start=span_from(linear.start),
                step=span_from(linear.step),
                max=span_from(linear.max) if linear.HasField("max") else None,
            )
        case "constant":
            return Constant(span_from(message.constant))
        case "listed":
            return Listed(tuple(span_from(wait) for wait in message.listed.waits))
        case _:
            raise ValueError("a retry policy without a backoff that this version of holdfast knows")


# Numbers of the protocol


def outcome_of_number(number: int) -> AttemptOutcome:
    """The outcome with this protocol number. Raises ValueError when there is none."""
    outcome = _OUTCOMES[number] if 0 < number < len(_OUTCOMES) else None
    if outcome is None:
        raise ValueError(f"{number} is not the number of an attempt outcome")
    return outcome


def status_of_number(number: int) -> RunStatus:
    """The status with this protocol number. Raises ValueError when there is none."""
    status = _STATUSES[number] if 0 < number < len(_STATUSES) else None
    if status is None:
        raise ValueError(f"{number} is not the number of a run status")
    return status
