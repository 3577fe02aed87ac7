"""A cell for tests of the pure core: it reads what a batch names, lets the core decide, and applies the changes.

Strict where Postgres is: what is deleted or updated must be there, what is inserted must not. Unlike model.cell it
keeps the records of the core as they are, so that tests see entries and not bytes; and it holds the core to its word
that rows which were read are never changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast_coordinator.domain.batch import Answer, BatchCommand, Decided, decide, keys_of, reads_of
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.events import Event, RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    DeadLetter,
    JournalRow,
    KeyRow,
    MailRow,
    OpenRun,
    RequestRow,
    RunResult,
    RunRow,
    RunState,
    Side,
    TaskRow,
    TaskState,
)
from holdfast_coordinator.domain.snapshot import MailWanted, Reads, Snapshot, time_of_batch
from holdfast_coordinator.domain.starts import START
from tests.invariants import CellRows

T0 = datetime(2024, 1, 1, tzinfo=UTC)


class Sessions:
    """Places of sessions for the hand-off; a session takes whatever comes while it has room."""

    def __init__(self) -> None:
        self.runs: dict[str, int] = {}
        self.tasks: dict[str, int] = {}

    def run(self, run: OpenRun, *, claimed: bool = False) -> str | None:
        """See Assign."""
        return _take(self.runs, run.sticky)

    def task(self, task: TaskRow, *, claimed: bool = False) -> str | None:
        """See Assign."""
        return _take(self.tasks, None)


class MemoryCell:
    """See the module. `now` is the database's clock; `events` are those of the last batch."""

    def __init__(self) -> None:
        self.now = T0
        self.sessions = Sessions()
        self.events: list[Event] = []
        self.changes = Changes()
        self.mail_read_max = 1_000
        self.runs: dict[str, RunRow] = {}
        self.open_runs: dict[str, OpenRun] = {}
        self.results: dict[str, RunResult] = {}
        self.journals: dict[str, list[JournalRow]] = {}
        self.mail: dict[str, list[MailRow]] = {}
        self.alarms: dict[tuple[str, AlarmKind, int], AlarmRow] = {}
        self.dead_letters: dict[tuple[str, AlarmKind, int], DeadLetter] = {}
        self.tasks: dict[tuple[str, int], TaskRow] = {}
        self.children: dict[tuple[str, int], ChildRow] = {}
        self.keys: dict[tuple[str, str, str], KeyRow] = {}
        self.requests: dict[tuple[str, str], RequestRow] = {}

    def submit(self, *commands: BatchCommand) -> list[Answer]:
        """One batch, or as many as it takes; the answers in order."""
        count = _batch_length(commands)
        reads = reads_of(commands[:count])
        snapshot = self._read(reads)
        seen = [(row, repr(row)) for row in _rows_of(snapshot)]
        decided: Decided = decide(commands[:count], snapshot, self.sessions)
        for row, text in seen:
            assert repr(row) == text, f"a row that was read has changed: {row}"
        self._apply(decided.changes)
        self.changes, self.events = decided.changes, decided.events
        return [*decided.answers, *(self.submit(*commands[count:]) if count < len(commands) else ())]

    def ask(self, command: BatchCommand) -> Any:
        """One command, alone in its batch; its answer."""
        (answer,) = self.submit(command)
        return answer

    def pass_time(self, seconds: float) -> None:
        """The clock moves on."""
        self.now += timedelta(seconds=seconds)

    def entries(self, run_id: str) -> list[Any]:
        """All parts of a journal, in order."""
        return [part for row in self.journals[run_id] for part in row.entries]

    def leases(self) -> list[RunLeased]:
        """The leases that the last batch gave."""
        return [event for event in self.events if isinstance(event, RunLeased)]

    def claims(self) -> list[TaskClaimed]:
        """The claims of the last batch."""
        return [event for event in self.events if isinstance(event, TaskClaimed)]

    def rows(self) -> CellRows:
        """All rows as they are now."""
        return CellRows(
            runs=dict(self.runs),
            open_runs=dict(self.open_runs),
            results=tuple(self.results.values()),
            journals={run_id: tuple(rows) for run_id, rows in self.journals.items()},
            mail={run_id: tuple(rows) for run_id, rows in self.mail.items()},
            alarms=dict(self.alarms),
            tasks=dict(self.tasks),
            children=dict(self.children),
            keys=dict(self.keys),
        )

    # Reading

    def _read(self, reads: Reads) -> Snapshot:
        snapshot = Snapshot(now=self.now)
        fresh = snapshot.keys_reserved
        for key in reads.keys:
            name = (key.namespace, key.kind, key.key)
            if name not in self.keys:
                self.keys[name] = key
                fresh.add(name)
        self._lock(reads.lock_runs, snapshot, reads.mail)
        wanted = [key for key in self.tasks if key in reads.tasks or key[0] in reads.tasks_of]
        snapshot.tasks = {key: self.tasks[key] for key in wanted}
        for (run_id, _), child in sorted(self.children.items()):
            if (run_id in reads.children_of or (run_id, child.number) in reads.children) and not child.closed:
                snapshot.children.setdefault(run_id, []).append(child)
        snapshot.alarms = {key: self.alarms[key] for key in reads.alarms & self.alarms.keys()}
        for key in reads.keys:
            name = (key.namespace, key.kind, key.key)
            holder = self.keys[name]
            if name not in fresh and holder.run_id != key.run_id:
                snapshot.keys[name] = holder
                closed = self.results.get(holder.run_id)
                snapshot.key_statuses[holder.run_id] = closed.status if closed else None
        started = [self.runs[run_id] for run_id in reads.starts.keys() & self.runs.keys()]
        snapshot.existing = {run.run_id: (run.namespace, run.call_digest, run.run_id) for run in started}
        for run_id, namespace in reads.starts.items():
            if join := self.keys.get((namespace, START, run_id)):
                snapshot.existing[run_id] = (namespace, join.call_digest, join.run_id)
        snapshot.requests = {key: self.requests[key].answer for key in reads.requests & self.requests.keys()}
        snapshot.results = {run_id: self.results[run_id] for run_id in reads.results & self.results.keys()}
        self._claim(reads, snapshot)
        snapshot.now = time_of_batch(self.now, snapshot.runs.values())
        return snapshot

    def _lock(self, run_ids: Iterable[str], snapshot: Snapshot, wanted: Mapping[str, MailWanted]) -> None:
        for run_id in run_ids:
            if run_id in self.open_runs:
                snapshot.runs[run_id] = self.open_runs[run_id]
                if mail := self._wanted_mail(run_id, wanted.get(run_id, MailWanted())):
                    snapshot.mail[run_id] = mail

    def _wanted_mail(self, run_id: str, wanted: MailWanted) -> list[MailRow]:
        pieces = self.mail.get(run_id, [])
        after = wanted.after if wanted.after is not None else len(pieces) + 2**31
        page = [mail.number for mail in pieces if mail.number > after][: self.mail_read_max]
        return [
            mail for mail in pieces if wanted.all or wanted.first <= mail.number <= wanted.last or mail.number in page
        ]

    def _claim(self, reads: Reads, snapshot: Snapshot) -> None:
        for claim in reads.claim_runs:
            ready = [
                run
                for run in self.open_runs.values()
                if run.state is RunState.READY and run.workflow in claim.workflows and run.queue == claim.queue
            ][: claim.limit]
            fresh = [run.run_id for run in ready if run.run_id not in snapshot.runs]
            self._lock(fresh, snapshot, {run_id: MailWanted(after=0) for run_id in fresh})
            snapshot.claimed_runs.append([(run, self.runs[run.run_id]) for run in ready])
        for step_claim in reads.claim_tasks:
            tasks = [
                task
                for task in self.tasks.values()
                if task.state is TaskState.READY and task.ready_at <= self.now and task.name in step_claim.steps
            ][: step_claim.limit]
            snapshot.tasks |= {(task.run_id, task.number): task for task in tasks}
            snapshot.claimed_tasks.append(tasks)

    # Writing

    def _apply(self, changes: Changes) -> None:
        self._sweep(changes)
        for record in changes.runs:
            _insert(self.runs, record.run_id, record)
        for run_id, run in changes.opened.items():
            _insert(self.open_runs, run_id, run)
        for run_id, run in changes.updated.items():
            _update(self.open_runs, run_id, run)
        made = {record.run_id for record in changes.runs}
        for run_id, result in changes.closed.items():
            _insert(self.results, run_id, result)
            if run_id not in made:
                del self.open_runs[run_id]
        for key in changes.keys:
            _update(self.keys, (key.namespace, key.kind, key.key), key)
        for key in changes.joins:
            assert (key.namespace, key.kind, key.key) not in self.keys
            self.keys[key.namespace, key.kind, key.key] = key
        for key in changes.keys_released:
            if self.keys[key.namespace, key.kind, key.key].run_id == key.run_id:
                del self.keys[key.namespace, key.kind, key.key]
        for row in changes.journal:
            self.journals.setdefault(row.run_id, []).append(row)
        for copy in changes.journal_copied:
            for row in self.journals[copy.of_run_id]:
                if copy.first <= row.seq <= copy.last:
                    copied = replace(row, run_id=copy.run_id, seq=row.seq - copy.shift, epoch=0, transition_id=0)
                    self.journals.setdefault(copy.run_id, []).append(copied)
            self.journals[copy.run_id].sort(key=lambda row: row.seq)
        for run_id, number in changes.mail_taken:
            (taken,) = [mail for mail in self.mail[run_id] if mail.number == number]
            self.mail[run_id].remove(taken)
        for mail in changes.mail_added:
            self.mail.setdefault(mail.run_id, []).append(mail)
        swept = changes.swept
        for alarm_key in changes.alarms_cleared:
            if alarm_key[0] not in swept or alarm_key[1] >= AlarmKind.OUTBOX_CHILD:
                del self.alarms[alarm_key]
        self.alarms |= changes.alarms_set
        for dead in changes.dead_letters:
            _insert(self.dead_letters, (dead.run_id, dead.kind, dead.ref), dead)
        for task_key in changes.tasks_deleted:
            del self.tasks[task_key]
        for task_key, task in changes.tasks_added.items():
            _insert(self.tasks, task_key, task)
        for task_key, task in changes.tasks_updated.items():
            _update(self.tasks, task_key, task)
        for child in changes.children_added:
            if child.run_id not in swept:
                _insert(self.children, (child.run_id, child.number), child)
        for run_id, number in changes.children_closed:
            if run_id not in swept:
                child = self.children[run_id, number]
                self.children[run_id, number] = ChildRow(run_id, number, child.child_run_id, child.close_policy, True)
        for request in changes.requests:
            _insert(self.requests, (request.run_id, request.request_id), request)

    def _sweep(self, changes: Changes) -> None:
        for run_id, side in changes.swept.items():
            self.mail.pop(run_id, None)
            own = [key for key in self.alarms if key[0] == run_id and key[1] < AlarmKind.OUTBOX_CHILD]
            for key in own if side & Side.ALARMS else ():
                del self.alarms[key]
            for task_key in [key for key in self.tasks if key[0] == run_id] if side & Side.TASKS else ():
                del self.tasks[task_key]
            for child_key in [key for key in self.children if key[0] == run_id] if side & Side.CHILDREN else ():
                del self.children[child_key]


def _batch_length(commands: Sequence[BatchCommand]) -> int:
    """How many commands fit into one batch: each key is reserved once in it."""
    keys: set[tuple[str, str, str]] = set()
    for count, command in enumerate(commands):
        if not keys.isdisjoint(keys_of(command)):
            return count
        keys.update(keys_of(command))
    return len(commands)


def _rows_of(snapshot: Snapshot) -> Iterable[object]:
    yield from snapshot.runs.values()
    yield from snapshot.tasks.values()
    yield from snapshot.alarms.values()
    yield from snapshot.keys.values()
    for mail in snapshot.mail.values():
        yield from mail
    for children in snapshot.children.values():
        yield from children


def _take(places: dict[str, int], preferred: str | None) -> str | None:
    for session_id in sorted(places, key=lambda name: name != preferred):
        if places[session_id] > 0:
            places[session_id] -= 1
            return session_id
    return None


def _insert(rows: dict[Any, Any], key: Any, row: Any) -> None:
    assert key not in rows, f"{key} is there already"
    rows[key] = row


def _update(rows: dict[Any, Any], key: Any, row: Any) -> None:
    assert key in rows, f"{key} is not there"
    rows[key] = row
