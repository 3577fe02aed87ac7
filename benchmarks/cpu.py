"""How much CPU processes have used, from /proc. Linux only; elsewhere the answer is None."""

import os
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _USER, _SYSTEM, _USER_OF_ENDED, _SYSTEM_OF_ENDED = 1, 11, 12, 13, 14
"""Fields of /proc/<pid>/stat, counted after the name of the program."""


def cpu_seconds(pid: int, *, with_children: bool = False) -> float | None:
    """Seconds of CPU that a process has used so far, in all its threads.

    with_children: also its children, the ended ones included: a postmaster with its backends.
    """
    fields = _stat(pid)
    if fields is None:
        return None
    ticks = int(fields[_USER]) + int(fields[_SYSTEM])
    if with_children:
        ticks += int(fields[_USER_OF_ENDED]) + int(fields[_SYSTEM_OF_ENDED])
        for child in _children(pid):
            of_child = _stat(child)
            if of_child is not None:
                ticks += int(of_child[_USER]) + int(of_child[_SYSTEM])
    return float(ticks) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[_PARENT]) == pid:
                found.append(int(entry.name))
    return found


def _stat(pid: int) -> list[str] | None:
    """None when there is no such process, or no /proc."""
    try:
        # The name is in parentheses and may itself contain some.
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
