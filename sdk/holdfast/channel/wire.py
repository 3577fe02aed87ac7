"""Journal entries as protobuf messages, both ways: one table of writers, one of readers.

The front of `wire_values` and `wire_mail`: other packages import from here.

Hot path: see `wire_values` for how messages are filled. Nothing here decides or checks anything.
"""

from collections.abc import Callable, Iterable
from typing import Any

from holdfast import journal
from holdfast.api.v1 import journal_pb2
from holdfast.channel.wire_mail import (
    failure_of,
    mail_from_message,
    mail_to_message,
    mails_from_messages,
    result_of,
    write_mail,
)
from holdfast.channel.wire_values import (
    arguments_from_message,
    arguments_to_message,
    attempt_from_message,
    attempt_to_message,
    failure_from_message,
    failure_to_message,
    payload_from_message,
    payload_to_message,
    retry_from_message,
    retry_to_message,
    run_trace_from_message,
    set_span,
    set_time,
    span_from,
    status_of_number,
    time_from,
    trace_from_message,
    write_arguments,
    write_attempt,
    write_failure,
    write_payload,
    write_retry,
    write_trace,
)
from holdfast.journal import Entry, Mail
from holdfast.statuses import ClosePolicy, Placement

__all__ = [
    "arguments_from_message",
    "arguments_to_message",
    "attempt_from_message",
    "attempt_to_message",
    "entries_from_rows",
    "entry_from_message",
    "entry_to_message",
    "failure_from_message",
    "failure_to_message",
    "mail_from_message",
    "mail_to_message",
    "mails_from_messages",
    "payload_from_message",
    "payload_to_message",
    "retry_from_message",
    "retry_to_message",
    "run_trace_from_message",
    "set_span",
    "set_time",
    "span_from",
    "time_from",
    "trace_from_message",
    "write_arguments",
    "write_attempt",
    "write_entries",
    "write_entry",
    "write_failure",
    "write_mail",
    "write_payload",
    "write_trace",
]

_PLACEMENTS = (Placement.INLINE, Placement.INLINE, Placement.QUEUED)
_CLOSE_POLICIES = (ClosePolicy.CANCEL, *ClosePolicy)


# Entries


def write_entry(message: journal_pb2.Entry, entry: Entry) -> None:
    """Writes an entry into an empty message, for example `transition.entries.add()`."""
    set_time(message.at, entry.at)
    _WRITERS[type(entry)](message, entry)


def write_entries(messages: Any, entries: Iterable[Entry]) -> None:
    """Appends entries to a repeated field, in order."""
    add = messages.add
    for entry in entries:
        write_entry(add(), entry)


def entry_to_message(entry: Entry) -> journal_pb2.Entry:
    """A message of its own; inside another one use write_entry, which saves a copy."""
    message = journal_pb2.Entry()
    write_entry(message, entry)
    return message


def entry_from_message(message: journal_pb2.Entry) -> Entry:
    """Raises ValueError for a kind of entry that this SDK does not know."""
    kind = message.WhichOneof("body")
    read = _READERS.get(kind) if kind is not None else None
    if kind is None or read is None:
        raise ValueError("an entry of a kind that this version of holdfast does not know; upgrade it")
    return read(time_from(message.at), getattr(message, kind))


def entries_from_rows(rows: Iterable[journal_pb2.JournalRow]) -> list[Entry]:
    """The entries of journal rows, in order."""
    return [entry_from_message(entry) for row in rows for entry in row.entries]


def _write_run_started(message: journal_pb2.Entry, entry: journal.RunStarted) -> None:
    body = message.run_started
    body.workflow = entry.workflow
    body.origin_run_id = entry.origin_run_id
    body.seed = entry.seed


def _write_step_scheduled(message: journal_pb2.Entry, entry: journal.StepScheduled) -> None:
    body = message.step_scheduled
    body.number = entry.number
    body.name = entry.name
    body.placement = entry.placement  # type: ignore[assignment]  # the same numbers
    write_arguments(body.arguments, entry.arguments)
    if entry.step_id:
        body.step_id = entry.step_id
    if entry.queue:
        body.queue = entry.queue
    if entry.priority:
        body.priority = entry.priority
    if entry.timeout is not None:
        set_span(body.timeout, entry.timeout)
    if entry.recoveries is not None:
        body.recoveries = entry.recoveries
    if entry.retry is not None:
        write_retry(body.retry, entry.retry)
    if entry.started:
        body.started = True
    if entry.seed:
        body.seed = entry.seed
    if entry.span:
        body.span = entry.span


def _write_attempt_started(message: journal_pb2.Entry, entry: journal.AttemptStarted) -> None:
    body = message.attempt_started
    body.number = entry.number
    body.attempt = entry.attempt


