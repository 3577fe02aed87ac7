"""The parts of a report as the core takes them. What is misshapen becomes none: it raises InvalidRequest.

A transition is the hot path: entries that ask nothing of the coordinator are checked and framed as the bytes of a
JournalRow, which takes a third of the time of making one; only the others become records.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from holdfast.api.v1 import journal_pb2, status_pb2, value_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import InvalidRequest, PayloadTooLarge
from holdfast.ids import business_id_problem, child_run_id, successor_run_id
from holdfast.journal.kinds import STORED_ENTRIES, WORKER_ENTRIES
from holdfast.limits import Limits
from holdfast.statuses import ClosePolicy, Placement, RunStatus, Then
from holdfast.wire import time_from
from holdfast_coordinator.domain.asks import (
    Ask,
    CancelChildAsk,
    CancelledStep,
    CancelStepAsk,
    CancelTimerAsk,
    CloseAsk,
    ConsumeMail,
    PublishAsk,
    QueueStepAsk,
    SendMailAsk,
    SetMetadataAsk,
    SetRetryAsk,
    SetTimerAsk,
    StallAsk,
    StartChildAsk,
    Successor,
)
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt, SaveProgress
from holdfast_coordinator.wire.content_hashes import call_of_arguments
from holdfast_coordinator.wire.protobuf_bytes import bytes_field

from .fields import (
    BUILD_MAX,
    ENTRY_SECONDS_MAX,
    INT64_MAX,
    NANOS_MAX,
    check_time,
    choice,
    moment,
    name,
    priority,
    run_id,
    shown,
    span,
    whole,
)
from .worker_shapes import BODIES, check_report

_APART = frozenset({"mail_consumed", "step_cancelled", "run_closed"})
"""Entries that the coordinator completes, or puts others before."""
_ENTRIES = journal_pb2.JournalRow.DESCRIPTOR.fields_by_name["entries"].number
_QUEUED = Placement.QUEUED.value
_THENS = {then.value: then for then in Then}
_POLICIES = {policy.value: policy for policy in ClosePolicy}
_STATUSES = {status.number: status for status in RunStatus}
REASON_MAX = 16_384

Value = tuple[str, str, Callable[[Any], int]]
"""A field of an entry that holds what users' code gave: its name, what it is called, how many bytes it has."""


def _values_of(kind: str) -> list[Value]:
    body = journal_pb2.Entry.DESCRIPTOR.fields_by_name[kind].message_type
    assert body is not None, kind
    values: list[Value] = []
    for field in body.fields:
        if field.message_type == value_pb2.Payload.DESCRIPTOR:
            values.append((field.name, field.name, lambda payload: len(payload.data)))
        elif field.message_type == value_pb2.Arguments.DESCRIPTOR:
            values.append((field.name, "argument list", lambda arguments: arguments.ByteSize()))
    return values


_VALUES = {kind: _values_of(kind) for kind in WORKER_ENTRIES}
"""Of each kind of entry that workers write."""


def transition(session_id: str, message: pb.Transition, limits: Limits, grace: timedelta) -> CommitTransition:
    """A transition as the core takes it. Raises InvalidRequest, PayloadTooLarge.

    grace: what the coordinator adds to the deadline of attempts, so that the worker enforces it first.
    """
    size = message.ByteSize()
    if size > limits.transition_bytes:
        raise PayloadTooLarge("a transition", size_bytes=size, limit_bytes=limits.transition_bytes)
    of_run = run_id("run_id", message.run_id)
    then = _THENS.get(message.then)
    if then is None:
        raise InvalidRequest("then", f"{message.then} says nothing of what becomes of the lease")
    entries = message.entries
    count = left = len(entries)
    is_large = size > limits.payload_bytes
    journal: list[bytes | ConsumeMail | CancelledStep] = []
    asks: list[Ask] = []
    framed: list[bytes] = []
    for entry in entries:
        left -= 1
        kind = entry.WhichOneof("body") or ""
        check = BODIES.get(kind)
        if check is None:
            raise InvalidRequest("entries", f"a worker must not write an entry of kind {kind or 'nothing'!r}")
        body = getattr(entry, kind)
        check(kind, body)
        at = entry.at
        if not 0 <= at.seconds <= ENTRY_SECONDS_MAX or not 0 <= at.nanos <= NANOS_MAX:
            check_time("at", at, ENTRY_SECONDS_MAX)
        if is_large:
            _check_sizes(kind, body, limits)
        if kind in STORED_ENTRIES or (kind == "step_scheduled" and body.placement != _QUEUED):
            framed.append(bytes_field(_ENTRIES, entry.SerializeToString()))
            continue
        if kind in _APART:
            if framed:
                journal.append(b"".join(framed))
                framed.clear()
            if kind == "mail_consumed":
                since = time_from(body.awaited_since) if body.HasField("awaited_since") else None
                journal.append(ConsumeMail(body.number, time_from(at), since))
            elif kind == "step_cancelled":
                journal.append(CancelledStep(body.number, bytes_field(_ENTRIES, entry.SerializeToString())))
                asks.append(CancelStepAsk(body.number))
            else:
                _check_last(kind, left)
                asks.append(_close(of_run, entry))
            continue
        framed.append(bytes_field(_ENTRIES, entry.SerializeToString()))
        ask = _ask(of_run, kind, entry)
        if ask is not None:
            asks.append(ask)
            if type(ask) is StallAsk:
                _check_last(kind, left)
    if framed:
        journal.append(framed[0] if len(framed) == 1 else b"".join(framed))
    deadline = (
        span("attempt_deadline", message.attempt_deadline) + grace if message.HasField("attempt_deadline") else None
    )
    # By position, which is faster: this is on the path of every step.
    return CommitTransition(
        of_run, session_id, message.epoch, message.expected_seq, message.transition_id, count, journal, asks,
        message.mail_seen, then, deadline, shown("; ".join(message.waits)) if then is Then.SUSPEND else "", entries,
        limits.journal_entries,
    )  # fmt: skip


