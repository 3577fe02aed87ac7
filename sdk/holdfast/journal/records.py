"""One slotted record per kind of entry and of mail.

Made by `make proto` from journal.proto and sdk/holdfast/journal/kinds.py: change those, not this file.

Field by field they are the messages of journal.proto, which say the units and what absence means. Instants
are aware UTC; spans of time are timedeltas. size_bytes: an upper estimate of the size on the wire; of what
mail says and of attempts without their frame.
"""

from datetime import datetime, timedelta
from typing import ClassVar

from holdfast.record import record
from holdfast.statuses import AttemptOutcome, ClosePolicy, Placement, RunStatus

from .values import FRAME_BYTES, Arguments, Failure, Payload, RetryPolicy, TraceContext

__all__ = [
    "AttemptEnded",
    "AttemptRecord",
    "AttemptStarted",
    "CancelRequested",
    "ChildCancelled",
    "ChildClosed",
    "ChildStarted",
    "Entry",
    "Mail",
    "MailBody",
    "MailConsumed",
    "MailSent",
    "MailUndelivered",
    "MetadataSet",
    "Noted",
    "Patched",
    "Published",
    "RetryDue",
    "RunClosed",
    "RunResumed",
    "RunStalled",
    "RunStarted",
    "Signal",
    "SignalSetAside",
    "StepCancelled",
    "StepCompleted",
    "StepFailed",
    "StepResult",
    "StepScheduled",
    "StepSkipped",
    "TimerCancelled",
    "TimerFired",
    "TimerSet",
    "UserSpan",
    "UserSpanBegan",
]


@record
class AttemptRecord:
    """How one attempt went. It repeats what is needed to draw it without reading earlier entries."""

    attempt: int
    outcome: AttemptOutcome
    scheduled_at: datetime
    eligible_at: datetime
    started_at: datetime
    ended_at: datetime
    session_id: str = ""
    build: str = ""
    failure: Failure | None = None
    retry_delay: timedelta | None = None
    epoch: int = 0

    @property
    def size_bytes(self) -> int:
        size = 0
        if self.failure is not None:
            size += self.failure.size_bytes
        return size


# What mail says


@record
class Signal:
    """A signal."""

    name: str
    payload: Payload | None = None

    @property
    def size_bytes(self) -> int:
        size = 0
        if self.payload is not None:
            size += len(self.payload.data)
        return size


@record
class TimerFired:
    """A timer is due."""

    number: int
    size_bytes: ClassVar[int] = 0


@record
class RetryDue:
    """The wait before a retry is over."""

    number: int
    size_bytes: ClassVar[int] = 0


@record
class StepResult:
    """A queued step ended. Exactly one of result and failure is set."""

    number: int
    attempts: tuple[AttemptRecord, ...]
    result: Payload | None = None
    failure: Failure | None = None

    @property
    def size_bytes(self) -> int:
        size = sum([FRAME_BYTES + one.size_bytes for one in self.attempts])
        if self.result is not None:
            size += len(self.result.data)
        if self.failure is not None:
            size += self.failure.size_bytes
        return size


@record
class ChildClosed:
    """A child run closed."""

    number: int
    run_id: str
    status: RunStatus
    result: Payload | None = None
    failure: Failure | None = None

    @property
    def size_bytes(self) -> int:
        size = 0
        if self.result is not None:
            size += len(self.result.data)
        if self.failure is not None:
            size += self.failure.size_bytes
        return size


@record
class CancelRequested:
    """A request to end the run."""

    reason: str = ""
    size_bytes: ClassVar[int] = 0


MailBody = Signal | TimerFired | RetryDue | StepResult | ChildClosed | CancelRequested


@record
class Mail:
    """A message that arrived for a run; numbered from 1 in arrival order."""

    number: int
    arrived_at: datetime
    body: MailBody
    trace: TraceContext | None = None


# Entries. `at` comes first in each: never before the `at` of the entry before it.


@record
class RunStarted:
    """The run was created."""

    at: datetime
    workflow: str
    origin_run_id: str = ""
    seed: str = ""
    continued_run_id: str = ""
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class StepScheduled:
    """The code called a step."""

    at: datetime
    number: int
    name: str
    arguments: Arguments
    step_id: str = ""
    placement: Placement = Placement.INLINE
    queue: str = ""
    priority: int = 0
    timeout: timedelta | None = None
    recoveries: int | None = 3
    retry: RetryPolicy | None = None
    started: bool = False
    seed: str = ""
    span: int = 0
    independent: bool = False

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + self.arguments.size_bytes


@record
class AttemptStarted:
    """An attempt was started under the lease of the run."""

    at: datetime
    number: int
    attempt: int
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class AttemptEnded:
    """An attempt ended and was not the last one of its step."""

    at: datetime
    number: int
    attempt: AttemptRecord
    retry_by_alarm: bool = False

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + self.attempt.size_bytes


@record
class StepCompleted:
    """A step returned its value. Stands for the end of its last attempt too."""

    at: datetime
    number: int
    result: Payload
    attempt: AttemptRecord | None = None

    @property
    def size_bytes(self) -> int:
        size = FRAME_BYTES + len(self.result.data)
        if self.attempt is not None:
            size += self.attempt.size_bytes
        return size


@record
class StepFailed:
    """A step failed for good. Stands for the end of its last attempt too."""

    at: datetime
    number: int
    failure: Failure
    attempt: AttemptRecord | None = None

    @property
    def size_bytes(self) -> int:
        size = FRAME_BYTES + self.failure.size_bytes
        if self.attempt is not None:
            size += self.attempt.size_bytes
        return size