def _write_attempt_ended(message: journal_pb2.Entry, entry: journal.AttemptEnded) -> None:
    body = message.attempt_ended
    body.number = entry.number
    body.retry_by_alarm = entry.retry_by_alarm
    write_attempt(body.attempt, entry.attempt)


def _write_step_completed(message: journal_pb2.Entry, entry: journal.StepCompleted) -> None:
    body = message.step_completed
    body.number = entry.number
    write_payload(body.result, entry.result)
    if entry.attempt is not None:
        write_attempt(body.attempt, entry.attempt)


def _write_step_failed(message: journal_pb2.Entry, entry: journal.StepFailed) -> None:
    body = message.step_failed
    body.number = entry.number
    write_failure(body.failure, entry.failure)
    if entry.attempt is not None:
        write_attempt(body.attempt, entry.attempt)


def _write_step_cancelled(message: journal_pb2.Entry, entry: journal.StepCancelled) -> None:
    body = message.step_cancelled
    body.number = entry.number
    if entry.attempt is not None:
        write_attempt(body.attempt, entry.attempt)


def _write_timer_set(message: journal_pb2.Entry, entry: journal.TimerSet) -> None:
    body = message.timer_set
    body.number = entry.number
    body.name = entry.name
    if entry.delay is not None:
        set_span(body.delay, entry.delay)
    elif entry.until is not None:
        set_time(body.until, entry.until)
    if entry.signal:
        body.signal = entry.signal
    if entry.span:
        body.span = entry.span


def _write_timer_cancelled(message: journal_pb2.Entry, entry: journal.TimerCancelled) -> None:
    message.timer_cancelled.number = entry.number


def _write_mail_consumed(message: journal_pb2.Entry, entry: journal.MailConsumed) -> None:
    message.mail_consumed.number = entry.number
    if entry.mail is not None:
        write_mail(message.mail_consumed.mail, entry.mail)
    if entry.awaited_since is not None:
        set_time(message.mail_consumed.awaited_since, entry.awaited_since)


def _write_mail_undelivered(message: journal_pb2.Entry, entry: journal.MailUndelivered) -> None:
    message.mail_undelivered.number = entry.number
    if entry.mail is not None:
        write_mail(message.mail_undelivered.mail, entry.mail)


def _write_child_started(message: journal_pb2.Entry, entry: journal.ChildStarted) -> None:
    body = message.child_started
    body.number = entry.number
    body.workflow = entry.workflow
    body.run_id = entry.run_id
    body.id = entry.id
    body.queue = entry.queue
    body.close_policy = entry.close_policy  # type: ignore[assignment]  # the same numbers
    write_arguments(body.arguments, entry.arguments)
    if entry.max_duration is not None:
        set_span(body.max_duration, entry.max_duration)
    if entry.span:
        body.span = entry.span


def _write_child_cancelled(message: journal_pb2.Entry, entry: journal.ChildCancelled) -> None:
    message.child_cancelled.number = entry.number


def _write_run_stalled(message: journal_pb2.Entry, entry: journal.RunStalled) -> None:
    body = message.run_stalled
    body.reason = entry.reason
    body.build = entry.build


def _write_run_resumed(message: journal_pb2.Entry, entry: journal.RunResumed) -> None:
    message.run_resumed.reason = entry.reason


def _write_run_closed(message: journal_pb2.Entry, entry: journal.RunClosed) -> None:
    body = message.run_closed
    body.status = entry.status.number  # type: ignore[assignment]  # the same numbers
    if entry.result is not None:
        write_payload(body.result, entry.result)
    if entry.failure is not None:
        write_failure(body.failure, entry.failure)


def _write_user_span_began(message: journal_pb2.Entry, entry: journal.UserSpanBegan) -> None:
    body = message.user_span_began
    body.number = entry.number
    body.name = entry.name
    set_time(body.began_at, entry.began_at)
    if entry.parent:
        body.parent = entry.parent


def _write_user_span(message: journal_pb2.Entry, entry: journal.UserSpan) -> None:
    body = message.user_span
    body.number = entry.number
    body.name = entry.name
    set_time(body.began_at, entry.began_at)
    if entry.parent:
        body.parent = entry.parent
    if entry.error_type:
        body.error_type = entry.error_type


def _write_signal_set_aside(message: journal_pb2.Entry, entry: journal.SignalSetAside) -> None:
    body = message.signal_set_aside
    body.number = entry.number
    body.name = entry.name
    body.problem = entry.problem


