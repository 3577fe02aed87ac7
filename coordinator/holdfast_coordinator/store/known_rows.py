"""Rows that the writer of a cell wrote last: what is decided next about them needs no reading. In memory, and bounded.

Nothing is concluded from them alone. Each has the version that Postgres gave it, and what is decided on it is committed
only while the row in the database has that version still: all that changes a row gives it another one.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.events import Appended
from holdfast_coordinator.domain.mail import MailRow, StoredBody, body_bytes
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.domain.snapshot import Reads, Snapshot, time_of_batch

from .port import Moved, Recalled

RUNS_MAX = 1_024
TASKS_MAX = 2_048
MAIL_MAX = 4
"""How many waiting pieces of mail of a run are kept; a run with more is read."""
ROW_BYTES_MAX = 4_096
"""How large the arguments of a queued step, or a piece of mail, may be to be kept."""


@dataclass(slots=True)
class _KnownRun:
    """mail: all that waits. length, transition_id: of compare-and-sets that came after `row` was written, else -1."""

    row: OpenRun
    version: int
    mail: tuple[MailRow, ...] = ()
    length: int = -1
    transition_id: int = -1


@dataclass(slots=True)
class KnownRows:
    """See the module."""

    _runs: OrderedDict[str, _KnownRun] = field(default_factory=OrderedDict)
    _tasks: OrderedDict[tuple[str, int], tuple[TaskRow, int]] = field(default_factory=OrderedDict)

    def recall(self, reads: Reads, at: datetime) -> Recalled | None:
        """All that a batch must see; None where it needs anything that is not known. at: see port.CellStore."""
        if not reads.is_of_runs_and_tasks:
            return None
        snapshot = Snapshot(now=at)
        runs, tasks = [], []
        for run_id in reads.lock_runs:
            known = self._runs.get(run_id)
            if known is None:
                return None
            snapshot.runs[run_id] = _as_it_is(known)
            if known.mail:
                snapshot.mail[run_id] = list(known.mail)
            runs.append((run_id, known.version))
        for key in reads.tasks:
            found = self._tasks.get(key)
            if found is None:
                return None
            task, version = found
            snapshot.tasks[key] = task.copy()  # a step that ends is moved as it is, and the end may be given up
            tasks.append((*key, version))
        snapshot.now = time_of_batch(at, snapshot.runs.values())
        return Recalled(snapshot, sorted(runs), sorted(tasks))

    def written(self, changes: Changes, version: int) -> None:
        """A transaction was committed that wrote these rows, all with one version."""
        for run_id in changes.closed:
            self._runs.pop(run_id, None)
        if changes.updated:
            added: dict[str, list[MailRow]] = {}
            for mail in changes.mail_added:
                added.setdefault(mail.run_id, []).append(mail)
            for run in changes.updated.values():
                if run.run_id not in changes.closed:
                    self._keep_run(run, version, added.get(run.run_id, ()))
        for key in changes.tasks_deleted:
            self._tasks.pop(key, None)
        for tasks in (changes.tasks_added, changes.tasks_updated):
            for key, task in tasks.items():
                self._keep_task(key, task, version)
        _shrink(self._runs, RUNS_MAX)
        _shrink(self._tasks, TASKS_MAX)

    def moved(self, transitions: Iterable[CommitTransition], done: Mapping[str, Moved]) -> None:
        """Compare-and-sets of these were committed."""
        runs = self._runs
        for asked in transitions:
            known = runs.get(asked.run_id)
            if known is None:
                continue
            moved = done.get(asked.run_id)
            if isinstance(moved, Appended) and moved.mail_next == known.row.mail_next:
                known.version, known.length = moved.version, asked.expected_seq + asked.count
                known.transition_id = asked.transition_id
            else:
                del runs[asked.run_id]

    def forget(self, recalled: Recalled) -> None:
        """What was recalled did not hold, or may have been changed."""
        for run_id, _ in recalled.runs:
            self._runs.pop(run_id, None)
        for run_id, number, _ in recalled.tasks:
            self._tasks.pop((run_id, number), None)

    def _keep_run(self, run: OpenRun, version: int, added: Iterable[MailRow]) -> None:
        run_id = run.run_id
        before = self._runs.pop(run_id, None)
        mail: tuple[MailRow, ...] = ()
        waiting = run.mail_next - run.mail_taken - 1
        if waiting:
            # Pieces of mail never change: whatever else has happened to the run since, those that are known are right.
            known = (*(before.mail if before is not None else ()), *added)
            mail = tuple([piece for piece in known if piece.number > run.mail_taken])
            if len(mail) != waiting or waiting > MAIL_MAX or not all(map(_is_small, mail)):
                return
        self._runs[run_id] = _KnownRun(run, version, mail)

    def _keep_task(self, key: tuple[str, int], task: TaskRow, version: int) -> None:
        self._tasks.pop(key, None)
        if len(task.arguments) + len(task.saved or b"") <= ROW_BYTES_MAX and len(task.attempts_ended) <= MAIL_MAX:
            self._tasks[key] = (task, version)


def _as_it_is(known: _KnownRun) -> OpenRun:
    """The row with what compare-and-sets have changed since."""
    if known.length < 0:
        return known.row
    row = known.row.copy()
    row.length, row.transition_id = known.length, known.transition_id
    row.losses, row.timed_out, row.attempt_deadline_at = 0, False, None
    known.row, known.length = row, -1
    return row


def _is_small(mail: MailRow) -> bool:
    return type(mail.body) is not StoredBody and body_bytes(mail.body) + len(mail.trace) <= ROW_BYTES_MAX


def _shrink(rows: "OrderedDict[str, _KnownRun] | OrderedDict[tuple[str, int], tuple[TaskRow, int]]", most: int) -> None:
    while len(rows) > most:
        rows.popitem(last=False)
