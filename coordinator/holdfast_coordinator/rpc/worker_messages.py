"""WorkerService messages to and from the engine's records. What is misshapen becomes none: it raises InvalidRequest.

A transition is the hot path: entries that ask nothing of the coordinator are checked and framed as the bytes of a
JournalRow, which takes a third of the time of making one; only the others become records.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import takewhile
from string import Formatter
from typing import Any, cast

from google.protobuf.message import Message

from holdfast.api.v1 import journal_pb2, status_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import InvalidRequest, PayloadTooLarge
from holdfast.ids import business_id_problem, child_run_id
from holdfast.journal.kinds import STORED_ENTRIES
from holdfast.limits import Limits
from holdfast.statuses import ClosePolicy, Placement, RunStatus, Then, TransitionStatus
from holdfast.wire import set_time, time_from
from holdfast_coordinator.domain.commands import (
    Ask,
    CancelChildAsk,
    CancelledStep,
    CancelStepAsk,
    CancelTimerAsk,
    CloseAsk,
    CommitTransition,
    ConsumeMail,
    QueueStepAsk,
    ReportAttempt,
    SetRetryAsk,
    SetTimerAsk,
    StallAsk,
    StartChildAsk,
)
from holdfast_coordinator.domain.events import LeaseEnded, RunLeased, TaskClaimed
from holdfast_coordinator.domain.hashed_calls import HASH_BYTES
from holdfast_coordinator.domain.rows import MailRow, RunRow
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine.argument_types import type_of_text
from holdfast_coordinator.engine.attachments import Handed, Held
from holdfast_coordinator.engine.engine import Delivery
from holdfast_coordinator.engine.held_mail import RunMail
from holdfast_coordinator.engine.sessions import SessionOpening
from holdfast_coordinator.telemetry.identity import attempt_position
from holdfast_coordinator.wire.entries import mail_message
from holdfast_coordinator.wire.protobuf_bytes import bytes_field

from .fields import (
    DEFAULT,
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
    storable,
    whole,
)
from .worker_shapes import BODIES, check_report

_APART = frozenset({"mail_consumed", "step_cancelled", "run_closed"})
"""Entries that the coordinator completes, or puts others before."""
_ENTRIES = journal_pb2.JournalRow.DESCRIPTOR.fields_by_name["entries"].number
_QUEUED = Placement.QUEUED.value
_THENS = {then.value: then for then in Then}
_RESULTS = {status: cast(pb.TransitionStatus, int(status)) for status in TransitionStatus}
_POLICIES = {policy.value: policy for policy in ClosePolicy}
_STATUSES = {status.number: status for status in RunStatus}
_KINDS = {1: "either", 2: "positional_only", 3: "named_only"}

REGISTERED_NAMES_MAX = 10_000
BUILD_MAX = 100
HOST_MAX = 200
REASON_MAX = 16_384


def held_key(held: pb.Held) -> Held:
    """What a session holds, as a key."""
    return held.run_id, held.step, held.epoch


def mail_seen(messages: Iterable[pb.Held]) -> dict[Held, int]:
    """Up to which number a worker has all mail, of the leases that it names."""
    return {held_key(held): held.mail_seen for held in messages if held.mail_seen and not held.step}


def held_message(key: Held) -> pb.Held:
    """The message of a key."""
    run_id, step, epoch = key
    return pb.Held(run_id=run_id, step=step, epoch=epoch)


def introduction(request: pb.OpenSessionRequest) -> SessionOpening:
    """What a worker says of itself, checked. Raises InvalidRequest."""
    if len(request.workflows) + len(request.steps) > REGISTERED_NAMES_MAX:
        raise InvalidRequest("workflows", f"more than {REGISTERED_NAMES_MAX} names; split the worker")
    workflows: dict[str, Mapping[str, Any]] = {}
    for one in request.workflows:
        workflow = name("workflows.name", one.name)
        if workflow in workflows:
            raise InvalidRequest("workflows.name", f"{workflow!r} is there twice; a worker has one workflow of a name")
        workflows[workflow] = _signature(one)
    return SessionOpening(
        namespace=request.namespace or DEFAULT,
        queue=name("queue", request.queue, default=DEFAULT),
        workflows=workflows,
        steps=tuple(dict.fromkeys(name("steps", step) for step in request.steps)),
        build=shown(request.build, BUILD_MAX),
        host=shown(request.host, HOST_MAX),
        pid=request.pid,
        slots=whole("slots", request.slots),
        session_id=storable("session_id", request.session_id) or None,
        held=frozenset(held_key(held) for held in request.held),
        mail_seen=mail_seen(request.held),
    )


def _signature(registration: pb.WorkflowRegistration) -> dict[str, Any]:
    """The signature of a workflow as it is kept; see domain.hashed_calls.Signature."""
    signature: dict[str, Any] = {
        "parameters": [_parameter(one) for one in registration.parameters],
        "extra_positional": registration.extra_positional,
        "extra_named": registration.extra_named,
    }
    if registration.id_template:
        signature["id_template"] = _id_template(registration)
    return signature


def _parameter(message: pb.Parameter) -> dict[str, Any]:
    parameter: dict[str, Any] = {
        "name": storable("workflows.parameters.name", message.name),
        "required": message.required,
        "kind": choice("workflows.parameters.kind", message.kind, _KINDS, default="either"),
    }
    if message.default_sha256:
        if len(message.default_sha256) != HASH_BYTES:
            raise InvalidRequest("workflows.parameters.default_sha256", f"has not the {HASH_BYTES} bytes of a SHA-256")
        parameter["default"] = message.default_sha256.hex()
    if message.type:
        try:
            type_of_text(message.type)
        except ValueError as error:
            raise InvalidRequest("workflows.parameters.type", str(error)) from error
        parameter["type"] = message.type
    return parameter


def _id_template(registration: pb.WorkflowRegistration) -> str:
    """The template, when all that it fills in are whole parameters."""
    template = storable("workflows.id_template", registration.id_template)
    known = {one.name for one in registration.parameters}
    try:
        parts = [(field, form, conversion) for _, field, form, conversion in Formatter().parse(template)]
    except ValueError as error:
        raise InvalidRequest("workflows.id_template", f"{template[:100]!r}: {error}") from error
    for field, form, conversion in parts:
        if field is not None and (field not in known or form or conversion):
            raise InvalidRequest("workflows.id_template", f"{template[:100]!r} fills in more than whole parameters")
    return template


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
                asks.append(_close(entry))
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
    )  # fmt: skip


def _check_last(kind: str, left: int) -> None:
    if left:
        raise InvalidRequest("entries", f"{left} entries follow {kind}, which must be the last")


def _check_sizes(kind: str, body: Any, limits: Limits) -> None:
    """Checks the values of an entry whose transition has room for one that is too large."""
    if kind in ("step_completed", "run_closed"):
        _check_size(f"the result of {kind}", len(body.result.data), limits)
    elif kind in ("step_scheduled", "child_started"):
        _check_size(f"the argument list of {kind} {body.number}", body.arguments.ByteSize(), limits)


def _check_size(what: str, size: int, limits: Limits) -> None:
    if size > limits.payload_bytes:
        raise PayloadTooLarge(what, size_bytes=size, limit_bytes=limits.payload_bytes)


def _close(entry: journal_pb2.Entry) -> CloseAsk:
    closed = entry.run_closed
    return CloseAsk(
        choice("run_closed.status", closed.status, _STATUSES),
        closed.result.SerializeToString() if closed.HasField("result") else None,
        closed.failure.SerializeToString() if closed.HasField("failure") else None,
        bytes_field(_ENTRIES, entry.SerializeToString()),
        time_from(entry.at),
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
            if timer.HasField("until"):
                return SetTimerAsk(timer.number, None, moment("timer_set.until", timer.until))
            return SetTimerAsk(timer.number, span("timer_set.delay", timer.delay), None)
        case "timer_cancelled":
            return CancelTimerAsk(entry.timer_cancelled.number)
        case "child_started":
            return _start_child(of_run, entry)
        case "child_cancelled":
            return CancelChildAsk(entry.child_cancelled.number)
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


class Room:
    """How many bytes of work and mail an answer may still bring; what comes first always fits."""

    def __init__(self, size_bytes: int) -> None:
        self._left = self._whole = size_bytes

    def takes(self, message: Message) -> bool:
        """True when the message goes with this answer."""
        size = message.ByteSize()
        if size > self._left and self._left < self._whole:
            return False
        self._left -= size
        return True


def add_result(response: pb.ReportResponse, run_id: str, answer: TransitionAnswer, room: Room) -> bool:
    """Answers a transition. False: some of its mail has no room, and comes with the answer to a later one."""
    result = response.transitions.add(run_id=run_id, status=_RESULTS[answer.status])
    if answer.refusal:
        result.refusal = answer.refusal
    if answer.mail:
        result.mail.extend(_fitting(answer.mail, room))
        return len(result.mail) == len(answer.mail)
    return True


def _fitting(mail: Iterable[MailRow], room: Room) -> list[journal_pb2.Mail]:
    """The first pieces of mail, in order, as far as there is room."""
    return list(takewhile(room.takes, map(mail_message, mail)))


def fill_poll_response(response: pb.PollResponse, delivery: Delivery, room: Room, *, attach_no: int) -> Handed:
    """Writes what a poll answer brings; returns what has no room in it: it is for the next one.

    attach_no: of the attachment that polls; every grant names it.
    """
    handed, later = delivery.handed, Handed()
    for lease in handed.leases:
        record = delivery.records.get(lease.run.run_id)
        if record is None:
            continue  # the run was removed meanwhile
        message = _lease(lease, record, attach_no)
        if not room.takes(message):
            later.leases.append(lease)
            continue
        message.mail.extend(_fitting(lease.mail, room))
        if len(message.mail) < len(lease.mail):
            later.mail.append(RunMail(record.run_id, lease.epoch, lease.mail[len(message.mail) :]))
        response.leases.append(message)
    for claim in handed.tasks:
        attempt = _attempt(claim, delivery.records.get(claim.task.run_id), attach_no)
        if room.takes(attempt):
            response.attempts.append(attempt)
        else:
            later.tasks.append(claim)
    late = {lease.run.run_id for lease in later.leases} | {mail.run_id for mail in later.mail}
    for mail in handed.mail:
        # A worker drops mail of runs that it does not hold: it must not come before the lease, nor out of order.
        pieces = [] if mail.run_id in late else _fitting(mail.pieces, room)
        if pieces:
            held = pb.Held(run_id=mail.run_id, epoch=mail.epoch)
            response.notices.append(pb.Notice(held=held, mail=pieces))
        if len(pieces) < len(mail.pieces):
            later.mail.append(RunMail(mail.run_id, mail.epoch, mail.pieces[len(pieces) :]))
    response.notices.extend(_end_notice(event) for event in handed.ended)
    return later


def _lease(lease: RunLeased, record: RunRow, attach_no: int) -> pb.Lease:
    message = pb.Lease(
        run_id=record.run_id,
        epoch=lease.epoch,
        workflow=record.workflow,
        journal_length=lease.length,
        id=record.id or "",
        queue=record.queue,
        after_loss=lease.run.losses > 0,
        after_timeout=lease.run.timed_out,
        parent_run_id=record.parent_run_id or "",
        metadata=record.metadata,
        lost_session_id=lease.lost_session_id,
        mail_taken=lease.run.mail_taken,
        attach_no=attach_no,
    )
    message.arguments.MergeFromString(record.arguments)
    if record.trace:
        message.trace.MergeFromString(record.trace)
    set_time(message.created_at, record.created_at)
    if lease.length == 1 and record.origin_run_id is None:  # the journal of a continuation says more than this
        row = message.rows.add(seq=1)
        entry = row.entries.add()
        set_time(entry.at, record.created_at)
        entry.run_started.workflow = record.workflow
    return message


def _attempt(claim: TaskClaimed, record: RunRow | None, attach_no: int) -> pb.QueuedAttempt:
    """record: of a run that may be traced, else None."""
    task = claim.task
    message = pb.QueuedAttempt(
        run_id=task.run_id,
        step=task.number,
        attempt=task.attempt,
        epoch=claim.epoch,
        name=task.name,
        workflow=task.workflow,
        failures=task.failures,
        step_id=task.step_id,
        seed=task.seed,
        attach_no=attach_no,
    )
    set_time(message.scheduled_at, task.scheduled_at)
    set_time(message.eligible_at, task.ready_at)
    message.arguments.MergeFromString(task.arguments)
    if task.retry:
        message.retry.MergeFromString(task.retry)
    if task.timeout is not None:
        message.timeout.FromTimedelta(task.timeout)
    if task.started_at is not None:
        set_time(message.started_at, task.started_at)
    if record is not None and record.trace:
        message.trace.CopyFrom(attempt_position(record, task.number, task.attempt, task.scheduled_at))
    return message


def _end_notice(event: LeaseEnded) -> pb.Notice:
    held = pb.Held(run_id=event.run_id, step=event.number, epoch=event.epoch)
    return pb.Notice(held=held, ended=not event.cancelled, cancelled=event.cancelled)
