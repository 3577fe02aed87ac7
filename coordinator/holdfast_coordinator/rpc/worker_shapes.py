"""Whether entries and attempt records of a worker have the shape that they must have, whatever run they are of.

An entry that asks nothing of the coordinator stays the bytes it came as, for as long as the run is kept: whoever reads
it later, for a history, a span, a retry, finds only numbers, times and names that there can be.
"""

import re
from collections.abc import Callable
from typing import Any

from holdfast.api.v1 import journal_pb2, status_pb2, value_pb2
from holdfast.errors import InvalidRequest
from holdfast.limits import METADATA_VALUE_MAX, NAME_MAX, NOTE_LEVELS, NOTE_MAX, PROBLEM_MAX, REASON_MAX
from holdfast.statuses import AttemptOutcome, Placement

from .fields import ENTRY_SECONDS_MAX, INT32_MAX, NANOS_MAX, check_time, name, span, storable, whole

FAILURE_LEVELS_MAX = 32
"""Errors that led to one another, or are leaves of each other; the SDK keeps eight."""
SHA256 = re.compile(r"[0-9a-f]{64}")
_OUTCOMES = frozenset(map(int, AttemptOutcome))
_COMPLETED = int(AttemptOutcome.COMPLETED)
_REPEATED = frozenset(
    map(
        int,
        (AttemptOutcome.FAILED_RETRYABLE, AttemptOutcome.TIMED_OUT, AttemptOutcome.LOST, AttemptOutcome.HANDED_BACK),
    )
)
_PLACEMENTS = frozenset((0, *map(int, Placement)))


def check_record(record: journal_pb2.AttemptRecord) -> None:
    """Checks how an attempt went."""
    if record.attempt < 1:
        raise InvalidRequest("attempt.attempt", f"{record.attempt} is no number of an attempt, they count from 1")
    if record.outcome not in _OUTCOMES:
        raise InvalidRequest("attempt.outcome", f"{record.outcome} says nothing of how the attempt ended")
    scheduled, eligible, started, ended = record.scheduled_at, record.eligible_at, record.started_at, record.ended_at
    if not (
        0 <= scheduled.seconds <= ENTRY_SECONDS_MAX
        and 0 <= eligible.seconds <= ENTRY_SECONDS_MAX
        and 0 <= started.seconds <= ENTRY_SECONDS_MAX
        and 0 <= ended.seconds <= ENTRY_SECONDS_MAX
        and 0 <= scheduled.nanos <= NANOS_MAX
        and 0 <= eligible.nanos <= NANOS_MAX
        and 0 <= started.nanos <= NANOS_MAX
        and 0 <= ended.nanos <= NANOS_MAX
    ):
        for time in (scheduled, eligible, started, ended):
            check_time("attempt", time, ENTRY_SECONDS_MAX)
    if record.HasField("retry_delay"):
        span("attempt.retry_delay", record.retry_delay)
    if record.HasField("failure"):
        check_failure("attempt.failure", record.failure)


def check_failure(field: str, failure: value_pb2.Failure) -> None:
    """Checks how deep the errors are nested that led to one another.

    Protobuf reads 100 levels of messages, and a journal row has some around what a report had none around: what could
    be reported could not be read again.
    """
    level, levels = [failure], 0
    while level:
        levels += 1
        if levels > FAILURE_LEVELS_MAX:
            raise InvalidRequest(field, f"has causes or leaves more than {FAILURE_LEVELS_MAX} levels deep; cut them")
        level = [inner for one in level for inner in ([one.cause] if one.HasField("cause") else []) + list(one.leaves)]


def check_report(record: journal_pb2.AttemptRecord, attempt: int, *, has_result: bool) -> None:
    """Checks the record of a queued attempt: what it says of the end must be one that its step can have."""
    check_record(record)
    if record.attempt != attempt:
        raise InvalidRequest("record.attempt", f"is {record.attempt}, but the report is of attempt {attempt}")
    is_completed = record.outcome == _COMPLETED
    if is_completed != has_result:
        raise InvalidRequest("result", "belongs to an attempt that completed, and to no other")
    if record.HasField("retry_delay") and record.outcome not in _REPEATED:
        raise InvalidRequest("record.retry_delay", "is set for an attempt that is not to be repeated")
    if not is_completed and not record.HasField("retry_delay") and not record.HasField("failure"):
        raise InvalidRequest("record.failure", "is missing: the last attempt of a step that did not complete says why")


