"""A cell store in memory: what the Postgres store must do, in the fewest words. The tests compare the two.

What is compared is stored as bytes here too: journals, mail, failures, attempts that ended.
"""

import asyncio
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime

from holdfast.statuses import Then
from holdfast_coordinator.domain.asks import CloseAsk
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.closes import trace_mark
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.events import Appended, Closed
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    JournalRow,
    OpenRun,
    RunResult,
    RunState,
    Side,
    TaskRow,
)
from holdfast_coordinator.domain.snapshot import Reads, Snapshot, time_of_batch
from holdfast_coordinator.domain.workspace import not_before
from holdfast_coordinator.store.port import (
    LockTimeout,
    Moved,
    Recalled,
    SerializationConflict,
)
from holdfast_coordinator.wire.entries import encode_failure, join_attempts, join_entries, mail_bytes, split_attempts
from tests.support.memory_cell import system_clock
from tests.support.memory_cell_queries import MemoryCellQueries


class MemoryCellStore(MemoryCellQueries):
    """Implements port.CellStore with dicts. clock: the time of the database."""

    def __init__(self, clock: Callable[[], datetime] = system_clock) -> None:
        super().__init__(clock)
        self.clients = self.loops = self
        self._lock = asyncio.Lock()

    # Transactions

    async def transact(
        self,
        reads: Reads,
        decide: Callable[[Snapshot], Changes],
        moves: Sequence[CommitTransition] = (),
        *,
        at: datetime,
    ) -> dict[str, Moved]:
        """See port.CellStore."""
        async with self._lock:
            before = {name: deepcopy(rows) for name, rows in vars(self).items() if isinstance(rows, dict)}
            try:
                done = self._move(moves, at)
                snapshot = self.read(reads)
                self.write(decide(snapshot))
            except BaseException:
                vars(self).update(before)
                raise
            return done

    def recall(self, reads: Reads, *, at: datetime) -> Recalled | None:
        """See port.CellStore. It knows all that there is; the version of a row is the row."""
        runs = [(run_id, _version(self.open_runs.get(run_id))) for run_id in sorted(reads.lock_runs)]
        tasks = [(*key, _version(self.tasks.get(key))) for key in sorted(reads.tasks)]
        if not reads.is_of_runs_and_tasks or any(version == _version(None) for *_, version in (*runs, *tasks)):
            return None
        snapshot = deepcopy(self.read(reads))
        snapshot.now = time_of_batch(at, snapshot.runs.values())
        return None if snapshot.locked else Recalled(snapshot, runs, tasks)

    async def write_known(self, recalled: Recalled, changes: Changes) -> None:
        """See port.CellStore."""
        async with self._lock:
            runs = [(run_id, _version(self.open_runs.get(run_id))) for run_id, _ in recalled.runs]
            tasks = [(*key, _version(self.tasks.get(key))) for key in ((one[0], one[1]) for one in recalled.tasks)]
            if runs != recalled.runs or tasks != recalled.tasks or not self.locked_elsewhere.isdisjoint(dict(runs)):
                raise SerializationConflict("rows are not as they were recalled")
            before = {name: deepcopy(rows) for name, rows in vars(self).items() if isinstance(rows, dict)}
            try:
                self.write(changes)
            except BaseException:
                vars(self).update(before)
                raise

    async def create(self, changes: Changes) -> None:
        """See port.CellStore."""
        async with self._lock:
            if any(record.run_id in self.runs for record in changes.runs):
                raise SerializationConflict("a run of that id exists")
            self.write(changes)

    async def move(self, transitions: Sequence[CommitTransition], *, at: datetime) -> dict[str, Moved]:
        """See port.CellStore."""
        async with self._lock:
            return self._move(transitions, at)

    def _move(self, transitions: Sequence[CommitTransition], at: datetime) -> dict[str, Moved]:
        done: dict[str, Moved] = {}
        for transition in transitions:
            run = self.open_runs.get(transition.run_id)
            held = (RunState.LEASED, transition.session_id, transition.epoch, transition.expected_seq)
            if run is None or (run.state, run.owner, run.epoch, run.length) != held:
                continue
            if run.run_id in self.locked_elsewhere:
                raise LockTimeout(run.run_id)
            if transition.then is not Then.CLOSE:
                done[run.run_id] = self._append(run, transition)
            elif not run.side & ~(Side.TRACE | Side.TRACE_FAILURE) and run.mail_next == run.mail_taken + 1:
                done[run.run_id] = self._close(run, transition, at)
        return done

    def _append(self, run: OpenRun, transition: CommitTransition) -> Appended:
        run.length += transition.count
        run.transition_id = transition.transition_id
        run.losses = 0
        run.timed_out = False
        run.attempt_deadline_at = None
        self._journal(run, transition, transition.journal)
        return Appended(run.mail_next, run.mail_taken, Side.TRACE in run.side)

    def _close(self, run: OpenRun, transition: CommitTransition, at: datetime) -> Closed:
        closing = transition.asks[-1]
        assert isinstance(closing, CloseAsk)
        closed_at = max(not_before(closing.at, at), run.last_at)
        run.length += transition.count
        self._journal(run, transition, [*transition.journal, closing.entry])
        del self.open_runs[run.run_id]
        self.run_results[run.run_id] = RunResult(
            run.run_id, run.namespace, closing.status, closed_at, closing.result, closing.failure
        )
        if run.parent_run_id is not None:
            key = (run.run_id, AlarmKind.OUTBOX_CHILD_CLOSED, 0)
            self.alarms[key] = AlarmRow(*key, closed_at)
        mark = trace_mark(run, closing.status, closed_at)
        if mark is not None:
            self.close_trace(mark)
        return Closed(run.namespace, closed_at, run.parent_run_id, run.parent_number, Side.TRACE in run.side)

    def _journal(self, run: OpenRun, transition: CommitTransition, parts: Sequence[object]) -> None:
        joined = b"".join(part for part in parts if isinstance(part, bytes))
        row = JournalRow(run.run_id, run.length, transition.count, run.epoch, transition.transition_id, (joined,))
        rows = self.journals.setdefault(run.run_id, [])
        rows.append(row)
        rows.sort(key=lambda row: row.seq)

    def write(self, changes: Changes) -> None:
        """Applies what a batch has decided, as bytes where Postgres has bytes."""
        super().write(
            replace(
                changes,
                closed={run_id: _result_stored(result) for run_id, result in changes.closed.items()},
                journal=[
                    replace(row, entries=(join_entries(row.entries),), is_traced=False) for row in changes.journal
                ],
                mail_added=[replace(mail, body=mail_bytes(mail), trace=b"") for mail in changes.mail_added],
                tasks_added={key: _stored(task) for key, task in changes.tasks_added.items()},
                tasks_updated={key: _stored(task) for key, task in changes.tasks_updated.items()},
            )
        )


def _version(row: OpenRun | TaskRow | None) -> int:
    return hash(repr(row))


def _result_stored(result: RunResult) -> RunResult:
    return result if result.failure is None else replace(result, failure=encode_failure(result.failure))


def _stored(task: TaskRow) -> TaskRow:
    return replace(task, attempts_ended=split_attempts(join_attempts(task.attempts_ended)))
