"""What can go wrong with the embedded Postgres: each error says what was wrong and what to do.

Never raised for a database that the user gave by URL: there the driver's own errors are the clear ones.
"""

from collections.abc import Sequence
from pathlib import Path

from holdfast.errors import HoldfastError


class PostgresNotFound(HoldfastError):
    """No usable Postgres binaries; `reason` says which were looked at and why they would not do."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}; run `pip install 'holdfast[server]'`, set HOLDFAST_POSTGRES_BIN to a directory with "
            "postgres and initdb, or give the URL of a running Postgres with --database-url"
        )
        self.reason = reason


class AccountUnavailable(HoldfastError):
    """Postgres refuses to run as this user and there is no other user to run it as."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; run as another user, or give the URL of a running Postgres with --database-url")
        self.reason = reason


class DataDirectoryInUse(HoldfastError):
    """Another process has this data directory open. `pid` is None when its owner could not be read."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "another process"
        super().__init__(
            f"the data directory {path} is in use by {who}; stop it, "
            "or choose another directory with --data-directory, or use --ephemeral"
        )
        self.path = path
        self.pid = pid


class DataDirectoryUnusable(HoldfastError):
    """The data directory cannot be entered, written, or is not one that holdfast made."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the data directory {path} {reason}; choose another one with --data-directory")
        self.path = path
        self.reason = reason


class DataDirectoryVersion(HoldfastError):
    """The data was written by a major version of Postgres that is not installed here."""

    def __init__(self, path: Path, *, made_by: str, available: Sequence[str]) -> None:
        super().__init__(
            f"the data directory {path} was made by Postgres {made_by}, but here is only "
            f"{' and '.join(available)}; install Postgres {made_by} and set HOLDFAST_POSTGRES_BIN to its bin "
            "directory, or choose another data directory with --data-directory"
        )
        self.path = path
        self.made_by = made_by
        self.available = tuple(available)


class DiskFull(HoldfastError):
    """Postgres needs more room. Nothing that was acknowledged is lost: free some space and start again."""

    def __init__(self, path: Path, *, needed_bytes: int | None = None, free_bytes: int | None = None) -> None:
        amount = ""
        if needed_bytes is not None and free_bytes is not None:
            amount = f" ({free_bytes // 2**20} MiB free, {needed_bytes // 2**20} MiB needed)"
        super().__init__(
            f"the disk that holds {path} is full{amount}; free some space and start again, "
            "or choose a directory on another disk with --data-directory"
        )
        self.path = path
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class PostgresDidNotStart(HoldfastError):
    """The server ended, or was not ready in time. `log_tail` is the last that it wrote."""

    def __init__(self, reason: str, *, log_tail: str = "") -> None:
        quoted = "".join(f"\n    {line}" for line in log_tail.splitlines())
        super().__init__(f"the embedded Postgres {reason}; its log ends with:{quoted or ' (nothing)'}")
        self.reason = reason
        self.log_tail = log_tail
