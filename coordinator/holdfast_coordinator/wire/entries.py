"""What the coordinator itself writes into journals and mail, as protobuf bytes.

Pure. A worker's entries stay the bytes they came as: nothing here parses or checks them.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_never, cast

from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.api.v1 import journal_pb2, status_pb2, value_pb2
from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.rows import (
    CancelMail,
    ChildClosedMail,
    CoordinatorEntry,
    EndedAttempt,
    MailBody,
    MailConsumedEntry,
    MailRow,
    MailUndeliveredEntry,
    RetryDueMail,
    RunClosedEntry,
    RunResumedEntry,
    RunStalledEntry,
    RunStartedEntry,
    SignalMail,
    StatedFailure,
    StepCancelledEntry,
    StepResultMail,
    TimerMail,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def join_entries(parts: Sequence[bytes | CoordinatorEntry]) -> bytes:
    """The entries of one transition as the bytes of one JournalRow message with only `entries`.

    Joining serialised messages joins their repeated fields, so bytes that are framed so are copied as they are.
    """
    if len(parts) == 1 and type(parts[0]) is bytes:
        return parts[0]
    return b"".join([part if isinstance(part, bytes) else encode_entry(part) for part in parts])


def encode_entry(record: CoordinatorEntry) -> bytes:
    """One entry of the coordinator, framed like the parts of join_entries."""
    if isinstance(record, StepCancelledEntry):
        return _with_attempts(record)
    row = journal_pb2.JournalRow()
    entry = row.entries.add()
    set_time(entry.at, record.at)
    match record:
        case MailConsumedEntry(mail=mail):
            entry.mail_consumed.number = mail.number
            _fill_mail(entry.mail_consumed.mail, mail)
            if record.awaited_since is not None:
                set_time(entry.mail_consumed.awaited_since, record.awaited_since)
        case MailUndeliveredEntry(mail=mail):
            entry.mail_undelivered.number = mail.number
            _fill_mail(entry.mail_undelivered.mail, mail)
        case RunStartedEntry(workflow=workflow, origin_run_id=origin):
            entry.run_started.workflow = workflow
            entry.run_started.origin_run_id = origin
        case RunStalledEntry(reason=reason, build=build):
            entry.run_stalled.SetInParent()
            entry.run_stalled.reason = reason
            entry.run_stalled.build = build
        case RunResumedEntry(reason=reason):
            entry.run_resumed.SetInParent()
            entry.run_resumed.reason = reason
        case RunClosedEntry(status=status, failure=failure):
            entry.run_closed.status = status_number(status)
            entry.run_closed.failure.MergeFromString(encode_failure(failure))
        case _:
            assert_never(record)
    return row.SerializeToString()


def _with_attempts(record: StepCancelledEntry) -> bytes:
    row = journal_pb2.JournalRow.FromString(record.entry)
    attempts = journal_pb2.StepResult.FromString(join_attempts(record.attempts)).attempts
    row.entries[0].step_cancelled.attempts.extend(attempts)
    return row.SerializeToString()


def encode_mail(body: MailBody, trace: bytes = b"") -> bytes:
    """The bytes of a Mail message without number and arrived_at, which are columns of its row."""
    mail = journal_pb2.Mail()
    if trace:
        mail.trace.MergeFromString(trace)
    match body:
        case SignalMail(name=name, payload=payload):
            mail.signal.name = name
            if payload:
                mail.signal.payload.MergeFromString(payload)
        case TimerMail(number=number):
            mail.timer.number = number
        case RetryDueMail(number=number):
            mail.retry_due.number = number
        case StepResultMail(number=number, attempts=attempts):
            mail.step_result.number = number
            mail.step_result.MergeFromString(join_attempts(attempts))
            _fill_outcome(mail.step_result, body.result, body.failure)
        case ChildClosedMail(number=number, run_id=run_id, status=status):
            mail.child_closed.number = number
            mail.child_closed.run_id = run_id
            mail.child_closed.status = status_number(status)
            _fill_outcome(mail.child_closed, body.result, body.failure)
        case CancelMail(reason=reason):
            mail.cancel.SetInParent()
            mail.cancel.reason = reason
        case _:
            assert_never(body)
    return mail.SerializeToString()


def mail_bytes(row: MailRow) -> bytes:
    """The body of a piece of mail as it is stored, whether the row is new or was read."""
    return row.body if isinstance(row.body, bytes) else encode_mail(row.body, row.trace)


def mail_message(row: MailRow) -> journal_pb2.Mail:
    """The whole Mail message of a row, whether the row is new or was read."""
    mail = journal_pb2.Mail()
    _fill_mail(mail, row)
    return mail


def encode_failure(failure: bytes | StatedFailure) -> bytes:
    """The bytes of a Failure message; bytes are one already."""
    if isinstance(failure, bytes):
        return failure
    message = value_pb2.Failure(error_type=failure.error_type, message=failure.message)
    return message.SerializeToString()


def failure_message(failure: bytes | StatedFailure) -> value_pb2.Failure:
    """A failure as its message."""
    return value_pb2.Failure.FromString(encode_failure(failure))


def join_attempts(attempts: Iterable[bytes | EndedAttempt]) -> bytes:
    """AttemptRecord messages, and attempts to encode as such, as one StepResult message with only `attempts`."""
    result = journal_pb2.StepResult()
    for attempt in attempts:
        message = result.attempts.add()
        if isinstance(attempt, bytes):
            message.MergeFromString(attempt)
        else:
            _fill_attempt(message, attempt)
    return result.SerializeToString()


def split_attempts(joined: bytes) -> tuple[bytes, ...]:
    """The AttemptRecord messages that join_attempts joined, in order."""
    if not joined:
        return ()
    result = journal_pb2.StepResult.FromString(joined)
    return tuple(attempt.SerializeToString() for attempt in result.attempts)


def set_time(timestamp: Timestamp, at: datetime) -> None:
    """Sets a Timestamp field to an aware instant, without going through floats."""
    span = at - _EPOCH
    timestamp.seconds = span.days * 86_400 + span.seconds
    timestamp.nanos = span.microseconds * 1_000


def time_from(timestamp: Timestamp) -> datetime:
    """The instant of a Timestamp, to the microsecond."""
    return _EPOCH + timedelta(0, timestamp.seconds, timestamp.nanos // 1_000)


def _fill_attempt(message: journal_pb2.AttemptRecord, attempt: EndedAttempt) -> None:
    message.attempt = attempt.attempt
    message.outcome = attempt.outcome  # type: ignore[assignment]  # the same numbers
    set_time(message.scheduled_at, attempt.scheduled_at)
    set_time(message.eligible_at, attempt.eligible_at)
    set_time(message.started_at, attempt.started_at)
    set_time(message.ended_at, attempt.ended_at)
    message.session_id = attempt.session_id
    message.epoch = attempt.epoch
    if attempt.failure is not None:
        message.failure.MergeFromString(encode_failure(attempt.failure))


def _fill_mail(mail: journal_pb2.Mail, row: MailRow) -> None:
    mail.MergeFromString(mail_bytes(row))
    mail.number = row.number
    set_time(mail.arrived_at, row.arrived_at)


def status_number(status: RunStatus) -> status_pb2.RunStatus:
    """A status as the protocol's number; the generated stubs take it for a class."""
    return cast(status_pb2.RunStatus, status.number)


def _fill_outcome(
    target: journal_pb2.StepResult | journal_pb2.ChildClosed,
    result: bytes | None,
    failure: bytes | StatedFailure | None,
) -> None:
    if result is not None:
        target.result.SetInParent()
        target.result.MergeFromString(result)
    elif failure is not None:
        target.failure.SetInParent()
        target.failure.MergeFromString(encode_failure(failure))
