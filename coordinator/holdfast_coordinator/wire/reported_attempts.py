"""What reports say of steps and their attempts, as plain values.

Pure. Reads the messages that a report was parsed into when it came: nothing is parsed a second time. Checks nothing:
a worker may have written any numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from holdfast.api.v1 import journal_pb2
from holdfast.journal import Failure
from holdfast.journal.kinds import ATTEMPT_ENDS, ATTEMPT_RESULTS
from holdfast.wire import failure_from_message
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import JournalRow

from .entries import join_entries, mail_bytes


@dataclass(slots=True)
class ScheduledStep:
    """A step of a run, and its name."""

    number: int
    name: str


@dataclass(slots=True)
class AttemptEnd:
    """The end of an attempt of step `number`, in numbers.

    is_last: its step is over with it. outcome: the number of an AttemptOutcome; None where the step is over without an
    attempt, and then there is no time. ran_seconds, waited_seconds: 0 when it is not known since when. ended_ns: since
    1970.
    """

    number: int
    is_last: bool
    outcome: int | None = None
    ran_seconds: float = 0.0
    waited_seconds: float = 0.0
    ended_ns: int = 0


@dataclass(slots=True, frozen=True)
class ReportedAttempt:
    """What a worker says of an attempt that it has ended.

    outcome: the number of an AttemptOutcome. scheduled_at: of its step; None when it is no time that there is.
    """

    attempt: int
    outcome: int
    scheduled_at: datetime | None
    session_id: str
    build: str
    failure: Failure | None


def schedules_and_ends(asked: CommitTransition) -> Iterator[ScheduledStep | AttemptEnd]:
    """The steps that a transition schedules, and the attempts that it ends, in the order of its entries."""
    for entry in asked.parsed[:]:  # a list is read faster
        kind = entry.WhichOneof("body")
        if kind == "step_scheduled":
            step = entry.step_scheduled
            yield ScheduledStep(step.number, step.name)
        elif kind in ATTEMPT_ENDS:
            body = getattr(entry, kind)
            is_last = kind != "attempt_ended"
            if body.HasField("attempt"):
                yield _end(body.number, body.attempt, is_last=is_last)
            else:
                yield AttemptEnd(body.number, is_last)


def queued_end(asked: ReportAttempt) -> AttemptEnd:
    """The end of a queued attempt."""
    return _end(asked.number, asked.parsed, is_last=asked.again_after is None)


def results(asked: CommitTransition) -> Iterator[tuple[int, ReportedAttempt]]:
    """The attempts that a transition ends because they have ended, with the numbers of their steps."""
    for entry in asked.parsed:
        kind = entry.WhichOneof("body")
        if kind in ATTEMPT_RESULTS:
            body = getattr(entry, kind)
            if body.HasField("attempt"):
                yield body.number, _attempt(body.attempt)


def queued_result(asked: ReportAttempt) -> ReportedAttempt:
    """What is reported of a queued attempt."""
    return _attempt(asked.parsed)


def is_in_mail(record: bytes, mail: MailRow) -> bool:
    """Whether a piece of mail has this very AttemptRecord: its bytes are copied as they are wherever it goes."""
    return record in mail_bytes(mail)


def is_in_journal(record: bytes, row: JournalRow) -> bool:
    """Whether a journal row has this very AttemptRecord, like is_in_mail."""
    return record in join_entries(row.entries)


def _end(number: int, record: Any, *, is_last: bool) -> AttemptEnd:
    """record: an AttemptRecord message."""
    eligible, started, ended = record.eligible_at, record.started_at, record.ended_at
    eligible_ns = eligible.seconds * 1_000_000_000 + eligible.nanos
    started_ns = started.seconds * 1_000_000_000 + started.nanos
    ended_ns = ended.seconds * 1_000_000_000 + ended.nanos
    return AttemptEnd(
        number,
        is_last,
        record.outcome,
        (ended_ns - started_ns) / 1e9 if started_ns else 0.0,
        (started_ns - eligible_ns) / 1e9 if eligible_ns else 0.0,
        ended_ns,
    )


def _attempt(record: journal_pb2.AttemptRecord) -> ReportedAttempt:
    try:
        scheduled_at = record.scheduled_at.ToDatetime(UTC)
    except (ValueError, OverflowError):
        scheduled_at = None
    failure = failure_from_message(record.failure) if record.HasField("failure") else None
    return ReportedAttempt(record.attempt, int(record.outcome), scheduled_at, record.session_id, record.build, failure)
