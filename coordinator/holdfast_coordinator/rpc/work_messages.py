"""What workers get: leases, queued attempts, mail and the answers to their transitions, as much as has room."""

from collections.abc import Iterable
from itertools import takewhile
from typing import cast

from google.protobuf.message import Message

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.statuses import TransitionStatus
from holdfast.wire import set_time
from holdfast_coordinator.domain.events import LeaseEnded, RunLeased, TaskClaimed
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine.attachments import Handed
from holdfast_coordinator.engine.held_mail import RunMail
from holdfast_coordinator.engine.polls import Delivery
from holdfast_coordinator.telemetry.identity import attempt_position
from holdfast_coordinator.wire.entries import mail_message

_RESULTS = {status: cast(pb.TransitionStatus, int(status)) for status in TransitionStatus}


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
        for saved in delivery.progress.get(record.run_id, ()):
            details = value_pb2.Payload.FromString(saved.details)
            message.progress.add(step=saved.number, attempt=saved.attempt, details=details)
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
        metadata=record.started_with,
        lost_session_id=lease.lost_session_id,
        handed_back=lease.handed_back,
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
    if task.saved is not None:
        message.saved.MergeFromString(task.saved)
        message.saved.SetInParent()  # what is empty was saved too
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
