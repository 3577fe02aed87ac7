"""One embedded Postgres: started, asked for its URL, stopped. What outlives a SIGKILL is in guardian.py.

Never leaves a server behind, and never removes data other than that of an ephemeral server.
"""

import asyncio
import contextlib
import errno
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypedDict
from urllib.parse import quote

import psycopg
from psycopg import sql

from holdfast.errors import HoldfastError
from holdfast_coordinator.postgres import binaries, directory, guardian, settings
from holdfast_coordinator.postgres.account import Account, current_user_name, server_account
from holdfast_coordinator.postgres.binaries import Installation
from holdfast_coordinator.postgres.errors import DataDirectoryUnusable, DiskFull, PostgresDidNotStart

DEFAULT_PORT = 5432
# sockaddr_un has 108 bytes on Linux and 104 on macOS, with the closing zero.
SOCKET_PATH_BYTES_MAX = 103
# A new data directory takes 40 MB, and the first checkpoints as much again in WAL.
NEW_DATA_BYTES = 100 * 2**20
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZDIR")
FULL = ("No space left on device", "Disk quota exceeded")


class GuardianPlan(TypedDict):
    """What the guardian is given. uid and gid: None to stay the same user."""

    parent: int
    scratch: str
    data: str
    log: str
    ephemeral: bool
    uid: int | None
    gid: int | None
    environment: dict[str, str]
    files: dict[str, str]
    initdb: list[list[str]]
    postgres: list[str]


