"""The directory that holds a server's data: where it is, who holds it, and what a crash has left in it.

    <home>/lock         flock'ed while a server uses the data; its text is the pid of the holder
    <home>/data/        the data directory of Postgres
    <home>/server.log   what the server wrote since its start; server.log.1 is of the start before

The lock is beside the data rather than in it, as Postgres makes that directory itself, and inside one
directory of ours, so that <home> may be a mounted volume. Never removes data.
"""

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from holdfast_coordinator.postgres.account import Account
from holdfast_coordinator.postgres.errors import DataDirectoryInUse, DataDirectoryUnusable

PROJECT_DIRECTORY = ".holdfast"
ROOT_DIRECTORY = Path("/var/lib/holdfast")
# Above the largest pid of any system (Linux: 2**22), so that it is never the pid of a process.
IMPOSSIBLE_PID = 2**30
HOLDER_SECONDS = 0.5
"""Seconds that a data directory must be held by a living process before it counts as in use."""
ORPHAN_SECONDS = 45.0  # longer than the guardian takes for all its signals


def default_home(project: Path, account: Account, *, root_directory: Path = ROOT_DIRECTORY) -> Path:
    """`.holdfast/postgres` in the project, where the server's user can get there.

    Root's projects are often below /root, which the user that root drops to cannot enter. Then it is
    /var/lib/holdfast/<hash of the project's path>/postgres: the same one at each start in that project.
    """
    project = project.resolve()
    nearest = project / PROJECT_DIRECTORY
    if not account.dropped or account.can_enter(nearest if nearest.exists() else project):
        return nearest / "postgres"
    return root_directory / hashlib.sha256(str(project).encode()).hexdigest()[:12] / "postgres"


def prepare(home: Path, account: Account) -> None:
    """Makes the directory and sees that it can be used. Raises DataDirectoryUnusable, OSError when full."""
    try:
        missing = [parent for parent in (home, *home.parents) if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            if account.dropped:
                parent.chmod(0o755)  # whatever the umask of root says, the server's user has to get through
            if parent.name == PROJECT_DIRECTORY:
                (parent / ".gitignore").write_text("*\n")
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise DataDirectoryUnusable(home, f"cannot be made ({error})") from error
    if not account.can_enter(home):
        raise DataDirectoryUnusable(home, f"cannot be entered by the user {account.name}, as whom Postgres runs here")
    if (home / "PG_VERSION").exists():
        raise DataDirectoryUnusable(home, "is a data directory of Postgres that holdfast did not make")
    data = home / "data"
    if not os.access(home, os.W_OK) or (data.exists() and not os.access(data, os.W_OK | os.X_OK)):
        owner = data.stat().st_uid if data.exists() else home.stat().st_uid
        raise DataDirectoryUnusable(home, f"belongs to the user with id {owner}, not to {account.name}")
    if data.exists() and not (data / "PG_VERSION").exists() and any(data.iterdir()):
        raise DataDirectoryUnusable(home, "has a subdirectory `data` that Postgres did not make")


def data_major(data: Path) -> str | None:
    """The major version of Postgres that made the data, "18"; None when there is no data yet."""
    try:
        return (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataDirectoryUnusable(data, f"cannot be read ({error})") from error


class Lock:
    """The right to run a server on the data. Held until all processes that inherited `handle` closed it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.handle = -1

    def acquire(self, *, seconds: float = ORPHAN_SECONDS) -> None:
        """Takes the lock. Raises DataDirectoryInUse when its holder lives, after HOLDER_SECONDS.

        A holder that was killed leaves a guardian that still takes its server down: that is waited for.
        """
        path = self.home / "lock"
        try:
            self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataDirectoryUnusable(self.home, f"cannot be locked ({error})") from error
        deadline = time.monotonic() + seconds
        # A process that was killed just now may live for another moment.
        patience = time.monotonic() + HOLDER_SECONDS
        try:
            while not self._try():
                holder = self._holder()
                lives = holder is not None and is_alive(holder) and time.monotonic() > patience
                if lives or time.monotonic() > deadline:
                    raise DataDirectoryInUse(self.home, holder)
                time.sleep(0.02)
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Closes this process's share of the lock. The file stays: removing it would race with the next."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def _try(self) -> bool:
        try:
            fcntl.flock(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> int | None:
        text = os.pread(self.handle, 32, 0).strip()
        return int(text) if text.isdigit() else None


def settle(data: Path, *, seconds: float = ORPHAN_SECONDS) -> None:
    """Waits for a server that outlived its guardian, and clears up after one that was killed.

    To be called with the lock held. Raises DataDirectoryInUse when that server does not end: somebody started
    it without holdfast.
    """
    deadline = time.monotonic() + seconds
    while True:
        pid = _recorded_pid(data)
        if pid is None or not is_alive(pid):
            return  # Postgres sees by itself that the file is stale
        if not _is_server_of(data, pid):
            break
        if time.monotonic() > deadline:
            raise DataDirectoryInUse(data, pid)
        time.sleep(0.02)
    # The pid belongs to another program by now, typical for containers, where pids are small. Postgres would
    # refuse to start. Only the pid is replaced: with the rest of the file Postgres finds backends of the
    # killed server that still use its shared memory, and refuses to corrupt the data.
    path = data / "postmaster.pid"
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    with os.fdopen(handle, "r+") as file:
        rest = file.read().split("\n", 1)[1:]
        file.seek(0)
        file.truncate()
        file.write("\n".join([str(IMPOSSIBLE_PID), *rest]))


def is_alive(pid: int) -> bool:
    """Whether a process with this pid runs, of whichever user.

    A zombie does not: in a container without an init the one that was killed is never reaped.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        # The state follows the name, which is in parentheses and may itself contain some.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def _recorded_pid(data: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        return int((data / "postmaster.pid").read_text().splitlines()[0])
    return None


def _is_server_of(data: Path, pid: int) -> bool:
    """Whether the process is, as far as can be seen, a postmaster on this data directory."""
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-o", "comm=", "-p", str(pid)], check=False, capture_output=True, text=True)
        return Path(shown.stdout.strip()).name in ("postgres", "postmaster")
    try:
        if Path(f"/proc/{pid}/comm").read_text().strip() not in ("postgres", "postmaster"):
            return False
    except OSError:
        return False
    try:
        # Postgres works in its data directory. In a container root may not look: then believe the file.
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except PermissionError:
        return True
    except OSError:
        return False
