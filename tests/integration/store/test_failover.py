"""The Postgres store when its server becomes read-only for a while, and when its connections are not what they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.control import PostgresControlStore
from holdfast_coordinator.store.database_connection import Statement
from holdfast_coordinator.store.pool import Pool
from holdfast_coordinator.store.port import StoreUnavailable
from tests.support.store_rows import open_run, starting, write


@contextmanager
def read_only(url: str, postgres_url: str) -> Iterator[None]:
    """A server that lets in sessions only to read, as one does that is no longer the primary."""
    name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
        try:
            cut(url, admin)
            yield
        finally:
            admin.execute("SET default_transaction_read_only = off")
            admin.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name))


def cut(url: str, admin: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Ends all connections to a database."""
    admin.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
        [conninfo_to_dict(url)["dbname"]],
    )


@pytest.mark.parametrize("attrs", ["", "any"], ids=["only writable servers", "whatever server there is"])
async def test_a_cell_writes_again_as_soon_as_the_database_is_no_longer_read_only(
    database: str, postgres_url: str, attrs: str
) -> None:
    url = f"{database}&target_session_attrs={attrs}" if attrs else database
    async with PostgresCellStore.open(url, "00") as cell:
        await write(cell, starting(open_run("r1")))
        with read_only(database, postgres_url):
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await write(cell, starting(open_run("r2")))
        await write(cell, starting(open_run("r3")))
        assert await cell.view("default", "r3") is not None


async def test_the_control_schema_is_written_again_as_soon_as_the_database_is_no_longer_read_only(
    database: str, postgres_url: str
) -> None:
    async with PostgresControlStore.open(database) as control:
        await control.create_namespace("n1")
        with read_only(database, postgres_url), pytest.raises(StoreUnavailable):
            await control.create_namespace("n1")
        await control.create_namespace("n1")


async def test_statements_that_a_proxy_has_forgotten_are_prepared_again(database: str) -> None:
    pool = Pool(database, size=1)
    one, forget = Statement("one", "SELECT 1"), Statement("forget", "DEALLOCATE ALL")
    await pool.read(one())
    await pool.write(forget())
    assert (await pool.read(one()))[0].rows == [(1,)]
    pool.close()


async def test_a_table_that_was_migrated_under_a_connection_is_read_by_another(database: str) -> None:
    pool = Pool(database, size=1)
    listing = Statement("listing", "SELECT * FROM holdfast_c00.children")
    await pool.read(listing())
    with psycopg.connect(database) as other:
        other.execute("ALTER TABLE holdfast_c00.children ADD COLUMN note text")
    assert (await pool.read(listing()))[0].rows == []
    pool.close()