class EmbeddedPostgres:
    """A server on the data in `home`, or an ephemeral one for None. A context manager, plain or async.

    home: made when missing; directory.py says what is in it. tcp_port: also listen on 127.0.0.1, with SCRAM
    and a password that is new at each start. installations: instead of the ones that are found.
    """

    def __init__(
        self,
        home: Path | None,
        *,
        tcp_port: int | None = None,
        installations: list[Installation] | None = None,
        start_seconds: float = 120.0,
    ) -> None:
        self.home = _absolute(home) if home is not None else None
        self.tcp_port = tcp_port
        self.start_seconds = start_seconds
        self.installation: Installation | None = None
        self.pid: int | None = None
        self._installations = installations
        self._lock: directory.Lock | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._events = b""
        self._password: str | None = None
        self._scratch = Path()

    def start(self) -> None:
        """Returns when the server takes connections and has the role and database `holdfast`.

        Raises the errors of errors.py; then nothing is left running or locked.
        """
        assert self._guardian is None, "already started"
        try:
            self._start()
        except OSError as error:
            self.stop()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(self._place()) from error
            raise DataDirectoryUnusable(self._place(), f"cannot be used ({error})") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shuts the server down in an orderly way and waits for it. Does nothing when it is not running."""
        running, self._guardian = self._guardian, None
        if running is not None:
            assert running.stdin is not None
            assert running.stdout is not None
            with contextlib.suppress(OSError):
                running.stdin.close()
            running.wait()
            running.stdout.close()
            # The guardian has done so, unless it was killed.
            shutil.rmtree(self._scratch, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
        self._lock, self.pid, self._events = None, None, b""

    def url(self, *, database: str = settings.DATABASE, role: str = settings.ROLE) -> str:
        """For psycopg and SQLAlchemy: over TCP when a port was asked for, else over the private socket.

        role: `postgres`, the superuser, can connect over the socket only.
        """
        if self._password is not None and role == settings.ROLE:
            return f"postgresql://{role}:{self._password}@127.0.0.1:{self._port}/{quote(database, safe='')}"
        # The port is said even when it is the usual one: PGPORT would replace it.
        query = f"host={quote(str(self._scratch), safe='/')}&port={self._port}"
        return f"postgresql://{role}@/{quote(database, safe='')}?{query}"

    def failure(self) -> HoldfastError | None:
        """Why the server is not running any more although it was not stopped; None while all is well."""
        if self._guardian is None or self._guardian.poll() is None:
            return None
        event = self._next_event(time.monotonic())
        return self._diagnose("ended by itself", str(event.get("log", "")) if event else "")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        starting = asyncio.ensure_future(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The thread cannot be cancelled: wait for what it has started, then take that down.
            with contextlib.suppress(HoldfastError, OSError):
                await starting
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.stop))

    @property
    def _port(self) -> int:
        return self.tcp_port if self.tcp_port is not None else DEFAULT_PORT

    def _start(self) -> None:
        data = self.home / "data" if self.home is not None else None
        account = server_account(data)
        if self.home is not None and data is not None:
            directory.prepare(self.home, account)
            self._lock = directory.Lock(self.home)
            self._lock.acquire()
            directory.settle(data)
        major = directory.data_major(data) if data is not None else None
        found = self._installations if self._installations is not None else binaries.find_installations()
        chosen = binaries.choose(found, major=major, data=self._place())
        self.installation = binaries.made_usable(chosen, account)
        self._scratch = _scratch_path(account)
        if major is None:
            _check_free_space(self.home if self.home is not None else self._scratch.parent)
        deadline = time.monotonic() + self.start_seconds
        self._start_guardian(self._plan(account, data or self._scratch / "data", new=major is None))
        self.pid = self._wait_until_ready(deadline)
        self._prepare_database()

    def _plan(self, account: Account, data: Path, *, new: bool) -> GuardianPlan:
        assert self.installation is not None
        programs = self.installation.directory
        initdb = str(programs / "initdb")
        make = [initdb, "--no-sync", "--no-instructions", "--encoding=UTF8", "--locale=C"]
        make += [f"--username={settings.SUPERUSER}", "--auth-local=peer", "--auth-host=scram-sha-256"]
        # Synced at the end in one go (0.1 s): else a power cut soon after could take acknowledged work along.
        initdb_commands = [make, [initdb, "--sync-only"]] if self.home is not None else [make]
        tcp = ["-h", "127.0.0.1"] if self.tcp_port is not None else ["-h", ""]
        server = [str(programs / "postgres"), "-D", str(data)]
        server += ["-k", str(self._scratch), "-p", str(self._port)]
        # Not more: others can read the guardian's command line, and PG* would be settings for the server.
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        return GuardianPlan(
            parent=os.getpid(),
            scratch=str(self._scratch),
            data=str(data),
            log=str((self.home if self.home is not None else self._scratch) / "server.log"),
            ephemeral=self.home is None,
            uid=account.uid if account.dropped else None,
            gid=account.gid if account.dropped else None,
            environment={**environment, "LC_ALL": "C"},
            files=settings.configuration_files(user_name=current_user_name(), account=account),
            initdb=initdb_commands if new else [],
            postgres=server + tcp,
        )

    def _start_guardian(self, plan: GuardianPlan) -> None:
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=[self._lock.handle] if self._lock is not None else [],
            start_new_session=True,  # Ctrl-C is for us: we need the database to shut down
        )

    def _wait_until_ready(self, deadline: float) -> int:
        event = self._next_event(deadline)
        if event is None:
            assert self._guardian is not None
            if self._guardian.poll() is not None:
                raise PostgresDidNotStart(f"lost its guardian (status {self._guardian.returncode})")
            log = guardian.tail(self.home / "server.log") if self.home is not None else ""
            raise PostgresDidNotStart(f"was not ready after {self.start_seconds:g} s", log_tail=log)
        if event["event"] == "ready":
            return int(event["pid"])
        if event["event"] == "error":
            raise OSError(event["errno"], event["text"])
        raise self._diagnose(event.get("reason", "ended"), event["log"])

    def _next_event(self, deadline: float) -> dict[str, Any] | None:
        """The guardian's next line; None at the deadline or when it has ended."""
        assert self._guardian is not None
        assert self._guardian.stdout is not None
        handle = self._guardian.stdout.fileno()
        while b"\n" not in self._events:
            readable, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(handle, 65536) if readable else b""
            if not chunk:
                return None
            self._events += chunk
        line, _, self._events = self._events.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def _diagnose(self, reason: str, log: str) -> HoldfastError:
        if any(text in log for text in FULL):
            return DiskFull(self._place())
        return PostgresDidNotStart(reason, log_tail=log)

    def _prepare_database(self) -> None:
        """Makes the role and the database at the first start, and sets the password at each."""
        self._password = None
        administration = self.url(database="postgres", role=settings.SUPERUSER)
        role = sql.Identifier(settings.ROLE)
        try:
            with psycopg.connect(administration, autocommit=True) as connection:
                if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [settings.ROLE]).fetchall():
                    connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role))
                named = connection.execute("SELECT FROM pg_database WHERE datname = %s", [settings.DATABASE])
                if not named.fetchall():
                    create = sql.SQL("CREATE DATABASE {} OWNER {}")
                    connection.execute(create.format(sql.Identifier(settings.DATABASE), role))
                if self.tcp_port is not None:
                    password = secrets.token_urlsafe(24)
                    # Sent as a SCRAM verifier, so that a log of statements never has the password.
                    verifier = connection.pgconn.encrypt_password(
                        password.encode(), settings.ROLE.encode(), b"scram-sha-256"
                    ).decode()
                    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(verifier)))
                    self._password = password
        except psycopg.errors.DiskFull as error:
            raise DiskFull(self._place()) from error
        except psycopg.OperationalError as error:
            raise self._diagnose("did not take the first connection", str(error)) from error

    def _place(self) -> Path:
        return self.home if self.home is not None else self._scratch


def _absolute(home: Path) -> Path:
    try:
        return home.expanduser().resolve()
    except (RuntimeError, OSError) as error:  # no such user, a loop of links
        raise DataDirectoryUnusable(home, f"cannot be found ({error})") from error


def _scratch_path(account: Account) -> Path:
    """A name that is not in use yet, for a directory that is private to the server's user and short."""
    name = f"holdfast-{secrets.token_hex(6)}"
    socket = f"/{name}/.s.PGSQL.65535.lock"
    for place in (Path(tempfile.gettempdir()).resolve(), Path("/tmp")):
        if len(os.fsencode(place)) + len(socket) <= SOCKET_PATH_BYTES_MAX and account.can_enter(place):
            return place / name
    raise DataDirectoryUnusable(Path("/tmp"), f"cannot be entered by {account.name}, for the server's socket")


def _check_free_space(place: Path) -> None:
    """Before the first 40 MB are written: half a data directory is of no use."""
    room = os.statvfs(place)
    free_bytes = room.f_bavail * room.f_frsize
    if free_bytes < NEW_DATA_BYTES:
        raise DiskFull(place, needed_bytes=NEW_DATA_BYTES, free_bytes=free_bytes)
