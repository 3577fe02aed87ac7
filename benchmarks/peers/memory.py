"""How much memory processes hold, from /proc. Linux only; elsewhere the answer is None."""

from collections.abc import Iterable
from pathlib import Path

from ..cpu import processes_below

KIB_PER_MIB = 1024


def memory_mib(pids: Iterable[int]) -> float | None:
    """What processes and those below them hold together; pages that several share count once."""
    found = [_share_kib(pid) for pid in {each for pid in pids for each in (pid, *processes_below(pid))}]
    known = [share for share in found if share is not None]
    return sum(known) / KIB_PER_MIB if known else None


def _share_kib(pid: int) -> int | None:
    """The proportional set size: of a page that n processes share it counts one n-th. None when it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "Pss":
                return int(rest.split()[0])
    except OSError:
        return None
    return None