@record
class StepCancelled:
    """The code no longer awaits a step."""

    at: datetime
    number: int
    attempt: AttemptRecord | None = None

    @property
    def size_bytes(self) -> int:
        size = FRAME_BYTES
        if self.attempt is not None:
            size += self.attempt.size_bytes
        return size


@record
class TimerSet:
    """The code began to wait for a time. Exactly one of delay and until is set."""

    at: datetime
    number: int
    name: str = ""
    delay: timedelta | None = None
    until: datetime | None = None
    signal: str = ""
    span: int = 0
    hook: int = 0
    hook_sha256: str = ""
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class TimerCancelled:
    """The code no longer waits for a time."""

    at: datetime
    number: int
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class MailConsumed:
    """A piece of mail reached the code. A worker does not send the mail; the coordinator adds it."""

    at: datetime
    number: int
    mail: Mail | None = None
    awaited_since: datetime | None = None
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class MailUndelivered:
    """A piece of mail was left when the run closed."""

    at: datetime
    number: int
    mail: Mail | None = None
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class ChildStarted:
    """The code started a child run."""

    at: datetime
    number: int
    workflow: str
    run_id: str
    arguments: Arguments
    id: str = ""
    queue: str = ""
    max_duration: timedelta | None = None
    close_policy: ClosePolicy = ClosePolicy.CANCEL
    span: int = 0

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + self.arguments.size_bytes


@record
class ChildCancelled:
    """The code no longer awaits a child."""

    at: datetime
    number: int
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class RunStalled:
    """The run cannot go on with the code that its worker has."""

    at: datetime
    reason: str
    build: str = ""

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + 4 * len(self.reason)


@record
class RunResumed:
    """A stalled or paused run was offered to workers again."""

    at: datetime
    reason: str = ""
    size_bytes: ClassVar[int] = FRAME_BYTES


@record
class RunClosed:
    """The run ended."""

    at: datetime
    status: RunStatus
    result: Payload | None = None
    failure: Failure | None = None
    successor_run_id: str = ""
    arguments: Arguments | None = None
    signals: tuple[Mail, ...] = ()

    @property
    def size_bytes(self) -> int:
        size = FRAME_BYTES + sum([FRAME_BYTES + one.body.size_bytes for one in self.signals])
        if self.result is not None:
            size += len(self.result.data)
        if self.failure is not None:
            size += self.failure.size_bytes
        if self.arguments is not None:
            size += self.arguments.size_bytes
        return size


@record
class UserSpanBegan:
    """The code called something in a part of itself that it had named for traces, for the first time there. What
    names this part by its number hangs below it in the trace. A part in which nothing is called has no such
    entry.
    """

    at: datetime
    number: int
    name: str
    began_at: datetime
    parent: int = 0

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + 4 * len(self.name)


@record
class UserSpan:
    """The code left a part of itself that it had named for traces. Replays pass over it."""

    at: datetime
    number: int
    name: str
    began_at: datetime
    parent: int = 0
    error_type: str = ""

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + 4 * len(self.name) + 4 * len(self.error_type)


@record
class SignalSetAside:
    """A signal that the code asked for did not fit the type that it asked for. The code waits for the next one of
    that name.
    """

    at: datetime
    number: int
    name: str
    problem: str

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + 4 * len(self.name) + 4 * len(self.problem)


@record
class StepSkipped:
    """The code leaves out a step that it would have called, because of what became of another."""

    at: datetime
    number: int
    name: str
    step_id: str
    failure: Failure

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + self.failure.size_bytes


@record
class Patched:
    """The code asked for the first time whether the run has a change of the code, and goes the new way from here
    on.
    """

    at: datetime
    change_id: str

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + 4 * len(self.change_id)


@record
class Noted:
    """The code wrote a note, for people who read the history, the log or the trace."""

    at: datetime
    text: str
    level: str
    facts: Payload | None = None
    span: int = 0

    @property
    def size_bytes(self) -> int:
        size = FRAME_BYTES + 4 * len(self.text)
        if self.facts is not None:
            size += len(self.facts.data)
        return size


@record
class MailSent:
    """The code sent a child a signal or a request to end, and goes on waiting for it."""

    at: datetime
    number: int
    message: int
    after: int = 0
    signal: str = ""
    payload: Payload | None = None
    reason: str = ""

    @property
    def size_bytes(self) -> int:
        size = FRAME_BYTES + 4 * len(self.signal) + 4 * len(self.reason)
        if self.payload is not None:
            size += len(self.payload.data)
        return size


@record
class MetadataSet:
    """The code set a fact about the run, for filters and people. What the run was started with stays in its
    record.
    """

    at: datetime
    key: str
    value: str

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + 4 * len(self.key) + 4 * len(self.value)


@record
class Published:
    """The code published a value, which replaces the one that it has published under this key before."""

    at: datetime
    key: str
    value: Payload

    @property
    def size_bytes(self) -> int:
        return FRAME_BYTES + 4 * len(self.key) + len(self.value.data)


Entry = (
    RunStarted
    | StepScheduled
    | AttemptStarted
    | AttemptEnded
    | StepCompleted
    | StepFailed
    | StepCancelled
    | TimerSet
    | TimerCancelled
    | MailConsumed
    | MailUndelivered
    | ChildStarted
    | ChildCancelled
    | RunStalled
    | RunResumed
    | RunClosed
    | UserSpanBegan
    | UserSpan
    | SignalSetAside
    | StepSkipped
    | Patched
    | Noted
    | MailSent
    | MetadataSet
    | Published
)
