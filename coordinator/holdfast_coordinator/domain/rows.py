"""The rows of a cell, as the core sees them: one slotted class per table, named as in docs/schema.md.

Values that the core never looks into (payloads, failures, arguments) stay the protobuf bytes they came as.
Rows are treated as immutable: a decision returns a changed copy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, IntFlag
from typing import Any, Self

from holdfast.journal import AttemptRecord, Failure, RunClosed, RunResumed, RunStalled, RunStarted
from holdfast.statuses import ClosePolicy, RunStatus

from .mail import MailRow, StoredBody


class RunState(IntEnum):
    """The one place in which an open run is. READY is the only state that the claim index holds."""

    READY = 1
    LEASED = 2
    SUSPENDED = 3
    PAUSED = 4
    STALLED = 5


class Side(IntFlag):
    """Which other tables may hold rows of a run, so that closing it touches only those."""

    NONE = 0
    ALARMS = 1
    TASKS = 2
    CHILDREN = 4
    REQUESTS = 8
    DEADLINE_ALARM = 16
    """An attempt_deadline alarm is set; it is re-armed lazily, never moved."""
    TRACE = 32
    """The run is sampled: what it commits is exported, and its end leaves a trace mark."""
    TRACE_FAILURE = 64
    """The run is not sampled; it leaves a trace mark when it fails."""
    PROGRESS = 128
    """Attempts under its lease have saved progress."""

    def __contains__(self, other: Self) -> bool:
        # That of Flag, which is Python, costs a tenth of a transition.
        return int.__and__(self, other) == other


class AlarmKind(IntEnum):
    """What an alarm makes happen; `ref` is the number of the timer, step, child or message to a child, or 0."""

    START = 1
    TIMER = 2
    RETRY = 3
    DEADLINE = 4
    ATTEMPT_DEADLINE = 5
    OUTBOX_CHILD = 6
    OUTBOX_CHILD_CLOSED = 7
    OUTBOX_CHILD_CANCEL = 8
    OUTBOX_CHILD_TERMINATE = 9
    OUTBOX_CHILD_MAIL = 10


class TaskState(IntEnum):
    """Where a queued step is."""

    READY = 1
    CLAIMED = 2


@dataclass(slots=True)
class RunRow:
    """A row of `runs`: what a run was started with. Written once, but for the metadata that its code sets."""

    run_id: str
    namespace: str
    workflow: str
    queue: str
    created_at: datetime
    arguments: bytes
    call_digest: bytes
    id: str | None = None
    idempotency_key: str | None = None
    priority: int = 0
    deadline_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    trace: bytes = b""
    origin_run_id: str | None = None
    parent_run_id: str | None = None
    parent_number: int = 0
    depth: int = 0
    """How many runs are above it, from its parent up."""
    chain_run_id: str | None = None
    """The first run of its chain, of which each went on as the next; None for that one."""
    metadata_at_start: Mapping[str, str] | None = None
    """The metadata before its code has changed it; None where it has not."""

    @property
    def started_with(self) -> Mapping[str, str]:
        """The metadata that its code has seen when it began, and sees in every replay."""
        return self.metadata if self.metadata_at_start is None else self.metadata_at_start


GIVEN_UP = ""
"""In the place of a session: the one that had a run could not go on with it."""


@dataclass(slots=True)
class OpenRun:
    """A row of `open_runs`: the lock of a run and all that changes while it is open."""

    run_id: str
    namespace: str
    queue: str
    workflow: str
    state: RunState
    last_at: datetime
    build: str | None = None
    epoch: int = 0
    owner: str | None = None
    sticky: str | None = None
    """The session that had it last; GIVEN_UP when that one could not go on with it, through no fault of the run."""
    length: int = 0
    transition_id: int = 0
    mail_next: int = 1
    mail_taken: int = 0
    ready_at: datetime | None = None
    priority: int = 0
    losses: int = 0
    timed_out: bool = False
    deadline_at: datetime | None = None
    attempt_deadline_at: datetime | None = None
    stall_reason: str | None = None
    stall_build: str | None = None
    waits: str | None = None
    side: Side = Side.NONE
    parent_run_id: str | None = None
    parent_number: int = 0
    chain_run_id: str | None = None

    def copy(self) -> Self:
        """A copy to change. Spelled out: copy.copy() of a slotted class costs five times as much."""
        return type(self)(
            self.run_id, self.namespace, self.queue, self.workflow, self.state, self.last_at, self.build,
            self.epoch, self.owner, self.sticky, self.length, self.transition_id, self.mail_next,
            self.mail_taken, self.ready_at, self.priority, self.losses, self.timed_out, self.deadline_at,
            self.attempt_deadline_at, self.stall_reason, self.stall_build, self.waits, self.side,
            self.parent_run_id, self.parent_number, self.chain_run_id,
        )  # fmt: skip

    @property
    def requests_of(self) -> str:
        """Under which run the answers to its requests are kept: one for a whole chain, so that repeats are known."""
        return self.chain_run_id or self.run_id


@dataclass(slots=True)
class RunResult:
    """A row of `run_results`: how a run closed. `result` and `failure` are protobuf bytes."""

    run_id: str
    namespace: str
    status: RunStatus
    closed_at: datetime
    result: bytes | None = None
    failure: bytes | Failure | None = None


@dataclass(slots=True)
class KeyRow:
    """A row of `run_keys`: the run that an id or an idempotency key stands for.

    signature_digest: of the signature that the run was started with, see `hashed_calls`; "" when none was known.
    """

    namespace: str
    kind: str
    key: str
    run_id: str
    call_digest: bytes
    workflow: str
    signature_digest: str = ""


# Entries that the coordinator writes itself; a worker's entries stay the bytes they came as.


@dataclass(slots=True)
class MailConsumedEntry:
    at: datetime
    mail: MailRow
    awaited_since: datetime | None = None


@dataclass(slots=True)
class MailUndeliveredEntry:
    at: datetime
    mail: MailRow


@dataclass(slots=True)
class StepCancelledEntry:
    """A worker's StepCancelled entry (framed bytes) with the attempts of the queued step that it cancels."""

    entry: bytes
    attempts: tuple[bytes | AttemptRecord, ...]


