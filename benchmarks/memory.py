"""How much memory processes use, from /proc. Linux only; elsewhere the answer is None."""

from pathlib import Path

BYTES_PER_MB = 1e6


def resident_mb(pid: int) -> float | None:
    """Megabytes of memory that a process has in use."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    (resident,) = [line.split() for line in lines if line.startswith("VmRSS:")]
    return int(resident[1]) * 1024 / BYTES_PER_MB
