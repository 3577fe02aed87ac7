"""What the engine asks of a store. Postgres implements it, and so does the small in-memory model of the tests.

`transact` is the heart: lock and read what `Reads` names, let the core decide, write its changes, commit.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.events import Appended, Closed
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import (
    AlarmRow,
    DeadLetter,
    JournalRow,
    KeyRow,
    OpenRun,
    ProgressRow,
    RunResult,
    RunRow,
    TaskRow,
    TraceMark,
)
from holdfast_coordinator.domain.snapshot import Reads, Snapshot

Moved = Appended | Closed

NOTICE_BYTES_MAX = 7_900
"""Postgres takes notices of less than 8,000 bytes."""

Place = tuple[str, str, str]
"""(namespace, queue, name): where work waits."""

RECORDS_BYTES_MAX = 2**40
"""As good as no limit."""
MAIL_PIECES_MAX = 1_000
"""How many pieces of mail of one run are read at once."""


HeldKey = tuple[str, int, int]
"""(run id, step number or 0 for the run's lease, epoch)."""


class StoreError(Exception):
    """What every error of a store derives from."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or refuses work now. Nothing was committed; repeat later."""


class OutcomeUnknown(StoreError):
    """COMMIT did not answer: it may or may not have happened. Never guess; the caller repeats its command."""


class DataRejected(StoreError):
    """The database refuses the data of a command (SQLSTATE class 22 or 23). The batch was rolled back."""


class SerializationConflict(StoreError):
    """Another transaction was in the way (SQLSTATE class 40, or a key that was made meanwhile). Repeat at once."""


class LockTimeout(SerializationConflict):
    """A lock was waited for in vain (SQLSTATE 55P03), by a statement that cannot skip what is locked."""


class StoreBusy(StoreUnavailable):
    """All connections for this kind of question were in use for as long as it may wait. Nothing was asked."""


@dataclass(slots=True, frozen=True)
class RunView:
    """All of one run but its journal: `open` while it is open, `result` once it is closed.

    closed_length: entries in the journal of a closed run; 0 in listings.
    """

    record: RunRow
    open: OpenRun | None
    result: RunResult | None
    closed_length: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()
    """Of what it was to get to others or to itself what was given up, the first few; no bodies, and not in listings."""
    alarms_failing: tuple[AlarmRow, ...] = ()
    """The same, of what has failed and is tried again; without their bodies."""


@dataclass(slots=True, frozen=True)
class QueuedStep:
    """A step that waits in a queue for a worker."""

    queue: str
    name: str


@dataclass(slots=True, frozen=True)
class ReadyWork:
    """What is ready in a queue and not taken. oldest_at: since when the oldest of it is."""

    namespace: str
    queue: str
    is_steps: bool
    count: int
    oldest_at: datetime


@dataclass(slots=True, frozen=True)
class OpenRunStates:
    """How many open runs are where. `waiting` are all that are nowhere else: suspended and paused."""

    ready: int
    leased: int
    stalled: int
    waiting: int


@dataclass(slots=True, frozen=True)
class LeaseHeld:
    """The lease of a run as a session is believed to hold it. mail_seen: up to where it has the mail of the run."""

    session_id: str
    run_id: str
    epoch: int
    mail_seen: int = 0


@dataclass(slots=True, frozen=True)
class ClaimHeld:
    """A queued attempt as a session is believed to hold it."""

    session_id: str
    run_id: str
    number: int
    epoch: int


@dataclass(slots=True, frozen=True)
class JournalBeginnings:
    """The first rows of journals by run id, each with whether more follow. is_cut: there was no room for all."""

    rows: Mapping[str, tuple[list[JournalRow], bool]]
    is_cut: bool


@dataclass(slots=True, frozen=True)
class Recalled:
    """What a batch must see, from memory, and of which versions of the rows that is true.

    runs: (run id, version). tasks: (run id, number, version). Both in key order.
    """

    snapshot: Snapshot
    runs: Sequence[tuple[str, int]]
    tasks: Sequence[tuple[str, int, int]]


@dataclass(slots=True)
class HeldNews:
    """Where rows differ from what sessions are believed to hold. Each ended claim with whether its step is gone."""

    leases_ended: list[LeaseHeld] = field(default_factory=list)
    with_mail: list[LeaseHeld] = field(default_factory=list)
    claims_ended: list[tuple[ClaimHeld, bool]] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class RunSelection:
    """Which runs a listing shows. `before` is the cursor: (created_at, run id) of the last run of the page before."""

    namespace: str
    workflow: str | None = None
    statuses: frozenset[RunStatus] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)
    started_after: datetime | None = None
    started_before: datetime | None = None
    text: str | None = None
    idempotency_key: str | None = None
    chain: str | None = None
    """The first run of a chain: only its runs."""
    before: tuple[datetime, str] | None = None
    limit: int = 100


