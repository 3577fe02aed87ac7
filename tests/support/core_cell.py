"""A cell for tests of the pure core: it reads what a batch names, lets the core decide, and applies the changes.

It keeps the records of the core as they are, so that tests see entries and not bytes; and it holds the core to its word
that rows which were read are never changed.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast_coordinator.domain.batch import Answer, BatchCommand, Decided, decide, keys_of, reads_of
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.events import Event, RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.domain.snapshot import Snapshot
from tests.support.invariants import CellRows
from tests.support.memory_cell import MemoryCell

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


class CoreCell(MemoryCell):
    """See the module. `now` is the database's clock; `events` and `changes` are those of the last batch."""

    def __init__(self) -> None:
        super().__init__(lambda: self.now)
        self.now = T0
        self.sessions = Sessions()
        self.events: list[Event] = []
        self.changes = Changes()

    def submit(self, *commands: BatchCommand) -> list[Answer]:
        """One batch, or as many as it takes; the answers in order."""
        count = _batch_length(commands)
        reads = reads_of(commands[:count])
        snapshot = self.read(reads)
        seen = [(row, repr(row)) for row in _rows_of(snapshot)]
        decided: Decided = decide(commands[:count], snapshot, self.sessions)
        for row, text in seen:
            assert repr(row) == text, f"a row that was read has changed: {row}"
        self.write(decided.changes)
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
            results=tuple(self.run_results.values()),
            journals={run_id: tuple(rows) for run_id, rows in self.journals.items()},
            mail={run_id: tuple(self.waiting_mail(run_id)) for run_id in {key[0] for key in self.mail}},
            alarms=dict(self.alarms),
            tasks=dict(self.tasks),
            children=dict(self.children),
            keys=dict(self.keys),
        )


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
