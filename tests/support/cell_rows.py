"""All rows of a cell, read from Postgres in one snapshot, for the checkers of the invariants. Only reads."""

from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Table

from holdfast_coordinator.store import row_loaders, tables
from holdfast_coordinator.store.migrate import cell_schema
from tests.support.invariants import CellRows

T = TypeVar("T")


def read_cell(database_url: str, cell: str = "00") -> CellRows:
    """The rows of a cell as they are now."""
    with psycopg.connect(database_url) as connection:
        return rows_of(connection, cell)


def rows_of(connection: "psycopg.Connection[Any]", cell: str = "00") -> CellRows:
    """The same, on a connection that is in no transaction and is in none afterwards."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():

        def rows(table: Table, load: Callable[[tuple[Any, ...]], T], order: str = "1") -> list[T]:
            names = ", ".join(column.name for column in table.c)
            query = f"SELECT {names} FROM {cell_schema(cell)}.{table.name} ORDER BY {order}"
            return [load(row) for row in connection.execute(query.encode())]

        journals: dict[str, list[Any]] = {}
        for row in rows(tables.journal, row_loaders.journal_row, "run_id, seq"):
            journals.setdefault(row.run_id, []).append(row)
        mail: dict[str, list[Any]] = {}
        for piece in rows(tables.mail, row_loaders.mail_row, "run_id, number"):
            mail.setdefault(piece.run_id, []).append(piece)
        return CellRows(
            runs={row.run_id: row for row in rows(tables.runs, row_loaders.record)},
            open_runs={row.run_id: row for row in rows(tables.open_runs, row_loaders.open_run)},
            results=rows(tables.run_results, row_loaders.result),
            journals=journals,
            mail=mail,
            alarms={(row.run_id, row.kind, row.ref): row for row in rows(tables.alarms, row_loaders.alarm)},
            tasks={(row.run_id, row.number): row for row in rows(tables.step_tasks, row_loaders.task)},
            children={(row.run_id, row.number): row for row in rows(tables.children, row_loaders.child)},
            keys={(row.namespace, row.kind, row.key): row for row in rows(tables.run_keys, row_loaders.key)},
        )
