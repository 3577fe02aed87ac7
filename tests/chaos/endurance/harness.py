"""An hour of load, and what grows under it: `python -m tests.chaos.endurance --minutes 60 --runs 1000000`.

Two coordinators, two workers, a Postgres and the users are processes of its own. While runs of all kinds are started
and closed at a steady pace, memory, descriptors, threads, connections, the CPU of a run, every table and the latency of
a probe are measured again and again; a straight line through what was measured after the warm-up says what grows.
Tables of closed runs may. The exit code is 0 when nothing else does and every run came to what it should, 1 when not,
and 2 when it proves nothing, because the machine closed less than nine tenths of the runs, or left calls unanswered.
"""

import argparse
import asyncio
import itertools
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.telemetry import sink
from holdfast import HoldfastError
from holdfast.client import Client
from holdfast.client.loops import run as run_on_loop
from tests.chaos.endurance.flows import LEAK
from tests.chaos.endurance.footprints import (
    Footprint,
    TableSize,
    connection_count,
    footprint,
    footprint_of_postgres,
    table_sizes,
)
from tests.chaos.endurance.growth import Growth, Point, growth, table
from tests.chaos.endurance.load import QUEUE, Users
from tests.chaos.own import forget_others, own_directory
from tests.chaos.replicas import Replicas, replicas

OK, GROWS, INVALID = 0, 1, 2
MODULE = "tests.chaos.endurance.flows"
COORDINATORS = WORKERS = 2
SAMPLES = 240
"""Over the whole time, but not more than two in a second."""
SAMPLE_SECONDS_MIN = 0.5
SAMPLES_PER_LINE = 20
"""Samples between two lines of progress."""
WARM_UP_SHARE = 0.15
"""Of the time. What is measured then does not count: pools fill, code is loaded, caches get their size."""
SECONDS_MAX_SHARE = 1.15
"""Of the time. When it is over no more runs are started, also on a machine that does not keep up."""
RUNS_SHARE_MIN = 0.9
UNANSWERED_SHARE_MAX = 0.001
"""Of the runs, on a machine that stood still for a while. With more, nothing is proven."""
TRACE_RATIO = "0.01"
"""Of the runs; their spans and all metrics go to a collector that throws them away."""
SETTLE_SECONDS = 90.0
"""How long after the last run what is not of closed runs may take to be gone."""
MB = 1e6
POSTGRES = "postgres"

MEMORY_MB_MAX = 16.0
"""Of one process. In an hour of a million runs: sixteen bytes for each of them."""
MEMORY_OF_POSTGRES_MB_MAX = 1.0
"""Of one of its processes on average: how many there are is said by the connections."""
CONNECTIONS_MAX = 24.0
"""A coordinator opens up to twenty, as it needs them, and in a short time it has not needed all."""
DESCRIPTORS_MAX = 24.0
"""For the same reason."""
DESCRIPTORS_OF_POSTGRES_MAX = 400.0
"""Of all its processes together. Each keeps the files open that it has read, and a table has one more with each GB."""
THREADS_MAX = 8.0
TABLE_MB_MAX = 16.0
LIVE_ROWS_MAX = 2_000.0
DEAD_ROWS_MAX = 150_000.0
"""As many as die in the minute or two between two runs of autovacuum."""
PROBE_MS_MAX = 20.0
CPU_MS_MAX = 0.1
"""Per run."""
CPU_PARTS = 12
"""Of the time, over which CPU and runs are counted. In a short one there may be a few runs only."""
SHARE_MAX = 1.0
"""Of its beginning, for latency and CPU: the machine may have other work at the end than at the beginning."""

OF_CLOSED_RUNS = frozenset({"runs", "run_results", "journal", "run_keys", "requests"})
"""What closed runs leave: how they were started, what they came to, the ids that stand for them, and for a day the
answers that their signals and cancels got."""
LEAVES_ROWS = OF_CLOSED_RUNS | {"alembic_version", "namespaces", "sessions", "known_workflows", "known_signals"}
"""What has rows when nothing is open."""


@dataclass(slots=True)
class Samples:
    """What was measured, and when by the monotonic clock. The lists have one entry for each time."""

    at: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    processes: dict[str, list[Footprint]] = field(default_factory=dict)
    tables: dict[str, list[TableSize]] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the arguments and runs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of load; 60 by default")
    parser.add_argument("--runs", type=int, default=1_000_000, help="to be closed in them; a million by default")
    parser.add_argument("--directory", type=Path, default=None, help="a new directory for its files; it is kept")
    parser.add_argument("--json", type=Path, default=None, help="a file for everything that was measured")
    parser.add_argument(
        "--leak-bytes",
        type=int,
        default=0,
        help="that a step leaks in its worker, to see that it is found; 0 by default",
    )
    given = parser.parse_args(arguments)
    if given.minutes <= 0 or given.runs <= 0:
        parser.error("an hour of load needs some time and some runs")
    directory = own_directory(parser, given.directory, prefix="holdfast-endurance-")
    forget_others()
    print(f"{given.runs} runs in {given.minutes:g} minutes, files in {directory}", flush=True)
    try:
        code, facts = run_on_loop(run(given.minutes * 60, given.runs, directory, given.leak_bytes))
        if given.json is not None:
            given.json.write_text(json.dumps(facts))
    except (psycopg.Error, HoldfastError, OSError, TimeoutError) as error:
        print(f"the harness itself failed: {error!r}")
        code = INVALID
    if code == OK and given.directory is None:
        shutil.rmtree(directory)
    elif code != OK:
        print(f"its files are in {directory}")
    return code


