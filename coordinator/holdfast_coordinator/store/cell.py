"""One cell in Postgres: its transactions on one dedicated connection, its other reads on a few more.

One writer connection, because everything that has accumulated while a commit was on its way makes the next batch;
more writers were slower. It takes two round trips for a transaction and one for an append.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Self, TypeVar

import structlog

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks, CommitTransition
from holdfast_coordinator.domain.events import Closed
from holdfast_coordinator.domain.reads import Reads, Snapshot
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    JournalRow,
    KeyRow,
    MailRow,
    OpenRun,
    RunResult,
    RunRow,
    RunState,
    TaskRow,
    TaskState,
    TraceMark,
)

from . import loading
from .connection import COMMIT, ROLLBACK, Answer, DatabaseConnection, Statement, StatementCall
from .errors import ConnectionLost, QueryFailed, translated
from .floors import BEGINNING, Floors, Position, TimeFloor
from .migrate import cell_schema, session_options
from .parameters import EPOCH
from .pool import OnWait, Pool
from .port import (
    RECORDS_BYTES_MAX,
    ClaimHeld,
    DataRejected,
    HeldKey,
    HeldNews,
    LeaseHeld,
    Moved,
    OpenRunStates,
    Place,
    QueuedStep,
    ReadyWork,
    RunSelection,
    RunView,
    StoreUnavailable,
)
from .reading import CellReads, ReadPlan, plan_reads, take_answers
from .statements_elsewhere import CellElsewhere
from .statements_gauges import CellGauges
from .statements_traces import CellTraces
from .statements_views import CellViews
from .statements_writes import CellWrites
from .writing import move_calls, moved, plan_writes

log = structlog.get_logger(__name__)

Planned = TypeVar("Planned")

LOOP_CONNECTIONS = 3
CLIENT_CONNECTIONS = 4
CLIENT_WAIT_SECONDS = 2.0
"""How long what people ask waits for a connection; then it is refused, to be asked again."""
STATUS_RUNS_MAX = 2_000
"""So many runs of the wanted statuses are listed by their ids; of more the newest are soon found."""
WRITE_SECONDS = 20.0
"""How long one round trip may take. Longer than the server's own limits, so that Postgres answers first."""


PULL_BACK_PAGE = 1_000

LOCK_WAIT_MS = 100
"""How long the writer waits for a lock. What it can skip it does not wait for, so this is for a compare-and-set and
for what another replica writes right now: longer than a commit takes, and less than anybody notices."""
WRITER_OPTIONS = f"-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c lock_timeout={LOCK_WAIT_MS}ms"
"""Planning anew took half of the time of a small batch: what a custom plan learns, the length of an array, changes
nothing here. A plan is kept while a table grows from nothing, so it must not be a scan; decisions/0010."""


