"""How statements are made from tables: writes of one row or of many, checked by the database itself.

A write of many rows takes one array per column. A write of one row takes its values: building, sending and
unnesting arrays of one element costs a lone insert a third of its time. A write that must find its rows divides by
zero when it did not, so that the COMMIT sent behind it in the same pipeline is not executed; SQLSTATE 22012 says so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, Interval, LargeBinary, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from . import parameters
from .database_connection import Statement, StatementCall
from .parameters import Type

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_TYPES: tuple[tuple[type[Any], Type, Type], ...] = (
    (Text, parameters.TEXT, parameters.TEXTS),
    (LargeBinary, parameters.BINARY, parameters.BYTES),
    (BigInteger, parameters.BIGINT, parameters.BIGINTS),
    (SmallInteger, parameters.SMALLINT, parameters.SMALLINTS),
    (Integer, parameters.INT, parameters.INTS),
    (Boolean, parameters.FLAG, parameters.FLAGS),
    (DateTime, parameters.TIME, parameters.TIMES),
    (Interval, parameters.INTERVAL, parameters.INTERVALS),
    (JSONB, parameters.JSON, parameters.JSONS),
)


@dataclass(frozen=True, slots=True)
class RowWrite:
    """A write of rows, each given as its values in one order."""

    one: Statement
    many: Statement

    def __call__(self, rows: Sequence[Sequence[Any]]) -> StatementCall:
        """The call that writes these rows; at least one."""
        return self.one(*rows[0]) if len(rows) == 1 else self.many(*zip(*rows, strict=True))


def checked_schema(schema: str) -> str:
    """The name of a schema, safe to put into SQL. Raises ValueError."""
    if not _SCHEMA.fullmatch(schema):
        raise ValueError(f"{schema!r} is not a schema name of lower-case letters, digits and underscores")
    return schema


def array_type(column: "Column[Any]") -> Type:
    """The type of the array parameter that fills a column."""
    return next(array for kind, _, array in _TYPES if isinstance(column.type, kind))


def value_type(column: "Column[Any]") -> Type:
    """The type of the parameter that fills a column of one row."""
    return next(value for kind, value, _ in _TYPES if isinstance(column.type, kind))


def columns(table: Table, alias: str) -> str:
    """The columns of a table in its order, qualified."""
    return ", ".join(f"{alias}.{column.name}" for column in table.c)


def insert_rows(table: Table, schema: str, *, replaced: Sequence[str] = (), raced: bool = False) -> RowWrite:
    """Inserts rows, their values in the table's order. replaced: columns that are set where the row is there already.

    LEFT JOIN ... ON false costs nothing on plain Postgres; a distributed one then runs the statement whole.
    """
    names = [column.name for column in table.c]
    types = tuple(array_type(column) for column in table.c)
    target = f"{schema}.{table.name}"
    on_conflict = _or_set(table, replaced) if replaced else ""
    sql = f"""
        INSERT INTO {target} ({", ".join(names)})
        SELECT {columns(table, "t")}
        FROM {_unnest(types, names)}
        LEFT JOIN {target} x ON false
        {on_conflict}
    """
    sql_of_one = f"""
        INSERT INTO {target} ({", ".join(names)})
        VALUES ({", ".join(f"${number}" for number in range(1, len(names) + 1))})
        {on_conflict}
    """
    values = tuple(value_type(column) for column in table.c)
    return RowWrite(
        Statement(f"insert_one_of_{table.name}", sql_of_one, values, raced),
        Statement(f"insert_{table.name}", sql, types, raced),
    )


def update_rows(
    table: Table, schema: str, key: Sequence[str], changed: Sequence[str], *, versioned: bool = False
) -> RowWrite:
    """Updates rows, their values with the key first. All must be there.

    versioned: answers the version that they have now, as hold_rows takes it.
    """
    names = [*key, *changed]
    types = tuple(array_type(table.c[name]) for name in names)
    numbers = {name: number for number, name in enumerate(names, start=1)}
    returned, version = (f"{VERSION} AS version", ", max(written.version)") if versioned else ("1", "")
    sql = f"""
        WITH written AS (
            UPDATE {schema}.{table.name} x
            SET {", ".join(f"{name} = t.{name}" for name in changed)}
            FROM {_unnest(types, names)}
            WHERE {_same(key)}
            RETURNING {returned}
        )
        {_ALL_WRITTEN.format(version=version)}
    """
    sql_of_one = f"""
        WITH written AS (
            UPDATE {schema}.{table.name} x
            SET {", ".join(f"{name} = ${numbers[name]}" for name in changed)}
            WHERE {" AND ".join(f"x.{name} = ${numbers[name]}" for name in key)}
            RETURNING {returned}
        )
        {_ONE_WRITTEN.format(version=version)}
    """
    values = tuple(value_type(table.c[name]) for name in names)
    return RowWrite(
        Statement(f"update_one_of_{table.name}", sql_of_one, values), Statement(f"update_{table.name}", sql, types)
    )


def delete_rows(table: Table, schema: str, key: Sequence[str]) -> RowWrite:
    """Deletes rows by key. All must be there."""
    types = tuple(array_type(table.c[name]) for name in key)
    sql = f"""
        WITH written AS (
            DELETE FROM {schema}.{table.name} x USING {_unnest(types, key)} WHERE {_same(key)} RETURNING 1
        )
        {_ALL_WRITTEN.format(version="")}
    """
    sql_of_one = f"""
        WITH written AS (
            DELETE FROM {schema}.{table.name} x
            WHERE {" AND ".join(f"x.{name} = ${number}" for number, name in enumerate(key, start=1))} RETURNING 1
        )
        {_ONE_WRITTEN.format(version="")}
    """
    values = tuple(value_type(table.c[name]) for name in key)
    return RowWrite(
        Statement(f"delete_one_of_{table.name}", sql_of_one, values), Statement(f"delete_{table.name}", sql, types)
    )


def hold_rows(table: Table, schema: str, key: Sequence[str]) -> RowWrite:
    """Locks rows that have the version which is given behind their key, in the order given.

    All must have it, and none be locked: a row that another transaction has is skipped, and missing then.
    """
    types = (*(array_type(table.c[name]) for name in key), parameters.BIGINTS)
    names = (*key, "version")
    sql = f"""
        WITH written AS (
            SELECT 1 FROM {_unnest(types, names)}
            CROSS JOIN LATERAL (
                SELECT {VERSION} AS version FROM {schema}.{table.name} x WHERE {_same(key)} FOR UPDATE SKIP LOCKED
            ) o
            WHERE o.version = t.version
        )
        {_ALL_WRITTEN.format(version="")}
    """
    is_same = " AND ".join(f"x.{name} = ${number}" for number, name in enumerate(key, start=1))
    sql_of_one = f"""
        WITH written AS (
            SELECT 1 FROM {schema}.{table.name} x
            WHERE {is_same} AND {VERSION} = ${len(names)} FOR UPDATE SKIP LOCKED
        )
        {_ONE_WRITTEN.format(version="")}
    """
    values = (*(value_type(table.c[name]) for name in key), parameters.BIGINT)
    return RowWrite(
        Statement(f"hold_one_of_{table.name}", sql_of_one, values), Statement(f"hold_{table.name}", sql, types)
    )


def sweep_rows(table: Table, schema: str, condition: str = "true") -> Statement:
    """Deletes the rows of runs, however many there are."""
    sql = f"DELETE FROM {schema}.{table.name} x WHERE x.run_id = ANY ($1::text[]) AND {condition}"
    return Statement(f"sweep_{table.name}", sql, (parameters.TEXTS,))


VERSION = "x.xmin::text::int8"
"""Which transaction wrote a row: it changes with whatever is changed of the row, and with nothing else."""
_ONE_WRITTEN = "SELECT 1 / (count(*) = 1)::int{version} FROM written"
_ALL_WRITTEN = "SELECT 1 / (count(*) = cardinality($1))::int{version} FROM written"


def _or_set(table: Table, replaced: Sequence[str]) -> str:
    key = ", ".join(column.name for column in table.primary_key)
    return f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in replaced)}"


def _unnest(types: Sequence[Type], names: Sequence[str]) -> str:
    arrays = ", ".join(f"${number}::{kind.name}" for number, kind in enumerate(types, start=1))
    return f"unnest({arrays}) AS t ({', '.join(names)})"


def _same(key: Sequence[str]) -> str:
    return " AND ".join(f"x.{name} = t.{name}" for name in key)
