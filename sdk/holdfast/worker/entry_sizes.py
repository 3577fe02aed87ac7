"""How large an entry is on the wire, near enough to split transitions before they are encoded. Pure."""

from collections.abc import Callable
from typing import Any

from holdfast.journal import (
    Arguments,
    AttemptEnded,
    AttemptRecord,
    ChildClosed,
    ChildStarted,
    Entry,
    Failure,
    MailBody,
    RunClosed,
    RunStalled,
    Signal,
    SignalSetAside,
    StepCompleted,
    StepFailed,
    StepResult,
    StepScheduled,
    UserSpan,
    UserSpanBegan,
)

_FRAME_BYTES = 192
"""What an entry has besides values: times, numbers, names, the record of an attempt."""


def entry_bytes(entry: Entry) -> int:
    """An upper estimate: values are exact, the rest is a constant per entry."""
    size = _SIZES.get(type(entry))
    return _FRAME_BYTES if size is None else _FRAME_BYTES + size(entry)


def body_bytes(body: MailBody) -> int:
    """The same for a piece of mail, which the coordinator puts into the journal where it was consumed."""
    match body:
        case Signal():
            return len(body.payload.data) if body.payload is not None else 0
        case StepResult() | ChildClosed():
            size = len(body.result.data) if body.result is not None else failure_bytes(body.failure)
            if isinstance(body, StepResult):
                size += sum(_FRAME_BYTES + _record_bytes(record) for record in body.attempts)
            return size
        case _:
            return 0


def failure_bytes(failure: Failure | None) -> int:
    """The texts of a failure and of all that led to it; a character has at most four bytes."""
    size = 0
    while failure is not None:
        size += _FRAME_BYTES + 4 * (len(failure.message) + len(failure.traceback) + len(failure.error_class))
        if failure.facts is not None:
            size += len(failure.facts.data)
        size += sum(failure_bytes(leaf) for leaf in failure.leaves)
        failure = failure.cause
    return size


def _arguments_bytes(arguments: Arguments) -> int:
    size = 0
    for payload in arguments.positional:
        size += len(payload.data) + 16
    for name, payload in arguments.named.items():
        size += len(payload.data) + 16 + 4 * len(name)
    return size


def _record_bytes(record: AttemptRecord | None) -> int:
    return 0 if record is None or record.failure is None else failure_bytes(record.failure)


_SIZES: dict[type, Callable[[Any], int]] = {
    StepScheduled: lambda entry: _arguments_bytes(entry.arguments),
    StepCompleted: lambda entry: len(entry.result.data),
    StepFailed: lambda entry: failure_bytes(entry.failure) + _record_bytes(entry.attempt),
    AttemptEnded: lambda entry: _record_bytes(entry.attempt),
    ChildStarted: lambda entry: _arguments_bytes(entry.arguments),
    RunStalled: lambda entry: 4 * len(entry.reason),
    UserSpanBegan: lambda entry: 4 * len(entry.name),
    UserSpan: lambda entry: 4 * (len(entry.name) + len(entry.error_type)),
    SignalSetAside: lambda entry: 4 * (len(entry.name) + len(entry.problem)),
    RunClosed: lambda entry: failure_bytes(entry.failure) + (len(entry.result.data) if entry.result is not None else 0),
}
