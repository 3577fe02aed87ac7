"""The statements that write the difference a batch makes: one for each table and kind of change.

All rows are locked by the batch, or new. Writes by key use the primary key of their table and take no other locks.
"""

from collections.abc import Callable, Sequence

from holdfast_coordinator.domain.rows import Side
from holdfast_coordinator.domain.workspace import FAILED_STATUSES, RELAY_AFTER

from . import parameters
from .connection import Statement
from .parameters import (
    BIGINT,
    BIGINTS,
    BINARY,
    BYTES,
    INT,
    INTS,
    SMALLINT,
    SMALLINTS,
    TEXT,
    TEXTS,
    TIME,
    TIMES,
    Type,
)  # fmt: skip
from .statements import RowWrite, delete_rows, insert_rows, sweep_rows, update_rows
from .tables import (
    alarms,
    children,
    dead_letters,
    journal,
    mail,
    open_runs,
    requests,
    run_keys,
    run_results,
    runs,
    step_tasks,
    trace_marks,
)

OPEN_RUN_CHANGES = tuple(
    column.name
    for column in open_runs.c
    if column.name not in ("run_id", "namespace", "queue", "workflow", "parent_run_id", "parent_number")
)
TASK_CHANGES = (
    "state", "ready_at", "priority", "attempt", "failures", "losses", "owner", "epoch", "started_at",
    "deadline_at", "attempts_ended",
)  # fmt: skip


class CellWrites:
    """The statements that write to one cell."""

    def __init__(self, schema: str) -> None:
        self.insert_runs = insert_rows(runs, schema, raced=True)
        self.insert_open_runs = insert_rows(open_runs, schema, raced=True)
        self.update_open_runs = update_rows(open_runs, schema, ("run_id",), OPEN_RUN_CHANGES)
        self.delete_open_runs = delete_rows(open_runs, schema, ("run_id",))
        self.insert_results = insert_rows(run_results, schema)
        self.insert_journal = insert_rows(journal, schema)
        self.copy_journal = copy_journal(schema)
        self.insert_mail = insert_rows(mail, schema)
        self.delete_mail = delete_rows(mail, schema, ("run_id", "number"))
        self.set_alarms = insert_rows(
            alarms,
            schema,
            on_conflict=" ON CONFLICT (run_id, kind, ref) DO UPDATE "
            "SET due_at = excluded.due_at, body = excluded.body, attempts = excluded.attempts",
        )
        self.insert_dead_letters = insert_rows(dead_letters, schema)
        self.delete_alarms = delete_rows(alarms, schema, ("run_id", "kind", "ref"))
        self.insert_tasks = insert_rows(step_tasks, schema)
        self.update_tasks = update_rows(step_tasks, schema, ("run_id", "number"), TASK_CHANGES)
        self.delete_tasks = delete_rows(step_tasks, schema, ("run_id", "number"))
        self.insert_children = insert_rows(children, schema)
        self.close_children = update_rows(children, schema, ("run_id", "number"), ("closed",))
        self.insert_requests = insert_rows(requests, schema)
        self.point_keys = update_rows(run_keys, schema, ("namespace", "kind", "key"), _KEY_CHANGES)
        self.insert_joins = insert_rows(run_keys, schema, raced=True)
        self.release_keys = release_keys(schema)
        self.sweep_mail = sweep_rows(mail, schema)
        # Alarms of the outbox kinds are promises to other runs; they outlive the run.
        self.sweep_alarms = sweep_rows(alarms, schema, "x.kind < 6")
        self.sweep_tasks = sweep_rows(step_tasks, schema)
        self.expire_requests = expire_requests(schema)
        self.sweep_children = sweep_rows(children, schema)
        self.close_traces = insert_rows(
            trace_marks,
            schema,
            on_conflict=" ON CONFLICT (run_id) DO UPDATE "
            "SET closed_at = excluded.closed_at, relay_at = excluded.relay_at",
        )
        self.append = append(schema)
        self.close = close(schema)


TRACED = Side.TRACE.value
_TRACES = (Side.TRACE | Side.TRACE_FAILURE).value
_FAILED = ", ".join(str(status.number) for status in sorted(FAILED_STATUSES, key=lambda status: status.number))
_KEY_CHANGES = ("run_id", "call_digest", "workflow")


