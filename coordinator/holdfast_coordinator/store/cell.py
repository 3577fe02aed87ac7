"""One cell in Postgres: its transactions on one dedicated connection, its other reads on a few more.

One writer connection, because everything that has accumulated while a commit was on its way makes the next batch;
more writers were slower. It takes two round trips for a transaction and one for an append.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Self, TypeVar

import structlog

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.snapshot import Reads, Snapshot

from . import row_loaders
from .batch_reads import CellReads, ReadPlan, plan_reads, take_answers
from .batch_writes import TakeMoved, move_calls, plan_writes
from .cell_floors import CellFloors
from .cell_queries import PostgresCellQueries
from .database_connection import COMMIT, ROLLBACK, Answer, DatabaseConnection, Row, StatementCall
from .errors import ConnectionLost, QueryFailed, RowsMissing, translated
from .known_rows import KnownRows
from .migrate import cell_schema, session_options
from .parameters import EPOCH
from .pool import OnWait, Pool
from .port import CellQueries, DataRejected, Moved, Recalled, SerializationConflict, StoreUnavailable
from .statements_writes import CellWrites

log = structlog.get_logger(__name__)

Planned = TypeVar("Planned")

NONE_MOVED: Mapping[str, Moved] = {}
LOOP_CONNECTIONS = 3
CLIENT_CONNECTIONS = 4
CLIENT_WAIT_SECONDS = 2.0
"""How long what people ask waits for a connection; then it is refused, to be asked again."""
WRITE_SECONDS = 20.0
"""How long one round trip may take. Longer than the server's own limits, so that Postgres answers first."""
LOCK_WAIT_MS = 100
"""How long the writer waits for a lock. What it can skip it does not wait for, so this is for a compare-and-set and
for what another replica writes right now: longer than a commit takes, and less than a user notices."""
WRITER_OPTIONS = f"-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c lock_timeout={LOCK_WAIT_MS}ms"
"""Planning anew took half of the time of a small batch: what a custom plan learns, the length of an array, changes
nothing here. A plan is kept while a table grows from nothing, so it must not be a scan; decisions/0010."""


