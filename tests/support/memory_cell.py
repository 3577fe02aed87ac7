"""The rows of one cell in memory: what a batch reads and what its changes do, in the fewest words.

The tests of the pure core decide over it (core_cell), and MemoryCellStore makes a store of it that is compared with
Postgres. Strict where Postgres is: what is deleted or updated must be there, what is inserted must not. Like a database
it keeps copies: rows that were read before do not change.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, TypeVar

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    DeadLetter,
    JournalRow,
    KeyRow,
    OpenRun,
    ProgressRow,
    PublishedRow,
    RequestRow,
    RunResult,
    RunRow,
    RunState,
    Side,
    TaskRow,
    TaskState,
    TraceMark,
)
from holdfast_coordinator.domain.snapshot import MailWanted, Reads, Snapshot, time_of_batch
from holdfast_coordinator.domain.starts import START
from holdfast_coordinator.domain.workspace import REQUEST_KEPT_FOR
from holdfast_coordinator.store.errors import RowsMissing
from holdfast_coordinator.store.port import (
    DataRejected,
    SerializationConflict,
)
from holdfast_coordinator.store.statements_claims import CLAIM_BYTES_MAX, TASK_BYTES_MAX

Key = TypeVar("Key")
Value = TypeVar("Value")


def system_clock() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class MemoryCell:
    """See the module. clock: the time of the database. Rows are kept by their primary keys."""

    def __init__(self, clock: Callable[[], datetime] = system_clock) -> None:
        self.clock = clock
        self.mail_read_max = 1_000
        """How many pieces of mail a batch reads of a run at once."""
        self.runs: dict[str, RunRow] = {}
        self.open_runs: dict[str, OpenRun] = {}
        self.run_results: dict[str, RunResult] = {}
        self.journals: dict[str, list[JournalRow]] = {}
        self.mail: dict[tuple[str, int], MailRow] = {}
        self.alarms: dict[tuple[str, AlarmKind, int], AlarmRow] = {}
        self.dead_letters: dict[tuple[str, AlarmKind, int], DeadLetter] = {}
        self.tasks: dict[tuple[str, int], TaskRow] = {}
        self.children: dict[tuple[str, int], ChildRow] = {}
        self.keys: dict[tuple[str, str, str], KeyRow] = {}
        self.step_progress: dict[tuple[str, int], ProgressRow] = {}
        self.published: dict[tuple[str, str], PublishedRow] = {}
        self.requests: dict[tuple[str, str], RequestRow] = {}
        self.trace_marks: dict[str, TraceMark] = {}
        self.locked_elsewhere: set[str] = set()
        """Runs whose rows another transaction has locked."""

    def read(self, reads: Reads) -> Snapshot:
        """What a batch sees: the keys it reserves, the rows it locks, what it claims."""
        snapshot = Snapshot(now=self.clock())
        fresh = snapshot.keys_reserved = self._reserve(reads.keys)
        wanted_runs = reads.lock_runs & self.open_runs.keys()
        snapshot.locked.runs = wanted_runs & self.locked_elsewhere
        snapshot.runs = deepcopy({key: self.open_runs[key] for key in wanted_runs - self.locked_elsewhere})
        found = {run_id: self._wanted(run_id, wanted) for run_id, wanted in reads.mail.items()}
        snapshot.mail = {run_id: mail for run_id, mail in found.items() if mail}
        snapshot.tasks = deepcopy(
            {key: task for key, task in self.tasks.items() if key in reads.tasks or key[0] in reads.tasks_of}
        )
        for key in sorted(self.children):
            child = self.children[key]
            if (key[0] in reads.children_of or key in reads.children) and not child.closed:
                snapshot.children.setdefault(key[0], []).append(deepcopy(child))
        snapshot.alarms = deepcopy({key: self.alarms[key] for key in reads.alarms & self.alarms.keys()})
        for wanted in reads.keys:
            name = (wanted.namespace, wanted.kind, wanted.key)
            if name not in fresh and self.keys[name].run_id != wanted.run_id:
                holder = snapshot.keys[name] = deepcopy(self.keys[name])
                result = self.run_results.get(holder.run_id)
                snapshot.key_statuses[holder.run_id] = result.status if result else None
        started = [self.runs[key] for key in reads.starts.keys() & self.runs.keys()]
        snapshot.existing = {run.run_id: (run.namespace, run.call_digest, run.run_id) for run in started}
        for run_id, namespace in reads.starts.items():
            if join := self.keys.get((namespace, START, run_id)):
                snapshot.existing[run_id] = (namespace, join.call_digest, join.run_id)
        snapshot.requests = {key: self.requests[key].answer for key in reads.requests & self.requests.keys()}
        snapshot.results = deepcopy({key: self.run_results[key] for key in reads.results & self.run_results.keys()})
        self._claim(reads, snapshot)
        snapshot.now = time_of_batch(snapshot.now, snapshot.runs.values())
        return snapshot

    def _reserve(self, wanted: Iterable[KeyRow]) -> set[tuple[str, str, str]]:
        fresh = set()
        for key in wanted:
            name = (key.namespace, key.kind, key.key)
            if name not in self.keys:
                self.keys[name] = deepcopy(key)
                fresh.add(name)
        return fresh

    def _claim(self, reads: Reads, snapshot: Snapshot) -> None:
        seen: set[Any] = set()
        for claim in reads.claim_runs:
            claimed: list[tuple[OpenRun, RunRow | None]] = []
            size = 0
            for run in self._ready_runs(claim):
                if run.run_id not in seen:
                    seen.add(run.run_id)
                    mine = snapshot.runs.setdefault(run.run_id, deepcopy(run))
                    if mail := self._wanted(run.run_id, MailWanted(after=0)):
                        snapshot.mail[run.run_id] = mail
                    size += len(self.runs[run.run_id].arguments)
                    is_small = size <= CLAIM_BYTES_MAX
                    claimed.append((mine, deepcopy(self.runs[run.run_id]) if is_small else None))
            snapshot.claimed_runs.append(claimed)
        for step_claim in reads.claim_tasks:
            tasks = []
            found = self._ready_tasks(step_claim)
            sizes = accumulate((len(task.arguments) for task in found), initial=0)
            small = [task for task, before in zip(found, sizes, strict=False) if before <= TASK_BYTES_MAX]
            for task in small:
                key = (task.run_id, task.number)
                if key not in seen:
                    seen.add(key)
                    tasks.append(snapshot.tasks.setdefault(key, deepcopy(task)))
            snapshot.claimed_tasks.append(tasks)
            snapshot.tasks_left.append(len(found) > len(small))

    def _ready_runs(self, claim: ClaimRuns) -> list[OpenRun]:
        ready = [
            (run.priority, run.ready_at, run)
            for run in self.open_runs.values()
            if (run.namespace, run.queue, run.state) == (claim.namespace, claim.queue, RunState.READY)
            and run.workflow in claim.workflows
            and run.stall_build != dict(zip(claim.workflows, claim.not_builds, strict=False)).get(run.workflow, "")
            and run.run_id not in self.locked_elsewhere
            and run.ready_at is not None
        ]
        return [run for *_, run in sorted(ready, key=lambda item: item[:2])[: claim.limit]]

    def _ready_tasks(self, claim: ClaimTasks) -> list[TaskRow]:
        now = self.clock()
        ready = [
            task
            for task in self.tasks.values()
            if (task.namespace, task.queue, task.state) == (claim.namespace, claim.queue, TaskState.READY)
            and task.name in claim.steps
            and task.ready_at <= now
        ]
        return sorted(ready, key=lambda task: (task.priority, task.ready_at, task.run_id, task.number))[: claim.limit]

    def write(self, changes: Changes) -> None:
        """Applies what a batch has decided."""
        changes = deepcopy(changes)
        for move in changes.mail_moved:
            moved = replace(self.mail[move.run_id, move.number], run_id=move.to.run_id, number=move.to.number)
            _insert(self.mail, (moved.run_id, moved.number), moved)
        self._sweep(changes)
        made = {record.run_id for record in changes.runs}
        for record in changes.runs:
            _insert(self.runs, record.run_id, record, raced=True)
        for run_id, facts in changes.metadata.items():
            record = self.runs[run_id]
            self.runs[run_id] = replace(
                record, metadata={**record.metadata, **facts}, metadata_at_start=record.started_with
            )
        for run_id, run in changes.opened.items():
            _insert(self.open_runs, run_id, run, raced=True)
        for run_id, run in changes.updated.items():
            _replace(self.open_runs, run_id, run)
        for run_id, result in changes.closed.items():
            _insert(self.run_results, run_id, result)
            if run_id in self.open_runs or run_id not in made:
                _delete(self.open_runs, run_id)
        for key in changes.keys:
            _replace(self.keys, (key.namespace, key.kind, key.key), key)
        for key in changes.joins:
            _insert(self.keys, (key.namespace, key.kind, key.key), key, raced=True)
        for key in changes.keys_released:
            name = (key.namespace, key.kind, key.key)
            if name in self.keys and self.keys[name].run_id == key.run_id:
                del self.keys[name]
        for row in changes.journal:
            rows = self.journals.setdefault(row.run_id, [])
            if any(row.seq == other.seq for other in rows):
                raise DataRejected("journal")
            rows.append(row)
            rows.sort(key=lambda row: row.seq)
        for copy in changes.journal_copied:
            for row in self.journals[copy.of_run_id]:
                if copy.first <= row.seq <= copy.last:
                    copied = replace(row, run_id=copy.run_id, seq=row.seq - copy.shift, epoch=0, transition_id=0)
                    self.journals.setdefault(copy.run_id, []).append(copied)
            self.journals[copy.run_id].sort(key=lambda row: row.seq)
        for mail_key in changes.mail_taken:
            _delete(self.mail, mail_key)
        for mail in changes.mail_added:
            _insert(self.mail, (mail.run_id, mail.number), mail)
        self._write_sides(changes)

    def _write_sides(self, changes: Changes) -> None:
        for alarm_key in changes.alarms_cleared:
            _delete(self.alarms, alarm_key)
        self.alarms.update(changes.alarms_set)
        for dead in changes.dead_letters:
            _insert(self.dead_letters, (dead.run_id, dead.kind, dead.ref), dead)
        for task_key in changes.tasks_deleted:
            _delete(self.tasks, task_key)
        for task_key, task in changes.tasks_added.items():
            _insert(self.tasks, task_key, task)
        for task_key, task in changes.tasks_updated.items():
            _replace(self.tasks, task_key, task)
        for child in changes.children_added:
            _insert(self.children, (child.run_id, child.number), child)
        for child_key in changes.children_closed:
            _replace(self.children, child_key, replace(self.children.get(child_key) or _missing(), closed=True))
        self.step_progress.update(changes.progress)
        self.published.update(changes.published)
        for request in changes.requests:
            _insert(self.requests, (request.run_id, request.request_id), request)
        for mark in changes.traces_closed:
            self.close_trace(mark)

    def _sweep(self, changes: Changes) -> None:
        """Deletes what closed runs leave behind, and strikes it from the changes; outbox alarms stay."""
        swept = changes.swept
        own = {key for key in (*self.alarms, *changes.alarms_set, *changes.alarms_cleared) if key[1] < 6}
        self.mail = {key: row for key, row in self.mail.items() if key[0] not in swept}
        changes.alarms_set = {
            key: row for key, row in changes.alarms_set.items() if key[0] not in swept or key not in own
        }
        changes.alarms_cleared = {key for key in changes.alarms_cleared if key[0] not in swept or key not in own}
        changes.mail_added = [row for row in changes.mail_added if row.run_id not in swept]
        changes.mail_taken = [key for key in changes.mail_taken if key[0] not in swept]
        changes.tasks_deleted = {key for key in changes.tasks_deleted if key[0] not in swept}
        changes.children_added = [row for row in changes.children_added if row.run_id not in swept]
        changes.progress = {key: row for key, row in changes.progress.items() if key[0] not in swept}
        changes.children_closed = {key for key in changes.children_closed if key[0] not in swept}
        for run_id, side in swept.items():
            changes.updated.pop(run_id, None)
            if side & (Side.ALARMS | Side.DEADLINE_ALARM):
                self.alarms = {k: row for k, row in self.alarms.items() if k[0] != run_id or k not in own}
            if side & Side.TASKS:
                self.tasks = {key: row for key, row in self.tasks.items() if key[0] != run_id}
            if side & Side.REQUESTS:
                expire_at = changes.closed[run_id].closed_at + REQUEST_KEPT_FOR
                for request in self.requests.values():
                    if request.run_id == changes.requests_of.get(run_id, run_id):
                        request.expires_at = min(request.expires_at, expire_at)
            if side & Side.PROGRESS:
                self.step_progress = {key: row for key, row in self.step_progress.items() if key[0] != run_id}
            if side & Side.CHILDREN:
                self.children = {key: row for key, row in self.children.items() if key[0] != run_id}

    def close_trace(self, mark: TraceMark) -> None:
        """Keeps what the relay of traces needs of a closed run."""
        earlier = self.trace_marks.get(mark.run_id)
        self.trace_marks[mark.run_id] = replace(mark, exported_seq=earlier.exported_seq if earlier else 0)

    def _wanted(self, run_id: str, wanted: MailWanted) -> list[MailRow]:
        pieces = self.waiting_mail(run_id)
        after = wanted.after if wanted.after is not None else 2**62
        page = {mail.number for mail in [mail for mail in pieces if mail.number > after][: self.mail_read_max]}
        return [
            mail for mail in pieces if wanted.all or wanted.first <= mail.number <= wanted.last or mail.number in page
        ]

    def waiting_mail(self, run_id: str) -> list[MailRow]:
        """The mail of a run that it has not consumed, in order."""
        return deepcopy([self.mail[key] for key in sorted(self.mail) if key[0] == run_id])


def _missing() -> Any:
    raise RowsMissing("a row to update is not there")


def _insert(rows: dict[Key, Value], key: Key, row: Value, *, raced: bool = False) -> None:
    if key in rows:
        raise SerializationConflict(str(key)) if raced else DataRejected(str(key))
    rows[key] = row


def _replace(rows: dict[Key, Value], key: Key, row: Value) -> None:
    if key not in rows:
        raise RowsMissing(str(key))
    rows[key] = row


def _delete(rows: dict[Key, Value], key: Key) -> None:
    if key not in rows:
        raise RowsMissing(str(key))
    del rows[key]
