"""What a transition asks for besides its journal bytes: one record for each kind of entry that the core acts on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.statuses import ClosePolicy, RunStatus


@dataclass(slots=True)
class ConsumeMail:
    """A MailConsumed entry at this place of the journal. awaited_since: when the code began to wait for it."""

    number: int
    at: datetime
    awaited_since: datetime | None = None


@dataclass(slots=True)
class CancelledStep:
    """A StepCancelled entry at this place, framed; the attempts of a queued step are added to it."""

    number: int
    entry: bytes


@dataclass(slots=True)
class QueueStepAsk:
    """A StepScheduled entry with placement QUEUED. at: its time."""

    number: int
    name: str
    arguments: bytes
    queue: str
    priority: int
    timeout: timedelta | None
    recoveries: int | None
    retry: bytes
    step_id: str
    at: datetime
    seed: str = ""


@dataclass(slots=True)
class CancelStepAsk:
    """A StepCancelled entry."""

    number: int


@dataclass(slots=True)
class SetTimerAsk:
    """A TimerSet entry. Exactly one of delay and until is set. hook: the number of the hook that it limits; 0 for none.

    hook_sha256: the digest of its token. signal: what it takes.
    """

    number: int
    delay: timedelta | None
    until: datetime | None
    hook: int = 0
    hook_sha256: str = ""
    signal: str = ""


@dataclass(slots=True)
class CancelTimerAsk:
    """A TimerCancelled entry."""

    number: int


@dataclass(slots=True)
class SetRetryAsk:
    """An AttemptEnded entry whose wait the coordinator keeps."""

    number: int
    delay: timedelta


@dataclass(slots=True)
class StartChildAsk:
    """A ChildStarted entry; `spec` is the bytes of the whole Entry, the outbox carries them."""

    number: int
    run_id: str
    close_policy: ClosePolicy
    spec: bytes


@dataclass(slots=True)
class CancelChildAsk:
    """A ChildCancelled entry."""

    number: int


@dataclass(slots=True)
class SendMailAsk:
    """A MailSent entry; `spec` is the bytes of the whole Entry, the outbox carries them. number: of the message."""

    number: int
    child_run_id: str
    spec: bytes


@dataclass(slots=True)
class SetMetadataAsk:
    """A MetadataSet entry."""

    key: str
    value: str


@dataclass(slots=True)
class PublishAsk:
    """A Published entry. value: a Payload."""

    key: str
    value: bytes


@dataclass(slots=True)
class StallAsk:
    """A RunStalled entry."""

    reason: str
    build: str


@dataclass(slots=True)
class Successor:
    """The run that goes on where one continues as new.

    signals: that had come and that nobody had taken, as Mail bytes with when each arrived.
    """

    run_id: str
    arguments: bytes
    call_digest: bytes
    signals: Sequence[tuple[datetime, bytes]] = ()


@dataclass(slots=True)
class CloseAsk:
    """A RunClosed entry; `entry` is its journal bytes, kept apart because undelivered mail goes before it."""

    status: RunStatus
    result: bytes | None
    failure: bytes | None
    entry: bytes
    at: datetime | None = None
    """The time of the entry."""
    successor: Successor | None = None
    """Set when it continues as new, and then only."""


Ask = (
    QueueStepAsk
    | CancelStepAsk
    | SetTimerAsk
    | CancelTimerAsk
    | SetRetryAsk
    | StartChildAsk
    | CancelChildAsk
    | SendMailAsk
    | SetMetadataAsk
    | PublishAsk
    | StallAsk
    | CloseAsk
)
