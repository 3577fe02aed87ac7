"""The doorbell in Postgres: NOTIFY on one connection, LISTEN on another, outside of every transaction that matters.

Nothing but latency depends on it. It does not work behind a pooler that gives each transaction another connection;
then no notice arrives, and the looks at the rows find it.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from .database_connection import CONNECT_SECONDS, DatabaseConnection, Statement
from .database_url import checked_database_url
from .errors import ConnectionLost, QueryFailed, translated
from .parameters import TEXT, TEXTS
from .port import StoreUnavailable

CHANNEL = "holdfast"
RING_SECONDS = 5.0
RING_OPTIONS = "-c synchronous_commit=off"
"""A notice is a commit of its own; it does not wait for the disk."""

RING = Statement("ring", "SELECT pg_notify($1, t.notice) FROM unnest($2::text[]) AS t (notice)", (TEXT, TEXTS))


class PostgresDoorbell:
    """Implements port.DoorbellStore. Its connections are opened when they are needed."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._ringing: DatabaseConnection | None = None

    async def ring(self, notices: Sequence[str]) -> None:
        """See port.DoorbellStore."""
        try:
            if self._ringing is None or not self._ringing.is_open:
                self._ringing = await DatabaseConnection.open(self._dsn, options=RING_OPTIONS)
            await self._ringing.round_trip([RING(CHANNEL, list(notices))], seconds=RING_SECONDS)
        except (ConnectionLost, QueryFailed) as error:
            self.close()
            raise translated(error, commit_sent=False) from error

    @asynccontextmanager
    async def listening(self, *, silent_seconds: float) -> AsyncIterator[AsyncIterator[str]]:
        """See port.DoorbellStore."""
        try:
            async with await self._listener() as connection:
                await connection.execute(f"LISTEN {CHANNEL}".encode())
                async with aclosing(_notices(connection, silent_seconds)) as notices:
                    yield notices
        except (psycopg.Error, OSError) as error:
            raise StoreUnavailable(f"the doorbell cannot be listened to: {error}") from error

    async def _listener(self) -> "psycopg.AsyncConnection[Any]":
        dsn = make_conninfo(checked_database_url(self._dsn), connect_timeout=int(CONNECT_SECONDS))
        return await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="holdfast doorbell")

    def close(self) -> None:
        """Closes the connection it rings with."""
        if self._ringing is not None:
            self._ringing.close()


async def _notices(connection: "psycopg.AsyncConnection[Any]", silent_seconds: float) -> AsyncGenerator[str, None]:
    """Raises StoreUnavailable when nothing came for `silent_seconds`: the connection may be dead without an error.

    Not psycopg's own `notifies`, which wakes up ten times a second for as long as nothing comes.
    """
    loop, socket, bytes_came = asyncio.get_running_loop(), connection.fileno(), asyncio.Event()
    loop.add_reader(socket, bytes_came.set)
    try:
        while True:
            while notice := connection.pgconn.notifies():
                yield notice.extra.decode()
            async with asyncio.timeout(silent_seconds):
                await bytes_came.wait()
            bytes_came.clear()
            connection.pgconn.consume_input()
    except TimeoutError:
        raise StoreUnavailable(f"nothing came for {silent_seconds:g} s") from None
    finally:
        loop.remove_reader(socket)
