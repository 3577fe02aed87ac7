"""Which user the embedded Postgres runs as. Postgres refuses to be root, so root drops to another user.

Never changes the user of this process, only that of children.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from holdfast_coordinator.postgres.errors import AccountUnavailable

# Debian, RHEL, Alpine and the official images call it postgres; every Unix has nobody.
NAMES_FOR_ROOT = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine. `dropped` when it is not the user of this process, which then is root."""

    name: str
    uid: int
    gid: int
    dropped: bool

    def runs(self, *command: str | Path) -> bool:
        """Whether the command succeeds as this user. Mode bits would say nothing about ACLs and LSMs."""
        try:
            done = subprocess.run(
                [str(part) for part in command],
                check=False,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                user=self.uid if self.dropped else None,
                group=self.gid if self.dropped else None,
                extra_groups=[] if self.dropped else None,
            )
        except OSError:
            return False
        return done.returncode == 0

    def can_enter(self, directory: Path) -> bool:
        """Whether this user can reach files below the directory. False when the directory does not exist."""
        return self.runs("/bin/sh", "-c", 'test -d "$1/." && test -x "$1"', "sh", directory)


def current_user_name() -> str:
    """The name of the user of this process. Raises AccountUnavailable for a uid without one.

    initdb and peer authentication look the name up, so Postgres cannot run for a bare uid.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise AccountUnavailable(
            f"the user id {os.geteuid()} has no name in /etc/passwd, which Postgres needs"
        ) from error


def server_account(data: Path | None) -> Account:
    """The user to run the server as: this one; for root the owner of existing data, postgres, or nobody.

    The owner of existing data comes first, so that one `sudo holdfast dev` does not take a project's data
    away from its user. Raises AccountUnavailable when root cannot become any other user (a user namespace
    with a single id, or a container without CAP_SETUID).
    """
    name = current_user_name()
    if os.geteuid() != 0:
        return Account(name=name, uid=os.geteuid(), gid=os.getegid(), dropped=False)
    owner = _owner(data)
    candidates = [owner] if owner is not None else [_named(name) for name in NAMES_FOR_ROOT]
    for candidate in candidates:
        if candidate is not None and candidate.runs("/bin/sh", "-c", ":"):
            return candidate
    raise AccountUnavailable("Postgres does not run as root, and root cannot become postgres or nobody here")


def _owner(data: Path | None) -> Account | None:
    try:
        entry = pwd.getpwuid(data.stat().st_uid) if data is not None else None
    except (OSError, KeyError):
        return None
    if entry is None or entry.pw_uid == 0:
        return None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, dropped=True)


def _named(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, dropped=True)
