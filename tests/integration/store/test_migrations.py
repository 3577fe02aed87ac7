"""Migrations on real Postgres: what they make, two at once, newer schemas, unsafe servers."""

import asyncio
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import text

from holdfast_coordinator.store.errors import MigrationBusy, SchemaTooNew, UnsafeDatabase
from holdfast_coordinator.store.migrate import (
    MIGRATION_LOCK,
    SESSION_SETTINGS,
    cell_schema,
    engine_of,
    migrate,
    session_options,
)
from holdfast_coordinator.store.port import StoreUnavailable
from holdfast_coordinator.store.tables import STORAGE, cell_metadata, control_metadata

COLUMNS = """
    SELECT table_name, column_name, ordinal_position, data_type, udt_name, collation_name, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema = %s AND table_name <> 'alembic_version'
"""
CHECKS = """
SELECT c.relname, k.conname, replace(pg_get_constraintdef(k.oid), c.relnamespace::regnamespace || '.', '')
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype = 'c' AND c.relnamespace = %s::regnamespace
"""
FUNCTIONS = r"""
SELECT proname, provolatile, pg_get_function_arguments(oid), regexp_replace(prosrc, '\s+', ' ', 'g')
FROM pg_proc WHERE pronamespace = %s::regnamespace
"""
INDEXES = """
    SELECT tablename, indexname, replace(indexdef, schemaname || '.', '') FROM pg_indexes
    WHERE schemaname = %s AND tablename <> 'alembic_version'
"""
STORED = "SELECT relname, reloptions FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'"
KEYLESS = """
    SELECT relname FROM pg_class c WHERE relnamespace = %s::regnamespace AND relkind = 'r'
    AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.conrelid = c.oid AND p.contype = 'p')
"""
FOREIGN = "SELECT conname FROM pg_constraint WHERE contype = 'f'"


def _rows(dsn: str, query: str, *values: Any) -> set[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute(query.encode(), values).fetchall()
    return {tuple(tuple(part) if isinstance(part, list) else part for part in row) for row in found}


@pytest.mark.parametrize(("schema", "metadata"), [("holdfast", control_metadata), (cell_schema("00"), cell_metadata)])
def test_migrations_make_exactly_the_tables_that_the_code_describes(database: str, schema: str, metadata: Any) -> None:
    engine = engine_of(database)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA described"))
        connection.execute(text("SET LOCAL search_path TO described"))
        metadata.create_all(connection)
    engine.dispose()
    for query in (COLUMNS, INDEXES, CHECKS, FUNCTIONS):
        assert _rows(database, query, schema) == _rows(database, query, "described")
    stored = {name: set(options or ()) for name, options in _rows(database, STORED, schema)}
    for name in metadata.tables:
        expected = STORAGE.get(name, {})
        assert stored[name] == {f"{option}={value}" for option, value in expected.items()}
    assert _rows(database, KEYLESS, schema) == set()
    assert _rows(database, FOREIGN) == set()


@pytest.mark.feature("F135")
async def test_two_starters_at_once_make_one_schema(empty_database: str) -> None:
    await asyncio.gather(*(migrate(empty_database, cells=["00", "01"]) for _ in range(3)))
    for schema in ("holdfast", "holdfast_c00", "holdfast_c01"):
        assert len(_rows(empty_database, f"SELECT version_num FROM {schema}.alembic_version")) == 1


@pytest.mark.feature("F135")
async def test_migrating_again_changes_nothing(database: str) -> None:
    before = _rows(database, "SELECT oid, relname FROM pg_class WHERE relkind IN ('r', 'i')")
    await migrate(database, cells=["00"])
    assert _rows(database, "SELECT oid, relname FROM pg_class WHERE relkind IN ('r', 'i')") == before


async def test_a_schema_of_a_newer_release_is_refused_with_what_to_do(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE holdfast_c00.alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNew, match="start the release that migrated it") as refused:
        await migrate(database, cells=["00"])
    assert (refused.value.found, refused.value.known) == ("9999", "0001")


async def test_a_migration_that_never_ends_is_not_waited_for_forever(database: str) -> None:
    with psycopg.connect(database) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        with pytest.raises(MigrationBusy):
            await migrate(database, cells=["00"], lock_seconds=0.1)


async def test_a_database_that_does_not_answer_is_unavailable(database: str) -> None:
    with pytest.raises(StoreUnavailable):
        await migrate(database.replace("holdfast@", "nobody@"), cells=["00"])


async def test_the_role_gets_the_session_settings_and_keeps_its_own(empty_database: str) -> None:
    assert "lock_timeout" in await session_options(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET lock_timeout = '7s'")
    try:
        await migrate(empty_database, cells=["00"])
        assert await session_options(empty_database) == ""
        with psycopg.connect(empty_database) as connection:
            shown = {
                name: connection.execute(f"SHOW {name}".encode()).fetchone()[0]  # type: ignore[index]
                for name in SESSION_SETTINGS
            }
    finally:
        with psycopg.connect(empty_database, autocommit=True) as connection:
            connection.execute("ALTER ROLE CURRENT_USER RESET lock_timeout")
    assert shown == {**SESSION_SETTINGS, "lock_timeout": "7s"}


async def test_lost_synchronous_commit_is_warned_about(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
    try:
        with structlog.testing.capture_logs() as logs:
            await migrate(database, cells=["00"])
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("ALTER ROLE CURRENT_USER RESET synchronous_commit")
    warned = [one["why"] for one in logs if one["event"] == "commits_not_synchronous"]
    assert warned
    assert all("synchronous_commit=on" in why for why in warned)


async def test_a_server_that_may_tear_pages_is_refused(database: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        try:
            admin.execute("ALTER SYSTEM SET full_page_writes = off")
            _reload(admin, "off")
            with pytest.raises(UnsafeDatabase, match="full_page_writes=on"):
                await migrate(database, cells=["00"])
        finally:
            admin.execute("ALTER SYSTEM RESET full_page_writes")
            _reload(admin, "on")


def _reload(admin: "psycopg.Connection[Any]", expected: str) -> None:
    admin.execute("SELECT pg_reload_conf()")
    while admin.execute("SHOW full_page_writes").fetchone() != (expected,):
        pass