CoordinatorEntry = (
    MailConsumedEntry | MailUndeliveredEntry | StepCancelledEntry | RunStarted | RunStalled | RunResumed | RunClosed
)


@dataclass(slots=True)
class JournalRow:
    """A row of `journal`: the entries of one transition.

    entries: in order, joined when stored. Bytes are protobuf JournalRow messages with entries only, so that
    joining them joins the entries; records are encoded when written. A row that was read has one bytes part.
    is_traced: the run is sampled; not stored, and False on rows that were read.
    """

    run_id: str
    seq: int
    count: int
    epoch: int
    transition_id: int
    entries: Sequence[bytes | CoordinatorEntry]
    is_traced: bool = False

    @property
    def stored_bytes(self) -> int:
        """How large the entries of a row are that was read."""
        return sum(len(part) for part in self.entries if isinstance(part, bytes))

    @property
    def has_stored_mail(self) -> bool:
        """Whether mail is among the entries whose body only the database has."""
        return any(
            isinstance(entry, MailConsumedEntry | MailUndeliveredEntry) and type(entry.mail.body) is StoredBody
            for entry in self.entries
        )


@dataclass(slots=True)
class ParsedRow(JournalRow):
    """A row whose entries are at hand as messages too."""

    parsed: Sequence[Any] = ()


@dataclass(slots=True)
class JournalCopy:
    """Rows of the journal of a closed run, from `first` to `last`, for another run, `shift` entries earlier."""

    run_id: str
    of_run_id: str
    first: int
    last: int
    shift: int
    rows: int


@dataclass(slots=True)
class AlarmRow:
    """A row of `alarms`. `body` carries what an outbox delivery needs, else it is empty. attempts: that failed."""

    run_id: str
    kind: AlarmKind
    ref: int
    due_at: datetime
    body: bytes = b""
    attempts: int = 0


@dataclass(slots=True)
class DeadLetter:
    """A row of `dead_letters`: an alarm that was given up, and why its last attempt failed."""

    run_id: str
    kind: AlarmKind
    ref: int
    died_at: datetime
    body: bytes
    attempts: int
    reason: str


@dataclass(slots=True)
class TaskRow:
    """A row of `step_tasks`: one queued step without a result."""

    run_id: str
    number: int
    namespace: str
    queue: str
    name: str
    state: TaskState
    ready_at: datetime
    scheduled_at: datetime
    arguments: bytes
    priority: int = 0
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    owner: str | None = None
    epoch: int = 0
    started_at: datetime | None = None
    deadline_at: datetime | None = None
    timeout: timedelta | None = None
    recoveries: int | None = 3
    retry: bytes = b""
    step_id: str = ""
    seed: str = ""
    workflow: str = ""
    attempts_ended: tuple[bytes | AttemptRecord, ...] = ()
    """AttemptRecord bytes, in order; records are encoded when written."""
    saved: bytes | None = None
    """The Payload that an attempt has saved last for those that may follow."""

    def copy(self) -> Self:
        """A copy to change."""
        return type(self)(
            self.run_id, self.number, self.namespace, self.queue, self.name, self.state, self.ready_at,
            self.scheduled_at, self.arguments, self.priority, self.attempt, self.failures, self.losses,
            self.owner, self.epoch, self.started_at, self.deadline_at, self.timeout, self.recoveries,
            self.retry, self.step_id, self.seed, self.workflow, self.attempts_ended, self.saved,
        )  # fmt: skip


@dataclass(slots=True)
class ChildRow:
    """A row of `children`: a child run that its parent awaits."""

    run_id: str
    number: int
    child_run_id: str
    close_policy: ClosePolicy
    closed: bool = False


@dataclass(slots=True)
class ProgressRow:
    """A row of `step_progress`: what an attempt of an inline step has saved last. details: a Payload."""

    run_id: str
    number: int
    attempt: int
    details: bytes


@dataclass(slots=True)
class PublishedRow:
    """A row of `published`: what a run has published last under a key. value: a Payload."""

    run_id: str
    key: str
    value: bytes


@dataclass(slots=True)
class RequestRow:
    """A row of `requests`: the answer that repeats of a request get."""

    run_id: str
    request_id: str
    answer: bool
    expires_at: datetime


@dataclass(slots=True)
class TraceMark:
    """A row of `trace_marks`: how far the spans of a run are exported.

    exported_seq: up to this entry. closed_at: of a closed run. relay_at: when the spans are to be exported from the
    journal, by whichever replica; None while the run is open.
    """

    run_id: str
    exported_seq: int
    closed_at: datetime | None = None
    relay_at: datetime | None = None
