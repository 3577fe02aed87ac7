"""Mail as protobuf messages, both ways. See `wire_values` for how messages are filled."""

from collections.abc import Callable, Iterable
from typing import Any

from holdfast import journal
from holdfast.api.v1 import journal_pb2
from holdfast.channel.wire_values import (
    attempt_from_message,
    failure_from_message,
    payload_from_message,
    set_time,
    status_of_number,
    time_from,
    trace_from_message,
    write_attempt,
    write_failure,
    write_payload,
    write_trace,
)
from holdfast.journal import Mail


def write_mail(message: journal_pb2.Mail, mail: Mail) -> None:
    """Writes into an empty message."""
    message.number = mail.number
    set_time(message.arrived_at, mail.arrived_at)
    if mail.trace is not None:
        write_trace(message.trace, mail.trace)
    match mail.body:
        case journal.Signal(name, payload):
            message.signal.name = name
            if payload is not None:
                write_payload(message.signal.payload, payload)
        case journal.TimerFired(number):
            message.timer.number = number
        case journal.RetryDue(number):
            message.retry_due.number = number
        case journal.StepResult() as ended:
            _write_outcome(message.step_result, ended)
            for record in ended.attempts:
                write_attempt(message.step_result.attempts.add(), record)
        case journal.ChildClosed() as closed:
            _write_outcome(message.child_closed, closed)
            message.child_closed.run_id = closed.run_id
            message.child_closed.status = closed.status.number  # type: ignore[assignment]
        case journal.CancelRequested(reason):
            message.cancel.reason = reason


def _write_outcome(body: Any, ended: journal.StepResult | journal.ChildClosed) -> None:
    body.number = ended.number
    if ended.result is not None:
        write_payload(body.result, ended.result)
    if ended.failure is not None:
        write_failure(body.failure, ended.failure)


def mail_to_message(mail: Mail) -> journal_pb2.Mail:
    message = journal_pb2.Mail()
    write_mail(message, mail)
    return message


def mail_from_message(message: journal_pb2.Mail) -> Mail:
    """Raises ValueError for a kind of mail that this SDK does not know."""
    kind = message.WhichOneof("body")
    if kind is None:
        raise ValueError("mail of a kind that this version of holdfast does not know; upgrade it")
    return Mail(
        message.number,
        time_from(message.arrived_at),
        _MAIL_READERS[kind](getattr(message, kind)),
        trace_from_message(message.trace) if message.HasField("trace") else None,
    )


def mails_from_messages(messages: Iterable[journal_pb2.Mail]) -> list[Mail]:
    """Mail in arrival order."""
    return [mail_from_message(message) for message in messages]


def failure_of(body: Any) -> journal.Failure | None:
    """The failure of a message that may have one."""
    return failure_from_message(body.failure) if body.HasField("failure") else None


def result_of(body: Any) -> journal.Payload | None:
    """The result of a message that may have one."""
    return payload_from_message(body.result) if body.HasField("result") else None


_MAIL_READERS: dict[str, Callable[[Any], journal.MailBody]] = {
    "signal": lambda body: journal.Signal(
        body.name, payload_from_message(body.payload) if body.HasField("payload") else None
    ),
    "timer": lambda body: journal.TimerFired(body.number),
    "retry_due": lambda body: journal.RetryDue(body.number),
    "step_result": lambda body: journal.StepResult(
        body.number,
        tuple(attempt_from_message(one) for one in body.attempts),
        result_of(body),
        failure_of(body),
    ),
    "child_closed": lambda body: journal.ChildClosed(
        body.number, body.run_id, status_of_number(body.status), result_of(body), failure_of(body)
    ),
    "cancel": lambda body: journal.CancelRequested(body.reason),
}
