"""Rows of the core from the tuples that Postgres answers.

Which column becomes which field is settled by name, once, when this module is loaded: a record has the columns of
its table as its first fields, in their order, so that a tuple is spread into it; what is converted is found by name.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Table

from holdfast.statuses import ClosePolicy, RunStatus
from holdfast_coordinator.domain.mail import MailKind, MailRow, StoredBody
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    DeadLetter,
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
from holdfast_coordinator.wire.entries import split_attempts

from .database_connection import Row
from .port import ReadyWork, RunView
from .tables import (
    alarms,
    children,
    dead_letters,
    journal,
    mail,
    open_runs,
    run_keys,
    run_results,
    runs,
    step_progress,
    step_tasks,
    trace_marks,
)

Loaded = TypeVar("Loaded")


def _places(table: Table, record: type, *names: str) -> list[int]:
    """Where these columns are in a row of the table; and that its rows can be spread into the record."""
    columns = [column.name for column in table.c]
    known = [field.name for field in fields(record)]
    assert known[: len(columns)] == columns, f"{record.__name__} is no row of {table.name}: {known}, {columns}"
    return [columns.index(name) for name in names]


# Looked up: calling an enum class costs as much as decoding the rest of a row.
_STATES = {int(state): state for state in RunState}
_SIDES = {number: Side(number) for number in range(256)}
_MAIL_KINDS = {int(kind): kind for kind in MailKind}
_ALARM_KINDS = {int(kind): kind for kind in AlarmKind}
_TASK_STATES = {int(state): state for state in TaskState}

_OPEN_RUN_STATE, _OPEN_RUN_SIDE = _places(open_runs, OpenRun, "state", "side")
_OPEN_RUN_WIDTH = len(open_runs.c)
(_ARGUMENTS,) = _places(runs, RunRow, "arguments")
_RECORD_WIDTH = len(runs.c)
(_RESULT_STATUS,) = _places(run_results, RunResult, "status")
(_JOURNAL_ENTRIES,) = _places(journal, JournalRow, "entries")
(_MAIL_KIND,) = _places(mail, MailRow, "kind")
(_ALARM_KIND,) = _places(alarms, AlarmRow, "kind")
(_LETTER_KIND,) = _places(dead_letters, DeadLetter, "kind")
_TASK_STATE, _TASK_ATTEMPTS = _places(step_tasks, TaskRow, "state", "attempts_ended")
(_CHILD_POLICY,) = _places(children, ChildRow, "close_policy")
_places(run_keys, KeyRow)
_places(step_progress, ProgressRow)
_places(trace_marks, TraceMark)


def open_run(row: Sequence[Any]) -> OpenRun:
    """A row of `open_runs`."""
    run = OpenRun(*row)
    run.state = _STATES[row[_OPEN_RUN_STATE]]
    run.side = _SIDES[row[_OPEN_RUN_SIDE]]
    return run


def claimed_run(row: Row) -> tuple[OpenRun, RunRow | None]:
    """A row of `open_runs` and its row of `runs`; None for one that came without its arguments."""
    started = row[_OPEN_RUN_WIDTH:]
    return open_run(row[:_OPEN_RUN_WIDTH]), None if started[_ARGUMENTS] is None else record(started)


def record(row: Sequence[Any]) -> RunRow:
    """A row of `runs`."""
    return RunRow(*row)


def result(row: Sequence[Any]) -> RunResult:
    """A row of `run_results`."""
    result = RunResult(*row)
    result.status = RunStatus.of_number(row[_RESULT_STATUS])
    return result


def ready_work(rows: Iterable[Row], *, is_steps: bool) -> list[ReadyWork]:
    """The groups of statements_gauges.ready, together by namespace and queue; empty ones are left out."""
    queues: dict[tuple[str, str], ReadyWork] = {}
    for namespace, queue, count, oldest_at in rows:
        if oldest_at is None:
            continue
        others = queues.get((namespace, queue))
        if others is not None:
            count, oldest_at = count + others.count, min(oldest_at, others.oldest_at)
        queues[namespace, queue] = ReadyWork(namespace, queue, is_steps, count, oldest_at)
    return list(queues.values())


def trace_mark(row: Row) -> TraceMark:
    """A row of `trace_marks`."""
    return TraceMark(*row)


def journal_row(row: Sequence[Any]) -> JournalRow:
    """A row of `journal`."""
    stored = JournalRow(*row)
    stored.entries = (row[_JOURNAL_ENTRIES],)
    return stored


def mail_row(row: Sequence[Any]) -> MailRow:
    """A row of `mail`; the trace context is in its body."""
    piece = MailRow(*row)
    piece.kind = _MAIL_KINDS[row[_MAIL_KIND]]
    return piece


def mail_to_journal(row: Sequence[Any]) -> MailRow:
    """A row of `mail` that may lack its body, and the size of that."""
    *columns, size = row
    piece = mail_row(columns)
    if piece.body is None:
        piece.body = StoredBody(size)
    return piece


def mail_by_run(mail: Iterable[MailRow]) -> dict[str, list[MailRow]]:
    """Pieces of mail, in order for each run."""
    grouped: dict[str, list[MailRow]] = {}
    for piece in mail:
        grouped.setdefault(piece.run_id, []).append(piece)
    return grouped


def alarm(row: Sequence[Any]) -> AlarmRow:
    """A row of `alarms`."""
    alarm = AlarmRow(*row)
    alarm.kind = _ALARM_KINDS[row[_ALARM_KIND]]
    return alarm


def dead_letter(row: Row) -> DeadLetter:
    """A row of `dead_letters`."""
    letter = DeadLetter(*row)
    letter.kind = _ALARM_KINDS[row[_LETTER_KIND]]
    return letter


def task(row: Sequence[Any]) -> TaskRow:
    """A row of `step_tasks`."""
    task = TaskRow(*row)
    task.state = _TASK_STATES[row[_TASK_STATE]]
    task.attempts_ended = split_attempts(row[_TASK_ATTEMPTS])
    return task


def progress(row: Row) -> ProgressRow:
    """A row of `step_progress`."""
    return ProgressRow(*row)


def child(row: Row) -> ChildRow:
    """A row of `children`."""
    child = ChildRow(*row)
    child.close_policy = ClosePolicy(row[_CHILD_POLICY])
    return child


def key(row: Sequence[Any]) -> KeyRow:
    """A row of `run_keys`."""
    return KeyRow(*row)


def run_view(row: Row) -> RunView:
    """A row of `runs` joined with its row of `open_runs` or of `run_results`."""
    opened = row[_RECORD_WIDTH : _RECORD_WIDTH + _OPEN_RUN_WIDTH]
    *closed, closed_length = row[_RECORD_WIDTH + _OPEN_RUN_WIDTH :]
    return RunView(
        record(row[:_RECORD_WIDTH]), if_joined(open_run, opened), if_joined(result, closed), closed_length or 0
    )


def if_joined(load: Callable[[Sequence[Any]], Loaded], row: Sequence[Any]) -> Loaded | None:
    """The columns of a table in a wider row; None where an outer join found none, for keys are never NULL."""
    return None if row[0] is None else load(row)
