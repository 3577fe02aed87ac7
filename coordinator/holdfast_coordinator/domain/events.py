"""What a committed batch means for the rest of the replica. Nothing here is stored; all of it can be lost."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast.record import record

from .commands import LeaseEnd
from .mail import ChildClosedMail, MailRow
from .rows import AlarmRow, OpenRun, RunResult, RunRow, TaskRow


@dataclass(slots=True)
class RunLeased:
    """A session holds a run now. `record` is there when the batch had it at hand.

    epoch and length are those of the grant; `run` may have been changed by a later command of the batch.
    """

    session_id: str
    run: OpenRun
    epoch: int
    length: int
    mail: list[MailRow]
    record: RunRow | None
    lost_session_id: str = ""
    """Whose attempts were lost, when the run is leased after one loss."""
    handed_back: bool = False
    """True when the session before could not go on with the run, and its attempts are not lost by that."""


@dataclass(slots=True)
class TaskClaimed:
    """A session holds a queued attempt now."""

    session_id: str
    task: TaskRow
    epoch: int


@dataclass(slots=True)
class MailArrived:
    """Mail came for a run that a session holds."""

    session_id: str
    run_id: str
    epoch: int
    mail: MailRow


@dataclass(slots=True)
class LeaseEnded:
    """A session holds a run (number 0) or a queued attempt no longer, and did not give it back itself."""

    session_id: str
    run_id: str
    number: int
    epoch: int
    cancelled: bool = False


@dataclass(slots=True)
class LeaseLost:
    """The coordinator took a run (number 0) or a queued attempt from the session that had it.

    attempt, scheduled_at: of a queued attempt.
    """

    session_id: str
    run_id: str
    number: int
    epoch: int
    reason: LeaseEnd
    attempt: int = 0
    scheduled_at: datetime | None = None


@dataclass(slots=True)
class LeaseReturned:
    """A session gave a run back itself."""

    session_id: str
    run_id: str
    epoch: int


@dataclass(slots=True)
class RunReady:
    """A run was left ready because no session of this replica could take it."""

    namespace: str
    queue: str
    workflow: str


@dataclass(slots=True)
class TaskReady:
    """A queued step was left ready, or will be after `wait`."""

    namespace: str
    queue: str
    name: str
    wait: timedelta = timedelta(0)


@dataclass(slots=True)
class RunEnded:
    """A run has closed."""

    result: RunResult


@dataclass(slots=True)
class StalledRun:
    """A run cannot go on. build: of the worker that had it, "" when its code has nothing to do with it."""

    run_id: str
    reason: str
    build: str


@dataclass(slots=True)
class ResumedRun:
    """A stalled run may go on."""

    run_id: str
    reason: str


@dataclass(slots=True)
class AlarmSet:
    """An alarm was set; the alarm loop may have to wake earlier."""

    alarm: AlarmRow


@dataclass(slots=True)
class OutboxDue:
    """A delivery to another run is due now. `mail` is what it carries, where the batch had it at hand."""

    alarm: AlarmRow
    mail: ChildClosedMail | None = None
    to_run_id: str = ""


@record
class Appended:
    """An append-only transition was committed. `mail_next` and `mail_taken` say whether mail waits.

    version: the store's own word for the row as it is now.
    """

    mail_next: int
    mail_taken: int
    is_traced: bool = False
    version: int = field(default=0, compare=False)


@record
class Closed:
    """A plain close was committed. parent_run_id: whom to notify, by the outbox alarm that was written with it."""

    namespace: str
    closed_at: datetime
    parent_run_id: str | None
    parent_number: int
    is_traced: bool = False


Event = (
    RunLeased
    | TaskClaimed
    | MailArrived
    | LeaseEnded
    | LeaseLost
    | LeaseReturned
    | RunReady
    | TaskReady
    | RunEnded
    | StalledRun
    | ResumedRun
    | AlarmSet
    | OutboxDue
)
