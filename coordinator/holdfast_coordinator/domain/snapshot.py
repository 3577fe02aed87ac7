"""What a batch must see, and what it saw. The store reads it in one round trip, under the locks."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from holdfast.statuses import RunStatus

from .commands import ClaimRuns, ClaimTasks
from .mail import MailRow
from .rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    KeyRow,
    OpenRun,
    RunResult,
    RunRow,
    TaskRow,
)

LAST_AT_AHEAD_MAX = timedelta(seconds=2)


def time_of_batch(clock: datetime, locked: Iterable[OpenRun]) -> datetime:
    """The later of the database's time and the last times of the locked runs: no entry is before the one before it.

    A run that is ahead by more than a little was last changed before the clock stepped back. Its time would put what
    the batch makes ready, and the other runs of the batch, into a future in which nothing is claimed.
    """
    return max([clock, *(run.last_at for run in locked if run.last_at <= clock + LAST_AT_AHEAD_MAX)])


@dataclass(slots=True)
class MailWanted:
    """Which mail of a run a batch needs: pieces first..last, one page of those after a number, or all there is.

    first, last, all: to be journaled, so bodies of large signals may stay where they are (StoredBody). after: to be
    sent, with the bodies, which can be large and many.
    """

    first: int = 0
    last: int = 0
    after: int | None = None
    all: bool = False


@dataclass(slots=True)
class Reads:
    """What a batch needs to see. Everything of a run is read after its open_runs row is locked, in key order."""

    lock_runs: set[str] = field(default_factory=set)
    """Run ids: their open_runs rows are locked. Their counters say what mail they have; `mail` says what is read.

    Rows that another transaction has locked are skipped, these and all others: see Locked.
    """
    mail: dict[str, MailWanted] = field(default_factory=dict)
    """By run id (also in lock_runs): which mail is read, in order."""
    tasks_of: set[str] = field(default_factory=set)
    """Run ids (also in lock_runs): all their step_tasks rows are locked."""
    children_of: set[str] = field(default_factory=set)
    """Run ids (also in lock_runs): their children that are not closed."""
    children: set[tuple[str, int]] = field(default_factory=set)
    """(run id, number of the child): these children, if they are not closed; their runs are in lock_runs."""
    tasks: set[tuple[str, int]] = field(default_factory=set)
    """(run id, step number): these step_tasks rows are locked."""
    alarms: set[tuple[str, AlarmKind, int]] = field(default_factory=set)
    """Alarms by key: read after the runs are locked."""
    keys: list[KeyRow] = field(default_factory=list)
    """Keys to reserve, in key order: inserted when free, else the existing row is locked and read."""
    starts: dict[str, str] = field(default_factory=dict)
    """Run ids about to be made -> namespace: what became of an earlier start with that run id is read."""
    requests: set[tuple[str, str]] = field(default_factory=set)
    """(run id, request id): answers that were given before."""
    results: set[str] = field(default_factory=set)
    """Run ids whose run_results row is read, if there is one."""
    claim_runs: list[ClaimRuns] = field(default_factory=list)
    """For each: up to `limit` READY runs, locked with SKIP LOCKED, by (priority, ready_at)."""
    claim_tasks: list[ClaimTasks] = field(default_factory=list)
    """For each: up to `limit` READY step_tasks whose ready_at has come, locked with SKIP LOCKED."""

    @property
    def is_of_runs_and_tasks(self) -> bool:
        """True when open runs, mail that waits for them, and queued steps by key are all that is needed."""
        others = (
            self.tasks_of, self.children_of, self.children, self.alarms, self.keys, self.starts, self.requests,
            self.results, self.claim_runs, self.claim_tasks,
        )  # fmt: skip
        return not any(others) and self.mail.keys() <= self.lock_runs

    def wants_mail(
        self, run_id: str, *, first: int = 0, last: int = 0, after: int | None = None, all: bool = False
    ) -> None:
        """A command needs this mail of a run, whatever others of the batch need."""
        wanted = self.mail.setdefault(run_id, MailWanted())
        if last:
            wanted.first = min(first, wanted.first) if wanted.last else first
            wanted.last = max(last, wanted.last)
        if after is not None:
            wanted.after = after if wanted.after is None else min(after, wanted.after)
        wanted.all |= all

    def wants_run(self, run_id: str, request_id: str, requests_of: str = "") -> None:
        """A command that was sent to a run, open or closed, needs it, and the answer that it had before.

        requests_of: the run under which that is kept, where it is another one of the chain.
        """
        self.lock_runs.add(run_id)
        self.results.add(run_id)
        if request_id:
            self.requests.add((requests_of or run_id, request_id))

    def wants_all_of(self, run_id: str) -> None:
        """A command that ends a run needs everything that ends with it."""
        self.tasks_of.add(run_id)
        self.children_of.add(run_id)
        self.wants_mail(run_id, all=True)

    def wants_outbox(self, alarm: AlarmRow | None) -> None:
        """A command that makes a delivery needs its alarm."""
        if alarm is not None:
            self.alarms.add((alarm.run_id, alarm.kind, alarm.ref))


@dataclass(slots=True)
class Locked:
    """Rows that a batch has asked for and another transaction has locked: nothing is known of them."""

    runs: set[str] = field(default_factory=set)
    tasks: set[tuple[str, int]] = field(default_factory=set)
    alarms: set[tuple[str, AlarmKind, int]] = field(default_factory=set)
    keys: set[tuple[str, str, str]] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.runs or self.tasks or self.alarms or self.keys)


@dataclass(slots=True, frozen=True)
class KnownRuns:
    """What the batch has read about runs that a start may meet.

    existing: run id -> namespace, call digest and the run that was made or joined, for start ids that were used
    before. keys: (namespace, kind, key) -> the run that has it, only where it is another run. reserved: keys that the
    batch has inserted for the start that names them. statuses: for the runs of keys the closed status, None while open.
    """

    existing: dict[str, tuple[str, bytes, str]]
    keys: dict[tuple[str, str, str], KeyRow]
    reserved: set[tuple[str, str, str]]
    statuses: dict[str, RunStatus | None]


@dataclass(slots=True)
class Snapshot:
    """What a batch sees. `now`: see time_of_batch, of clock_timestamp() after the locks."""

    now: datetime
    runs: dict[str, OpenRun] = field(default_factory=dict)
    mail: dict[str, list[MailRow]] = field(default_factory=dict)
    tasks: dict[tuple[str, int], TaskRow] = field(default_factory=dict)
    children: dict[str, list[ChildRow]] = field(default_factory=dict)
    alarms: dict[tuple[str, AlarmKind, int], AlarmRow] = field(default_factory=dict)
    keys: dict[tuple[str, str, str], KeyRow] = field(default_factory=dict)
    """Only keys that belonged to another run before this batch: (namespace, kind, key)."""
    keys_reserved: set[tuple[str, str, str]] = field(default_factory=set)
    """Keys that nothing had before this batch, which has inserted them for its starts."""
    key_statuses: dict[str, RunStatus | None] = field(default_factory=dict)
    """For each run of `keys`: its closed status, or None while it is open."""
    existing: dict[str, tuple[str, bytes, str]] = field(default_factory=dict)
    """Of `starts`: run id -> namespace, call digest, and the run that the earlier start made or joined."""
    requests: dict[tuple[str, str], bool] = field(default_factory=dict)
    results: dict[str, RunResult] = field(default_factory=dict)
    claimed_runs: list[list[tuple[OpenRun, RunRow | None]]] = field(default_factory=list)
    """Per claim, in its order. Mail of claimed runs is in `mail`, the rows are in `runs` too.

    Without the record where the arguments of all before it are large: they are read when they are needed.
    """
    claimed_tasks: list[list[TaskRow]] = field(default_factory=list)
    """Per claim, in its order. The rows are in `tasks` too."""
    tasks_left: list[bool] = field(default_factory=list)
    """Per claim of tasks: whether it has found more than it read, because their arguments are large."""
    locked: Locked = field(default_factory=Locked)
    """What is missing here because another transaction has it. Commands that need it must not be decided."""