class CellQueries(Protocol):
    """What can be asked of one cell outside of its transactions."""

    async def due_alarms(
        self, limit: int, *, outbox: bool = False, from_start: bool = False
    ) -> tuple[list[AlarmRow], timedelta | None]:
        """Alarms that are due, oldest first, without locks; and how long until the next one after them.

        outbox: deliveries to other runs, else all other alarms. Nothing is read twice: the next read goes on behind
        what this one has seen, unless it was set since, or named to `alarm_stays`. from_start: read everything, also
        what another replica has left.
        """

    def alarm_stays(self, alarm: AlarmRow) -> None:
        """An alarm that was read as due is neither cleared nor moved: it is to be read again."""

    async def count_dead_letters(self, limit: int) -> int:
        """How many alarms were given up; counted up to `limit`."""

    async def overdue_tasks(self, grace: timedelta, limit: int) -> list[TaskRow]:
        """Claimed tasks whose deadline passed more than `grace` ago."""

    async def lease_owners(self) -> set[str]:
        """The sessions that own a lease or a claimed task."""

    async def held_by(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        """Leased runs and claimed tasks of these sessions."""

    async def news_of_held(self, leases: Sequence[LeaseHeld], claims: Sequence[ClaimHeld]) -> HeldNews:
        """Which of these are held no longer, and which leased runs have mail that their sessions have not.

        What a later epoch or another session has is held no longer. An epoch that is still to come says nothing: its
        commit may be under way.
        """

    async def mail_of(self, wanted: Sequence[tuple[str, int]], max_bytes: int) -> list[MailRow]:
        """Mail of runs after a number each, in order: at least one piece, and none behind `max_bytes` of others.

        Of each run at most MAIL_PIECES_MAX.
        """

    async def waiting_names(self, runs: Sequence[Place], steps: Sequence[Place]) -> tuple[list[Place], list[Place]]:
        """Those of these workflows, and of these steps, of which work is ready. Locks nothing."""

    async def closed_since(self, at: datetime, limit: int) -> list[tuple[str, datetime]]:
        """Runs that closed at this time or later, and when, oldest first."""

    async def unknown_to(self, known: Mapping[str, Collection[HeldKey]], limit: int) -> list[tuple[str, HeldKey]]:
        """What sessions hold by the rows besides what is known of each; of leases and claims at most `limit`."""

    async def pull_back(self, now: datetime, before: datetime) -> int:
        """Makes what was due by `before`, when the clock has stepped back to `now`, due now; how many rows.

        Of queued steps and deliveries to other runs; timers, retries and deadlines keep their times.
        """

    async def stalled_by_others(
        self, namespace: str, queue: str, workflows: Sequence[str], build: str, limit: int
    ) -> list[str]:
        """Runs of these workflows that a build other than this one stalled."""

    async def has_transition(self, run_id: str, after: int, epoch: int, transition_id: int) -> bool:
        """True when the journal has this very transition after entry `after`, so that a repeat can be answered."""

    async def results(self, run_ids: Sequence[str]) -> list[RunResult]:
        """How those of the runs that are closed have closed."""

    async def existing(self, namespace: str, run_ids: Sequence[str]) -> set[str]:
        """Which of these runs exist in the namespace."""

    async def run_of_key(self, namespace: str, kind: str, key: str) -> KeyRow | None:
        """The run that a business id (kind "id") or an idempotency key (kind "key") stands for."""

    async def view(self, namespace: str, run_id: str) -> RunView | None:
        """All of one run but its journal; None when it does not exist in the namespace."""

    async def newest_of_chain(self, chain: str) -> str | None:
        """The newest run of a chain after its first run, which this is; None when there is no other."""

    async def list_runs(self, wanted: RunSelection) -> list[RunView]:
        """Runs, newest first."""

    async def records(self, run_ids: Sequence[str], max_bytes: int = RECORDS_BYTES_MAX) -> dict[str, RunRow]:
        """The `runs` rows of these runs, of as many of the first as their arguments fit into `max_bytes`."""

    async def journal(self, run_id: str, after: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """Journal rows whose last entry is after `after`: whole rows, at least one; True when there are more."""

    async def journal_beginnings(
        self, session_id: str, leases: Sequence[tuple[str, int]], max_bytes: int
    ) -> JournalBeginnings:
        """How the journals of runs begin that the session holds under these epochs: of as many of the first as have
        room in `max_bytes`, one row at least."""

    async def journal_before(self, run_id: str, before: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """Journal rows whose last entry is before entry `before`, newest first: whole rows, at least one where there
        are; True when there are more."""

    async def newest_rows(self, run_ids: Sequence[str]) -> list[JournalRow]:
        """The last few journal rows of these runs, in order, without the large ones: enough to see what a run does."""

    async def queued_step(self, run_id: str) -> QueuedStep | None:
        """The first queued step of a run that no worker has taken; None when there is none."""

    async def mail_after(self, run_id: str, number: int) -> list[MailRow]:
        """Mail of a run with a higher number, in order; at most 1,000 pieces."""

    async def progress_of(self, run_ids: Sequence[str]) -> list[ProgressRow]:
        """What attempts of inline steps of these runs have saved, of each step the last."""

    async def published_value(self, run_id: str, key: str) -> bytes | None:
        """The Payload that a run has published last under a key; None when it has published none."""

    async def prune_requests(self, limit: int) -> int:
        """Deletes expired request answers; how many."""

    async def ready_work(self, at: datetime, limit: int) -> list[ReadyWork]:
        """What is ready at this time, by queue; of each name and priority counted up to `limit`. Zeros are left out."""

    async def open_run_states(self, limit: int) -> OpenRunStates:
        """How many open runs are in each state; beyond `limit` what the database believes."""

    async def mark_exported(self, marks: Mapping[str, int]) -> None:
        """Says of runs, at least one, up to which entry their spans are exported; nothing of those that have closed.

        A mark never goes back.
        """

    async def delete_marks(self, run_ids: Collection[str]) -> int:
        """Deletes the marks of runs whose spans are all exported, or given up; how many there were."""

    async def claim_marks(self, now: datetime, until: datetime, limit: int) -> list[TraceMark]:
        """Marks whose relay_at has come by `now`, oldest first; no other relay gets them before `until`."""

    async def marks_waiting(self, now: datetime, limit: int) -> int:
        """How many marks wait for the relay; counted up to `limit`."""

    async def exported_seq(self, run_id: str) -> int:
        """Up to which entry the spans of a run are exported, by its mark; 0 without one."""

    async def open_traces(self, after: str, idle_before: datetime, limit: int) -> tuple[dict[str, int], str | None]:
        """Of the next `limit` open runs after run id `after` the sampled ones without a lease, that last changed
        before `idle_before`, and that have entries which are not exported, by how far they are; and the run id to go
        on after, None at the end."""


class CellStore(CellQueries, Protocol):
    """One cell: its own Postgres schema. Every transaction touches exactly one cell.

    What can be asked of it comes three times: here for commands and polls, `clients` for what people ask, `loops` for
    what this replica looks after. Each has connections of its own, as transactions have, so that none of them can keep
    the others waiting. What must wait for a connection for too long fails with StoreBusy.
    """

    @property
    def clients(self) -> CellQueries:
        """See the class."""

    @property
    def loops(self) -> CellQueries:
        """See the class."""

    async def transact(
        self,
        reads: Reads,
        decide: Callable[[Snapshot], Changes],
        moves: Sequence[CommitTransition] = (),
        *,
        at: datetime,
    ) -> dict[str, Moved]:
        """Locks and reads, calls `decide`, writes its changes, commits. `decide` may be called at most once.

        Waits for no row that another transaction has locked: Snapshot.locked names them, and `decide` leaves out the
        commands that need them.
        moves: transitions that are committed with the rest as `move` does it, before anything is read; the answer
        is about these. at: see `move`.
        Raises StoreUnavailable, OutcomeUnknown, DataRejected, SerializationConflict.
        """

    def recall(self, reads: Reads, *, at: datetime) -> Recalled | None:
        """What `reads` names, where all of it is known from what was written here last; else it is to be read.

        at: the database's time by this replica's estimate. For `write_known`.
        """

    async def write_known(self, recalled: Recalled, changes: Changes) -> None:
        """Commits what was decided on a snapshot that was recalled, in one round trip. Raises as `transact` does.

        SerializationConflict, and nothing is written, when one of the rows that were recalled is another one by now or
        is locked by another transaction. It is not waited for.
        """

    async def create(self, changes: Changes) -> None:
        """Commits new runs in one round trip, without reading anything. Raises as `transact` does.

        SerializationConflict when one of them exists already.
        """

    async def move(self, transitions: Sequence[CommitTransition], *, at: datetime) -> dict[str, Moved]:
        """Commits append-only transitions and plain closes, one per run, by compare-and-set in one round trip.

        Answers only those whose epoch, owner and length matched a leased run, and for closes, that has no mail
        waiting and no rows in other tables; the others wrote nothing. An append sets length and transition_id,
        resets losses and timed_out, clears attempt_deadline_at, and leaves last_at alone. A close notifies the parent
        by an outbox alarm. at: the database's time by this replica's estimate, for when a run closed.
        """


class DoorbellStore(Protocol):
    """How replicas notify each other of keys that are worth a look. Best effort: what is lost costs latency."""

    async def ring(self, notices: Sequence[str]) -> None:
        """Says notices, each of at most NOTICE_BYTES_MAX, to all who listen, this replica too. Raises StoreError."""

    def listening(self, *, silent_seconds: float) -> AbstractAsyncContextManager[AsyncIterator[str]]:
        """What is said from the moment on that the block is entered. Raises StoreError, also after a long silence."""

    def close(self) -> None:
        """Closes the connection it rings with."""
