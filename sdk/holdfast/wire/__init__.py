"""Journal entries, mail and their values as protobuf messages, both ways: for the SDK's channel and the coordinator.

Entries and mail are in `entries`, which is made of the protocol; what they are made of is in `values`. Other packages
import from here. Nothing here decides, checks or sends.
"""

from collections.abc import Iterable
from typing import Any

from holdfast.api.v1 import journal_pb2
from holdfast.journal import Entry, Mail
from holdfast.wire.entries import (
    attempt_from_message,
    entry_from_message,
    mail_from_message,
    write_attempt,
    write_entry,
    write_mail,
    write_mail_body,
)
from holdfast.wire.values import (
    arguments_from_message,
    failure_from_message,
    failure_to_message,
    payload_from_message,
    retry_from_message,
    run_trace_from_message,
    set_span,
    set_time,
    span_from,
    time_from,
    trace_from_message,
    write_arguments,
    write_failure,
    write_payload,
    write_trace,
)

__all__ = [
    "arguments_from_message",
    "attempt_from_message",
    "entry_from_message",
    "failure_from_message",
    "failure_to_message",
    "mail_from_message",
    "mails_from_messages",
    "payload_from_message",
    "retry_from_message",
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
    "write_mail_body",
    "write_payload",
    "write_trace",
]


def write_entries(messages: Any, entries: Iterable[Entry]) -> None:
    """Appends entries to a repeated field, in order."""
    add = messages.add
    for entry in entries:
        write_entry(add(), entry)


def mails_from_messages(messages: Iterable[journal_pb2.Mail]) -> list[Mail]:
    """Mail in arrival order."""
    return [mail_from_message(message) for message in messages]