async def run(seconds: float, runs: int, directory: Path, leak_bytes: int) -> tuple[int, dict[str, Any]]:
    """One run; the exit code, and everything that was measured."""
    load_before = os.getloadavg()[0]
    environment = {LEAK: str(leak_bytes)} if leak_bytes else {}
    async with (
        sink() as url,
        replicas(
            directory, MODULE, queue=QUEUE, coordinators=COORDINATORS, workers=WORKERS, environment=environment,
            options=["--log-level", "warning", "--otlp", url, "--trace-ratio", TRACE_RATIO],
            worker_options=["--log-level", "warning"],
        ) as serving,
        Client.connect(serving.address) as client,
    ):  # fmt: skip
        users, samples = Users(client, seed=runs), Samples()
        await users.move_in()
        begun_at = time.monotonic()
        sampling = asyncio.create_task(_sample(serving, users, samples, every=_sample_seconds(seconds)), name="samples")
        loading = asyncio.create_task(users.run(runs, seconds=seconds, seconds_max=seconds * SECONDS_MAX_SHARE))
        try:
            await asyncio.wait((sampling, loading), return_when=asyncio.FIRST_COMPLETED)
            if sampling.done():
                await sampling
            await loading
        finally:
            for task in (sampling, loading):
                task.cancel()
            await asyncio.gather(sampling, loading, return_exceptions=True)
        took, closed = time.monotonic() - begun_at, users.runs
        await users.move_out()
        found = growths(samples, users.probes, begun_at + seconds * WARM_UP_SHARE)
        wrong = [*_wrong(users, serving), *await _left_over(serving, users)]
        serving.keep_logs()
    print(table(found))
    print(f"kinds of runs: {dict(users.ended)}")
    print(f"{closed} runs closed in {took / 60:.1f} minutes, {closed / took:.0f} in a second")
    print(f"{len(users.unanswered)} calls had no answer: {dict(Counter(users.unanswered))}")
    print(f"{users.lagged} times so much was under way that what was due was started later")
    print(f"load average of the machine: {load_before:.1f} before, {os.getloadavg()[0]:.1f} at the end")
    facts = {"seconds": took, "runs": closed, "kinds": dict(users.ended), "growths": [*map(asdict, found)]}
    facts |= {"samples": asdict(samples), "probes": users.probes}
    growing = [f"{one.what} grows" for one in found if not one.is_flat]
    for text in (*wrong, *growing):
        print(text)
    if wrong or growing:
        return GROWS, facts
    if closed < RUNS_SHARE_MIN * runs:
        print(f"only {closed} of {runs} runs were closed: the machine is too busy to prove anything")
        return INVALID, facts
    if len(users.unanswered) > UNANSWERED_SHARE_MAX * closed:
        print("too many calls had no answer to prove anything")
        return INVALID, facts
    print("nothing grows")
    return OK, facts


def growths(samples: Samples, probes: Sequence[Point], since: float) -> list[Growth]:
    """What each quantity did from this moment on."""
    first = next(number for number, at in enumerate(samples.at) if at >= since)
    times = samples.at[first:]
    assert len(times) > CPU_PARTS, f"{len(times)} samples are too few"

    def points(values: Sequence[float]) -> list[Point]:
        return list(zip(times, values, strict=True))

    found: list[Growth] = []
    for name, all_prints in samples.processes.items():
        prints = all_prints[first:]
        if name == POSTGRES:
            found += [
                growth(f"{name}: memory of a process", "MB",
                       points([one.memory / one.threads / MB for one in prints]), MEMORY_OF_POSTGRES_MB_MAX),
                growth(f"{name}: processes", "", points([one.threads for one in prints]), CONNECTIONS_MAX),
                growth(f"{name}: descriptors", "", points([one.descriptors for one in prints]),
                       DESCRIPTORS_OF_POSTGRES_MAX),
            ]  # fmt: skip
        else:
            found += [
                growth(f"{name}: memory", "MB", points([one.memory / MB for one in prints]), MEMORY_MB_MAX),
                growth(f"{name}: descriptors", "", points([one.descriptors for one in prints]), DESCRIPTORS_MAX),
                growth(f"{name}: threads", "", points([one.threads for one in prints]), THREADS_MAX),
            ]
    found.append(
        growth("CPU per run, all processes", "ms", _cpu_per_run(samples, first), CPU_MS_MAX, share_max=SHARE_MAX)
    )
    found.append(growth("connections to Postgres", "", points(samples.connections[first:]), CONNECTIONS_MAX))
    for name, all_sizes in samples.tables.items():
        sizes, short = all_sizes[first:], name.partition(".")[2]
        if short == "alembic_version":
            continue
        may_grow = short in OF_CLOSED_RUNS
        found.append(growth(short, "MB", points([one.size / MB for one in sizes]), None if may_grow else TABLE_MB_MAX))
        if not may_grow:
            found.append(growth(f"{short}: live rows", "", points([one.live for one in sizes]), LIVE_ROWS_MAX))
        found.append(growth(f"{short}: dead rows", "", points([one.dead for one in sizes]), DEAD_ROWS_MAX))
    measured = [(at, probe * 1e3) for at, probe in probes if at >= since]
    found.append(growth("latency of a probe", "ms", measured, PROBE_MS_MAX, share_max=SHARE_MAX))
    return found


