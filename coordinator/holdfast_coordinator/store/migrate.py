"""Prepares a database for the coordinator: refuses unsafe settings, sets those of the role, migrates the schemas.

Safe when several start at once: an advisory lock lets one migrate while the others wait, then find nothing to do.
"""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import psycopg
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import errors as pg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from .database_url import checked_database_url
from .errors import MigrationBusy, SchemaTooNew, UnsafeDatabase
from .port import StoreUnavailable
from .statements import checked_schema

CONTROL_SCHEMA = "holdfast"
LOCK_SECONDS = 60.0
MIGRATION_LOCK = 0x686F6C6466617374  # "holdfast"
_MIGRATIONS = Path(__file__).parent / "migrations"

SESSION_SETTINGS = {
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "5s",
    "statement_timeout": "15s",
}
"""What every connection of the coordinator runs with, unless the role or the URL says otherwise."""

log = structlog.get_logger(__name__)


def cell_schema(cell: str) -> str:
    """The schema of a cell, by the two characters that run ids carry."""
    return checked_schema(f"{CONTROL_SCHEMA}_c{cell}")


async def migrate(dsn: str, *, cells: Iterable[str], control: bool = True, lock_seconds: float = LOCK_SECONDS) -> None:
    """Brings the control schema and the cells up to date, each in a transaction of its own.

    Raises SchemaTooNew, UnsafeDatabase, MigrationBusy, StoreUnavailable; then no schema is half migrated.
    """
    await asyncio.to_thread(migrate_blocking, dsn, cells=list(cells), control=control, lock_seconds=lock_seconds)


async def session_options(dsn: str) -> str:
    """Server options for connections where the role does not have the settings itself; "" when it has."""
    return await asyncio.to_thread(_session_options, dsn)


def migrate_blocking(
    dsn: str, *, cells: Iterable[str], control: bool = True, lock_seconds: float = LOCK_SECONDS
) -> None:
    """migrate() for callers without an event loop."""
    targets = [("control", CONTROL_SCHEMA)] if control else []
    targets += [("cell", cell_schema(cell)) for cell in cells]
    engine = engine_of(dsn)
    try:
        with engine.connect() as connection:
            _refuse_unsafe(connection)
            _set_role(connection)
            _lock(connection, lock_seconds)
            for kind, schema in targets:
                _migrate_schema(connection, kind, schema)
    except DBAPIError as error:
        raise StoreUnavailable(f"cannot migrate: {_one_line(error)}") from error
    finally:
        engine.dispose()


def _session_options(dsn: str) -> str:
    engine = engine_of(dsn)
    try:
        with engine.connect() as connection:
            missing = [name for name in SESSION_SETTINGS if _setting(connection, name) == "0"]
    except DBAPIError as error:
        raise StoreUnavailable(f"cannot connect to Postgres: {_one_line(error)}") from error
    finally:
        engine.dispose()
    return " ".join(f"-c {name}={SESSION_SETTINGS[name]}" for name in missing)


def _one_line(error: DBAPIError) -> str:
    """What Postgres or the driver said, which may be many lines."""
    return " ".join(str(error.orig).split())


def engine_of(dsn: str) -> Engine:
    """An engine without a pool. psycopg reads the URL itself: SQLAlchemy's own form has no place for several hosts."""
    return create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(checked_database_url(dsn)), poolclass=NullPool
    )


def _refuse_unsafe(connection: Connection) -> None:
    for setting in ("fsync", "full_page_writes"):
        if _setting(connection, setting) == "off":
            raise UnsafeDatabase(setting)
    if _setting(connection, "synchronous_commit") == "off":
        log.warning(
            "commits_not_synchronous",
            why="Postgres runs with synchronous_commit=off: after a crash of its machine the last commits can be "
            "missing although they were acknowledged; set synchronous_commit=on",
        )
    connection.commit()


def _set_role(connection: Connection) -> None:
    """Gives the role the session settings in this database, where it may and has none."""
    database = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
    connection.commit()
    for name, value in SESSION_SETTINGS.items():
        if _setting(connection, name) != "0":
            connection.rollback()
            continue
        try:
            connection.execute(text(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {name} = '{value}'"))
            connection.commit()
        except DBAPIError as error:
            # 42501: it may not; XX000 and 40001: another starter changes the same row right now.
            connection.rollback()
            log.debug("setting_not_given", setting=name, error=str(error.orig))


def _lock(connection: Connection, seconds: float) -> None:
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text("SET idle_in_transaction_session_timeout = 0"))
    connection.execute(text(f"SET lock_timeout = {int(seconds * 1000)}"))
    connection.commit()
    try:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    except DBAPIError as error:
        if isinstance(error.orig, pg.LockNotAvailable):
            raise MigrationBusy(seconds) from error
        raise
    connection.commit()


def _migrate_schema(connection: Connection, kind: str, schema: str) -> None:
    config = Config(attributes={"connection": connection, "schema": schema})
    config.set_main_option("script_location", str(_MIGRATIONS / kind).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head() or ""
    context = MigrationContext.configure(connection, opts={"version_table_schema": schema})
    known = {revision.revision for revision in script.walk_revisions()}
    for found in context.get_current_heads():
        if found not in known:
            raise SchemaTooNew(schema, found=found, known=head)
    connection.commit()
    before = context.get_current_revision() or ""
    command.upgrade(config, "head")
    connection.commit()
    if before != head:
        log.info("schema_migrated", schema=schema, before=before, after=head)


def _setting(connection: Connection, name: str) -> str:
    return str(connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one())