_WRITERS: dict[type, Callable[[journal_pb2.Entry, Any], None]] = {
    journal.RunStarted: _write_run_started,
    journal.StepScheduled: _write_step_scheduled,
    journal.AttemptStarted: _write_attempt_started,
    journal.AttemptEnded: _write_attempt_ended,
    journal.StepCompleted: _write_step_completed,
    journal.StepFailed: _write_step_failed,
    journal.StepCancelled: _write_step_cancelled,
    journal.TimerSet: _write_timer_set,
    journal.TimerCancelled: _write_timer_cancelled,
    journal.MailConsumed: _write_mail_consumed,
    journal.MailUndelivered: _write_mail_undelivered,
    journal.ChildStarted: _write_child_started,
    journal.ChildCancelled: _write_child_cancelled,
    journal.RunStalled: _write_run_stalled,
    journal.RunResumed: _write_run_resumed,
    journal.RunClosed: _write_run_closed,
    journal.UserSpanBegan: _write_user_span_began,
    journal.UserSpan: _write_user_span,
    journal.SignalSetAside: _write_signal_set_aside,
}


def _read_step_scheduled(at: Any, body: journal_pb2.StepScheduled) -> Entry:
    return journal.StepScheduled(
        at,
        body.number,
        body.name,
        arguments_from_message(body.arguments),
        body.step_id,
        _PLACEMENTS[body.placement],
        body.queue,
        body.priority,
        span_from(body.timeout) if body.HasField("timeout") else None,
        body.recoveries if body.HasField("recoveries") else None,
        retry_from_message(body.retry) if body.HasField("retry") else None,
        body.started,
        body.seed,
        body.span,
    )


def _attempt_of(body: Any) -> journal.AttemptRecord | None:
    return attempt_from_message(body.attempt) if body.HasField("attempt") else None


def _mail_of(body: Any) -> Mail | None:
    return mail_from_message(body.mail) if body.HasField("mail") else None


def _read_timer_set(at: Any, body: journal_pb2.TimerSet) -> Entry:
    return journal.TimerSet(
        at,
        body.number,
        body.name,
        span_from(body.delay) if body.HasField("delay") else None,
        time_from(body.until) if body.HasField("until") else None,
        body.signal,
        body.span,
    )


def _read_mail_consumed(at: Any, body: journal_pb2.MailConsumed) -> Entry:
    since = time_from(body.awaited_since) if body.HasField("awaited_since") else None
    return journal.MailConsumed(at, body.number, _mail_of(body), since)


def _read_child_started(at: Any, body: journal_pb2.ChildStarted) -> Entry:
    return journal.ChildStarted(
        at,
        body.number,
        body.workflow,
        body.run_id,
        arguments_from_message(body.arguments),
        body.id,
        body.queue,
        span_from(body.max_duration) if body.HasField("max_duration") else None,
        _CLOSE_POLICIES[body.close_policy],
        body.span,
    )


_READERS: dict[str, Callable[[Any, Any], Entry]] = {
    "run_started": lambda at, body: journal.RunStarted(at, body.workflow, body.origin_run_id, body.seed),
    "step_scheduled": _read_step_scheduled,
    "attempt_started": lambda at, body: journal.AttemptStarted(at, body.number, body.attempt),
    "attempt_ended": lambda at, body: journal.AttemptEnded(
        at, body.number, attempt_from_message(body.attempt), body.retry_by_alarm
    ),
    "step_completed": lambda at, body: journal.StepCompleted(
        at, body.number, payload_from_message(body.result), _attempt_of(body)
    ),
    "step_failed": lambda at, body: journal.StepFailed(
        at, body.number, failure_from_message(body.failure), _attempt_of(body)
    ),
    "step_cancelled": lambda at, body: journal.StepCancelled(at, body.number, _attempt_of(body)),
    "timer_set": _read_timer_set,
    "timer_cancelled": lambda at, body: journal.TimerCancelled(at, body.number),
    "mail_consumed": _read_mail_consumed,
    "mail_undelivered": lambda at, body: journal.MailUndelivered(at, body.number, _mail_of(body)),
    "child_started": _read_child_started,
    "child_cancelled": lambda at, body: journal.ChildCancelled(at, body.number),
    "run_stalled": lambda at, body: journal.RunStalled(at, body.reason, body.build),
    "run_resumed": lambda at, body: journal.RunResumed(at, body.reason),
    "run_closed": lambda at, body: journal.RunClosed(
        at, status_of_number(body.status), result_of(body), failure_of(body)
    ),
    "user_span_began": lambda at, body: journal.UserSpanBegan(
        at, body.number, body.name, time_from(body.began_at), body.parent
    ),
    "user_span": lambda at, body: journal.UserSpan(
        at, body.number, body.name, time_from(body.began_at), body.parent, body.error_type
    ),
    "signal_set_aside": lambda at, body: journal.SignalSetAside(at, body.number, body.name, body.problem),
}