def _cpu_per_run(samples: Samples, first: int) -> list[Point]:
    """In milliseconds, for each of CPU_PARTS parts of the time. All together: who does how much of it may change."""
    runs = samples.runs
    used = [sum(one.cpu_seconds for one in prints) for prints in zip(*samples.processes.values(), strict=True)]
    length = len(runs) - 1 - first
    parts = [first + round(length * number / CPU_PARTS) for number in range(CPU_PARTS + 1)]
    return [
        (samples.at[end], 1e3 * (used[end] - used[begin]) / (runs[end] - runs[begin]))
        for begin, end in pairwise(parts)
        if runs[end] > runs[begin]
    ]


def _sample_seconds(seconds: float) -> float:
    return max(SAMPLE_SECONDS_MIN, seconds / SAMPLES)


async def _sample(serving: Replicas, users: Users, samples: Samples, *, every: float) -> None:
    """Measures everything again and again, until it is cancelled."""
    async with await serving.database.connect() as connection:
        for number in itertools.count():
            processes = {member.name: footprint(member.pid) for member in serving.members}
            processes[POSTGRES] = footprint_of_postgres(serving.database.pid)
            processes["users"] = footprint(os.getpid())
            tables, connections = await table_sizes(connection), await connection_count(connection)
            samples.at.append(time.monotonic())
            samples.runs.append(users.runs)
            samples.connections.append(connections)
            for name, one in processes.items():
                samples.processes.setdefault(name, []).append(one)
            for name, size in tables.items():
                samples.tables.setdefault(name, []).append(size)
            serving.keep_logs()
            if number % SAMPLES_PER_LINE == 0:
                memory = ", ".join(f"{name} {one.memory / MB:.0f}" for name, one in processes.items())
                print(f"{samples.at[-1] - samples.at[0]:.0f} s, {users.runs} runs, MB: {memory}", flush=True)
            await asyncio.sleep(every)


def _wrong(users: Users, serving: Replicas) -> list[str]:
    """What did not go as it should."""
    lives = [f"{member.name} ended with {life.code}" for member in serving.members for life in member.lives]
    more = users.wrong_count - len(users.wrong)
    return [*lives, *users.wrong, *([f"and {more} more"] if more else [])]


async def _left_over(serving: Replicas, users: Users) -> list[str]:
    """What is not as it should be when every run has ended; what is swept later is waited for."""
    async with await serving.database.connect() as connection:
        until = time.monotonic() + SETTLE_SECONDS
        while (left := await _rows(connection)) and time.monotonic() < until:  # noqa: ASYNC110 - rows give no event
            await asyncio.sleep(0.5)
        counts = [
            await (await connection.execute(f"SELECT count(*) FROM holdfast_c00.{name}".encode())).fetchone() or (0,)
            for name in ("runs", "run_results")
        ]
    # What has become of an unanswered call is not known: its run may be there, and wait for a signal that never came.
    unknown = len(users.unanswered)
    said = [f"{name} has {count} rows when nothing is open" for name, count in left.items() if count > unknown]
    started, closed = (int(count) for (count,) in counts)
    if not users.runs <= closed <= started <= users.runs + 2 * unknown:
        said.append(f"{users.runs} runs have ended for their users, {started} are there and {closed} have a result")
    return said


async def _rows(connection: "psycopg.AsyncConnection[tuple[Any, ...]]") -> dict[str, int]:
    """The tables that should be empty and are not."""
    found = {}
    for name in await table_sizes(connection):
        if name.partition(".")[2] not in LEAVES_ROWS:
            (count,) = await (await connection.execute(f"SELECT count(*) FROM {name}".encode())).fetchone() or (0,)
            found[name] = int(count)
    return {name: count for name, count in found.items() if count}
