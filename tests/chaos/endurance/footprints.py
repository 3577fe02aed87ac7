"""What processes and tables take: memory, descriptors, threads and CPU from /proc, rows and bytes from Postgres."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.cpu import cpu_seconds
from tests.support.process_tree import descendants

_TABLES = """
SELECT t.schemaname || '.' || t.relname, pg_total_relation_size(t.relid), t.n_live_tup, t.n_dead_tup
FROM pg_stat_user_tables t WHERE t.schemaname LIKE 'holdfast%' ORDER BY 1
"""
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'holdfast' AND backend_type = 'client backend'"


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process takes, or several together. memory: resident, in bytes. cpu_seconds: since they were started."""

    memory: int
    descriptors: int
    threads: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class TableSize:
    """size: with indexes and TOAST, in bytes. live, dead: rows, as Postgres estimates them."""

    size: int
    live: int
    dead: int


def footprint(pid: int) -> Footprint:
    """Of one process. Raises FileNotFoundError when it has ended."""
    status = _status(pid)
    return Footprint(
        memory=_bytes(status["VmRSS"]), descriptors=_descriptors(pid), threads=int(status["Threads"]),
        cpu_seconds=cpu_seconds(pid) or 0.0,
    )  # fmt: skip


def footprint_of_postgres(pid: int) -> Footprint:
    """Of a postmaster and all its processes.

    Memory is what each has for itself: the shared buffers count as resident in every process that has touched them, up
    to their fixed size.
    """
    memory, descriptors, threads = 0, 0, 0
    for one in (pid, *descendants(pid)):
        try:
            status = _status(one)
            memory += _bytes(status["RssAnon"])
            descriptors += _descriptors(one)
            threads += int(status["Threads"])
        except (FileNotFoundError, ProcessLookupError, KeyError):
            assert one != pid, f"the postmaster, pid {pid}, has ended"  # a process of autovacuum lives for a moment
    return Footprint(memory, descriptors, threads, cpu_seconds(pid, with_children=True) or 0.0)


async def table_sizes(connection: "psycopg.AsyncConnection[tuple[Any, ...]]") -> dict[str, TableSize]:
    """Every table of holdfast, by its name with its schema."""
    rows = await (await connection.execute(_TABLES)).fetchall()
    return {str(name): TableSize(size, live, dead) for name, size, live, dead in rows}


async def connection_count(connection: "psycopg.AsyncConnection[tuple[Any, ...]]") -> int:
    """How many connections the coordinators have to Postgres."""
    (count,) = await (await connection.execute(_CONNECTIONS)).fetchone() or (0,)
    return int(count)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _bytes(text: str) -> int:
    return int(text.removesuffix(" kB")) * 1024


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
