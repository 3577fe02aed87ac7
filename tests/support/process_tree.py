"""The processes that a process has started, from /proc; and a way to freeze them."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GONE = ("Z", "X")


def descendants(pid: int) -> set[int]:
    """All processes below this one, by their pids."""
    children: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))) is not None:
            children.setdefault(int(stat[1]), set()).add(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), set())
        found |= below
        waiting += below
    return found


def is_running(pid: int) -> bool:
    """False when it has ended; one whose parent has not noticed yet counts as ended."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in GONE


def command_of(pid: int) -> str:
    """Its command line; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """State, parent and so on: what follows the name, which may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


@contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """Stops processes without ending them, for as long as the block runs."""
    stopped = [pid for pid in pids if is_running(pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
