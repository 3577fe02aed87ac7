"""Rows of the core from the tuples that Postgres answers; their columns come in the order of the tables."""

from collections.abc import Iterable, Sequence
from typing import Any

from holdfast.statuses import ClosePolicy, RunStatus
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    DeadLetter,
    JournalRow,
    KeyRow,
    MailKind,
    MailRow,
    OpenRun,
    RunResult,
    RunRow,
    RunState,
    Side,
    TaskRow,
    TaskState,
    TraceMark,
)
from holdfast_coordinator.wire.entries import split_attempts

from .connection import Row
from .port import ReadyWork, RunView
from .tables import open_runs, runs

# Looked up: calling an enum class costs as much as decoding the rest of a row.
_STATES = {int(state): state for state in RunState}
_SIDES = {number: Side(number) for number in range(128)}
_MAIL_KINDS = {int(kind): kind for kind in MailKind}
_ALARM_KINDS = {int(kind): kind for kind in AlarmKind}

OPEN_RUN_WIDTH = len(open_runs.c)
RECORD_WIDTH = len(runs.c)
ARGUMENTS = list(runs.c.keys()).index("arguments")
"""The place of the arguments in a row of `runs`."""


def open_run(row: Sequence[Any]) -> OpenRun:
    """A row of `open_runs`."""
    run = OpenRun(*row)
    run.state = _STATES[row[4]]
    run.side = _SIDES[row[23]]
    return run


def record(row: Row) -> RunRow:
    """A row of `runs`."""
    return RunRow(*row)


def result(row: Row) -> RunResult:
    """A row of `run_results`."""
    run_id, namespace, status, closed_at, payload, failure = row
    return RunResult(run_id, namespace, RunStatus.of_number(status), closed_at, payload, failure)


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


def journal_row(row: Row) -> JournalRow:
    """A row of `journal`."""
    run_id, seq, count, epoch, transition_id, entries = row
    return JournalRow(run_id, seq, count, epoch, transition_id, (entries,))


def mail_row(row: Row) -> MailRow:
    """A row of `mail`; the trace context is in its body."""
    run_id, number, kind, arrived_at, body = row
    return MailRow(run_id, number, _MAIL_KINDS[kind], arrived_at, body)


def mail_by_run(rows: Iterable[Row]) -> dict[str, list[MailRow]]:
    """Rows of `mail`, in order for each run."""
    grouped: dict[str, list[MailRow]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(mail_row(row))
    return grouped


def alarm(row: Sequence[Any]) -> AlarmRow:
    """A row of `alarms`."""
    run_id, kind, ref, due_at, body, attempts = row
    return AlarmRow(run_id, _ALARM_KINDS[kind], ref, due_at, body, attempts)


def dead_letter(row: Row) -> DeadLetter:
    """A row of `dead_letters`."""
    run_id, kind, *others = row
    return DeadLetter(run_id, _ALARM_KINDS[kind], *others)


def task(row: Sequence[Any]) -> TaskRow:
    """A row of `step_tasks`."""
    (run_id, number, namespace, queue, name, state, ready_at, scheduled_at, arguments, priority, attempt,
     failures, losses, owner, epoch, started_at, deadline_at, timeout, recoveries, retry, step_id, seed, workflow,
     attempts_ended) = row  # fmt: skip
    return TaskRow(
        run_id, number, namespace, queue, name, TaskState(state), ready_at, scheduled_at, arguments, priority,
        attempt, failures, losses, owner, epoch, started_at, deadline_at, timeout, recoveries, retry, step_id, seed,
        workflow, split_attempts(attempts_ended),
    )  # fmt: skip


def child(row: Row) -> ChildRow:
    """A row of `children`."""
    run_id, number, child_run_id, close_policy, closed = row
    return ChildRow(run_id, number, child_run_id, ClosePolicy(close_policy), closed)


def key(row: Sequence[Any]) -> KeyRow:
    """A row of `run_keys`."""
    return KeyRow(*row)


def run_view(row: Row) -> RunView:
    """A row of `runs` joined with its row of `open_runs` or of `run_results`."""
    opened = row[RECORD_WIDTH : RECORD_WIDTH + OPEN_RUN_WIDTH]
    closed, closed_length = row[RECORD_WIDTH + OPEN_RUN_WIDTH : -1], row[-1]
    return RunView(
        record(row[:RECORD_WIDTH]),
        None if opened[0] is None else open_run(opened),
        None if closed[0] is None else result(closed),
        closed_length or 0,
    )