class PostgresCellStore:
    """Implements port.CellStore. Made with open()."""

    def __init__(
        self, dsn: str, cell: str, *, options: str = "", readers: int = 4, on_wait: OnWait | None = None
    ) -> None:
        schema = cell_schema(cell)
        self._dsn = dsn
        self._options = options
        self._reads = CellReads(schema)
        self._writes = CellWrites(schema)
        self._views = CellViews(schema)
        self._traces = CellTraces(schema)
        self._gauges = CellGauges(schema)
        self._elsewhere = CellElsewhere(schema)
        self._pools = [
            Pool(dsn, size=readers, options=options, on_wait=on_wait),
            Pool(dsn, size=LOOP_CONNECTIONS, options=options, on_wait=on_wait),
            Pool(dsn, size=CLIENT_CONNECTIONS, options=options, on_wait=on_wait, wait_seconds=CLIENT_WAIT_SECONDS),
        ]
        self._pool = self._pools[0]
        self._writer: DatabaseConnection | None = None
        self._writing = asyncio.Lock()
        self._run_floors = Floors()
        self._task_floors = Floors()
        self._alarm_floor = TimeFloor()
        self._outbox_floor = TimeFloor()

        self.clients = self.loops = self
        self.loops = self._lane(self._pools[1])
        self.clients = self._lane(self._pools[2])

    def _lane(self, pool: Pool) -> "PostgresCellStore":
        """This store with other connections for what it reads; not for transactions."""
        lane = copy(self)
        lane._pool = pool
        return lane

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
                    self._forget_unclaimed(snapshot)
                    return done
                calls = [call for call, _ in writes]
                answers = await self._round_trip(connection, [*calls, COMMIT()], commits=True)
            except BaseException:
                self._run_floors.forget()
                self._task_floors.forget()
                await self._abandon(connection)
                raise
            self._committed(snapshot, changes, writes, answers, done.values())
            return done

    def _plan(
        self, reads: Reads, snapshot: Snapshot, moves: Sequence[CommitTransition], done: dict[str, Moved], at: datetime
    ) -> ReadPlan:
        plan = plan_reads(self._reads, reads, snapshot, self._floors_of)
        # First: they are all that waits for locks here, so that who waits holds nothing that others skip meanwhile.
        for call in reversed(move_calls(self._writes, moves, at)):
            plan.add_first(call, lambda rows: done.update(moved(rows)))
        return plan

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
            answers = await self._round_trip(connection, calls, commits=True)
        done = moved(row for answer in answers for row in answer.rows)
        self._lower_outbox_floor(done.values())
        return done

    def _lower_outbox_floor(self, done: Iterable[Moved]) -> None:
        for one in done:
            if isinstance(one, Closed) and one.parent_run_id is not None:
                self._outbox_floor.lower(one.closed_at)

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
            self._planned(lambda: snapshot.mail.update(loading.mail_by_run(answer.rows)))

    def _committed(
        self, snapshot: Snapshot, changes: Changes, writes: Sequence[tuple[StatementCall, int | None]],
        answers: Sequence[Answer], done: Iterable[Moved] = (),
    ) -> None:  # fmt: skip
        """What follows from a commit here. It fails nothing: whatever is wrong now, the commit has happened."""
        try:
            self._move_floors(snapshot, changes)
            self._lower_outbox_floor(done)
            for (call, expected), answer in zip(writes, answers, strict=False):
                if expected is not None and answer.affected != expected:
                    log.error("rows_miscounted", statement=call.statement.name, rows=answer.affected, of=expected)
        except Exception:
            log.exception("floors_not_moved")
            self._run_floors.forget()
            self._task_floors.forget()

    async def _abandon(self, connection: DatabaseConnection) -> None:
        """Ends a transaction that will not be committed, without hiding why."""
        if connection.is_open:
            try:
                await connection.round_trip([ROLLBACK()], seconds=WRITE_SECONDS)
            except (QueryFailed, ConnectionLost):
                connection.close()

    # Floors

    def _floors_of(self, claim: ClaimRuns | ClaimTasks, names: tuple[str, ...]) -> list[Position]:
        floors = self._run_floors if isinstance(claim, ClaimRuns) else self._task_floors
        return floors.of([(claim.namespace, claim.queue, name) for name in names], time.monotonic())

    def _forget_unclaimed(self, snapshot: Snapshot) -> None:
        if any(snapshot.claimed_runs):
            self._run_floors.forget()
        if any(snapshot.claimed_tasks):
            self._task_floors.forget()

    def _move_floors(self, snapshot: Snapshot, changes: Changes) -> None:
        """Raises floors to what this commit claimed and lowers them to what it made ready or due."""
        for alarm in changes.alarms_set.values():
            self._lower_alarm_floor(alarm.kind, alarm.due_at)
        claimed_runs = [run for claim in snapshot.claimed_runs for run, _ in claim]
        if all(run.run_id in changes.updated or run.run_id in changes.closed for run in claimed_runs):
            self._run_floors.claimed(_run_positions(claimed_runs))
        else:
            self._run_floors.forget()
        for runs in (changes.opened, changes.updated):
            for run in runs.values():
                if run.state is RunState.READY:
                    for place, position in _run_positions([run]):
                        self._run_floors.lower(place, position)
        claimed_tasks = [task for claim in snapshot.claimed_tasks for task in claim]
        gone = changes.tasks_updated.keys() | changes.tasks_deleted
        if all((task.run_id, task.number) in gone for task in claimed_tasks):
            self._task_floors.claimed(_task_positions(claimed_tasks))
        else:
            self._task_floors.forget()
        for tasks in (changes.tasks_added, changes.tasks_updated):
            for task in tasks.values():
                if task.state is TaskState.READY:
                    for place, position in _task_positions([task]):
                        self._task_floors.lower(place, position)

    # Reads

    async def due_alarms(
        self, limit: int, *, outbox: bool = False, from_start: bool = False
    ) -> tuple[list[AlarmRow], timedelta | None]:
        """See port.CellStore."""
        floor = self._outbox_floor if outbox else self._alarm_floor
        statement = self._views.due_deliveries if outbox else self._views.due_alarms
        at = floor.begin()
        (answer,) = await self._pool.read(statement(limit, BEGINNING if from_start else at))
        now, next_due_at = answer.rows[0][:2]
        due = [loading.alarm(row[2:]) for row in answer.rows if row[2] is not None]
        if len(due) < limit:
            floor.seen(now)
            return due, None if next_due_at is None else next_due_at - now
        floor.seen(due[-1].due_at)
        return due, timedelta(0)

    def alarm_stays(self, alarm: AlarmRow) -> None:
        """See port.CellStore."""
        self._lower_alarm_floor(alarm.kind, alarm.due_at)

    def _lower_alarm_floor(self, kind: AlarmKind, due_at: datetime) -> None:
        (self._outbox_floor if kind >= AlarmKind.OUTBOX_CHILD else self._alarm_floor).lower(due_at)

    async def count_dead_letters(self, limit: int) -> int:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.dead_letters_count(limit))
        count: int = answer.rows[0][0]
        return count

    async def overdue_tasks(self, grace: timedelta, limit: int) -> list[TaskRow]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.overdue_tasks(grace, limit))
        return [loading.task(row) for row in answer.rows]

    async def lease_owners(self) -> set[str]:
        """See port.CellStore."""
        answers = await self._pool.read(self._views.run_owners(), self._views.task_owners())
        return {row[0] for answer in answers for row in answer.rows}

    async def held_by(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        """See port.CellStore."""
        owners = list(session_ids)
        runs, tasks = await self._pool.read(self._views.runs_held(owners, limit), self._views.tasks_held(owners, limit))
        return [loading.open_run(row) for row in runs.rows], [loading.task(row) for row in tasks.rows]

    async def news_of_held(self, leases: Sequence[LeaseHeld], claims: Sequence[ClaimHeld]) -> HeldNews:
        """See port.CellStore."""
        calls = []
        if leases:
            columns = zip(*((one.run_id, one.session_id, one.epoch, one.mail_seen) for one in leases), strict=True)
            calls.append(self._views.leases_differ(*columns))
        if claims:
            columns = zip(*((one.run_id, one.number, one.session_id, one.epoch) for one in claims), strict=True)
            calls.append(self._views.claims_differ(*columns))
        news = HeldNews()
        answers = iter(await self._pool.read(*calls) if calls else ())
        for place, is_held in next(answers).rows if leases else ():
            (news.with_mail if is_held else news.leases_ended).append(leases[place - 1])
        for place, is_gone in next(answers).rows if claims else ():
            news.claims_ended.append((claims[place - 1], is_gone))
        return news

    async def mail_of(self, wanted: Sequence[tuple[str, int]], max_bytes: int) -> list[MailRow]:
        """See port.CellStore."""
        call = self._views.mail_of([run_id for run_id, _ in wanted], [after for _, after in wanted], max_bytes)
        (answer,) = await self._pool.read(call)
        return [loading.mail_row(row) for row in answer.rows]

    async def waiting_names(self, runs: Sequence[Place], steps: Sequence[Place]) -> tuple[list[Place], list[Place]]:
        """See port.CellStore."""
        with_runs = await self._waiting(self._elsewhere.waiting_runs, runs)
        return with_runs, await self._waiting(self._elsewhere.waiting_tasks, steps)

    async def _waiting(self, statement: Statement, places: Sequence[Place]) -> list[Place]:
        if not places:
            return []
        (answer,) = await self._pool.read(statement(*zip(*places, strict=True)))
        return [places[place - 1] for (place,) in answer.rows]

    async def closed_since(self, at: datetime, limit: int) -> list[tuple[str, datetime]]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._elsewhere.closed_since(at, limit))
        return [(run_id, closed_at) for run_id, closed_at in answer.rows]

    async def unknown_to(self, known: Mapping[str, Collection[HeldKey]], limit: int) -> list[tuple[str, HeldKey]]:
        """See port.CellStore."""
        owners, keys = list(known), [key for held in known.values() for key in held]
        leases = [key for key in keys if not key[1]]
        claims = [key for key in keys if key[1]]
        runs, tasks = await self._pool.read(
            self._views.leases_unknown(owners, [key[0] for key in leases], [key[2] for key in leases], limit),
            self._views.claims_unknown(owners, *([key[place] for key in claims] for place in range(3)), limit),
        )
        return [(owner, (run_id, number, epoch)) for owner, run_id, number, epoch in (*runs.rows, *tasks.rows)]

    async def pull_back(self, now: datetime, before: datetime) -> int:
        """See port.CellStore."""
        moved = 0
        for statement in (self._views.pull_back_tasks, self._views.pull_back_deliveries):
            page = PULL_BACK_PAGE
            while page == PULL_BACK_PAGE:
                page = (await self._pool.write(statement(now, before, PULL_BACK_PAGE))).affected
                moved += page
        return moved

    async def stalled_by_others(
        self, namespace: str, queue: str, workflows: Sequence[str], build: str, limit: int
    ) -> list[str]:
        """See port.CellStore."""
        call = self._views.stalled_by_others(namespace, queue, list(workflows), build, limit)
        (answer,) = await self._pool.read(call)
        return [row[0] for row in answer.rows]

    async def has_transition(self, run_id: str, after: int, epoch: int, transition_id: int) -> bool:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.has_transition(run_id, after, epoch, transition_id))
        return bool(answer.rows)

    async def results(self, run_ids: Sequence[str]) -> list[RunResult]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._reads.results_of_runs(list(run_ids)))
        return [loading.result(row) for row in answer.rows]

    async def existing(self, namespace: str, run_ids: Sequence[str]) -> set[str]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.existing(namespace, list(run_ids)))
        return {row[0] for row in answer.rows}

    async def run_of_key(self, namespace: str, kind: str, key: str) -> KeyRow | None:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.run_of_key(namespace, kind, key))
        return next((loading.key(row) for row in answer.rows), None)

    async def view(self, namespace: str, run_id: str) -> RunView | None:
        """See port.CellStore."""
        answer, dead = await self._pool.read(self._views.view(namespace, run_id), self._views.dead_letters_of(run_id))
        if not answer.rows:
            return None
        return replace(loading.run_view(answer.rows[0]), dead_letters=tuple(map(loading.dead_letter, dead.rows)))

    async def list_runs(self, wanted: RunSelection) -> list[RunView]:
        """See port.CellStore."""
        run_ids = None
        if wanted.statuses and RunStatus.COMPLETED not in wanted.statuses:
            (answer,) = await self._pool.read(self._views.runs_of_statuses(wanted, STATUS_RUNS_MAX + 1))
            if len(answer.rows) <= STATUS_RUNS_MAX:
                run_ids = [row[0] for row in answer.rows]
        (answer,) = await self._pool.read(self._views.list_runs(wanted, run_ids))
        return [loading.run_view(row) for row in answer.rows]

    async def records(self, run_ids: Sequence[str], max_bytes: int = RECORDS_BYTES_MAX) -> dict[str, RunRow]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.records(list(dict.fromkeys(run_ids)), max_bytes))
        return {row[0]: loading.record(row) for row in answer.rows}

    async def journal(self, run_id: str, after: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.journal_page(run_id, after, max_bytes))
        page: list[JournalRow] = []
        size, rows = 0, answer.rows
        for row in rows:
            size += len(row[5])
            if page and size > max_bytes:
                return page, True
            page.append(loading.journal_row(row[:-1]))
        return page, bool(rows) and rows[-1][-1]

    async def newest_rows(self, run_ids: Sequence[str]) -> list[JournalRow]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.newest_rows(list(run_ids)))
        return [loading.journal_row(row) for row in answer.rows]

    async def queued_step(self, run_id: str) -> QueuedStep | None:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.queued_step(run_id))
        return next((QueuedStep(*row) for row in answer.rows), None)

    async def mail_after(self, run_id: str, number: int) -> list[MailRow]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.mail_after(run_id, number))
        return [loading.mail_row(row) for row in answer.rows]

    # Gauges

    async def ready_work(self, at: datetime, limit: int) -> list[ReadyWork]:
        """See port.CellStore."""
        runs, tasks = await self._pool.read(self._gauges.ready_runs(at, limit), self._gauges.ready_tasks(at, limit))
        return loading.ready_work(runs.rows, is_steps=False) + loading.ready_work(tasks.rows, is_steps=True)

    async def open_run_states(self, limit: int) -> OpenRunStates:
        """See port.CellStore."""
        counted, believed = await self._pool.read(self._gauges.open_run_states(limit), self._gauges.estimates())
        pairs = zip(counted.rows[0], believed.rows[0], strict=True)
        ready, leased, stalled, total = (max(count, belief) if count == limit else count for count, belief in pairs)
        return OpenRunStates(ready, leased, stalled, max(total - ready - leased - stalled, 0))

    # Trace marks

    async def mark_exported(self, marks: Mapping[str, int]) -> None:
        """See port.CellStore."""
        ordered = sorted(marks.items())
        await self._pool.write(self._traces.mark(*zip(*ordered, strict=True)))

    async def delete_marks(self, run_ids: Collection[str]) -> int:
        """See port.CellStore."""
        return (await self._pool.write(self._traces.delete(sorted(run_ids)))).affected

    async def claim_marks(self, now: datetime, until: datetime, limit: int) -> list[TraceMark]:
        """See port.CellStore."""
        return [loading.trace_mark(row) for row in (await self._pool.write(self._traces.claim(now, until, limit))).rows]

    async def marks_waiting(self, now: datetime, limit: int) -> int:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._traces.backlog(now, limit))
        count: int = answer.rows[0][0]
        return count

    async def exported_seq(self, run_id: str) -> int:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._traces.exported(run_id))
        return next((row[0] for row in answer.rows), 0)

    async def open_traces(self, after: str, idle_before: datetime, limit: int) -> tuple[dict[str, int], str | None]:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._traces.open_marks(after, idle_before, limit))
        behind = {row[0]: row[3] for row in answer.rows if row[1] and row[3] < row[2]}
        return behind, answer.rows[-1][0] if len(answer.rows) == limit else None

    async def prune_requests(self, limit: int) -> int:
        """See port.CellStore."""
        (answer,) = await self._pool.read(self._views.expired_requests(limit))
        rows = answer.rows
        if not rows:
            return 0
        call = self._views.delete_requests([row[0] for row in rows], [row[1] for row in rows], rows[0][-1])
        return (await self._pool.write(call)).affected


def _run_positions(runs: Sequence[OpenRun]) -> list[tuple[tuple[str, str, str], tuple[int, datetime]]]:
    return [
        ((run.namespace, run.queue, run.workflow), (run.priority, run.ready_at))
        for run in runs
        if run.ready_at is not None
    ]


def _task_positions(tasks: Sequence[TaskRow]) -> list[tuple[tuple[str, str, str], tuple[int, datetime]]]:
    return [((task.namespace, task.queue, task.name), (task.priority, task.ready_at)) for task in tasks]
