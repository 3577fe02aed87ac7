"""holdfast and DBOS side by side: the same work, the same Postgres process, interleaved. `make bench-peers`.

DBOS first tries several ways of running the work and goes on with the fastest of each case.
"""

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.table import Table

from holdfast import HoldfastError, Workflow
from holdfast.client.loops import run

from . import flows
from .cases import run_all
from .cpu import cpu_seconds
from .figures import Figure
from .processes import command_of, environment
from .stack import Stack, stack

ROUNDS = 3
TRIES = 2
IN_FLIGHT = 500
DUE_RATIO = {"ten_steps": 8.0}


@dataclass(slots=True, frozen=True)
class Work:
    """A case. units: how much one run counts for; runs: of holdfast and of DBOS in a round."""

    what: str
    unit: str
    units: int
    workflow: Workflow[[str], str]
    runs: int
    dbos_runs: int


WORKS = {
    "one_step": Work("one-step runs", "runs/s", 1, flows.one_step, 4_000, 800),
    "ten_steps": Work("10-step runs", "steps/s", flows.STEPS_PER_RUN, flows.ten_steps, 1_000, 120),
}


@dataclass(slots=True, frozen=True)
class Way:
    """One way of running the work on DBOS. in_flight, pool: per process."""

    style: str
    processes: int
    in_flight: int
    pool: int

    def __str__(self) -> str:
        return f"{self.style}, {self.processes} process(es), {self.in_flight} in flight and pool of {self.pool} each"


WAYS = (
    Way("async", 1, 4, 10),
    Way("async", 1, 20, 20),
    Way("async", 2, 4, 10),
    Way("async", 2, 20, 20),
    Way("started", 2, 8, 20),
    Way("threads", 1, 4, 10),
    Way("threads", 1, 8, 20),
    Way("threads", 2, 4, 10),
    Way("threads", 2, 20, 20),
    Way("queue", 2, 50, 20),
)


class Dbos:
    """Processes that run work on DBOS."""

    def __init__(self, way: Way, processes: list[Process]) -> None:
        self.way = way
        self._processes = processes

    async def run(self, workflow: str, count: int) -> tuple[float, float]:
        """Seconds until all processes are done, and their CPU seconds together."""
        asked = {"workflow": workflow, "count": count // self.way.processes, "in_flight": self.way.in_flight}
        answers = await asyncio.gather(*(_ask(process, asked) for process in self._processes))
        return max(one["seconds"] for one in answers), sum(one["cpu_seconds"] for one in answers)


@contextlib.asynccontextmanager
async def dbos(way: Way, url: str) -> AsyncIterator[Dbos]:
    """DBOS processes for as long as the block runs."""
    settings = json.dumps({"url": url, "style": way.style, "pool": way.pool})
    command = command_of("dbos_work", [settings])
    processes: list[Process] = []
    try:
        for _ in range(way.processes):
            process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment())
            processes.append(process)
            # One after the other: the first makes the tables.
            assert process.stdout is not None
            if await process.stdout.readline() != b"ready\n":
                raise HoldfastError("DBOS does not start; its output above says why")
        yield Dbos(way, processes)
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            try:
                await asyncio.wait_for(process.wait(), 10.0)
            except TimeoutError:
                process.kill()


async def _ask(process: Process, asked: Mapping[str, object]) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asked).encode() + b"\n")
    line = await process.stdout.readline()
    if not line:
        raise HoldfastError("a DBOS process ended; its output above says why")
    answer: dict[str, float] = json.loads(line)
    return answer


