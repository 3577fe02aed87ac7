"""How much CPU processes have used, from /proc. Linux only; elsewhere the answer is None."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _USER, _SYSTEM, _USER_OF_ENDED, _SYSTEM_OF_ENDED = 1, 11, 12, 13, 14
"""Fields of /proc/<pid>/stat, counted after the name of the program."""


def cpu_seconds(pid: int, *, with_children: bool = False) -> float | None:
    """Seconds of CPU that a process has used so far, in all its threads.

    with_children: also its children and theirs, the ended ones included: a postmaster with its backends.
    """
    own = _stat(pid)
    if own is None:
        return None
    below = map(_stat, processes_below(pid)) if with_children else ()
    counted = (_USER, _SYSTEM, _USER_OF_ENDED, _SYSTEM_OF_ENDED) if with_children else (_USER, _SYSTEM)
    ticks = sum(int(fields[field]) for fields in (own, *below) if fields is not None for field in counted)
    return float(ticks) / os.sysconf("SC_CLK_TCK")


def processes_below(pid: int) -> list[int]:
    """The children of a process that live, and theirs."""
    children = _children()
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def _children() -> Mapping[int, list[int]]:
    """Of all processes."""
    found: dict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdecimal():
            fields = _stat(int(entry.name))
            if fields is not None:
                found[int(fields[_PARENT])].append(int(entry.name))
    return found


def _stat(pid: int) -> list[str] | None:
    """None when there is no such process, or no /proc."""
    try:
        # The name is in parentheses and may itself contain some.
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
