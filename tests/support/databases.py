"""Migrated databases for tests: what a test has left is emptied and given to the next one.

Making a database and dropping it costs a third of a second, emptying one a twentieth. A test that has changed more than
rows, so that a definition or the planner's statistics are other ones, gets its database dropped behind it.
"""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from holdfast_coordinator.postgres import EmbeddedPostgres
from holdfast_coordinator.store.migrate import migrate_blocking

CELL = "00"
_DEFINITIONS = """
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
    SELECT format('%s.%s %s', c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod)) AS line
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema)' AND a.attnum > 0
    UNION ALL
    SELECT format('%s %s %s', conrelid::regclass, conname, convalidated) FROM pg_constraint
    UNION ALL
    SELECT format('%s %s', tableoid::regclass, version_num) FROM holdfast.alembic_version
    UNION ALL
    SELECT format('%s %s', tableoid::regclass, version_num) FROM holdfast_c00.alembic_version
    UNION ALL
    SELECT format('statistics of %s', starelid::regclass) FROM pg_statistic
    WHERE starelid >= 16384
) definitions
"""
_TABLES_WITH_PAGES = """
SELECT oid::regclass::text, pg_relation_size(oid) / 8192 FROM pg_class
WHERE relkind = 'r' AND relnamespace::regnamespace::text ~ '^holdfast' AND relname <> 'alembic_version'
AND pg_relation_size(oid) > 0
"""
PAGES_TO_TRUNCATE = 50
"""A bigger table gets new files, which costs as many writes to the disk; the rows of a smaller one are deleted."""
_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class DatabasePool:
    """The databases of one test session, on one server."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._admin_url = server.url(database="postgres", role="postgres")
        self._numbers = itertools.count(1)
        self._free: list[str] = []
        self._template = self._create()
        migrate_blocking(server.url(database=self._template), cells=[CELL])
        with self._connected(self._template) as connection:
            self._definitions = _one(connection, _DEFINITIONS)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a migrated database without rows, for as long as the block runs."""
        name = self._free.pop() if self._free else self._create(template=self._template)
        try:
            yield self._server.url(database=name)
        finally:
            if self._is_emptied(name):
                self._free.append(name)
            else:
                self._drop(name)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a database without anything in it, for as long as the block runs."""
        name = self._create()
        try:
            yield self._server.url(database=name)
        finally:
            self._drop(name)

    def _is_emptied(self, name: str) -> bool:
        """Ends what is still connected and deletes all rows. False when the database has to go."""
        with self._connected(name) as connection:
            while _one(connection, _OTHERS):
                time.sleep(0.001)  # no event says that a server process has ended
            if _one(connection, _DEFINITIONS) != self._definitions:
                return False
            connection.execute(sql.SQL("ALTER ROLE holdfast IN DATABASE {} RESET ALL").format(sql.Identifier(name)))
            connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(name)))
            connection.execute("SELECT pg_stat_reset()")
            for table, pages in connection.execute(_TABLES_WITH_PAGES).fetchall():
                how = "TRUNCATE" if pages > PAGES_TO_TRUNCATE else "DELETE FROM"
                connection.execute(f"{how} {table}".encode())
        return True

    def _create(self, *, template: str = "template0") -> str:
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            # wal_log: file_copy writes a checkpoint, which takes a second on a busy disk.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER holdfast STRATEGY wal_log".encode())
        return name

    def _drop(self, name: str) -> None:
        with psycopg.connect(self._admin_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def _connected(self, name: str) -> "psycopg.Connection[tuple[Any, ...]]":
        url = self._server.url(database=name, role="postgres")
        return psycopg.connect(url, autocommit=True, options="-c synchronous_commit=off")


def _one(connection: "psycopg.Connection[tuple[Any, ...]]", statement: str) -> Any:
    found = connection.execute(statement.encode()).fetchone()
    assert found is not None
    return found[0]
