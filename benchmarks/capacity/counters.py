"""What a Postgres server says that it did: transactions, WAL, connections, and what closed runs take on its disk.

Read as the superuser, from another database than the one that is measured, so that asking is not counted.
"""

from dataclasses import dataclass, fields

import psycopg

from holdfast_coordinator.postgres import EmbeddedPostgres
from holdfast_coordinator.postgres.settings import DATABASE

KEPT_TABLES = ("runs", "run_results", "journal", "run_keys")
"""The tables of a cell whose rows stay when a run closes; all others hold open runs only."""


@dataclass(slots=True, frozen=True)
class Counters:
    """Since the server started. connections: open now."""

    transactions: int
    wal_bytes: int
    connections: int

    def since(self, before: "Counters") -> "Counters":
        """The differences; the connections that are open now."""
        return Counters(
            self.transactions - before.transactions, self.wal_bytes - before.wal_bytes, self.connections
        )  # fmt: skip


@dataclass(slots=True, frozen=True)
class Kept:
    """What closed runs have left, over all cells. table_bytes and index_bytes: as on disk."""

    runs: int
    journal_rows: int
    table_bytes: int
    index_bytes: int

    def since(self, before: "Kept") -> "Kept":
        """The differences."""
        return Kept(*(getattr(self, one.name) - getattr(before, one.name) for one in fields(Kept)))


def counters(server: EmbeddedPostgres) -> Counters:
    """What the server has counted so far. A backend that is idle may say ten seconds later what it did."""
    with psycopg.connect(server.url(database="postgres", role="postgres"), autocommit=True) as connection:
        row = connection.execute(
            """
            SELECT d.xact_commit, (pg_current_wal_insert_lsn() - '0/0')::int8,
                (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname)
            FROM pg_stat_database d
            WHERE d.datname = %s
            """,
            [DATABASE],
        ).fetchone()
    assert row is not None
    return Counters(*row)


def kept(server: EmbeddedPostgres) -> Kept:
    """What the tables of closed runs hold and take."""
    with psycopg.connect(server.url(role="postgres"), autocommit=True) as connection:
        found = connection.execute(
            """
            SELECT n.nspname, c.relname, pg_table_size(c.oid), pg_indexes_size(c.oid)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname LIKE 'holdfast\\_c__' AND c.relname = ANY (%s) AND c.relkind = 'r'
            """,
            [list(KEPT_TABLES)],
        ).fetchall()
        runs = journal = 0
        for schema, table, _, _ in found:
            if table in ("run_results", "journal"):
                counted = connection.execute(f"SELECT count(*) FROM {schema}.{table}").fetchone()
                assert counted is not None
                runs += counted[0] if table == "run_results" else 0
                journal += counted[0] if table == "journal" else 0
    return Kept(runs, journal, sum(row[2] for row in found), sum(row[3] for row in found))
