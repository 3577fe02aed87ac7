"""A few connections for statements that need no transaction of their own: reads, and writes of the control schema."""

import asyncio
import time
from collections.abc import Callable, Sequence

from .database_connection import Answer, DatabaseConnection, StatementCall
from .errors import ConnectionLost, QueryFailed, translated
from .port import StoreBusy

READ_SECONDS = 20.0
WAIT_SECONDS = 10.0

OnWait = Callable[[float], None]
"""Called with the seconds that a statement waited for a connection to be free."""


class Pool:
    """Opens connections as they are needed, at most `size`, and keeps them. on_wait: None where waits are not measured.

    wait_seconds: how long a statement waits for a connection to be free, before it is refused with StoreBusy.
    Scans use half of the connections at most, so that other statements never wait until scans end.
    """

    def __init__(
        self, dsn: str, *, size: int = 4, options: str = "", on_wait: OnWait | None = None,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:  # fmt: skip
        self._size = size
        self._scans_max = max(size // 2, 1)
        self._wait_seconds = wait_seconds
        self._dsn = dsn
        self._options = options
        self._on_wait = on_wait
        self._free = asyncio.Semaphore(size)
        self._scans = asyncio.Semaphore(self._scans_max)
        self._idle: list[DatabaseConnection] = []
        self._is_closed = False

    async def read(self, *calls: StatementCall) -> list[Answer]:
        """The answers of statements that only read, in one round trip. Raises StoreError."""
        return await self._read(calls, time.perf_counter())

    async def scan(self, *calls: StatementCall) -> list[Answer]:
        """As `read`, for statements that may read any number of rows before they find what they look for."""
        asked_at = time.perf_counter()
        await self._take(self._scans, self._scans_max, asked_at)
        try:
            return await self._read(calls, asked_at)
        finally:
            self._scans.release()

    async def write(self, call: StatementCall) -> Answer:
        """The answer of a statement that writes, committed by itself. Raises StoreError."""
        try:
            return (await self._run([call], time.perf_counter()))[0]
        except (ConnectionLost, QueryFailed) as error:
            raise translated(error, commit_sent=True) from error

    def close(self) -> None:
        """Closes the idle connections; those in use close when they come back."""
        self._is_closed = True
        self._drop_idle()

    async def _read(self, calls: Sequence[StatementCall], asked_at: float) -> list[Answer]:
        try:
            return await self._run(calls, asked_at)
        except (ConnectionLost, QueryFailed) as error:
            if isinstance(error, QueryFailed) and not error.ends_connection:
                raise translated(error, commit_sent=False) from error
        # An idle connection may have been lost long ago; a read does no harm when it is repeated once.
        self._drop_idle()
        try:
            return await self._run(calls, time.perf_counter())
        except (ConnectionLost, QueryFailed) as error:
            raise translated(error, commit_sent=False) from error

    async def _run(self, calls: Sequence[StatementCall], asked_at: float) -> list[Answer]:
        await self._take(self._free, self._size, asked_at)
        try:
            if self._on_wait is not None:
                self._on_wait(time.perf_counter() - asked_at)
            connection = self._take_idle() or await DatabaseConnection.open(self._dsn, options=self._options)
            try:
                return await connection.round_trip(calls, seconds=READ_SECONDS)
            except QueryFailed as error:
                if error.ends_connection:
                    connection.close()
                raise
            finally:
                if self._is_closed:
                    connection.close()
                if connection.is_open:
                    self._idle.append(connection)
        finally:
            self._free.release()

    async def _take(self, places: asyncio.Semaphore, size: int, asked_at: float) -> None:
        """Takes one of `size` places, at the latest `wait_seconds` after it was asked for."""
        if not places.locked():
            await places.acquire()
            return
        try:
            async with asyncio.timeout(asked_at + self._wait_seconds - time.perf_counter()):
                await places.acquire()
        except TimeoutError:
            raise StoreBusy(
                f"all {size} connections for this kind of question were busy for {self._wait_seconds:g} s"
            ) from None

    def _take_idle(self) -> DatabaseConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()
