"""Mail: what has arrived for a run and is not in its journal yet, as rows of `mail` and as what they say."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from holdfast.journal import AttemptRecord, CancelRequested, Failure, RetryDue, TimerFired
from holdfast.statuses import RunStatus


class MailKind(IntEnum):
    """What a piece of mail is; the numbers are those of the database."""

    SIGNAL = 1
    TIMER = 2
    RETRY_DUE = 3
    STEP_RESULT = 4
    CHILD_CLOSED = 5
    CANCEL = 6


@dataclass(slots=True)
class SignalMail:
    name: str
    payload: bytes


@dataclass(slots=True)
class StepResultMail:
    """A queued step ended: its attempts (AttemptRecord bytes or records, in order), one of result and failure."""

    number: int
    attempts: tuple[bytes | AttemptRecord, ...]
    result: bytes | None = None
    failure: bytes | Failure | None = None


@dataclass(slots=True)
class ChildClosedMail:
    number: int
    run_id: str
    status: RunStatus
    result: bytes | None = None
    failure: bytes | Failure | None = None


@dataclass(slots=True, frozen=True)
class StoredBody:
    """A body that was not read: what is done with its mail needs only its size. It is journaled where it is stored."""

    size: int


MailBody = SignalMail | TimerFired | RetryDue | StepResultMail | ChildClosedMail | CancelRequested


def body_bytes(body: bytes | MailBody | StoredBody) -> int:
    """How large a piece of mail is: the values in it, which can be large, not the rest, which cannot."""
    match body:
        case bytes():
            return len(body)
        case StoredBody():
            return body.size
        case SignalMail():
            return len(body.payload)
        case StepResultMail():
            return len(body.result or b"") + sum(len(one) for one in body.attempts if isinstance(one, bytes))
        case ChildClosedMail():
            return len(body.result or b"")
        case _:
            return 0


@dataclass(slots=True)
class MailRow:
    """A row of `mail`. `body` is protobuf Mail bytes once stored, a record while it is new.

    A large signal that is only to be journaled has a StoredBody.
    """

    run_id: str
    number: int
    kind: MailKind
    arrived_at: datetime
    body: bytes | MailBody | StoredBody
    trace: bytes = b""


@dataclass(slots=True)
class MailMove:
    """A piece of mail of a run that closes becomes mail of another, where it is stored. to: the new row."""

    run_id: str
    number: int
    to: MailRow
