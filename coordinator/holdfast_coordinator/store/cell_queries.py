"""What is asked of one cell outside of its transactions, on a few connections of its own.

Each question is one statement, or one round trip of a few; nothing here waits for a lock.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.mail import MailRow
from holdfast_coordinator.domain.rows import (
    AlarmRow,
    JournalRow,
    KeyRow,
    OpenRun,
    ProgressRow,
    RunResult,
    RunRow,
    TaskRow,
    TraceMark,
)

from . import row_loaders
from .cell_floors import CellFloors
from .database_connection import Answer, Statement
from .floors import BEGINNING
from .pool import Pool
from .port import (
    RECORDS_BYTES_MAX,
    ClaimHeld,
    HeldKey,
    HeldNews,
    JournalBeginnings,
    LeaseHeld,
    OpenRunStates,
    Place,
    QueuedStep,
    ReadyWork,
    RunSelection,
    RunView,
)
from .statements_due import CellDue
from .statements_elsewhere import CellElsewhere
from .statements_gauges import CellGauges
from .statements_journals import CellJournals
from .statements_leases import CellLeases
from .statements_reads import results_of_runs
from .statements_runs import CellRuns
from .statements_traces import CellTraces

STATUS_RUNS_MAX = 2_000
"""Runs of the wanted statuses that are listed by their ids; of more the newest are soon found."""
PULL_BACK_PAGE = 1_000


class PostgresCellQueries:
    """Implements port.CellQueries."""

    def __init__(self, schema: str, pool: Pool, floors: CellFloors) -> None:
        self._pool = pool
        self._floors = floors
        self._due = CellDue(schema)
        self._leases = CellLeases(schema)
        self._journals = CellJournals(schema)
        self._runs = CellRuns(schema)
        self._traces = CellTraces(schema)
        self._gauges = CellGauges(schema)
        self._elsewhere = CellElsewhere(schema)
        self._results_of_runs = results_of_runs(schema)

    async def due_alarms(
        self, limit: int, *, outbox: bool = False, from_start: bool = False
    ) -> tuple[list[AlarmRow], timedelta | None]:
        """See port.CellQueries."""
        floor = self._floors.deliveries if outbox else self._floors.alarms
        statement = self._due.due_deliveries if outbox else self._due.due_alarms
        at = floor.begin()
        (answer,) = await self._pool.read(statement(limit, BEGINNING if from_start else at))
        due = []
        for now, next_due_at, *row in answer.rows:  # noqa: B007 - the same in every row, and there is at least one
            alarm = row_loaders.if_joined(row_loaders.alarm, row)
            if alarm is not None:
                due.append(alarm)
        if len(due) < limit:
            floor.seen(now)
            return due, None if next_due_at is None else next_due_at - now
        floor.seen(due[-1].due_at)
        return due, timedelta(0)

    def alarm_stays(self, alarm: AlarmRow) -> None:
        """See port.CellQueries."""
        self._floors.alarm_is_due(alarm.kind, alarm.due_at)

    async def count_dead_letters(self, limit: int) -> int:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._due.dead_letters_count(limit))
        count: int = answer.value
        return count

    async def overdue_tasks(self, grace: timedelta, limit: int) -> list[TaskRow]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._due.overdue_tasks(grace, limit))
        return [row_loaders.task(row) for row in answer.rows]

    async def lease_owners(self) -> set[str]:
        """See port.CellQueries."""
        answers = await self._pool.read(self._leases.run_owners(), self._leases.task_owners())
        return {owner for answer in answers for owner in answer.values}

    async def held_by(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        """See port.CellQueries."""
        owners = list(session_ids)
        runs, tasks = await self._pool.read(
            self._leases.runs_held(owners, limit), self._leases.tasks_held(owners, limit)
        )
        return [row_loaders.open_run(row) for row in runs.rows], [row_loaders.task(row) for row in tasks.rows]

    async def news_of_held(self, leases: Sequence[LeaseHeld], claims: Sequence[ClaimHeld]) -> HeldNews:
        """See port.CellQueries."""
        calls = []
        if leases:
            columns = zip(*((one.run_id, one.session_id, one.epoch, one.mail_seen) for one in leases), strict=True)
            calls.append(self._leases.leases_differ(*columns))
        if claims:
            columns = zip(*((one.run_id, one.number, one.session_id, one.epoch) for one in claims), strict=True)
            calls.append(self._leases.claims_differ(*columns))
        news = HeldNews()
        answers = iter(await self._pool.read(*calls) if calls else ())
        for place, is_held in next(answers).rows if leases else ():
            (news.with_mail if is_held else news.leases_ended).append(leases[place - 1])
        for place, is_gone in next(answers).rows if claims else ():
            news.claims_ended.append((claims[place - 1], is_gone))
        return news

    async def mail_of(self, wanted: Sequence[tuple[str, int]], max_bytes: int) -> list[MailRow]:
        """See port.CellQueries."""
        call = self._journals.mail_of([run_id for run_id, _ in wanted], [after for _, after in wanted], max_bytes)
        (answer,) = await self._pool.read(call)
        return [row_loaders.mail_row(row) for row in answer.rows]

    async def waiting_names(self, runs: Sequence[Place], steps: Sequence[Place]) -> tuple[list[Place], list[Place]]:
        """See port.CellQueries."""
        with_runs = await self._waiting(self._elsewhere.waiting_runs, runs)
        return with_runs, await self._waiting(self._elsewhere.waiting_tasks, steps)

    async def _waiting(self, statement: Statement, places: Sequence[Place]) -> list[Place]:
        if not places:
            return []
        (answer,) = await self._pool.read(statement(*zip(*places, strict=True)))
        return [places[place - 1] for place in answer.values]

    async def closed_since(self, at: datetime, limit: int) -> list[tuple[str, datetime]]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._elsewhere.closed_since(at, limit))
        return [(run_id, closed_at) for run_id, closed_at in answer.rows]

    async def unknown_to(self, known: Mapping[str, Collection[HeldKey]], limit: int) -> list[tuple[str, HeldKey]]:
        """See port.CellQueries."""
        owners, keys = list(known), [key for held in known.values() for key in held]
        leases = [(run_id, epoch) for run_id, number, epoch in keys if not number]
        claims = [(run_id, number, epoch) for run_id, number, epoch in keys if number]
        runs, tasks = await self._pool.read(
            self._leases.leases_unknown(owners, *in_columns(leases, 2), limit),
            self._leases.claims_unknown(owners, *in_columns(claims, 3), limit),
        )
        return [
            *((owner, (run_id, 0, epoch)) for owner, run_id, epoch in runs.rows),
            *((owner, (run_id, number, epoch)) for owner, run_id, number, epoch in tasks.rows),
        ]

    async def pull_back(self, now: datetime, before: datetime) -> int:
        """See port.CellQueries."""
        moved = 0
        for statement in (self._due.pull_back_tasks, self._due.pull_back_deliveries):
            page = PULL_BACK_PAGE
            while page == PULL_BACK_PAGE:
                page = (await self._pool.write(statement(now, before, PULL_BACK_PAGE))).affected
                moved += page
        return moved

    async def stalled_by_others(
        self, namespace: str, queue: str, workflows: Sequence[str], build: str, limit: int
    ) -> list[str]:
        """See port.CellQueries."""
        call = self._leases.stalled_by_others(namespace, queue, list(workflows), build, limit)
        (answer,) = await self._pool.read(call)
        return list(answer.values)

    async def has_transition(self, run_id: str, after: int, epoch: int, transition_id: int) -> bool:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._journals.has_transition(run_id, after, epoch, transition_id))
        return bool(answer.rows)

    async def results(self, run_ids: Sequence[str]) -> list[RunResult]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._results_of_runs(list(run_ids)))
        return [row_loaders.result(row) for row in answer.rows]

    async def existing(self, namespace: str, run_ids: Sequence[str]) -> set[str]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._runs.existing(namespace, list(run_ids)))
        return set(answer.values)

    async def run_of_key(self, namespace: str, kind: str, key: str) -> KeyRow | None:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._runs.run_of_key(namespace, kind, key))
        return next((row_loaders.key(row) for row in answer.rows), None)

    async def view(self, namespace: str, run_id: str) -> RunView | None:
        """See port.CellQueries."""
        answer, dead, failing = await self._pool.read(
            self._runs.view(namespace, run_id), self._runs.dead_letters_of(run_id), self._runs.failing_alarms_of(run_id)
        )
        found = next(map(row_loaders.run_view, answer.rows), None)
        return found and replace(
            found,
            dead_letters=tuple(map(row_loaders.dead_letter, dead.rows)),
            alarms_failing=tuple(map(row_loaders.alarm, failing.rows)),
        )

    async def newest_of_chain(self, chain: str) -> str | None:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._runs.newest_of_chain(chain))
        return next(iter(answer.values), None)

    async def list_runs(self, wanted: RunSelection) -> list[RunView]:
        """See port.CellQueries."""
        run_ids = None
        if wanted.statuses and RunStatus.COMPLETED not in wanted.statuses:
            (answer,) = await self._pool.scan(self._runs.runs_of_statuses(wanted, STATUS_RUNS_MAX + 1))
            if len(found := answer.values) <= STATUS_RUNS_MAX:
                run_ids = found
        (answer,) = await self._pool.scan(self._runs.list_runs(wanted, run_ids))
        return [row_loaders.run_view(row) for row in answer.rows]

    async def records(self, run_ids: Sequence[str], max_bytes: int = RECORDS_BYTES_MAX) -> dict[str, RunRow]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._runs.records(list(dict.fromkeys(run_ids)), max_bytes))
        return {record.run_id: record for record in map(row_loaders.record, answer.rows)}

    async def journal(self, run_id: str, after: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._journals.journal_page(run_id, after, max_bytes))
        return _page(answer, max_bytes)

    async def journal_beginnings(
        self, session_id: str, leases: Sequence[tuple[str, int]], max_bytes: int
    ) -> JournalBeginnings:
        """See port.CellQueries."""
        run_ids, epochs = in_columns(leases, 2)
        (answer,) = await self._pool.read(self._journals.journal_beginnings(run_ids, epochs, session_id, max_bytes))
        found: dict[str, tuple[list[JournalRow], bool]] = {}
        size = 0
        for *row, length in answer.rows:
            stored = row_loaders.journal_row(row)
            size += stored.stored_bytes
            rows, _ = found.get(stored.run_id) or ([], False)
            rows.append(stored)
            found[stored.run_id] = rows, stored.seq < length
        return JournalBeginnings(found, is_cut=size > max_bytes)

    async def journal_before(self, run_id: str, before: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._journals.journal_page_before(run_id, before, max_bytes))
        return _page(answer, max_bytes)

    async def newest_rows(self, run_ids: Sequence[str]) -> list[JournalRow]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._journals.newest_rows(list(run_ids)))
        return [row_loaders.journal_row(row) for row in answer.rows]

    async def queued_step(self, run_id: str) -> QueuedStep | None:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._runs.queued_step(run_id))
        return next((QueuedStep(*row) for row in answer.rows), None)

    async def mail_after(self, run_id: str, number: int) -> list[MailRow]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._journals.mail_after(run_id, number))
        return [row_loaders.mail_row(row) for row in answer.rows]

    # Gauges

    async def progress_of(self, run_ids: Sequence[str]) -> list[ProgressRow]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._journals.progress_of(list(run_ids)))
        return [row_loaders.progress(row) for row in answer.rows]

    async def published_value(self, run_id: str, key: str) -> bytes | None:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._journals.published_value(run_id, key))
        return next((value for (value,) in answer.rows), None)

    async def ready_work(self, at: datetime, limit: int) -> list[ReadyWork]:
        """See port.CellQueries."""
        runs, tasks = await self._pool.read(self._gauges.ready_runs(at, limit), self._gauges.ready_tasks(at, limit))
        return row_loaders.ready_work(runs.rows, is_steps=False) + row_loaders.ready_work(tasks.rows, is_steps=True)

    async def open_run_states(self, limit: int) -> OpenRunStates:
        """See port.CellQueries."""
        counted, believed = await self._pool.read(self._gauges.open_run_states(limit), self._gauges.estimates())
        (counts,), (beliefs,) = counted.rows, believed.rows
        pairs = zip(counts, beliefs, strict=True)
        ready, leased, stalled, total = (max(count, belief) if count == limit else count for count, belief in pairs)
        return OpenRunStates(ready, leased, stalled, max(total - ready - leased - stalled, 0))

    # Trace marks

    async def mark_exported(self, marks: Mapping[str, int]) -> None:
        """See port.CellQueries."""
        ordered = sorted(marks.items())
        await self._pool.write(self._traces.mark(*zip(*ordered, strict=True)))

    async def delete_marks(self, run_ids: Collection[str]) -> int:
        """See port.CellQueries."""
        return (await self._pool.write(self._traces.delete(sorted(run_ids)))).affected

    async def claim_marks(self, now: datetime, until: datetime, limit: int) -> list[TraceMark]:
        """See port.CellQueries."""
        return [
            row_loaders.trace_mark(row) for row in (await self._pool.write(self._traces.claim(now, until, limit))).rows
        ]

    async def marks_waiting(self, now: datetime, limit: int) -> int:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._traces.backlog(now, limit))
        count: int = answer.value
        return count

    async def exported_seq(self, run_id: str) -> int:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._traces.exported(run_id))
        return next(iter(answer.values), 0)

    async def open_traces(self, after: str, idle_before: datetime, limit: int) -> tuple[dict[str, int], str | None]:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._traces.open_marks(after, idle_before, limit))
        behind, last = {}, None
        rows = answer.rows
        for last, is_idle, length, exported in rows:
            if is_idle and exported < length:
                behind[last] = exported
        return behind, last if len(rows) == limit else None

    async def prune_requests(self, limit: int) -> int:
        """See port.CellQueries."""
        (answer,) = await self._pool.read(self._due.expired_requests(limit))
        if not (rows := answer.rows):
            return 0
        run_ids, request_ids, nows = in_columns(rows, 3)
        return (await self._pool.write(self._due.prune_requests(run_ids, request_ids, nows[0]))).affected


def in_columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows of this many columns, turned: one list for each column, also of no rows."""
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]


def _page(answer: Answer, max_bytes: int) -> tuple[list[JournalRow], bool]:
    """Rows of a journal as far as their bytes allow, at least one; True when there are more."""
    page: list[JournalRow] = []
    size, has_more = 0, False
    for *row, is_followed in answer.rows:
        stored = row_loaders.journal_row(row)
        size += stored.stored_bytes
        if page and size > max_bytes:
            return page, True
        page.append(stored)
        has_more = is_followed
    return page, has_more
