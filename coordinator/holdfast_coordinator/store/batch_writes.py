"""From the difference that a batch makes to the statements that write it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

from holdfast.statuses import Then
from holdfast_coordinator.domain.asks import CloseAsk
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition
from holdfast_coordinator.domain.events import Appended, Closed
from holdfast_coordinator.domain.rows import AlarmKind, JournalRow, KeyRow, OpenRun, RunResult, Side, TaskRow
from holdfast_coordinator.domain.states import UnsoundRow, check_run, check_task
from holdfast_coordinator.domain.workspace import REQUEST_KEPT_FOR, not_before
from holdfast_coordinator.wire.entries import encode_failure, join_attempts, join_entries, mail_bytes
from holdfast_coordinator.wire.stored_mail import parts_of

from .database_connection import Statement, StatementCall
from .port import Moved
from .statements import RowWrite
from .statements_writes import OPEN_RUN_CHANGES, TASK_CHANGES, CellWrites
from .tables import open_runs, runs, step_tasks

_OUTBOX = AlarmKind.OUTBOX_CHILD

_record_values = attrgetter(*(column.name for column in runs.c))
_open_run_values = attrgetter(*(column.name for column in open_runs.c))
_open_run_changes = attrgetter("run_id", *OPEN_RUN_CHANGES)
_ENCODED = ("attempts_ended", "saved")
"""The last columns of a queued step, the first of which is encoded when it is written."""
_task_values = attrgetter(*(column.name for column in step_tasks.c if column.name not in _ENCODED))
_task_changes = attrgetter("run_id", "number", *(name for name in TASK_CHANGES if name not in _ENCODED))
_progress_values = attrgetter("run_id", "number", "attempt", "details")
_published_values = attrgetter("run_id", "key", "value")
_request_values = attrgetter("run_id", "request_id", "answer", "expires_at")
_dead_letter_values = attrgetter("run_id", "kind", "ref", "died_at", "body", "attempts", "reason")
_mark_values = attrgetter("run_id", "exported_seq", "closed_at", "relay_at")
_run_id = attrgetter("run_id")
_journal_key = attrgetter("run_id", "seq", "count", "epoch", "transition_id")


def plan_writes(statements: CellWrites, changes: Changes) -> list[tuple[StatementCall, int | None]]:
    """One call for each kind of change that there is, and how many rows it must insert where that is known.

    Updates and deletes of rows that must be there check themselves. Sweeps come first, but for what copies the mail
    that they delete. Raises UnsoundRow for a row that cannot be.
    """
    plan: list[tuple[StatementCall, int | None]] = []

    def write(
        statement: RowWrite | Statement,
        rows: Collection[Any],
        values: Callable[[Any], Sequence[Any]],
        *,
        count: bool = False,
    ) -> None:
        if rows:
            by_row = [values(row) for row in rows]
            call = statement(by_row) if isinstance(statement, RowWrite) else statement(*zip(*by_row, strict=True))
            plan.append((call, len(by_row) if count else None))

    journal, with_mail = changes.journal, [row for row in changes.journal if row.has_stored_mail]
    if with_mail:
        journal = [row for row in journal if not row.has_stored_mail]
        for row in with_mail:
            parts, numbers = zip(*parts_of(row), strict=True)
            call = statements.mail_to_journal(*_journal_key(row), parts, numbers)
            plan.append((call, 1))
    if changes.mail_moved:
        by_move = [(move.run_id, move.number, move.to.run_id, move.to.number) for move in changes.mail_moved]
        plan.append((statements.move_mail(*zip(*by_move, strict=True)), len(by_move)))
    if changes.swept:
        _plan_sweeps(statements, changes, plan)
        changes = _without_swept(changes)
    write(statements.insert_runs, changes.runs, _record_values, count=True)
    if changes.metadata:
        of_runs = sorted(changes.metadata)
        plan.append((statements.set_metadata(of_runs, [changes.metadata[run_id] for run_id in of_runs]), len(of_runs)))
    opened, updated, ended = changes.opened, changes.updated, changes.closed
    if updated:
        if not opened.keys().isdisjoint(updated):
            opened = {run_id: updated.get(run_id, run) for run_id, run in opened.items()}
            updated = {run_id: run for run_id, run in updated.items() if run_id not in opened}
        if not updated.keys().isdisjoint(ended):
            updated = {run_id: run for run_id, run in updated.items() if run_id not in ended}
    if ended:
        # A run that is made and closed in one batch was never open in the table.
        made = {record.run_id for record in changes.runs}
        opened = {run_id: run for run_id, run in opened.items() if run_id not in ended}
        write(statements.delete_open_runs, [run_id for run_id in ended if run_id not in made], _alone)
        write(statements.insert_results, ended.values(), _result_values, count=True)
    write(statements.insert_open_runs, opened.values(), _opened_run_values, count=True)
    write(statements.update_open_runs, updated.values(), _changed_run_values)
    keys = {(key.namespace, key.kind, key.key): key for key in changes.keys}
    write(statements.point_keys, keys.values(), _key_values)
    write(statements.insert_joins, changes.joins, _key_values, count=True)
    write(statements.release_keys, changes.keys_released, _released_values)
    write(statements.insert_journal, journal, _journal_values, count=True)
    for copy in changes.journal_copied:
        call = statements.copy_journal(copy.run_id, copy.of_run_id, copy.first, copy.last, copy.shift)
        plan.append((call, copy.rows))
    write(statements.delete_mail, changes.mail_taken, tuple)
    write(statements.insert_mail, changes.mail_added, _mail_values, count=True)
    write(statements.delete_alarms, changes.alarms_cleared, tuple)
    write(statements.set_alarms, changes.alarms_set.values(), _alarm_values, count=True)
    write(statements.insert_dead_letters, changes.dead_letters, _dead_letter_values, count=True)
    write(statements.delete_tasks, changes.tasks_deleted, tuple)
    write(statements.insert_tasks, changes.tasks_added.values(), _added_task_values, count=True)
    write(statements.update_tasks, changes.tasks_updated.values(), _changed_task_values)
    write(statements.insert_children, changes.children_added, _child_values, count=True)
    write(statements.close_children, changes.children_closed, _closed_child_values)
    write(statements.set_progress, changes.progress.values(), _progress_values, count=True)
    write(statements.set_published, changes.published.values(), _published_values, count=True)
    write(statements.insert_requests, changes.requests, _request_values, count=True)
    # In key order: other replicas write marks without the locks of their runs.
    write(statements.close_traces, sorted(changes.traces_closed, key=_run_id), _mark_values, count=True)
    return plan


TakeMoved = Callable[[Iterable[Sequence[Any]]], Mapping[str, Moved]]
"""What a compare-and-set has answered, by run id."""


def move_calls(
    statements: CellWrites, transitions: Sequence[CommitTransition], at: datetime
) -> list[tuple[StatementCall, TakeMoved]]:
    """The compare-and-sets of append-only transitions and of plain closes, one for each run, in key order."""
    ordered = transitions if len(transitions) == 1 else sorted(transitions, key=attrgetter("run_id"))
    appends = [_append_values(item) for item in ordered if item.then is not Then.CLOSE]
    closes = [_close_values(item, at) for item in ordered if item.then is Then.CLOSE]
    calls: list[tuple[StatementCall, TakeMoved]] = []
    if appends:
        calls.append((statements.append(appends), _appended))
    if closes:
        calls.append((statements.close(closes), _closed))
    return calls


def _appended(rows: Iterable[Sequence[Any]]) -> Mapping[str, Moved]:
    return {run_id: Appended(*facts) for run_id, *facts in rows}


def _closed(rows: Iterable[Sequence[Any]]) -> Mapping[str, Moved]:
    return {run_id: Closed(*facts) for run_id, *facts in rows}


def _append_values(item: CommitTransition) -> tuple[Any, ...]:
    length = item.expected_seq + item.count
    (entries,) = item.journal
    return (
        item.run_id, item.epoch, item.session_id, item.expected_seq, length, item.count, item.transition_id, entries,
    )  # fmt: skip


def _close_values(item: CommitTransition, at: datetime) -> tuple[Any, ...]:
    closing = cast(CloseAsk, item.asks[-1])
    length = item.expected_seq + item.count
    entries = join_entries([*cast(Sequence[bytes], item.journal), closing.entry])
    return (
        item.run_id, item.epoch, item.session_id, item.expected_seq, length, item.count, item.transition_id, entries,
        closing.status.number, closing.result, closing.failure, not_before(closing.at, at),
    )  # fmt: skip


def _plan_sweeps(statements: CellWrites, changes: Changes, plan: list[tuple[StatementCall, int | None]]) -> None:
    sweeps = (
        (statements.sweep_mail, None),
        (statements.sweep_alarms, Side.ALARMS | Side.DEADLINE_ALARM),
        (statements.sweep_tasks, Side.TASKS),
        (statements.sweep_children, Side.CHILDREN),
        (statements.sweep_progress, Side.PROGRESS),
    )
    for statement, side in sweeps:
        run_ids = sorted(run_id for run_id, sides in changes.swept.items() if side is None or sides & side)
        if run_ids:
            plan.append((statement(run_ids), None))
    with_requests = {run_id for run_id, sides in changes.swept.items() if sides & Side.REQUESTS}
    if with_requests:
        expire_at = max(changes.closed[run_id].closed_at for run_id in with_requests) + REQUEST_KEPT_FOR
        kept_under = sorted({changes.requests_of.get(run_id, run_id) for run_id in with_requests})
        plan.append((statements.expire_requests(kept_under, expire_at), None))


def _without_swept(changes: Changes) -> Changes:
    """The changes without rows that the sweeps of this batch have deleted, or would have."""
    swept = changes.swept
    return replace(
        changes,
        alarms_set={key: row for key, row in changes.alarms_set.items() if key[0] not in swept or key[1] >= _OUTBOX},
        alarms_cleared={key for key in changes.alarms_cleared if key[0] not in swept or key[1] >= _OUTBOX},
        mail_added=[row for row in changes.mail_added if row.run_id not in swept],
        mail_taken=[key for key in changes.mail_taken if key[0] not in swept],
        tasks_deleted={key for key in changes.tasks_deleted if key[0] not in swept},
        children_added=[row for row in changes.children_added if row.run_id not in swept],
        children_closed={key for key in changes.children_closed if key[0] not in swept},
        progress={key: row for key, row in changes.progress.items() if key[0] not in swept},
    )


def _alone(run_id: str) -> Sequence[Any]:
    return (run_id,)


def _result_values(row: RunResult) -> Sequence[Any]:
    failure = None if row.failure is None else encode_failure(row.failure)
    return row.run_id, row.namespace, row.status.number, row.closed_at, row.result, failure


def _key_values(row: KeyRow) -> Sequence[Any]:
    return row.namespace, row.kind, row.key, row.run_id, row.call_digest, row.workflow, row.signature_digest


def _released_values(row: KeyRow) -> Sequence[Any]:
    return row.namespace, row.kind, row.key, row.run_id


def _opened_run_values(run: OpenRun) -> Sequence[Any]:
    check_run(run)
    values: tuple[Any, ...] = _open_run_values(run)
    return values


def _changed_run_values(run: OpenRun) -> Sequence[Any]:
    check_run(run)
    values: tuple[Any, ...] = _open_run_changes(run)
    return values


def _journal_values(row: JournalRow) -> Sequence[Any]:
    if not 1 <= row.count <= row.seq:
        raise UnsoundRow(f"entry {row.seq} of run {row.run_id} cannot be the last of {row.count}")
    return row.run_id, row.seq, row.count, row.epoch, row.transition_id, join_entries(row.entries)


def _mail_values(row: Any) -> Sequence[Any]:
    return row.run_id, row.number, row.kind, row.arrived_at, mail_bytes(row)


def _alarm_values(row: Any) -> Sequence[Any]:
    return row.run_id, row.kind, row.ref, row.due_at, row.body, row.attempts


def _added_task_values(row: TaskRow) -> Sequence[Any]:
    check_task(row)
    return (*_task_values(row), join_attempts(row.attempts_ended) if row.attempts_ended else b"", row.saved)


def _changed_task_values(row: TaskRow) -> Sequence[Any]:
    check_task(row)
    return (*_task_changes(row), join_attempts(row.attempts_ended) if row.attempts_ended else b"", row.saved)


def _child_values(row: Any) -> Sequence[Any]:
    return row.run_id, row.number, row.child_run_id, row.close_policy, row.closed


def _closed_child_values(key: tuple[str, int]) -> Sequence[Any]:
    return (*key, True)
