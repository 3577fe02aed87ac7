"""What workflow code asks for. A command asks, the journal entry of the same number records."""

from datetime import datetime, timedelta

from holdfast.definitions.definitions import StepDefinition, StepOptions
from holdfast.journal import Arguments, Failure, Mail, Payload, RetryPolicy
from holdfast.record import record
from holdfast.statuses import ClosePolicy, RunStatus


@record
class CallStep:
    """Recorded as StepScheduled. `options` are resolved: definition and overrides of the call.

    `retry` is set only when the call overrides retries or backoff with something that can be recorded. span: the number
    of the named part of the code that calls; 0 for none.
    """

    number: int
    definition: StepDefinition
    options: StepOptions
    arguments: Arguments
    step_id: str = ""
    retry: RetryPolicy | None = None
    span: int = 0
    independent: bool = False


@record
class CancelStep:
    """The code no longer awaits the step. Recorded as StepCancelled."""

    number: int


@record
class SetTimer:
    """Recorded as TimerSet. Exactly one of delay and until is set. signal: the one that this wait is for.

    hook, hook_sha256: the number of the hook that is open until then, and the digest of its token; 0 for none.
    """

    number: int
    name: str = ""
    delay: timedelta | None = None
    until: datetime | None = None
    signal: str = ""
    span: int = 0
    hook: int = 0
    hook_sha256: str = ""


@record
class CancelTimer:
    """Recorded as TimerCancelled."""

    number: int


@record
class StartChild:
    """Recorded as ChildStarted."""

    number: int
    workflow: str
    run_id: str
    arguments: Arguments
    id: str = ""
    queue: str = ""
    max_duration: timedelta | None = None
    close_policy: ClosePolicy = ClosePolicy.CANCEL
    span: int = 0


@record
class CancelChild:
    """The code no longer awaits the child. Recorded as ChildCancelled."""

    number: int


@record
class SendMail:
    """The code sends a child something. Recorded as MailSent.

    number: of the child. message: its own number. after: of the message to that child before it, 0 for none. signal:
    the name of a signal, with its payload; "" for a request to end, with its reason.
    """

    number: int
    message: int
    after: int
    signal: str = ""
    payload: Payload | None = None
    reason: str = ""


@record
class SetMetadata:
    """The code sets a fact about the run. Recorded as MetadataSet."""

    key: str
    value: str


@record
class EnterSpan:
    """The code calls something in a part of itself that it had named for traces. Recorded as UserSpanBegan."""

    number: int
    name: str
    began_at: datetime
    parent: int


@record
class LeaveSpan:
    """The code left a part of itself that it had named for traces. Recorded as UserSpan."""

    number: int
    name: str
    began_at: datetime
    parent: int
    error_type: str


@record
class SkipStep:
    """The code leaves a step out that it would have called. Recorded as StepSkipped."""

    number: int
    name: str
    step_id: str
    failure: Failure


@record
class SetSignalAside:
    """A signal did not fit the type that the code asked for. Recorded as SignalSetAside. number: of its mail."""

    number: int
    name: str
    problem: str


@record
class MarkPatched:
    """The code goes the new way of a change. Recorded as Patched."""

    change_id: str


@record
class WriteNote:
    """The code says something to people. Recorded as Noted."""

    text: str
    level: str
    facts: Payload | None = None
    span: int = 0


@record
class PublishValue:
    """The code lets anybody read a value. Recorded as Published."""

    key: str
    value: Payload


@record
class Close:
    """The code has ended. Recorded as RunClosed.

    successor_run_id, arguments, signals: of a run that continues as new, which run goes on, what it is called with, and
    what has come that nobody has taken.
    """

    status: RunStatus
    result: Payload | None = None
    failure: Failure | None = None
    successor_run_id: str = ""
    arguments: Arguments | None = None
    signals: tuple[Mail, ...] = ()


Command = (
    CallStep
    | CancelStep
    | SetTimer
    | CancelTimer
    | StartChild
    | CancelChild
    | SendMail
    | SetMetadata
    | EnterSpan
    | LeaveSpan
    | SkipStep
    | SetSignalAside
    | MarkPatched
    | WriteNote
    | PublishValue
    | Close
)
