"""Which user the embedded Postgres runs as. Postgres refuses to be root, so root drops to another user.

Never changes the user of this process, only that of children.
"""

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from holdfast_coordinator.postgres.errors import AccountUnavailable

# Debian, RHEL, Alpine and the official images call it postgres; every Unix has nobody.
NAMES_FOR_ROOT = ("postgres", "nobody")

_BECOME = """
import os, sys
uid, gid, *command = sys.argv[1:]
os.setgroups([])
os.setgid(int(gid))
os.setuid(int(uid))
os.execv(command[0], command)
"""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine. `dropped` when it is not the user of this process, which then is root."""

    name: str
    uid: int
    gid: int
    dropped: bool

    def runs(self, *command: str | Path) -> bool:
        """Whether the command succeeds as this user. Mode bits would say nothing about ACLs and LSMs."""
        # Another interpreter becomes that user, and not a fork of this process: gRPC may be at work in it, whose fork
        # handlers a child does not always survive.
        becoming = [sys.executable, "-I", "-S", "-c", _BECOME, str(self.uid), str(self.gid)] if self.dropped else []
        try:
            done = subprocess.run(
                [*becoming, *map(str, command)],
                check=False,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
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