def release_keys(schema: str) -> Statement:
    """Deletes keys that still name the run they were reserved for. Locks: held. Index: run_keys_pkey."""
    return Statement(
        "release_keys",
        f"DELETE FROM {schema}.run_keys x "
        "USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t (namespace, kind, key, run_id) "
        "WHERE x.namespace = t.namespace AND x.kind = t.kind AND x.key = t.key AND x.run_id = t.run_id",
        (TEXTS, TEXTS, TEXTS, TEXTS),
    )


def append(schema: str) -> RowWrite:
    """Appends to the journals of leased runs whose epoch, owner and length match; answers those that did.

    Locks: the rows it updates, in the order given. Index: open_runs_pkey. The update stays HOT.
    IS NOT DISTINCT FROM, because the planner may use the index by owner for "=" while a table has no statistics.
    """

    def sql(source: str, t: Callable[[str], str], given: str) -> str:
        return (
            f"WITH {source}u AS (UPDATE {schema}.open_runs x SET length = {t('length')}, "
            f"transition_id = {t('transition_id')}, losses = 0, timed_out = false, attempt_deadline_at = NULL "
            f"{given} AND x.state = 2 RETURNING {_named(_FENCED, t)}, x.mail_next, x.mail_taken, x.side), "
            f"{_journal_of('u', schema)} SELECT u.run_id, u.mail_next, u.mail_taken, (u.side & {TRACED}) <> 0 FROM u"
        )

    return _compare_and_set("append", sql, "FROM", _FENCED)


def close(schema: str) -> RowWrite:
    """Closes leased runs whose epoch, owner and length match, without mail and rows in other tables.

    Locks: the rows it deletes, in the order given. Index: open_runs_pkey. A run closes at `at`, or at its last time
    when that is later. It leaves a trace mark as domain.workspace.trace_mark says.
    """

    def sql(source: str, t: Callable[[str], str], given: str) -> str:
        return (
            f"WITH {source}d AS (DELETE FROM {schema}.open_runs x {given} "
            f"AND x.state = 2 AND (x.side & {~_TRACES}) = 0 AND x.mail_next = x.mail_taken + 1 "
            f"RETURNING {_named(_CLOSED[:-1], t)}, x.namespace, greatest(x.last_at, {t('at')}) AS closed_at, "
            f"x.parent_run_id, x.parent_number, x.side), {_journal_of('d', schema)}, "
            f"r AS (INSERT INTO {schema}.run_results (run_id, namespace, status, closed_at, result, failure) "
            "SELECT d.run_id, d.namespace, d.status, d.closed_at, d.result, d.failure FROM d), "
            f"o AS (INSERT INTO {schema}.alarms (run_id, kind, ref, due_at, body) "
            "SELECT d.run_id, 7, 0, d.closed_at, ''::bytea FROM d WHERE d.parent_run_id IS NOT NULL), "
            f"m AS (INSERT INTO {schema}.trace_marks (run_id, exported_seq, closed_at, relay_at) "
            "SELECT d.run_id, 0, d.closed_at, d.closed_at + "
            f"CASE WHEN (d.side & {TRACED}) <> 0 THEN interval '{RELAY_AFTER.total_seconds()} s' ELSE interval '0' END "
            f"FROM d WHERE (d.side & {TRACED}) <> 0 OR ((d.side & {_TRACES}) <> 0 AND d.status IN ({_FAILED})) "
            "ON CONFLICT (run_id) DO UPDATE SET closed_at = excluded.closed_at, relay_at = excluded.relay_at) "
            f"SELECT d.run_id, d.namespace, d.closed_at, d.parent_run_id, d.parent_number, (d.side & {TRACED}) <> 0 "
            "FROM d"
        )

    return _compare_and_set("close", sql, "USING", _CLOSED)