def _numbered(kind: str, body: Any) -> None:
    if body.number < 1:
        raise InvalidRequest(f"{kind}.number", f"{body.number} is no number, they count from 1")


def _with_attempt(kind: str, body: Any) -> None:
    if body.number < 1:
        _numbered(kind, body)
    if body.HasField("attempt"):
        check_record(body.attempt)


def _attempt_started(kind: str, body: journal_pb2.AttemptStarted) -> None:
    _numbered(kind, body)
    if body.attempt < 1:
        raise InvalidRequest(f"{kind}.attempt", f"{body.attempt} is no number of an attempt, they count from 1")


def _attempt_ended(kind: str, body: journal_pb2.AttemptEnded) -> None:
    _numbered(kind, body)
    check_record(body.attempt)
    if body.retry_by_alarm and not body.attempt.HasField("retry_delay"):
        raise InvalidRequest(f"{kind}.attempt.retry_delay", "is missing: the coordinator is to keep the wait")


def _step_failed(kind: str, body: journal_pb2.StepFailed) -> None:
    _with_attempt(kind, body)
    if not body.HasField("failure"):
        raise InvalidRequest(f"{kind}.failure", "is missing: a failed step says why")
    check_failure(f"{kind}.failure", body.failure)


def _step_scheduled(kind: str, body: journal_pb2.StepScheduled) -> None:
    if body.number < 1:
        _numbered(kind, body)
    text = body.name
    if not text or len(text) > NAME_MAX or not text.isprintable():
        name(f"{kind}.name", text)
    if body.HasField("timeout"):
        span(f"{kind}.timeout", body.timeout)
    if body.recoveries < 0 or body.span < 0 or body.placement not in _PLACEMENTS:
        whole(f"{kind}.recoveries", body.recoveries)
        whole(f"{kind}.span", body.span)
        raise InvalidRequest(f"{kind}.placement", f"{body.placement} is no place where a step runs")


def _step_skipped(kind: str, body: journal_pb2.StepSkipped) -> None:
    _numbered(kind, body)
    name(f"{kind}.name", body.name)
    name(f"{kind}.step_id", body.step_id)
    if not body.HasField("failure"):
        raise InvalidRequest(f"{kind}.failure", f"is missing; step {body.number} is left out for a reason")
    check_failure(f"{kind}.failure", body.failure)


def _timer_set(kind: str, body: journal_pb2.TimerSet) -> None:
    _numbered(kind, body)
    due = body.WhichOneof("due")
    if due is None:
        raise InvalidRequest(kind, f"timer {body.number} has neither delay nor until, and would never be due")
    if due == "delay":
        span(f"{kind}.delay", body.delay)
    else:
        check_time(f"{kind}.until", body.until)
    whole(f"{kind}.span", body.span)
    if body.hook or body.hook_sha256:
        whole(f"{kind}.hook", body.hook, least=1)
        if not SHA256.fullmatch(body.hook_sha256):
            raise InvalidRequest(f"{kind}.hook_sha256", "is not the 64 hexadecimal digits of a SHA-256")
        name(f"{kind}.signal", body.signal)


def _child_started(kind: str, body: journal_pb2.ChildStarted) -> None:
    _numbered(kind, body)
    whole(f"{kind}.span", body.span)


def _mail_consumed(kind: str, body: journal_pb2.MailConsumed) -> None:
    _numbered(kind, body)
    if body.HasField("awaited_since"):
        check_time(f"{kind}.awaited_since", body.awaited_since, ENTRY_SECONDS_MAX)


def _user_span(kind: str, body: journal_pb2.UserSpan | journal_pb2.UserSpanBegan) -> None:
    _numbered(kind, body)
    if not 0 < len(body.name) <= NAME_MAX:
        raise InvalidRequest(f"{kind}.name", f"{body.name[:50]!r} must have 1 to {NAME_MAX} characters")
    whole(f"{kind}.parent", body.parent, most=INT32_MAX)
    check_time(f"{kind}.began_at", body.began_at, ENTRY_SECONDS_MAX)


