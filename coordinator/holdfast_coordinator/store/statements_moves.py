"""The statements of the fast path: transitions that need no decision, by compare-and-set on epoch, owner and length.

Each is one statement for one run and one for many, with the same text around where its values come from. A run whose
row does not match writes nothing and is not answered. The CTE `given` holds the values of many, `written` the rows that
matched.
"""

from collections.abc import Callable
from dataclasses import dataclass

from holdfast_coordinator.domain.closes import FAILED_STATUSES, RELAY_AFTER
from holdfast_coordinator.domain.rows import AlarmKind, RunState, Side

from .database_connection import Statement
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
)
from .statements import VERSION, RowWrite

TRACED = Side.TRACE.value
_TRACES = (Side.TRACE | Side.TRACE_FAILURE).value
_FAILED = ", ".join(str(number) for number in sorted(status.number for status in FAILED_STATUSES))


@dataclass(frozen=True, slots=True)
class _Value:
    """What is given for each run: one, or an array of many."""

    name: str
    one: Type
    many: Type


_FENCES = (
    _Value("run_id", TEXT, TEXTS),
    _Value("epoch", BIGINT, BIGINTS),
    _Value("owner", TEXT, TEXTS),
    _Value("expected", BIGINT, BIGINTS),
)
_JOURNALED = (
    _Value("length", BIGINT, BIGINTS),
    _Value("count", INT, INTS),
    _Value("transition_id", BIGINT, BIGINTS),
    _Value("entries", BINARY, BYTES),
)
_RESULT = (
    _Value("status", SMALLINT, SMALLINTS),
    _Value("result", BINARY, BYTES),
    _Value("failure", BINARY, BYTES),
)
_AT = _Value("at", TIME, TIMES)

_JOURNAL_COLUMNS = "run_id, seq, count, epoch, transition_id, entries"
_JOURNAL_VALUES = "written.run_id, written.length, written.count, written.epoch, written.transition_id, written.entries"


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the values of a statement come from. ctes: what is before `written`. join: the table to join, if any."""

    ctes: str
    table: str
    value: Callable[[str], str]

    def joined(self, word: str) -> str:
        """The values after FROM or USING; nothing where they are parameters."""
        return f"{word} {self.table}" if self.table else ""

    def named(self, values: tuple[_Value, ...]) -> str:
        """The values as columns."""
        return ", ".join(f"{self.value(one.name)} AS {one.name}" for one in values)

    @property
    def matches(self) -> str:
        """The condition that the row x is as the transition expects it.

        IS NOT DISTINCT FROM, because the planner may use the index by owner for "=" while a table has no statistics.
        """
        return (
            f"x.run_id = {self.value('run_id')} AND x.epoch = {self.value('epoch')} "
            f"AND x.owner IS NOT DISTINCT FROM {self.value('owner')} AND x.length = {self.value('expected')} "
            f"AND x.state = {RunState.LEASED}"
        )


def append(schema: str) -> RowWrite:
    """Appends to the journals of leased runs whose epoch, owner and length match; answers those that did.

    Locks: the rows it updates, in the order given. Index: open_runs_pkey. The update stays HOT.
    """

    def sql(source: _Source) -> str:
        return f"""
            WITH {source.ctes} written AS (
                UPDATE {schema}.open_runs x
                SET length = {source.value("length")}, transition_id = {source.value("transition_id")},
                    losses = 0, timed_out = false, attempt_deadline_at = NULL
                {source.joined("FROM")}
                WHERE {source.matches}
                RETURNING {source.named((*_FENCES, *_JOURNALED))}, x.mail_next, x.mail_taken, x.side,
                    {VERSION} AS version
            ), journaled AS (
                INSERT INTO {schema}.journal ({_JOURNAL_COLUMNS}) SELECT {_JOURNAL_VALUES} FROM written
            )
            SELECT written.run_id, written.mail_next, written.mail_taken, (written.side & {TRACED}) <> 0,
                written.version
            FROM written
        """

    return _of_one_and_of_many("append", sql, (*_FENCES, *_JOURNALED))


def close(schema: str) -> RowWrite:
    """Closes leased runs whose epoch, owner and length match, without mail and rows in other tables.

    Locks: the rows it deletes, in the order given. Index: open_runs_pkey. A run closes at `at`, or at its last time
    when that is later. It leaves a trace mark as domain.closes.trace_mark says.
    """

    def sql(source: _Source) -> str:
        return f"""
            WITH {source.ctes} written AS (
                DELETE FROM {schema}.open_runs x
                {source.joined("USING")}
                WHERE {source.matches}
                    AND (x.side & {~_TRACES}) = 0 AND x.mail_next = x.mail_taken + 1
                RETURNING {source.named((*_FENCES, *_JOURNALED, *_RESULT))}, x.namespace,
                    greatest(x.last_at, {source.value(_AT.name)}) AS closed_at, x.parent_run_id, x.parent_number, x.side
            ), journaled AS (
                INSERT INTO {schema}.journal ({_JOURNAL_COLUMNS}) SELECT {_JOURNAL_VALUES} FROM written
            ), closed AS (
                INSERT INTO {schema}.run_results (run_id, namespace, status, closed_at, result, failure)
                SELECT written.run_id, written.namespace, written.status, written.closed_at, written.result,
                    written.failure
                FROM written
            ), to_parent AS (
                INSERT INTO {schema}.alarms (run_id, kind, ref, due_at, body)
                SELECT written.run_id, {AlarmKind.OUTBOX_CHILD_CLOSED}, 0, written.closed_at, ''::bytea
                FROM written WHERE written.parent_run_id IS NOT NULL
            ), marked AS (
                INSERT INTO {schema}.trace_marks (run_id, exported_seq, closed_at, relay_at)
                SELECT written.run_id, 0, written.closed_at, written.closed_at + CASE
                    WHEN (written.side & {TRACED}) <> 0 THEN interval '{RELAY_AFTER.total_seconds()} s'
                    ELSE interval '0'
                END
                FROM written
                WHERE (written.side & {TRACED}) <> 0
                    OR ((written.side & {_TRACES}) <> 0 AND written.status IN ({_FAILED}))
                ON CONFLICT (run_id) DO UPDATE SET closed_at = excluded.closed_at, relay_at = excluded.relay_at
            )
            SELECT written.run_id, written.namespace, written.closed_at, written.parent_run_id, written.parent_number,
                (written.side & {TRACED}) <> 0
            FROM written
        """

    return _of_one_and_of_many("close", sql, (*_FENCES, *_JOURNALED, *_RESULT, _AT))


def _of_one_and_of_many(name: str, sql: Callable[[_Source], str], values: tuple[_Value, ...]) -> RowWrite:
    numbers = {one.name: number for number, one in enumerate(values, start=1)}
    types = {one.name: one.one for one in values}
    arrays = ", ".join(f"${numbers[one.name]}::{one.many.name}" for one in values)
    names = ", ".join(one.name for one in values)

    def parameter(column: str) -> str:
        return f"${numbers[column]}::{types[column].name}"

    def column_of_given(column: str) -> str:
        return f"given.{column}"

    of_one = _Source("", "", parameter)
    of_many = _Source(f"given AS (SELECT * FROM unnest({arrays}) AS t ({names})),", "given", column_of_given)
    return RowWrite(
        Statement(f"{name}_one", sql(of_one), tuple(one.one for one in values)),
        Statement(name, sql(of_many), tuple(one.many for one in values)),
    )
