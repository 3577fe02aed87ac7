"""The Postgres of a chaos run: its own, on a small disk of its own where that can be mounted; it can be crashed.

Coordinators reach it by one URL, over TCP, through all of its restarts.
"""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from holdfast_coordinator.postgres import EmbeddedPostgres
from tests.support.processes import free_port

DISK_MB = 1_500
PASSWORD = "chaos"


class Database:
    """See the module. `url` is for coordinators.

    disk_mb: of the disk of its own; with 0 it has none.
    """

    def __init__(self, directory: Path, *, disk_mb: int = DISK_MB) -> None:
        self.disk = directory / "disk"
        self.has_own_disk = False
        self._disk_mb = disk_mb
        self._earlier_logs = ""
        self._port = free_port()
        self._server = EmbeddedPostgres(self.disk / "postgres", tcp_port=self._port)

    @property
    def url(self) -> str:
        """The URL of the role that owns the tables."""
        return f"postgresql://holdfast:{PASSWORD}@127.0.0.1:{self._port}/holdfast"

    @property
    def admin_url(self) -> str:
        """The URL of the superuser, who may connect when coordinators have taken all connections."""
        return self._server.url(role="postgres")

    @property
    def log(self) -> str:
        """What the server has logged, over all of its restarts."""
        return self._earlier_logs + self._log_of_this_start()

    async def __aenter__(self) -> Self:
        self.disk.mkdir(parents=True)
        self.has_own_disk = self._disk_mb > 0 and _mount(self.disk, self._disk_mb)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._server.stop)
        if self.has_own_disk:
            _unmount(self.disk)

    async def start(self) -> None:
        """Starts the server on the data that is there; the password of the role is the known one again."""
        self._earlier_logs += self._log_of_this_start()  # the server begins a new one
        await asyncio.to_thread(self._server.start)
        async with await self.connect() as connection:
            await connection.execute(f"ALTER ROLE holdfast PASSWORD '{PASSWORD}'".encode())
            await connection.execute("ALTER ROLE holdfast CONNECTION LIMIT -1")

    def _log_of_this_start(self) -> str:
        path = self.disk / "postgres" / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def crash(self) -> None:
        """As `pg_ctl stop -m immediate`: no checkpoint, every connection is cut. Returns when it has ended."""
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGQUIT)
        while self._server.failure() is None:  # noqa: ASYNC110 - the guardian of the server says so in its own time
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self._server.stop)

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        assert self._server.pid is not None
        return self._server.pid

    @property
    def has_ended(self) -> bool:
        """True when it has ended by itself, on a full disk for example."""
        return self._server.failure() is not None

    async def restart(self) -> None:
        """Starts it after it has ended by itself."""
        await asyncio.to_thread(self._server.stop)
        await self.start()

    async def connect(self, database: str = "holdfast") -> "psycopg.AsyncConnection[tuple[Any, ...]]":
        """A connection of the superuser, beside every limit of roles."""
        url = self._server.url(database=database, role="postgres")
        return await psycopg.AsyncConnection.connect(url, autocommit=True)


def _unmount(directory: Path) -> None:
    subprocess.run(["umount", str(directory)], check=True)


def _mount(directory: Path, size_mb: int) -> bool:
    """Whether a file system in memory is now mounted there; only root can."""
    options = f"size={size_mb}m,mode=0755"
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", options, "holdfast-chaos", str(directory)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