def _signal_set_aside(kind: str, body: journal_pb2.SignalSetAside) -> None:
    _numbered(kind, body)
    if not 0 < len(body.name) <= NAME_MAX:
        raise InvalidRequest(f"{kind}.name", f"{body.name[:50]!r} must have 1 to {NAME_MAX} characters")
    if len(body.problem) > PROBLEM_MAX:
        raise InvalidRequest(f"{kind}.problem", f"has {len(body.problem)} characters, the limit is {PROBLEM_MAX}")


def _patched(kind: str, body: journal_pb2.Patched) -> None:
    if not 0 < len(body.change_id) <= NAME_MAX:
        raise InvalidRequest(f"{kind}.change_id", f"{body.change_id[:50]!r} must have 1 to {NAME_MAX} characters")


def _noted(kind: str, body: journal_pb2.Noted) -> None:
    if not 0 < len(body.text) <= NOTE_MAX:
        raise InvalidRequest(f"{kind}.text", f"has {len(body.text)} characters; it must have 1 to {NOTE_MAX}")
    if body.level not in NOTE_LEVELS:
        raise InvalidRequest(f"{kind}.level", f"{body.level[:50]!r} is none of {', '.join(NOTE_LEVELS)}")
    whole(f"{kind}.span", body.span)


def _mail_sent(kind: str, body: journal_pb2.MailSent) -> None:
    _numbered(kind, body)
    whole(f"{kind}.message", body.message, least=1)
    # The one before, so that a row of them cannot go round in a circle and wait for itself.
    whole(f"{kind}.after", body.after, most=body.message - 1)
    if body.signal:
        name(f"{kind}.signal", body.signal)
    elif body.HasField("payload"):
        raise InvalidRequest(f"{kind}.payload", "belongs to a signal, and there is none; a request to end has a reason")
    if len(body.reason) > REASON_MAX or "\0" in body.reason:
        raise InvalidRequest(f"{kind}.reason", f"has a NUL character, or more than the {REASON_MAX:,} that it may have")


def _metadata_set(kind: str, body: journal_pb2.MetadataSet) -> None:
    name(f"{kind}.key", body.key)
    storable(f"{kind}.value", body.value)
    if len(body.value) > METADATA_VALUE_MAX:
        raise InvalidRequest(f"{kind}.value", f"has {len(body.value)} characters, the limit is {METADATA_VALUE_MAX}")


def _published(kind: str, body: journal_pb2.Published) -> None:
    name(f"{kind}.key", body.key)
    if not body.HasField("value"):
        raise InvalidRequest(f"{kind}.value", "is missing; to publish nothing, publish null")


def _run_closed(kind: str, body: journal_pb2.RunClosed) -> None:
    if body.HasField("result") and body.HasField("failure"):
        raise InvalidRequest(kind, "has a result and a failure; a run ends with one of them")
    if body.HasField("failure"):
        check_failure(f"{kind}.failure", body.failure)
    if body.status == status_pb2.RUN_STATUS_CONTINUED_AS_NEW:
        if body.HasField("result") or body.HasField("failure"):
            raise InvalidRequest(kind, "has a result or a failure; a run that continues as new has neither")
        for one in body.signals:
            if not one.HasField("signal"):
                raise InvalidRequest(f"{kind}.signals", "only signals go on to the next run")
            name(f"{kind}.signals.signal.name", one.signal.name)
    elif body.successor_run_id or body.signals or body.HasField("arguments"):
        raise InvalidRequest(kind, "has what belongs to a run that continues as new, and this one does not")


def _anything(kind: str, body: Any) -> None:
    pass


BODIES: dict[str, Callable[[str, Any], None]] = {
    "step_scheduled": _step_scheduled,
    "attempt_started": _attempt_started,
    "attempt_ended": _attempt_ended,
    "step_completed": _with_attempt,
    "step_failed": _step_failed,
    "step_cancelled": _with_attempt,
    "step_skipped": _step_skipped,
    "timer_set": _timer_set,
    "timer_cancelled": _numbered,
    "mail_consumed": _mail_consumed,
    "child_started": _child_started,
    "child_cancelled": _numbered,
    "run_stalled": _anything,
    "run_closed": _run_closed,
    "user_span_began": _user_span,
    "user_span": _user_span,
    "signal_set_aside": _signal_set_aside,
    "patched": _patched,
    "noted": _noted,
    "mail_sent": _mail_sent,
    "metadata_set": _metadata_set,
    "published": _published,
}
"""What a worker may write, and what checks it; all other kinds are the coordinator's."""