def _check_last(kind: str, left: int) -> None:
    if left:
        raise InvalidRequest("entries", f"{left} entries follow {kind}, which must be the last")


def _check_sizes(kind: str, body: Any, limits: Limits) -> None:
    """Checks the values of an entry whose transition has room for one that is too large."""
    for field, what, size_of in _VALUES[kind]:
        of_which = f"{kind} {body.number}" if hasattr(body, "number") else kind
        _check_size(f"the {what} of {of_which}", size_of(getattr(body, field)), limits)


def _check_size(what: str, size: int, limits: Limits) -> None:
    if size > limits.payload_bytes:
        raise PayloadTooLarge(what, size_bytes=size, limit_bytes=limits.payload_bytes)


def _close(of_run: str, entry: journal_pb2.Entry) -> CloseAsk:
    closed = entry.run_closed
    return CloseAsk(
        choice("run_closed.status", closed.status, _STATUSES),
        closed.result.SerializeToString() if closed.HasField("result") else None,
        closed.failure.SerializeToString() if closed.HasField("failure") else None,
        bytes_field(_ENTRIES, entry.SerializeToString()),
        time_from(entry.at),
        _successor(of_run, closed) if closed.status == status_pb2.RUN_STATUS_CONTINUED_AS_NEW else None,
    )


def _successor(of_run: str, closed: journal_pb2.RunClosed) -> Successor:
    if closed.successor_run_id != successor_run_id(of_run):
        text = f"{closed.successor_run_id!r} is not the id of the run that goes on where {of_run} continues as new"
        raise InvalidRequest("run_closed.successor_run_id", text)
    signals = [
        (moment("run_closed.signals.arrived_at", one.arrived_at), one.SerializeToString()) for one in closed.signals
    ]
    arguments = closed.arguments
    return Successor(
        closed.successor_run_id, arguments.SerializeToString(), call_of_arguments(arguments).digest(), signals
    )


def _ask(of_run: str, kind: str, entry: journal_pb2.Entry) -> Ask | None:
    """What an entry asks of the coordinator, if anything; its body has been checked."""
    match kind:
        case "step_scheduled":
            return _queue_step(entry.step_scheduled, time_from(entry.at))
        case "attempt_ended":
            ended = entry.attempt_ended
            if not ended.retry_by_alarm:
                return None
            return SetRetryAsk(ended.number, span("attempt_ended.attempt.retry_delay", ended.attempt.retry_delay))
        case "timer_set":
            timer = entry.timer_set
            hook = (timer.hook, timer.hook_sha256, timer.signal)
            if timer.HasField("until"):
                return SetTimerAsk(timer.number, None, moment("timer_set.until", timer.until), *hook)
            return SetTimerAsk(timer.number, span("timer_set.delay", timer.delay), None, *hook)
        case "timer_cancelled":
            return CancelTimerAsk(entry.timer_cancelled.number)
        case "child_started":
            return _start_child(of_run, entry)
        case "child_cancelled":
            return CancelChildAsk(entry.child_cancelled.number)
        case "published":
            return PublishAsk(entry.published.key, entry.published.value.SerializeToString())
        case "mail_sent":
            return _send_mail(of_run, entry)
        case "metadata_set":
            return SetMetadataAsk(entry.metadata_set.key, entry.metadata_set.value)
        case "run_stalled":
            return StallAsk(shown(entry.run_stalled.reason, REASON_MAX), shown(entry.run_stalled.build, BUILD_MAX))
        case _:
            return None


