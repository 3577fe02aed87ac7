"""Many runs that wait in a queue, made in SQL out of one that was started: a million of them in a minute.

Writes to the database of a benchmark's own stack and to no other. It knows no columns but the ids of runs and their
queues: whatever rows a started run has, each of the others gets the same.
"""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from holdfast.ids import CELL_IN_RUN_ID
from holdfast_coordinator.store.migrate import cell_schema

ROWS_PER_STATEMENT = 50_000
_COUNTED = 8
"""How many characters at the end of a run id become the number of the run."""
_COLUMNS_OF_RUNS = """
SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position)
FROM information_schema.columns
WHERE table_schema = %s AND table_name IN (
    SELECT table_name FROM information_schema.columns WHERE table_schema = %s AND column_name = 'run_id'
)
GROUP BY table_name
"""


def fill(url: str, run_id: str, queue: str, *, first: int, count: int) -> None:
    """Makes `count` runs like this one, which is ready in a queue without workers, in another queue.

    first: the number of the first of them; each number may be used once.
    """
    schema = cell_schema(run_id[CELL_IN_RUN_ID])
    with psycopg.connect(url, autocommit=True) as connection:
        copies = list(_copies(connection, schema, run_id))
        for start in range(first, first + count, ROWS_PER_STATEMENT):
            last = min(start + ROWS_PER_STATEMENT, first + count) - 1
            with connection.transaction():
                for copy in copies:
                    connection.execute(copy, {"run_id": run_id, "queue": queue, "first": start, "last": last})


def settle(admin_url: str) -> None:
    """Does at once what the server does in the minutes after a large insert: statistics, visibility, a checkpoint."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _copies(connection: psycopg.Connection, schema: str, run_id: str) -> Iterator[sql.Composed]:
    """One statement for each table that has rows of this run."""
    for table, columns in connection.execute(_COLUMNS_OF_RUNS, (schema, schema)).fetchall():
        name = sql.Identifier(schema, table)
        found = connection.execute(sql.SQL("SELECT 1 FROM {} WHERE run_id = %s").format(name), (run_id,)).fetchone()
        if found is None:
            continue
        yield sql.SQL(
            "INSERT INTO {} ({}) SELECT {} FROM {} t, generate_series(%(first)s::bigint, %(last)s::bigint) n"
            " WHERE t.run_id = %(run_id)s"
        ).format(
            name,
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(_copied, columns)),
            name,
        )


def _copied(column: str) -> sql.Composable:
    if column == "run_id":
        return sql.SQL(f"left(t.run_id, -{_COUNTED}) || lpad(n::text, {_COUNTED}, '0')")
    if column == "queue":
        return sql.SQL("%(queue)s")
    if column == "ready_at":
        # As if they had been started one after the other: equal times would be a queue without an order.
        return sql.SQL("t.ready_at + n * interval '1 microsecond'")
    return sql.Identifier("t", column)
