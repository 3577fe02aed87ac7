"""What is asked of one cell outside of its transactions, answered from memory as Postgres must answer it."""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks
from holdfast_coordinator.domain.mail import MailRow, body_bytes
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    JournalRow,
    KeyRow,
    OpenRun,
    ProgressRow,
    RunResult,
    RunRow,
    RunState,
    Side,
    TaskRow,
    TaskState,
    TraceMark,
)
from holdfast_coordinator.store.port import (
    MAIL_PIECES_MAX,
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
from holdfast_coordinator.store.statements_journals import NEWEST_ROW_BYTES_MAX, NEWEST_ROWS
from tests.support.memory_cell import MemoryCell


class MemoryCellQueries(MemoryCell):
    """Implements port.CellQueries with dicts."""

    async def due_alarms(
        self, limit: int, *, outbox: bool = False, from_start: bool = False
    ) -> tuple[list[AlarmRow], timedelta | None]:
        """See port.CellStore. A model may read twice what it has read."""
        now = self.clock()
        wanted = [alarm for alarm in self.alarms.values() if (alarm.kind >= AlarmKind.OUTBOX_CHILD) == outbox]
        ordered = sorted(wanted, key=lambda alarm: alarm.due_at)
        due = [alarm for alarm in ordered if alarm.due_at <= now][:limit]
        later = ordered[len(due) :]
        return deepcopy(due), max(later[0].due_at - now, timedelta(0)) if later else None

    def alarm_stays(self, alarm: AlarmRow) -> None:
        """See port.CellStore."""

    async def count_dead_letters(self, limit: int) -> int:
        """See port.CellStore."""
        return min(len(self.dead_letters), limit)

    async def overdue_tasks(self, grace: timedelta, limit: int) -> list[TaskRow]:
        """See port.CellStore."""
        late = [
            (task.deadline_at, task)
            for task in self.tasks.values()
            if task.state is TaskState.CLAIMED
            and task.deadline_at is not None
            and task.deadline_at < self.clock() - grace
        ]
        return [deepcopy(task) for _, task in sorted(late, key=lambda item: item[0])[:limit]]

    async def ready_work(self, at: datetime, limit: int) -> list[ReadyWork]:
        """See port.CellStore."""
        rows: list[OpenRun | TaskRow] = [*self.open_runs.values(), *self.tasks.values()]
        ready: dict[tuple[str, str, bool], list[datetime]] = {}
        for row in rows:
            if row.state in (RunState.READY, TaskState.READY) and row.ready_at is not None and row.ready_at <= at:
                ready.setdefault((row.namespace, row.queue, isinstance(row, TaskRow)), []).append(row.ready_at)
        return [ReadyWork(*place, min(len(times), limit), min(times)) for place, times in ready.items()]

    async def open_run_states(self, limit: int) -> OpenRunStates:
        """See port.CellStore."""
        states = [run.state for run in self.open_runs.values()]
        places = [states.count(state) for state in (RunState.READY, RunState.LEASED, RunState.STALLED)]
        return OpenRunStates(*places, len(states) - sum(places))

    async def lease_owners(self) -> set[str]:
        """See port.CellStore."""
        rows: list[OpenRun | TaskRow] = [*self.open_runs.values(), *self.tasks.values()]
        return {row.owner for row in rows if row.owner is not None}

    async def held_by(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        """See port.CellStore."""
        runs = [run for run in self.open_runs.values() if run.owner in session_ids and run.state is RunState.LEASED]
        tasks = [task for task in self.tasks.values() if task.owner in session_ids and task.state is TaskState.CLAIMED]
        return deepcopy(runs[:limit]), deepcopy(tasks[:limit])

    async def news_of_held(self, leases: Sequence[LeaseHeld], claims: Sequence[ClaimHeld]) -> HeldNews:
        """See port.CellStore."""
        news = HeldNews()
        for lease in leases:
            run = self.open_runs.get(lease.run_id)
            if run is None or run.epoch > lease.epoch or (run.epoch == lease.epoch and run.owner != lease.session_id):
                news.leases_ended.append(lease)
            elif run.epoch == lease.epoch and run.mail_next - 1 > max(run.mail_taken, lease.mail_seen):
                news.with_mail.append(lease)
        for claim in claims:
            task = self.tasks.get((claim.run_id, claim.number))
            if task is None or task.epoch > claim.epoch or (task.epoch, task.owner) == (claim.epoch, None):
                news.claims_ended.append((claim, task is None))
        return news

    async def mail_of(self, wanted: Sequence[tuple[str, int]], max_bytes: int) -> list[MailRow]:
        """See port.CellStore."""
        found: list[MailRow] = []
        size = 0
        for run_id, after in wanted:
            for mail in (await self.mail_after(run_id, after))[:MAIL_PIECES_MAX]:
                if size <= max_bytes:
                    found.append(mail)
                size += body_bytes(mail.body)
        return found

    async def waiting_names(self, runs: Sequence[Place], steps: Sequence[Place]) -> tuple[list[Place], list[Place]]:
        """See port.CellStore."""
        return (
            [place for place in runs if self._ready_runs(ClaimRuns(place[0], place[1], (place[2],), 1))],
            [place for place in steps if self._ready_tasks(ClaimTasks(place[0], place[1], (place[2],), 1))],
        )

    async def closed_since(self, at: datetime, limit: int) -> list[tuple[str, datetime]]:
        """See port.CellStore."""
        closed = [(row.closed_at, row.run_id) for row in self.run_results.values() if row.closed_at >= at]
        return [(run_id, closed_at) for closed_at, run_id in sorted(closed)[:limit]]

    async def unknown_to(self, known: Mapping[str, Collection[HeldKey]], limit: int) -> list[tuple[str, HeldKey]]:
        """See port.CellStore."""
        runs, tasks = await self.held_by(list(known), limit)
        held: list[tuple[str, HeldKey]] = [(run.owner or "", (run.run_id, 0, run.epoch)) for run in runs]
        held += [(task.owner or "", (task.run_id, task.number, task.epoch)) for task in tasks]
        return [(owner, key) for owner, key in held if key not in known[owner]]

    async def pull_back(self, now: datetime, before: datetime) -> int:
        """See port.CellStore."""
        tasks = [
            task for task in self.tasks.values() if task.state is TaskState.READY and now < task.ready_at <= before
        ]
        for task in tasks:
            task.ready_at = now
        deliveries = [
            alarm
            for alarm in self.alarms.values()
            if alarm.kind >= AlarmKind.OUTBOX_CHILD and now < alarm.due_at <= before
        ]
        for alarm in deliveries:
            alarm.due_at = now
        return len(tasks) + len(deliveries)

    async def stalled_by_others(
        self, namespace: str, queue: str, workflows: Sequence[str], build: str, limit: int
    ) -> list[str]:
        """See port.CellStore."""
        place = (namespace, queue)
        stalled = [
            run for run in self.open_runs.values() if run.state is RunState.STALLED and run.workflow in workflows
        ]
        ids = [
            run.run_id
            for run in stalled
            if (run.namespace, run.queue) == place and run.stall_build not in (None, build)
        ]
        return sorted(ids)[:limit]

    async def has_transition(self, run_id: str, after: int, epoch: int, transition_id: int) -> bool:
        """See port.CellStore."""
        later = (row for row in self.journals.get(run_id, ()) if row.seq > after)
        return any((row.epoch, row.transition_id) == (epoch, transition_id) for row in later)

    async def results(self, run_ids: Sequence[str]) -> list[RunResult]:
        """See port.CellStore."""
        return deepcopy([self.run_results[run_id] for run_id in run_ids if run_id in self.run_results])

    async def existing(self, namespace: str, run_ids: Sequence[str]) -> set[str]:
        """See port.CellStore."""
        return {key for key in run_ids if key in self.runs and self.runs[key].namespace == namespace}

    async def run_of_key(self, namespace: str, kind: str, key: str) -> KeyRow | None:
        """See port.CellStore."""
        return deepcopy(self.keys.get((namespace, kind, key)))

    async def view(self, namespace: str, run_id: str) -> RunView | None:
        """See port.CellStore."""
        record = self.runs.get(run_id)
        if record is None or record.namespace != namespace:
            return None
        closed_length = (
            0 if run_id in self.open_runs else max((row.seq for row in self.journals.get(run_id, ())), default=0)
        )
        given_up = (self.dead_letters[key] for key in sorted(self.dead_letters) if key[0] == run_id)
        dead = tuple(replace(letter, body=b"") for letter in given_up)
        mine = (self.alarms[key] for key in sorted(self.alarms) if key[0] == run_id)
        failing = tuple(replace(alarm, body=b"") for alarm in mine if alarm.attempts)
        run, result = self.open_runs.get(run_id), self.run_results.get(run_id)
        return deepcopy(RunView(record, run, result, closed_length, dead, failing))

    async def newest_of_chain(self, chain: str) -> str | None:
        """See port.CellStore."""
        runs = [(record.created_at, record.run_id) for record in self.runs.values() if record.chain_run_id == chain]
        return max(runs)[1] if runs else None

    async def list_runs(self, wanted: RunSelection) -> list[RunView]:
        """See port.CellStore."""
        views = [await self.view(wanted.namespace, run_id) for run_id in self.runs]
        found = [view for view in views if view is not None and self._matches(view, wanted)]
        found.sort(key=lambda view: (view.record.created_at, view.record.run_id), reverse=True)
        return [replace(view, closed_length=0) for view in found[: wanted.limit]]

    def _matches(self, view: RunView, wanted: RunSelection) -> bool:
        record = view.record
        holder = self.keys.get((wanted.namespace, "key", wanted.idempotency_key or ""))
        return (
            (wanted.workflow is None or record.workflow == wanted.workflow)
            and (not wanted.statuses or _status(view) in wanted.statuses)
            and wanted.metadata.items() <= record.metadata.items()
            and (wanted.started_after is None or record.created_at >= wanted.started_after)
            and (wanted.started_before is None or record.created_at < wanted.started_before)
            and (
                not wanted.text
                or any(wanted.text in part for part in (record.run_id, record.id or "", record.workflow))
            )
            and (wanted.chain is None or wanted.chain in (record.run_id, record.chain_run_id))
            and (wanted.idempotency_key is None or (holder is not None and holder.run_id == record.run_id))
            and (wanted.before is None or (record.created_at, record.run_id) < wanted.before)
        )

    async def newest_rows(self, run_ids: Sequence[str]) -> list[JournalRow]:
        """See port.CellStore."""
        newest = [row for run_id in sorted(run_ids) for row in self.journals.get(run_id, ())[-NEWEST_ROWS:]]
        sizes = [sum(len(part) for part in row.entries if isinstance(part, bytes)) for row in newest]
        return deepcopy([row for row, size in zip(newest, sizes, strict=True) if size <= NEWEST_ROW_BYTES_MAX])

    async def queued_step(self, run_id: str) -> QueuedStep | None:
        """See port.CellStore."""
        waiting = [task for task in self.tasks.values() if task.run_id == run_id and task.state is TaskState.READY]
        first = min(waiting, key=lambda task: task.number, default=None)
        return None if first is None else QueuedStep(first.queue, first.name)

    async def records(self, run_ids: Sequence[str], max_bytes: int = RECORDS_BYTES_MAX) -> dict[str, RunRow]:
        """See port.CellStore."""
        found: dict[str, RunRow] = {}
        size = 0
        for run_id in run_ids:
            if run_id in self.runs and size <= max_bytes:
                found[run_id] = deepcopy(self.runs[run_id])
                size += len(found[run_id].arguments)
        return found

    async def journal(self, run_id: str, after: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """See port.CellStore."""
        return _page([row for row in self.journals.get(run_id, ()) if row.seq > after], max_bytes)

    async def journal_beginnings(
        self, session_id: str, leases: Sequence[tuple[str, int]], max_bytes: int
    ) -> JournalBeginnings:
        """See port.CellStore."""
        found: dict[str, tuple[list[JournalRow], bool]] = {}
        size = 0
        for run_id, epoch in leases:
            run = self.open_runs.get(run_id)
            if run is None or (run.owner, run.epoch) != (session_id, epoch):
                continue
            for row in self.journals[run_id][:32]:
                if size <= max_bytes:
                    size += row.stored_bytes
                    rows = [*(found[run_id][0] if run_id in found else []), row]
                    found[run_id] = rows, row.seq < run.length
        return JournalBeginnings(found, is_cut=size > max_bytes)

    async def journal_before(self, run_id: str, before: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """See port.CellStore."""
        rows = [row for row in self.journals.get(run_id, ()) if row.seq < before]
        return _page(rows[::-1], max_bytes)

    async def mail_after(self, run_id: str, number: int) -> list[MailRow]:
        """See port.CellStore."""
        return [mail for mail in self.waiting_mail(run_id) if mail.number > number][:1000]

    async def progress_of(self, run_ids: Sequence[str]) -> list[ProgressRow]:
        """See port.CellStore."""
        return [row for (run_id, _), row in sorted(self.step_progress.items()) if run_id in run_ids]

    async def published_value(self, run_id: str, key: str) -> bytes | None:
        """See port.CellStore."""
        row = self.published.get((run_id, key))
        return None if row is None else row.value

    async def prune_requests(self, limit: int) -> int:
        """See port.CellStore."""
        now = self.clock()
        expired = [key for key, request in self.requests.items() if request.expires_at <= now][:limit]
        for key in expired:
            del self.requests[key]
        return len(expired)

    # Trace marks

    async def mark_exported(self, marks: Mapping[str, int]) -> None:
        """See port.CellStore."""
        for run_id, seq in marks.items():
            if run_id not in self.open_runs:
                continue
            mark = self.trace_marks.get(run_id, TraceMark(run_id, 0))
            self.trace_marks[run_id] = replace(mark, exported_seq=max(mark.exported_seq, seq))

    async def delete_marks(self, run_ids: Collection[str]) -> int:
        """See port.CellStore."""
        return sum(self.trace_marks.pop(run_id, None) is not None for run_id in run_ids)

    async def claim_marks(self, now: datetime, until: datetime, limit: int) -> list[TraceMark]:
        """See port.CellStore."""
        claimed = self._waiting_marks(now)[:limit]
        for mark in claimed:
            mark.relay_at = until
        return deepcopy(claimed)

    async def marks_waiting(self, now: datetime, limit: int) -> int:
        """See port.CellStore."""
        return min(len(self._waiting_marks(now)), limit)

    def _waiting_marks(self, now: datetime) -> list[TraceMark]:
        waiting = [(mark.relay_at, mark) for mark in self.trace_marks.values() if mark.relay_at is not None]
        return [mark for relay_at, mark in sorted(waiting, key=lambda pair: pair[0]) if relay_at <= now]

    async def exported_seq(self, run_id: str) -> int:
        """See port.CellStore."""
        return self.trace_marks.get(run_id, TraceMark(run_id, 0)).exported_seq

    async def open_traces(self, after: str, idle_before: datetime, limit: int) -> tuple[dict[str, int], str | None]:
        """See port.CellStore."""
        page = [self.open_runs[run_id] for run_id in sorted(self.open_runs) if run_id > after][:limit]
        idle = [
            run
            for run in page
            if Side.TRACE in run.side and run.state is not RunState.LEASED and run.last_at < idle_before
        ]
        exported = {run.run_id: await self.exported_seq(run.run_id) for run in idle}
        behind = {run.run_id: exported[run.run_id] for run in idle if exported[run.run_id] < run.length}
        return behind, page[-1].run_id if len(page) == limit else None


def _status(view: RunView) -> RunStatus:
    if view.result is not None:
        return view.result.status
    assert view.open is not None
    named = {RunState.PAUSED: RunStatus.PAUSED, RunState.STALLED: RunStatus.STALLED}.get(view.open.state)
    if named is not None:
        return named
    if view.open.epoch == 0:
        return RunStatus.PENDING
    return RunStatus.SUSPENDED if view.open.state is RunState.SUSPENDED else RunStatus.RUNNING


def _page(rows: list[JournalRow], max_bytes: int) -> tuple[list[JournalRow], bool]:
    page: list[JournalRow] = []
    size = 0
    for row in rows:
        size += sum(len(part) for part in row.entries if isinstance(part, bytes))
        if page and size > max_bytes:
            return page, True
        page.append(deepcopy(row))
    return page, False
