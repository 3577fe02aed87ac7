"""The journal's vocabulary on the SDK side: one slotted record per kind of entry and of mail.

The workflow runtime makes and reads these; only the channel turns them into protobuf messages. Field by
field they are the messages of proto/holdfast/api/v1/journal.proto, which say the units and what absence
means. Instants are aware UTC; spans of time are timedeltas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast.backoff import Backoff
from holdfast.statuses import AttemptOutcome, ClosePolicy, Placement, RunStatus


@dataclass(slots=True, frozen=True)
class Payload:
    """One encoded value: its bytes and how they are encoded ("" means JSON)."""

    data: bytes
    encoding: str = ""
    content_sha256: bytes = b""


@dataclass(slots=True, frozen=True)
class Arguments:
    """The arguments of a call, encoded one by one."""

    positional: tuple[Payload, ...] = ()
    named: Mapping[str, Payload] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class StepOrigin:
    """Which step a failure belongs to."""

    name: str
    number: int
    attempts: int


@dataclass(slots=True, frozen=True)
class Failure:
    """Why something failed, in a form that can be stored and rebuilt."""

    error_type: str
    message: str = ""
    error_class: str = ""
    traceback: str = ""
    cut: bool = False
    facts: Payload | None = None
    step: StepOrigin | None = None
    child_run_id: str = ""
    cause: "Failure | None" = None
    leaves: "tuple[Failure, ...]" = ()


@dataclass(slots=True, frozen=True)
class TraceContext:
    """W3C trace context and baggage, as headers."""

    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""


@dataclass(slots=True, frozen=True)
class RunTrace:
    """The position of a run's own span, and how much of the run one trace covers."""

    context: TraceContext
    segment: timedelta


@dataclass(slots=True, frozen=True)
class RetryPolicy:
    """What a call says about retries, where it overrides the definition of its step."""

    retries: int
    backoff: Backoff


# Mail


@dataclass(slots=True, frozen=True)
class Signal:
    name: str
    payload: Payload | None = None


@dataclass(slots=True, frozen=True)
class TimerFired:
    number: int


@dataclass(slots=True, frozen=True)
class RetryDue:
    number: int


@dataclass(slots=True, frozen=True)
class AttemptRecord:
    """How one attempt went."""

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


@dataclass(slots=True, frozen=True)
class StepResult:
    """A queued step ended. Exactly one of result and failure is set."""

    number: int
    attempts: tuple[AttemptRecord, ...]
    result: Payload | None = None
    failure: Failure | None = None


@dataclass(slots=True, frozen=True)
class ChildClosed:
    number: int
    run_id: str
    status: RunStatus
    result: Payload | None = None
    failure: Failure | None = None


@dataclass(slots=True, frozen=True)
class CancelRequested:
    reason: str = ""


MailBody = Signal | TimerFired | RetryDue | StepResult | ChildClosed | CancelRequested


@dataclass(slots=True, frozen=True)
class Mail:
    """A message that arrived for a run; numbered from 1 in arrival order."""

    number: int
    arrived_at: datetime
    body: MailBody
    trace: TraceContext | None = None


# Entries. `at` comes first in each: never before the `at` of the entry before it.


@dataclass(slots=True, frozen=True)
class RunStarted:
    at: datetime
    workflow: str
    origin_run_id: str = ""
    seed: str = ""


@dataclass(slots=True, frozen=True)
class StepScheduled:
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


@dataclass(slots=True, frozen=True)
class AttemptStarted:
    at: datetime
    number: int
    attempt: int


@dataclass(slots=True, frozen=True)
class AttemptEnded:
    at: datetime
    number: int
    attempt: AttemptRecord
    retry_by_alarm: bool = False


@dataclass(slots=True, frozen=True)
class StepCompleted:
    at: datetime
    number: int
    result: Payload
    attempt: AttemptRecord | None = None


@dataclass(slots=True, frozen=True)
class StepFailed:
    at: datetime
    number: int
    failure: Failure
    attempt: AttemptRecord | None = None


@dataclass(slots=True, frozen=True)
class StepCancelled:
    at: datetime
    number: int
    attempt: AttemptRecord | None = None


@dataclass(slots=True, frozen=True)
class TimerSet:
    """Exactly one of delay and until is set."""

    at: datetime
    number: int
    name: str = ""
    delay: timedelta | None = None
    until: datetime | None = None
    signal: str = ""
    span: int = 0


@dataclass(slots=True, frozen=True)
class TimerCancelled:
    at: datetime
    number: int


@dataclass(slots=True, frozen=True)
class MailConsumed:
    """`mail` is set in what the coordinator returns; a worker writes the rest."""

    at: datetime
    number: int
    mail: Mail | None = None
    awaited_since: datetime | None = None


@dataclass(slots=True, frozen=True)
class MailUndelivered:
    at: datetime
    number: int
    mail: Mail | None = None


@dataclass(slots=True, frozen=True)
class ChildStarted:
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


@dataclass(slots=True, frozen=True)
class ChildCancelled:
    at: datetime
    number: int


@dataclass(slots=True, frozen=True)
class RunStalled:
    at: datetime
    reason: str
    build: str = ""


@dataclass(slots=True, frozen=True)
class RunResumed:
    at: datetime
    reason: str = ""


@dataclass(slots=True, frozen=True)
class RunClosed:
    at: datetime
    status: RunStatus
    result: Payload | None = None
    failure: Failure | None = None


@dataclass(slots=True, frozen=True)
class UserSpanBegan:
    """`at` is when the code first called something in it."""

    at: datetime
    number: int
    name: str
    began_at: datetime
    parent: int = 0


@dataclass(slots=True, frozen=True)
class UserSpan:
    """`at` is when the code left it."""

    at: datetime
    number: int
    name: str
    began_at: datetime
    parent: int = 0
    error_type: str = ""


@dataclass(slots=True, frozen=True)
class SignalSetAside:
    """`number` is that of the mail that brought the signal."""

    at: datetime
    number: int
    name: str
    problem: str


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
)