async def fastest_ways(url: str, console: Console) -> dict[str, Way]:
    """Tries every way on every case, and says what it found."""
    rates: dict[str, dict[Way, float]] = defaultdict(dict)
    for way in WAYS:
        async with dbos(way, url) as running:
            for name, work in WORKS.items():
                count = work.dbos_runs // 4 * 2
                await running.run(name, max(count // 10, way.processes))
                tries = [await running.run(name, count) for _ in range(TRIES)]
                rates[name][way] = count * work.units / min(seconds for seconds, _ in tries)
        found = ", ".join(f"{rates[name][way]:,.0f} {work.unit}" for name, work in WORKS.items())
        console.print(f"DBOS: {way}: {found}", highlight=False)
    return {name: max(of_ways, key=lambda way: of_ways[way]) for name, of_ways in rates.items()}


async def compare(console: Console) -> None:
    """Prints the table."""
    async with stack(workers=2) as running:
        url = running.server.url(database="dbos_peer")
        ways = await fastest_ways(url, console)
        await run_all(running.client, flows.one_step, 500, in_flight=IN_FLIGHT)
        rates: dict[tuple[str, str], list[float]] = defaultdict(list)
        cpu: dict[tuple[str, str], list[float]] = defaultdict(list)
        for number in range(1, ROUNDS + 1):
            for name, work in WORKS.items():
                console.print(f"round {number} of {ROUNDS}: {work.what}", highlight=False)
                rate, used = await _measure_holdfast(running, work)
                rates[name, "holdfast"].append(rate)
                cpu[name, "holdfast"].append(used)
                rate, used = await _measure_dbos(running, ways[name], url, name)
                rates[name, "dbos"].append(rate)
                cpu[name, "dbos"].append(used)
    _show(rates, cpu, ways, console)


async def _measure_holdfast(running: Stack, work: Work) -> tuple[float, float]:
    before = sum(running.cpu_seconds().values())
    seconds = await run_all(running.client, work.workflow, work.runs, in_flight=IN_FLIGHT)
    used = sum(running.cpu_seconds().values()) - before
    return work.runs * work.units / seconds, used / (work.runs * work.units) * 1e3


async def _measure_dbos(running: Stack, way: Way, url: str, name: str) -> tuple[float, float]:
    work = WORKS[name]
    postmaster = running.server.pid
    assert postmaster is not None
    async with dbos(way, url) as other:
        await other.run(name, max(work.dbos_runs // 10, way.processes))
        before = cpu_seconds(postmaster, with_children=True) or 0.0
        seconds, used = await other.run(name, work.dbos_runs)
        used += (cpu_seconds(postmaster, with_children=True) or 0.0) - before
    done = work.dbos_runs * work.units
    return done / seconds, used / done * 1e3


def _show(
    rates: Mapping[tuple[str, str], list[float]],
    cpu: Mapping[tuple[str, str], list[float]],
    ways: Mapping[str, Way],
    console: Console,
) -> None:
    table = Table(title=f"holdfast {version('holdfast')} and DBOS {version('dbos')}", title_justify="left")
    for column in ("work", "unit", "holdfast", "range", "DBOS", "range", "ratio", "due", "CPU-ms: holdfast", "DBOS"):
        table.add_column(column, justify="left" if column in ("work", "unit") else "right")
    for name, work in WORKS.items():
        ours, theirs = (Figure.of(rates[name, who], work.unit) for who in ("holdfast", "dbos"))
        our_cpu, their_cpu = (Figure.of(cpu[name, who], "ms").median for who in ("holdfast", "dbos"))
        ratio, due = ours.median / theirs.median, DUE_RATIO.get(name)
        colour = "" if due is None else "[green]" if ratio >= due else "[red]"
        table.add_row(
            work.what, work.unit,
            f"{ours.median:,.0f}", f"{ours.min:,.0f} .. {ours.max:,.0f}",
            f"{theirs.median:,.0f}", f"{theirs.min:,.0f} .. {theirs.max:,.0f}",
            f"{colour}{ratio:.1f}x", "" if due is None else f"{due:g}x",
            f"{our_cpu:.3f}", f"{their_cpu:.3f}",
        )  # fmt: skip
    console.print(table)
    for name, way in ways.items():
        console.print(f"DBOS, {WORKS[name].what}: {way}", highlight=False)


def main() -> int:
    """Returns the exit code."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 120)
    try:
        version("dbos")
    except PackageNotFoundError:
        Console(stderr=True).print("DBOS is not installed: pip install 'dbos>=3,<4', or use make bench-peers")
        return 2
    try:
        run(compare(console))
    except HoldfastError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
