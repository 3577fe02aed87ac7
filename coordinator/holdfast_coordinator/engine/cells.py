"""The cells of this replica: each has its store and its one writer. Says which cell a run or a key lives in."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from holdfast.errors import InvalidRequest, RunNotFound
from holdfast.ids import CELL_IN_RUN_ID, cell_of, is_run_id, is_start_id, run_id
from holdfast_coordinator.domain.batch import Answer, BatchCommand
from holdfast_coordinator.domain.commands import RunCommand, StartRun
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.store.port import CellStore

from .cell_writer import COMMAND_SECONDS, CellWriter
from .committed import Committed
from .reservations import Reservations

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

WHILE_READING = datetime.max.replace(tzinfo=UTC)
"""The alarm loop does not sleep: whatever is set now may be too late for what it has read."""


class AlarmWatch:
    """When a loop looks for due alarms again, and what wakes it before that.

    own: when alarms are due that this replica has set, as far as they are soon.
    """

    __slots__ = ("own", "read_at", "rung")

    def __init__(self) -> None:
        self.read_at = WHILE_READING
        self.rung = asyncio.Event()
        self.own: list[datetime] = []

    def alarm_set(self, due_at: datetime) -> None:
        """An alarm is due at this time, by the database's clock."""
        self.own.append(due_at)
        if due_at < self.read_at:
            self.rung.set()

    def first_own(self, after: datetime, before: datetime) -> datetime | None:
        """When the first alarm of this replica between these times is due; forgets all others."""
        self.own = [due_at for due_at in self.own if after < due_at < before]
        return min(self.own, default=None)


class Cell:
    """One cell: its name (two characters), its store and its writer.

    alarms, outbox: when alarms of its runs and deliveries to other runs are looked for.
    """

    __slots__ = ("alarms", "name", "outbox", "store", "writer")

    def __init__(
        self,
        name: str,
        store: CellStore,
        reservations: Reservations,
        on_commit: Callable[["Cell", Committed], None],
        clock: Callable[[], datetime],
        *,
        with_rows: bool = False,
        metrics: "Metrics | None" = None,
    ) -> None:
        self.name = name
        self.store = store
        self.alarms = AlarmWatch()
        self.outbox = AlarmWatch()
        self.writer = CellWriter(
            store, reservations, partial(on_commit, self), clock, with_rows=with_rows, metrics=metrics
        )


class Cells:
    """All cells. The cells of a namespace are fixed; for now every namespace lives in all of them."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._cells = {cell.name: cell for cell in cells}
        self._names = sorted(self._cells)

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells.values())

    def __len__(self) -> int:
        return len(self._cells)

    def of_run(self, of_run_id: str) -> Cell:
        """The cell of a run. Raises RunNotFound when no cell has that name."""
        cell = self._cells.get(of_run_id[CELL_IN_RUN_ID])
        if cell is None:
            raise RunNotFound(of_run_id)
        return cell

    def of_key(self, key: str) -> Cell:
        """The cell in which a business id or an idempotency key is kept: a stable hash of it."""
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % len(self._names)
        return self._cells[self._names[place]]

    def new_run_id(self, start_id: str, business_id: str | None) -> str:
        """The run id of a start: in the cell of its business id, else of its start id."""
        if not is_start_id(start_id):
            raise InvalidRequest("start_id", f"{start_id!r} is not 26 characters of lower-case base 32 (a ULID)")
        return run_id(self.of_key(business_id or start_id).name, start_id)

    def beside(self, of_run_id: str, start_id: str) -> str:
        """The run id of a start that stays in the cell of another run."""
        if not is_start_id(start_id):
            raise InvalidRequest("start_id", f"{start_id!r} is not 26 characters of lower-case base 32 (a ULID)")
        return run_id(self.of_run(of_run_id).name, start_id)

    async def find_run(self, namespace: str, run: str) -> str:
        """The run id that a run id or business id of a namespace stands for. Raises RunNotFound."""
        if is_run_id(run):
            cell = self._cells.get(cell_of(run))
            if cell is not None and await cell.store.clients.existing(namespace, [run]):
                return run
        else:
            row = await self.of_key(run).store.clients.run_of_key(namespace, "id", run)
            if row is not None:
                return row.run_id
        raise RunNotFound(run, namespace=namespace)

    def by_cell(self, run_ids: Iterable[str]) -> list[tuple[Cell, list[str]]]:
        """Run ids in groups of one cell each. Raises RunNotFound."""
        groups: dict[str, list[str]] = {}
        for of_run_id in run_ids:
            groups.setdefault(self.of_run(of_run_id).name, []).append(of_run_id)
        return [(self._cells[name], group) for name, group in groups.items()]

    def submit(
        self, of_run_id: str, commands: Sequence[BatchCommand], *, seconds: float = COMMAND_SECONDS,
        parked_seconds: float | None = None,
    ) -> Awaitable[list[Answer]]:  # fmt: skip
        """Submits commands of one run to the writer of its cell. seconds, parked_seconds: see CellWriter.

        Raises RunNotFound, when it is called, where no cell has the name that is in the run id.
        """
        writer = self.of_run(of_run_id).writer
        return writer.submit_all(commands, seconds=seconds, parked_seconds=parked_seconds)

    def submit_each(
        self, commands: Sequence[StartRun | RunCommand], *, seconds: float = COMMAND_SECONDS,
        parked_seconds: float | None = None,
    ) -> Awaitable[list[Answer]]:  # fmt: skip
        """Submits commands to the cells of their runs at once; the answers in order. Raises as `submit`."""
        if len(self._cells) == 1 and commands:
            return self.submit(commands[0].run_id, commands, seconds=seconds, parked_seconds=parked_seconds)
        places: dict[str, list[int]] = {}
        for place, command in enumerate(commands):
            places.setdefault(self.of_run(command.run_id).name, []).append(place)
        submitted = [
            self._cells[name].writer.submit_all(
                [commands[place] for place in group], seconds=seconds, parked_seconds=parked_seconds
            )
            for name, group in places.items()
        ]
        return _in_order(list(places.values()), submitted)

    async def held_by(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        """Leased runs and claimed tasks of sessions, over all cells; of each cell at most `limit` of either."""
        pages = await asyncio.gather(*(cell.store.loops.held_by(session_ids, limit) for cell in self._cells.values()))
        return [run for runs, _ in pages for run in runs], [task for _, tasks in pages for task in tasks]

    async def lease_owners(self) -> set[str]:
        """The sessions that own something in any cell."""
        return set().union(*[await cell.store.loops.lease_owners() for cell in self._cells.values()])


async def _in_order(places: Sequence[Sequence[int]], submitted: Sequence[Awaitable[list[Answer]]]) -> list[Answer]:
    """The answers of several cells; places: to which commands they are."""
    answers: dict[int, Answer] = {}
    for group, given in zip(places, await asyncio.gather(*submitted), strict=True):
        answers.update(zip(group, given, strict=True))
    return [answers[place] for place in sorted(answers)]
