"""Entries and mail as protobuf messages, both ways.

Made by `make proto` from journal.proto and sdk/holdfast/journal/kinds.py: change those, not this file.

Hot path: see `wire.values` for how messages are filled. Nothing here decides or checks anything.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from holdfast import journal
from holdfast.api.v1 import journal_pb2
from holdfast.wire.values import (
    CLOSE_POLICIES,
    PLACEMENTS,
    arguments_from_message,
    failure_from_message,
    outcome_of_number,
    payload_from_message,
    retry_from_message,
    set_span,
    set_time,
    span_from,
    status_of_number,
    time_from,
    trace_from_message,
    write_arguments,
    write_failure,
    write_payload,
    write_retry,
    write_trace,
)


def write_attempt(message: journal_pb2.AttemptRecord, record: journal.AttemptRecord) -> None:
    message.attempt = record.attempt
    message.outcome = record.outcome  # type: ignore[assignment]  # the same numbers
    set_time(message.scheduled_at, record.scheduled_at)
    set_time(message.eligible_at, record.eligible_at)
    set_time(message.started_at, record.started_at)
    set_time(message.ended_at, record.ended_at)
    if record.session_id:
        message.session_id = record.session_id
    if record.build:
        message.build = record.build
    if record.failure is not None:
        write_failure(message.failure, record.failure)
    if record.retry_delay is not None:
        set_span(message.retry_delay, record.retry_delay)
    if record.epoch:
        message.epoch = record.epoch


def attempt_from_message(body: journal_pb2.AttemptRecord) -> journal.AttemptRecord:
    return journal.AttemptRecord(
        body.attempt,
        outcome_of_number(body.outcome),
        time_from(body.scheduled_at),
        time_from(body.eligible_at),
        time_from(body.started_at),
        time_from(body.ended_at),
        body.session_id,
        body.build,
        failure_from_message(body.failure) if body.HasField("failure") else None,
        span_from(body.retry_delay) if body.HasField("retry_delay") else None,
        body.epoch,
    )


# Mail


def _write_signal(message: journal_pb2.Mail, record: journal.Signal) -> None:
    body = message.signal
    body.name = record.name
    if record.payload is not None:
        write_payload(body.payload, record.payload)


def _read_signal(body: journal_pb2.Signal) -> journal.Signal:
    return journal.Signal(body.name, payload_from_message(body.payload) if body.HasField("payload") else None)


def _write_timer(message: journal_pb2.Mail, record: journal.TimerFired) -> None:
    body = message.timer
    body.number = record.number


def _read_timer(body: journal_pb2.TimerFired) -> journal.TimerFired:
    return journal.TimerFired(body.number)


def _write_retry_due(message: journal_pb2.Mail, record: journal.RetryDue) -> None:
    body = message.retry_due
    body.number = record.number


def _read_retry_due(body: journal_pb2.RetryDue) -> journal.RetryDue:
    return journal.RetryDue(body.number)


def _write_step_result(message: journal_pb2.Mail, record: journal.StepResult) -> None:
    body = message.step_result
    body.number = record.number
    for one in record.attempts:
        write_attempt(body.attempts.add(), one)
    if record.result is not None:
        write_payload(body.result, record.result)
    elif record.failure is not None:
        write_failure(body.failure, record.failure)


def _read_step_result(body: journal_pb2.StepResult) -> journal.StepResult:
    return journal.StepResult(
        body.number,
        tuple([attempt_from_message(one) for one in body.attempts]),
        payload_from_message(body.result) if body.HasField("result") else None,
        failure_from_message(body.failure) if body.HasField("failure") else None,
    )


def _write_child_closed(message: journal_pb2.Mail, record: journal.ChildClosed) -> None:
    body = message.child_closed
    body.number = record.number
    body.run_id = record.run_id
    body.status = record.status.number  # type: ignore[assignment]  # the same numbers
    if record.result is not None:
        write_payload(body.result, record.result)
    if record.failure is not None:
        write_failure(body.failure, record.failure)


def _read_child_closed(body: journal_pb2.ChildClosed) -> journal.ChildClosed:
    return journal.ChildClosed(
        body.number,
        body.run_id,
        status_of_number(body.status),
        payload_from_message(body.result) if body.HasField("result") else None,
        failure_from_message(body.failure) if body.HasField("failure") else None,
    )


def _write_cancel(message: journal_pb2.Mail, record: journal.CancelRequested) -> None:
    body = message.cancel
    body.SetInParent()
    if record.reason:
        body.reason = record.reason


def _read_cancel(body: journal_pb2.CancelRequested) -> journal.CancelRequested:
    return journal.CancelRequested(body.reason)


_MAIL_WRITERS: dict[type, Callable[[journal_pb2.Mail, Any], None]] = {
    journal.Signal: _write_signal,
    journal.TimerFired: _write_timer,
    journal.RetryDue: _write_retry_due,
    journal.StepResult: _write_step_result,
    journal.ChildClosed: _write_child_closed,
    journal.CancelRequested: _write_cancel,
}
_MAIL_READERS: dict[str, Callable[[Any], journal.MailBody]] = {
    "signal": _read_signal,
    "timer": _read_timer,
    "retry_due": _read_retry_due,
    "step_result": _read_step_result,
    "child_closed": _read_child_closed,
    "cancel": _read_cancel,
}


def write_mail(message: journal_pb2.Mail, mail: journal.Mail) -> None:
    """Writes into an empty message."""
    message.number = mail.number
    set_time(message.arrived_at, mail.arrived_at)
    if mail.trace is not None:
        write_trace(message.trace, mail.trace)
    write_mail_body(message, mail.body)


def write_mail_body(message: journal_pb2.Mail, body: journal.MailBody) -> None:
    """Writes what mail says into a message that says nothing yet."""
    _MAIL_WRITERS[type(body)](message, body)


def mail_from_message(message: journal_pb2.Mail) -> journal.Mail:
    """Raises ValueError for a kind of mail that this SDK does not know."""
    kind = message.WhichOneof("body")
    read = _MAIL_READERS.get(kind) if kind is not None else None
    if kind is None or read is None:
        raise ValueError("mail of a kind that this version of holdfast does not know; upgrade it")
    return journal.Mail(
        message.number,
        time_from(message.arrived_at),
        read(getattr(message, kind)),
        trace_from_message(message.trace) if message.HasField("trace") else None,
    )


# Entries


def _write_run_started(message: journal_pb2.Entry, record: journal.RunStarted) -> None:
    body = message.run_started
    body.workflow = record.workflow
    if record.origin_run_id:
        body.origin_run_id = record.origin_run_id
    if record.seed:
        body.seed = record.seed
    if record.continued_run_id:
        body.continued_run_id = record.continued_run_id


def _read_run_started(at: datetime, body: journal_pb2.RunStarted) -> journal.RunStarted:
    return journal.RunStarted(
        at,
        body.workflow,
        body.origin_run_id,
        body.seed,
        body.continued_run_id,
    )


def _write_step_scheduled(message: journal_pb2.Entry, record: journal.StepScheduled) -> None:
    body = message.step_scheduled
    body.number = record.number
    body.name = record.name
    write_arguments(body.arguments, record.arguments)
    if record.step_id:
        body.step_id = record.step_id
    if record.placement:
        body.placement = record.placement  # type: ignore[assignment]  # the same numbers
    if record.queue:
        body.queue = record.queue
    if record.priority:
        body.priority = record.priority
    if record.timeout is not None:
        set_span(body.timeout, record.timeout)
    if record.recoveries is not None:
        body.recoveries = record.recoveries
    if record.retry is not None:
        write_retry(body.retry, record.retry)
    if record.started:
        body.started = record.started
    if record.seed:
        body.seed = record.seed
    if record.span:
        body.span = record.span
    if record.independent:
        body.independent = record.independent


def _read_step_scheduled(at: datetime, body: journal_pb2.StepScheduled) -> journal.StepScheduled:
    return journal.StepScheduled(
        at,
        body.number,
        body.name,
        arguments_from_message(body.arguments),
        body.step_id,
        PLACEMENTS[body.placement],
        body.queue,
        body.priority,
        span_from(body.timeout) if body.HasField("timeout") else None,
        body.recoveries if body.HasField("recoveries") else None,
        retry_from_message(body.retry) if body.HasField("retry") else None,
        body.started,
        body.seed,
        body.span,
        body.independent,
    )


def _write_attempt_started(message: journal_pb2.Entry, record: journal.AttemptStarted) -> None:
    body = message.attempt_started
    body.number = record.number
    body.attempt = record.attempt


def _read_attempt_started(at: datetime, body: journal_pb2.AttemptStarted) -> journal.AttemptStarted:
    return journal.AttemptStarted(
        at,
        body.number,
        body.attempt,
    )


def _write_attempt_ended(message: journal_pb2.Entry, record: journal.AttemptEnded) -> None:
    body = message.attempt_ended
    body.number = record.number
    write_attempt(body.attempt, record.attempt)
    if record.retry_by_alarm:
        body.retry_by_alarm = record.retry_by_alarm


def _read_attempt_ended(at: datetime, body: journal_pb2.AttemptEnded) -> journal.AttemptEnded:
    return journal.AttemptEnded(
        at,
        body.number,
        attempt_from_message(body.attempt),
        body.retry_by_alarm,
    )


def _write_step_completed(message: journal_pb2.Entry, record: journal.StepCompleted) -> None:
    body = message.step_completed
    body.number = record.number
    write_payload(body.result, record.result)
    if record.attempt is not None:
        write_attempt(body.attempt, record.attempt)


def _read_step_completed(at: datetime, body: journal_pb2.StepCompleted) -> journal.StepCompleted:
    return journal.StepCompleted(
        at,
        body.number,
        payload_from_message(body.result),
        attempt_from_message(body.attempt) if body.HasField("attempt") else None,
    )


def _write_step_failed(message: journal_pb2.Entry, record: journal.StepFailed) -> None:
    body = message.step_failed
    body.number = record.number
    write_failure(body.failure, record.failure)
    if record.attempt is not None:
        write_attempt(body.attempt, record.attempt)


def _read_step_failed(at: datetime, body: journal_pb2.StepFailed) -> journal.StepFailed:
    return journal.StepFailed(
        at,
        body.number,
        failure_from_message(body.failure),
        attempt_from_message(body.attempt) if body.HasField("attempt") else None,
    )


def _write_step_cancelled(message: journal_pb2.Entry, record: journal.StepCancelled) -> None:
    body = message.step_cancelled
    body.number = record.number
    if record.attempt is not None:
        write_attempt(body.attempt, record.attempt)


def _read_step_cancelled(at: datetime, body: journal_pb2.StepCancelled) -> journal.StepCancelled:
    return journal.StepCancelled(
        at,
        body.number,
        attempt_from_message(body.attempt) if body.HasField("attempt") else None,
    )


def _write_timer_set(message: journal_pb2.Entry, record: journal.TimerSet) -> None:
    body = message.timer_set
    body.number = record.number
    if record.name:
        body.name = record.name
    if record.delay is not None:
        set_span(body.delay, record.delay)
    elif record.until is not None:
        set_time(body.until, record.until)
    if record.signal:
        body.signal = record.signal
    if record.span:
        body.span = record.span
    if record.hook:
        body.hook = record.hook
    if record.hook_sha256:
        body.hook_sha256 = record.hook_sha256


def _read_timer_set(at: datetime, body: journal_pb2.TimerSet) -> journal.TimerSet:
    return journal.TimerSet(
        at,
        body.number,
        body.name,
        span_from(body.delay) if body.HasField("delay") else None,
        time_from(body.until) if body.HasField("until") else None,
        body.signal,
        body.span,
        body.hook,
        body.hook_sha256,
    )


def _write_timer_cancelled(message: journal_pb2.Entry, record: journal.TimerCancelled) -> None:
    body = message.timer_cancelled
    body.number = record.number


def _read_timer_cancelled(at: datetime, body: journal_pb2.TimerCancelled) -> journal.TimerCancelled:
    return journal.TimerCancelled(at, body.number)


def _write_mail_consumed(message: journal_pb2.Entry, record: journal.MailConsumed) -> None:
    body = message.mail_consumed
    body.number = record.number
    if record.mail is not None:
        write_mail(body.mail, record.mail)
    if record.awaited_since is not None:
        set_time(body.awaited_since, record.awaited_since)


def _read_mail_consumed(at: datetime, body: journal_pb2.MailConsumed) -> journal.MailConsumed:
    return journal.MailConsumed(
        at,
        body.number,
        mail_from_message(body.mail) if body.HasField("mail") else None,
        time_from(body.awaited_since) if body.HasField("awaited_since") else None,
    )


def _write_mail_undelivered(message: journal_pb2.Entry, record: journal.MailUndelivered) -> None:
    body = message.mail_undelivered
    body.number = record.number
    if record.mail is not None:
        write_mail(body.mail, record.mail)


def _read_mail_undelivered(at: datetime, body: journal_pb2.MailUndelivered) -> journal.MailUndelivered:
    return journal.MailUndelivered(
        at,
        body.number,
        mail_from_message(body.mail) if body.HasField("mail") else None,
    )


def _write_child_started(message: journal_pb2.Entry, record: journal.ChildStarted) -> None:
    body = message.child_started
    body.number = record.number
    body.workflow = record.workflow
    body.run_id = record.run_id
    write_arguments(body.arguments, record.arguments)
    if record.id:
        body.id = record.id
    if record.queue:
        body.queue = record.queue
    if record.max_duration is not None:
        set_span(body.max_duration, record.max_duration)
    if record.close_policy:
        body.close_policy = record.close_policy  # type: ignore[assignment]  # the same numbers
    if record.span:
        body.span = record.span


def _read_child_started(at: datetime, body: journal_pb2.ChildStarted) -> journal.ChildStarted:
    return journal.ChildStarted(
        at,
        body.number,
        body.workflow,
        body.run_id,
        arguments_from_message(body.arguments),
        body.id,
        body.queue,
        span_from(body.max_duration) if body.HasField("max_duration") else None,
        CLOSE_POLICIES[body.close_policy],
        body.span,
    )


def _write_child_cancelled(message: journal_pb2.Entry, record: journal.ChildCancelled) -> None:
    body = message.child_cancelled
    body.number = record.number


def _read_child_cancelled(at: datetime, body: journal_pb2.ChildCancelled) -> journal.ChildCancelled:
    return journal.ChildCancelled(at, body.number)


def _write_run_stalled(message: journal_pb2.Entry, record: journal.RunStalled) -> None:
    body = message.run_stalled
    body.reason = record.reason
    if record.build:
        body.build = record.build


def _read_run_stalled(at: datetime, body: journal_pb2.RunStalled) -> journal.RunStalled:
    return journal.RunStalled(
        at,
        body.reason,
        body.build,
    )


def _write_run_resumed(message: journal_pb2.Entry, record: journal.RunResumed) -> None:
    body = message.run_resumed
    body.SetInParent()
    if record.reason:
        body.reason = record.reason


def _read_run_resumed(at: datetime, body: journal_pb2.RunResumed) -> journal.RunResumed:
    return journal.RunResumed(at, body.reason)


def _write_run_closed(message: journal_pb2.Entry, record: journal.RunClosed) -> None:
    body = message.run_closed
    body.status = record.status.number  # type: ignore[assignment]  # the same numbers
    if record.result is not None:
        write_payload(body.result, record.result)
    if record.failure is not None:
        write_failure(body.failure, record.failure)
    if record.successor_run_id:
        body.successor_run_id = record.successor_run_id
    if record.arguments is not None:
        body.arguments.SetInParent()
        write_arguments(body.arguments, record.arguments)
    for one in record.signals:
        write_mail(body.signals.add(), one)


def _read_run_closed(at: datetime, body: journal_pb2.RunClosed) -> journal.RunClosed:
    return journal.RunClosed(
        at,
        status_of_number(body.status),
        payload_from_message(body.result) if body.HasField("result") else None,
        failure_from_message(body.failure) if body.HasField("failure") else None,
        body.successor_run_id,
        arguments_from_message(body.arguments) if body.HasField("arguments") else None,
        tuple([mail_from_message(one) for one in body.signals]),
    )


def _write_user_span_began(message: journal_pb2.Entry, record: journal.UserSpanBegan) -> None:
    body = message.user_span_began
    body.number = record.number
    body.name = record.name
    set_time(body.began_at, record.began_at)
    if record.parent:
        body.parent = record.parent


def _read_user_span_began(at: datetime, body: journal_pb2.UserSpanBegan) -> journal.UserSpanBegan:
    return journal.UserSpanBegan(
        at,
        body.number,
        body.name,
        time_from(body.began_at),
        body.parent,
    )


def _write_user_span(message: journal_pb2.Entry, record: journal.UserSpan) -> None:
    body = message.user_span
    body.number = record.number
    body.name = record.name
    set_time(body.began_at, record.began_at)
    if record.parent:
        body.parent = record.parent
    if record.error_type:
        body.error_type = record.error_type


def _read_user_span(at: datetime, body: journal_pb2.UserSpan) -> journal.UserSpan:
    return journal.UserSpan(
        at,
        body.number,
        body.name,
        time_from(body.began_at),
        body.parent,
        body.error_type,
    )


def _write_signal_set_aside(message: journal_pb2.Entry, record: journal.SignalSetAside) -> None:
    body = message.signal_set_aside
    body.number = record.number
    body.name = record.name
    body.problem = record.problem


def _read_signal_set_aside(at: datetime, body: journal_pb2.SignalSetAside) -> journal.SignalSetAside:
    return journal.SignalSetAside(
        at,
        body.number,
        body.name,
        body.problem,
    )


def _write_step_skipped(message: journal_pb2.Entry, record: journal.StepSkipped) -> None:
    body = message.step_skipped
    body.number = record.number
    body.name = record.name
    body.step_id = record.step_id
    write_failure(body.failure, record.failure)


def _read_step_skipped(at: datetime, body: journal_pb2.StepSkipped) -> journal.StepSkipped:
    return journal.StepSkipped(
        at,
        body.number,
        body.name,
        body.step_id,
        failure_from_message(body.failure),
    )


def _write_patched(message: journal_pb2.Entry, record: journal.Patched) -> None:
    body = message.patched
    body.change_id = record.change_id


def _read_patched(at: datetime, body: journal_pb2.Patched) -> journal.Patched:
    return journal.Patched(at, body.change_id)


def _write_noted(message: journal_pb2.Entry, record: journal.Noted) -> None:
    body = message.noted
    body.text = record.text
    body.level = record.level
    if record.facts is not None:
        write_payload(body.facts, record.facts)
    if record.span:
        body.span = record.span


def _read_noted(at: datetime, body: journal_pb2.Noted) -> journal.Noted:
    return journal.Noted(
        at,
        body.text,
        body.level,
        payload_from_message(body.facts) if body.HasField("facts") else None,
        body.span,
    )


def _write_mail_sent(message: journal_pb2.Entry, record: journal.MailSent) -> None:
    body = message.mail_sent
    body.number = record.number
    body.message = record.message
    if record.after:
        body.after = record.after
    if record.signal:
        body.signal = record.signal
    if record.payload is not None:
        write_payload(body.payload, record.payload)
    if record.reason:
        body.reason = record.reason


def _read_mail_sent(at: datetime, body: journal_pb2.MailSent) -> journal.MailSent:
    return journal.MailSent(
        at,
        body.number,
        body.message,
        body.after,
        body.signal,
        payload_from_message(body.payload) if body.HasField("payload") else None,
        body.reason,
    )


def _write_metadata_set(message: journal_pb2.Entry, record: journal.MetadataSet) -> None:
    body = message.metadata_set
    body.key = record.key
    body.value = record.value


def _read_metadata_set(at: datetime, body: journal_pb2.MetadataSet) -> journal.MetadataSet:
    return journal.MetadataSet(
        at,
        body.key,
        body.value,
    )


def _write_published(message: journal_pb2.Entry, record: journal.Published) -> None:
    body = message.published
    body.key = record.key
    write_payload(body.value, record.value)


def _read_published(at: datetime, body: journal_pb2.Published) -> journal.Published:
    return journal.Published(
        at,
        body.key,
        payload_from_message(body.value),
    )


_ENTRY_WRITERS: dict[type, Callable[[journal_pb2.Entry, Any], None]] = {
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
    journal.StepSkipped: _write_step_skipped,
    journal.Patched: _write_patched,
    journal.Noted: _write_noted,
    journal.MailSent: _write_mail_sent,
    journal.MetadataSet: _write_metadata_set,
    journal.Published: _write_published,
}
_ENTRY_READERS: dict[str, Callable[[datetime, Any], journal.Entry]] = {
    "run_started": _read_run_started,
    "step_scheduled": _read_step_scheduled,
    "attempt_started": _read_attempt_started,
    "attempt_ended": _read_attempt_ended,
    "step_completed": _read_step_completed,
    "step_failed": _read_step_failed,
    "step_cancelled": _read_step_cancelled,
    "timer_set": _read_timer_set,
    "timer_cancelled": _read_timer_cancelled,
    "mail_consumed": _read_mail_consumed,
    "mail_undelivered": _read_mail_undelivered,
    "child_started": _read_child_started,
    "child_cancelled": _read_child_cancelled,
    "run_stalled": _read_run_stalled,
    "run_resumed": _read_run_resumed,
    "run_closed": _read_run_closed,
    "user_span_began": _read_user_span_began,
    "user_span": _read_user_span,
    "signal_set_aside": _read_signal_set_aside,
    "step_skipped": _read_step_skipped,
    "patched": _read_patched,
    "noted": _read_noted,
    "mail_sent": _read_mail_sent,
    "metadata_set": _read_metadata_set,
    "published": _read_published,
}


def write_entry(message: journal_pb2.Entry, entry: journal.Entry) -> None:
    """Writes an entry into an empty message, for example `transition.entries.add()`."""
    set_time(message.at, entry.at)
    _ENTRY_WRITERS[type(entry)](message, entry)


def entry_from_message(message: journal_pb2.Entry) -> journal.Entry:
    """Raises ValueError for a kind of entry that this SDK does not know."""
    kind = message.WhichOneof("body")
    read = _ENTRY_READERS.get(kind) if kind is not None else None
    if kind is None or read is None:
        raise ValueError("an entry of a kind that this version of holdfast does not know; upgrade it")
    return read(time_from(message.at), getattr(message, kind))
