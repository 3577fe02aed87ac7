"""What the coordinator itself writes into journals and mail, as protobuf bytes.

Pure. A worker's entries stay the bytes they came as: nothing here parses or checks them.
"""

from collections.abc import Iterable, Sequence
from typing import cast

from holdfast.api.v1 import journal_pb2, status_pb2, value_pb2
from holdfast.journal import AttemptRecord, Failure
from holdfast.statuses import RunStatus
from holdfast.wire import failure_to_message, set_time, write_attempt, write_entry, write_mail_body
from holdfast_coordinator.domain.mail import (
    ChildClosedMail,
    MailBody,
    MailRow,
    SignalMail,
    StepResultMail,
    StoredBody,
)
from holdfast_coordinator.domain.rows import (
    CoordinatorEntry,
    MailConsumedEntry,
    MailUndeliveredEntry,
    StepCancelledEntry,
)


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
    match record:
        case MailConsumedEntry(mail=mail):
            set_time(entry.at, record.at)
            entry.mail_consumed.number = mail.number
            _fill_mail(entry.mail_consumed.mail, mail)
            if record.awaited_since is not None:
                set_time(entry.mail_consumed.awaited_since, record.awaited_since)
        case MailUndeliveredEntry(mail=mail):
            set_time(entry.at, record.at)
            entry.mail_undelivered.number = mail.number
            _fill_mail(entry.mail_undelivered.mail, mail)
        case _:
            write_entry(entry, record)
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
        case StepResultMail(number=number, attempts=attempts):
            mail.step_result.number = number
            mail.step_result.MergeFromString(join_attempts(attempts))
            _fill_outcome(mail.step_result, body.result, body.failure)
        case ChildClosedMail(number=number, run_id=run_id, status=status):
            mail.child_closed.number = number
            mail.child_closed.run_id = run_id
            mail.child_closed.status = status_number(status)
            _fill_outcome(mail.child_closed, body.result, body.failure)
        case _:
            write_mail_body(mail, body)
    return mail.SerializeToString()


def mail_bytes(row: MailRow) -> bytes:
    """The body of a piece of mail as it is stored, whether the row is new or was read."""
    body = row.body
    assert not isinstance(body, StoredBody), f"mail {row.number} of run {row.run_id} was not read"
    return body if isinstance(body, bytes) else encode_mail(body, row.trace)


def mail_message(row: MailRow) -> journal_pb2.Mail:
    """The whole Mail message of a row, whether the row is new or was read."""
    mail = journal_pb2.Mail()
    _fill_mail(mail, row)
    return mail


def encode_failure(failure: bytes | Failure) -> bytes:
    """The bytes of a Failure message; bytes are one already."""
    if isinstance(failure, bytes):
        return failure
    return failure_to_message(failure).SerializeToString()


def failure_message(failure: bytes | Failure) -> value_pb2.Failure:
    """A failure as its message."""
    return value_pb2.Failure.FromString(encode_failure(failure))


def join_attempts(attempts: Iterable[bytes | AttemptRecord]) -> bytes:
    """AttemptRecord messages, and attempts to encode as such, as one StepResult message with only `attempts`."""
    result = journal_pb2.StepResult()
    for attempt in attempts:
        message = result.attempts.add()
        if isinstance(attempt, bytes):
            message.MergeFromString(attempt)
        else:
            write_attempt(message, attempt)
    return result.SerializeToString()


def split_attempts(joined: bytes) -> tuple[bytes, ...]:
    """The AttemptRecord messages that join_attempts joined, in order."""
    if not joined:
        return ()
    result = journal_pb2.StepResult.FromString(joined)
    return tuple(attempt.SerializeToString() for attempt in result.attempts)


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
    failure: bytes | Failure | None,
) -> None:
    if result is not None:
        target.result.SetInParent()
        target.result.MergeFromString(result)
    elif failure is not None:
        target.failure.SetInParent()
        target.failure.MergeFromString(encode_failure(failure))