# What a compare-and-set is given for each run: the fences it must find, what it leaves, and the time.
_FENCED: tuple[tuple[str, Type, Type], ...] = (
    ("run_id", TEXT, TEXTS),
    ("epoch", BIGINT, BIGINTS),
    ("owner", TEXT, TEXTS),
    ("expected", BIGINT, BIGINTS),
    ("length", BIGINT, BIGINTS),
    ("count", INT, INTS),
    ("transition_id", BIGINT, BIGINTS),
    ("entries", BINARY, BYTES),
)
_CLOSED = (
    *_FENCED,
    ("status", SMALLINT, SMALLINTS),
    ("result", BINARY, BYTES),
    ("failure", BINARY, BYTES),
    ("at", TIME, TIMES),
)


def _compare_and_set(
    name: str,
    sql: Callable[[str, Callable[[str], str], str], str],
    joined: str,
    given: Sequence[tuple[str, Type, Type]],
) -> RowWrite:
    """The statement for one run and for many. sql: makes it from where the values come from, how one is written, and
    the condition. joined: the word before the values of many."""
    numbers = {column: number for number, (column, _, _) in enumerate(given, start=1)}
    arrays = ", ".join(f"${numbers[column]}::{array.name}" for column, _, array in given)
    names = ", ".join(column for column, _, _ in given)
    source = f"t AS (SELECT * FROM unnest({arrays}) AS a ({names})), "

    def condition(t: Callable[[str], str]) -> str:
        return (
            f"WHERE x.run_id = {t('run_id')} AND x.epoch = {t('epoch')} "
            f"AND x.owner IS NOT DISTINCT FROM {t('owner')} AND x.length = {t('expected')}"
        )

    def of_many(column: str) -> str:
        return f"t.{column}"

    def of_one(column: str) -> str:
        kind = next(value for known, value, _ in given if known == column)
        return f"${numbers[column]}::{kind.name}"

    many = sql(source, of_many, f"{joined} t {condition(of_many)}")
    one = sql("", of_one, condition(of_one))
    return RowWrite(
        Statement(f"{name}_one", one, tuple(value for _, value, _ in given)),
        Statement(name, many, tuple(array for _, _, array in given)),
    )


def _named(given: Sequence[tuple[str, Type, Type]], t: Callable[[str], str]) -> str:
    return ", ".join(f"{t(column)} AS {column}" for column, _, _ in given)


def _journal_of(written: str, schema: str) -> str:
    """Inserts the journal rows of the runs that were written."""
    columns = ("run_id", "length", "count", "epoch", "transition_id", "entries")
    return (
        f"j AS (INSERT INTO {schema}.journal (run_id, seq, count, epoch, transition_id, entries) "
        f"SELECT {', '.join(f'{written}.{column}' for column in columns)} FROM {written})"
    )


def expire_requests(schema: str) -> Statement:
    """Lets requests of runs that were kept for as long as those are open expire at $2. Index: requests_pkey."""
    return Statement(
        "expire_requests",
        f"UPDATE {schema}.requests x SET expires_at = $2 WHERE x.run_id = ANY ($1::text[]) AND x.expires_at > $2",
        (TEXTS, TIME),
    )


def copy_journal(schema: str) -> Statement:
    """Copies rows $3 to $4 of the journal of run $2, which is closed, to run $1, $5 entries earlier.

    Locks: none but the new rows. Index: journal_pkey.
    """
    return Statement(
        "copy_journal",
        f"INSERT INTO {schema}.journal (run_id, seq, count, epoch, transition_id, entries) "
        f"SELECT $1, j.seq - $5, j.count, 0, 0, j.entries FROM {schema}.journal j "
        "WHERE j.run_id = $2 AND j.seq >= $3 AND j.seq <= $4",
        (TEXT, TEXT, BIGINT, BIGINT, BIGINT),
    )


def delete_requests(schema: str) -> Statement:
    """Deletes expired answers by key; those that another replica deleted are not there. Index: requests_pkey."""
    return Statement(
        "prune_requests",
        f"DELETE FROM {schema}.requests x USING unnest($1::text[], $2::text[]) AS t (run_id, request_id) "
        "WHERE x.run_id = t.run_id AND x.request_id = t.request_id AND x.expires_at <= $3",
        (TEXTS, TEXTS, parameters.TIME),
    )