def _start_child(of_run: str, entry: journal_pb2.Entry) -> StartChildAsk:
    """The start of a child, checked now: the outbox could only fail with it again and again."""
    child = entry.child_started
    if child.run_id != child_run_id(of_run, child.number):
        # Any other id could name a run of another namespace, which would then be cancelled as a child.
        raise InvalidRequest("run_id", f"{child.run_id!r} is not that of child {child.number} of run {of_run}")
    name("workflow", child.workflow)
    if child.queue:
        name("queue", child.queue)
    if child.id and (problem := business_id_problem(child.id)):
        raise InvalidRequest("id", f"{child.id[:50]!r} {problem}")
    if child.HasField("max_duration"):
        span("max_duration", child.max_duration)
    policy = choice("close_policy", child.close_policy, _POLICIES, default=ClosePolicy.CANCEL)
    return StartChildAsk(child.number, child.run_id, policy, entry.SerializeToString())


def _send_mail(of_run: str, entry: journal_pb2.Entry) -> SendMailAsk:
    """What is sent to a child of the run itself: no other can be named."""
    sent = entry.mail_sent
    return SendMailAsk(sent.message, child_run_id(of_run, sent.number), entry.SerializeToString())


def _queue_step(step: journal_pb2.StepScheduled, at: datetime) -> QueueStepAsk:
    return QueueStepAsk(
        number=step.number,
        name=step.name,
        arguments=step.arguments.SerializeToString(),
        queue=name("step_scheduled.queue", step.queue) if step.queue else "",
        priority=priority("step_scheduled.priority", step.priority),
        timeout=span("step_scheduled.timeout", step.timeout) if step.HasField("timeout") else None,
        recoveries=step.recoveries if step.HasField("recoveries") else None,
        retry=step.retry.SerializeToString() if step.HasField("retry") else b"",
        step_id=name("step_scheduled.step_id", step.step_id) if step.step_id else "",
        at=at,
        seed=step.seed,
    )


def progress_report(session_id: str, message: pb.ProgressReport, limits: Limits) -> SaveProgress:
    """What an attempt saves as the core takes it. Raises InvalidRequest, PayloadTooLarge."""
    if not message.HasField("details"):
        raise InvalidRequest("details", "are missing; to save nothing, save null")
    _check_size("the progress of a step", len(message.details.data), limits)
    return SaveProgress(
        run_id=run_id("run_id", message.run_id),
        number=whole("step", message.step, least=1),
        attempt=whole("attempt", message.attempt, least=1),
        epoch=whole("epoch", message.epoch, least=1, most=INT64_MAX),
        session_id=session_id,
        details=message.details.SerializeToString(),
        is_queued=message.queued,
    )


def attempt_report(session_id: str, message: pb.AttemptReport, limits: Limits) -> ReportAttempt:
    """The outcome of a queued attempt as the core takes it. Raises InvalidRequest, PayloadTooLarge."""
    record = message.record
    check_report(record, message.attempt, has_result=message.HasField("result"))
    _check_size("the result of a step", len(message.result.data), limits)
    size = record.ByteSize()
    if size > limits.transition_bytes:
        raise PayloadTooLarge("the record of an attempt", size_bytes=size, limit_bytes=limits.transition_bytes)
    return ReportAttempt(
        run_id=run_id("run_id", message.run_id),
        number=whole("step", message.step, least=1),
        attempt=message.attempt,
        epoch=whole("epoch", message.epoch, least=1, most=INT64_MAX),
        session_id=session_id,
        record=record.SerializeToString(),
        result=message.result.SerializeToString() if message.HasField("result") else None,
        failure=record.failure.SerializeToString() if record.HasField("failure") else None,
        again_after=span("record.retry_delay", record.retry_delay) if record.HasField("retry_delay") else None,
        handed_back=record.outcome == status_pb2.ATTEMPT_OUTCOME_HANDED_BACK,
        lost=record.outcome == status_pb2.ATTEMPT_OUTCOME_LOST,
        parsed=record,
    )