class PostgresCellStore(PostgresCellQueries):
    """Implements port.CellStore. Made with open()."""

    def __init__(
        self, dsn: str, cell: str, *, options: str = "", readers: int = 4, on_wait: OnWait | None = None
    ) -> None:
        schema = cell_schema(cell)
        self._dsn = dsn
        self._options = options
        own = Pool(dsn, size=readers, options=options, on_wait=on_wait)
        loops = Pool(dsn, size=LOOP_CONNECTIONS, options=options, on_wait=on_wait)
        clients = Pool(dsn, size=CLIENT_CONNECTIONS, options=options, on_wait=on_wait, wait_seconds=CLIENT_WAIT_SECONDS)
        floors = CellFloors()
        super().__init__(schema, own, floors)
        self.loops: CellQueries = PostgresCellQueries(schema, loops, floors)
        self.clients: CellQueries = PostgresCellQueries(schema, clients, floors)
        self._pools = (own, loops, clients)
        self._reads = CellReads(schema)
        self._writes = CellWrites(schema)
        updates = (self._writes.update_open_runs, self._writes.update_tasks)
        self._versioned = frozenset(statement for update in updates for statement in (update.one, update.many))
        self._writer: DatabaseConnection | None = None
        self._writing = asyncio.Lock()
        self._known = KnownRows()

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, cell: str, *, readers: int = 4, on_wait: OnWait | None = None) -> AsyncIterator[Self]:
        """The store of a migrated cell, for as long as the block runs. It connects when it must.

        cell: the two characters that run ids carry. readers: how many connections it reads with, at most.
        on_wait: see Pool.
        """
        store = cls(dsn, cell, options=await session_options(dsn), readers=readers, on_wait=on_wait)
        try:
            yield store
        finally:
            await store.close()

    async def close(self) -> None:
        """Closes all connections, after the transaction that is under way."""
        async with self._writing:
            if self._writer is not None:
                self._writer.close()
        for pool in self._pools:
            pool.close()

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
        async with self._writing:
            snapshot = Snapshot(now=EPOCH)
            done: dict[str, Moved] = {}
            plan = self._planned(lambda: self._plan(reads, snapshot, moves, done, at))
            connection = await self._connection()
            try:
                await self._read(connection, plan, snapshot)
                changes = decide(snapshot)
                writes = self._planned(lambda: plan_writes(self._writes, changes))
                if not writes and not snapshot.keys_reserved and not done:
                    await self._round_trip(connection, [ROLLBACK()])
                    self._floors.rolled_back(snapshot)
                    return done
                calls = [call for call, _ in writes]
                answers = await self._round_trip(connection, [*calls, COMMIT()], commits=True)
            except BaseException:
                self._floors.forget_claims()
                await self._abandon(connection)
                raise
            self._committed(snapshot, changes, writes, answers, moves, done)
            return done

    def _plan(
        self, reads: Reads, snapshot: Snapshot, moves: Sequence[CommitTransition], done: dict[str, Moved], at: datetime
    ) -> ReadPlan:
        plan = plan_reads(self._reads, reads, snapshot, self._floors.of_claim)
        # First: they are all that waits for locks here, so that who waits holds nothing that others skip meanwhile.
        for call, take in reversed(move_calls(self._writes, moves, at)):
            plan.add_first(call, partial(_take_moved, done, take))
        return plan

    def recall(self, reads: Reads, *, at: datetime) -> Recalled | None:
        """See port.CellStore."""
        return self._known.recall(reads, at)

    async def write_known(self, recalled: Recalled, changes: Changes) -> None:
        """See port.CellStore."""
        writes = self._planned(lambda: plan_writes(self._writes, changes))
        if recalled.tasks:
            writes.insert(0, (self._writes.hold_tasks(recalled.tasks), None))
        if recalled.runs:  # first: a run is the lock of all its rows
            writes.insert(0, (self._writes.hold_runs(recalled.runs), None))
        async with self._writing:
            connection = await self._connection()
            try:
                answers = await self._round_trip(connection, [call for call, _ in writes], commits=True)
            except RowsMissing as error:
                self._known.forget(recalled)
                raise SerializationConflict(str(error)) from error
            except BaseException:
                self._known.forget(recalled)
                raise
            self._committed(recalled.snapshot, changes, writes, answers)

    async def create(self, changes: Changes) -> None:
        """See port.CellStore."""
        writes = self._planned(lambda: plan_writes(self._writes, changes))
        async with self._writing:
            connection = await self._connection()
            # Without BEGIN a round trip is one transaction.
            answers = await self._round_trip(connection, [call for call, _ in writes], commits=True)
            self._committed(Snapshot(now=EPOCH), changes, writes, answers)

    async def move(self, transitions: Sequence[CommitTransition], *, at: datetime) -> dict[str, Moved]:
        """See port.CellStore."""
        calls = self._planned(lambda: move_calls(self._writes, transitions, at))
        if not calls:
            return {}
        async with self._writing:
            connection = await self._connection()
            answers = await self._round_trip(connection, [call for call, _ in calls], commits=True)
        done: dict[str, Moved] = {}
        for (_, take), answer in zip(calls, answers, strict=True):
            done.update(take(answer.rows))
        self._floors.moved(done.values())
        self._known.moved(transitions, done)
        return done

    def _planned(self, plan: Callable[[], Planned]) -> Planned:
        """What is to be sent for a batch, or what was read for it. Raises DataRejected for whatever is wrong with it,
        so that the command that met it is found."""
        try:
            return plan()
        except DataRejected:
            raise
        except Exception as error:
            raise DataRejected(f"a row cannot be written: {error!r}") from error

    async def _connection(self) -> DatabaseConnection:
        """The writer connection; a new one after a loss."""
        if self._writer is None or not self._writer.is_open:
            try:
                self._writer = await DatabaseConnection.open(self._dsn, options=f"{self._options} {WRITER_OPTIONS}")
            except ConnectionLost as error:
                raise StoreUnavailable(str(error)) from error
        return self._writer

    async def _round_trip(
        self, connection: DatabaseConnection, calls: Sequence[StatementCall], *, commits: bool = False
    ) -> list[Answer]:
        try:
            return await connection.round_trip(calls, seconds=WRITE_SECONDS)
        except QueryFailed as error:
            if error.ends_connection:
                connection.close()
            raise translated(error, commit_sent=commits) from error
        except ConnectionLost as error:
            raise translated(error, commit_sent=commits) from error

    async def _read(self, connection: DatabaseConnection, plan: ReadPlan, snapshot: Snapshot) -> None:
        answers = await self._round_trip(connection, plan.calls)
        self._planned(lambda: take_answers(plan, answers))
        # Claimed runs are known only now. Few of them have mail; the others need no further round trip.
        unread = [
            run.run_id
            for claim in snapshot.claimed_runs
            for run, _ in claim
            if run.mail_next - 1 > run.mail_taken and run.run_id not in snapshot.mail
        ]
        if unread:
            pages = self._reads.mail_of_runs(sorted(unread), [0] * len(unread))
            (answer,) = await self._round_trip(connection, [pages])
            self._planned(lambda: snapshot.mail.update(row_loaders.mail_by_run(map(row_loaders.mail_row, answer.rows))))

    def _committed(
        self, snapshot: Snapshot, changes: Changes, writes: Sequence[tuple[StatementCall, int | None]],
        answers: Sequence[Answer], moves: Sequence[CommitTransition] = (), done: Mapping[str, Moved] = NONE_MOVED,
    ) -> None:  # fmt: skip
        """What follows from a commit here. It fails nothing: whatever is wrong now, the commit has happened."""
        try:
            self._floors.committed(snapshot, changes)
            self._floors.moved(done.values())
            self._known.moved(moves, done)
            version = 0
            for (call, expected), answer in zip(writes, answers, strict=False):
                if expected is not None and answer.affected != expected:
                    log.error("rows_miscounted", statement=call.statement.name, rows=answer.affected, of=expected)
                elif call.statement in self._versioned:
                    ((_, version),) = answer.rows
            if version:
                self._known.written(changes, version)
        except Exception:
            log.exception("floors_not_moved")
            self._floors.forget_claims()

    async def _abandon(self, connection: DatabaseConnection) -> None:
        """Ends a transaction that will not be committed, without hiding why."""
        if connection.is_open:
            try:
                await connection.round_trip([ROLLBACK()], seconds=WRITE_SECONDS)
            except (QueryFailed, ConnectionLost):
                connection.close()


def _take_moved(done: dict[str, Moved], take: TakeMoved, rows: list[Row]) -> None:
    done.update(take(rows))
