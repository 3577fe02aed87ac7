"""Measures what a step costs with several coordinators and cells: `python -m benchmarks.capacity.measure`.

Every stack has the same four workers and the same load. On a machine with few cores the speed says nothing about more
coordinators: they share the cores. What a step costs each process, in CPU, transactions and WAL, is what is looked at.
"""

import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import string
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from rich.console import Console
from rich.table import Table

from holdfast.client import Client
from holdfast.client.loops import run
from holdfast_coordinator.postgres import EmbeddedPostgres

from .. import flows
from ..profiles import CLIENT
from ..programs import BenchFailed
from ..stack import Stack, stack
from .counters import counters, kept
from .measured import Measured

WORKERS = 4
CONNECTIONS_MAX = 1_500
STATISTICS_SECONDS = 11.0
"""How long after a load what backends have counted is complete: an idle one reports after ten seconds."""
RUNS_SECONDS = 300.0


@dataclass(slots=True, frozen=True)
class Load:
    """What is run in a round. payload_bytes: of each argument and result. idle_seconds: how long nothing is run.

    statistics_seconds: how long is waited for what backends have counted; with less, some of it is missing."""

    runs: int = 1_000
    in_flight: int = 500
    payload_bytes: int = len(flows.PAYLOAD)
    idle_seconds: float = 10.0
    rounds: int = 3
    statistics_seconds: float = STATISTICS_SECONDS


async def measure_stack(coordinators: int, cells: int, load: Load) -> Measured:
    """Brings up a stack of this shape, measures it, takes it down. Each figure is the median of the rounds.

    Raises BenchFailed when the stack does not do its work.
    """
    async with (
        roomy_postgres() as server,
        stack(workers=WORKERS, replicas=coordinators, cells=cells, server=server) as running,
    ):
        await _run_all((running.client, *running.others), max(load.runs // 4, 1), load)
        gc.collect()
        await asyncio.sleep(load.statistics_seconds)
        found = [await _round(running, coordinators, cells, load) for _ in range(load.rounds)]
    medians = {one.name: statistics.median(getattr(round_, one.name) for round_ in found) for one in fields(Measured)}
    return replace(Measured(**medians), coordinators=coordinators, cells=cells, payload_bytes=load.payload_bytes)


@contextlib.asynccontextmanager
async def roomy_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A server that takes as many connections as the largest stack opens; all else as `holdfast dev` sets it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-capacity-") as directory:
        os.chmod(directory, 0o755)  # where root starts it, the server is another user
        server = EmbeddedPostgres(Path(directory, "postgres"))
        async with server:
            with psycopg.connect(server.url(database="postgres", role="postgres"), autocommit=True) as connection:
                connection.execute(f"ALTER SYSTEM SET max_connections = {CONNECTIONS_MAX}")
        async with server:
            yield server


async def _round(running: Stack, coordinators: int, cells: int, load: Load) -> Measured:
    rows_before = await asyncio.to_thread(kept, running.server)
    idle_counted, idle_cpu = await _while_idle(running, load.idle_seconds)
    before, cpu_before = await asyncio.to_thread(counters, running.server), running.cpu_seconds()
    seconds = await _run_all((running.client, *running.others), load.runs, load)
    cpu = _by_kind(cpu_before, running.cpu_seconds())
    wal_bytes = (await asyncio.to_thread(counters, running.server)).wal_bytes - before.wal_bytes
    await asyncio.sleep(load.statistics_seconds)  # no event says that all backends have reported
    counted = (await asyncio.to_thread(counters, running.server)).since(before)
    left = (await asyncio.to_thread(kept, running.server)).since(rows_before)
    if left.runs < load.runs:
        raise BenchFailed(f"{load.runs} runs were closed, and the tables have {left.runs} more")
    steps = load.runs * flows.STEPS_PER_RUN
    idle_transactions = idle_counted / load.idle_seconds
    # What an idle fleet writes is taken off: it is a figure of its own.
    busy_seconds = seconds + load.statistics_seconds
    return Measured(
        coordinators=coordinators,
        cells=cells,
        payload_bytes=load.payload_bytes,
        steps_per_second=steps / seconds,
        client_ms=cpu["client"] / steps * 1e3,
        worker_ms=cpu["worker"] / steps * 1e3,
        coordinator_ms=(cpu["coordinator"] - idle_cpu["coordinator"] * seconds) / steps * 1e3,
        postgres_ms=(cpu["postgres"] - idle_cpu["postgres"] * seconds) / steps * 1e3,
        transactions_per_step=(counted.transactions - idle_transactions * busy_seconds) / steps,
        wal_bytes_per_step=wal_bytes / steps,
        connections=counted.connections,
        journal_rows_per_run=left.journal_rows / left.runs,
        table_bytes_per_run=left.table_bytes / left.runs,
        index_bytes_per_run=left.index_bytes / left.runs,
        idle_transactions=idle_transactions,
        idle_coordinator_ms=idle_cpu["coordinator"] * 1e3,
        idle_postgres_ms=idle_cpu["postgres"] * 1e3,
    )


async def _while_idle(running: Stack, seconds: float) -> tuple[int, dict[str, float]]:
    """Transactions, and seconds of CPU per second by kind of process, while nothing is run."""
    before, cpu_before, began = (
        await asyncio.to_thread(counters, running.server),
        running.cpu_seconds(),
        time.perf_counter(),
    )
    await asyncio.sleep(seconds)
    passed = time.perf_counter() - began
    used = _by_kind(cpu_before, running.cpu_seconds())
    counted = (await asyncio.to_thread(counters, running.server)).since(before)
    return counted.transactions, {kind: one / passed for kind, one in used.items()}


def _by_kind(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Seconds of CPU between two readings, by kind of process."""
    kinds = dict.fromkeys((CLIENT, "worker", "coordinator", "postgres"), 0.0)
    for process in before:
        kinds[process.partition("-")[0]] += after[process] - before[process]
    return kinds


async def _run_all(clients: Sequence[Client], count: int, load: Load) -> float:
    """Starts `count` runs of ten steps, by all clients in turn, and awaits their results; the seconds that it took."""
    # Drawn, as Postgres would compress large ones that repeat themselves.
    payload = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=load.payload_bytes))
    left = iter(range(count))

    async def one_after_the_other(client: Client) -> None:
        for _ in left:
            result = await client.run(flows.ten_steps, payload)
            assert result == payload, result

    started = time.perf_counter()
    try:
        async with asyncio.timeout(RUNS_SECONDS), asyncio.TaskGroup() as group:
            for number in range(min(load.in_flight, count)):
                group.create_task(one_after_the_other(clients[number % len(clients)]))
    except TimeoutError:
        raise BenchFailed(f"runs are still open after {RUNS_SECONDS:g} s") from None
    except ExceptionGroup as group:
        raise BenchFailed(f"a run did not complete: {group.exceptions[0]!r}") from group
    return time.perf_counter() - started


def _shape(text: str) -> tuple[int, int]:
    coordinators, _, cells = text.partition("x")
    if not (coordinators.isdecimal() and cells.isdecimal() and int(coordinators) and 0 < int(cells) < 100):
        raise typer.BadParameter(f"{text!r} is not coordinators x cells, such as 2x4")
    return int(coordinators), int(cells)


SHAPES = [f"{coordinators}x{cells}" for coordinators in (1, 2, 4) for cells in (1, 4, 16)]


def main(
    shape: Annotated[
        list[str], typer.Option("--shape", help="Coordinators x cells, such as 2x4; many times.")
    ] = SHAPES,
    payload: Annotated[int, typer.Option(min=1, help="Bytes of each argument and result.")] = len(flows.PAYLOAD),
    runs: Annotated[int, typer.Option(min=1, help="Runs of ten steps in each round.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    idle: Annotated[float, typer.Option(min=0.1, help="Seconds without work in each round.")] = 10.0,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds after a load until Postgres has counted all of it.")
    ] = STATISTICS_SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Measure what a step costs with several coordinators and cells.

    Brings its own Postgres, coordinators and four workers for each shape; commits are durable.
    """
    shapes = [_shape(one) for one in shape]
    load = Load(runs, min(500, runs), payload, idle, rounds, wait)
    found: list[Measured] = []
    with Console(stderr=True).status("") as status:
        for coordinators, cells in shapes:
            status.update(f"{coordinators} coordinators, {cells} cells")
            found.append(run(measure_stack(coordinators, cells, load)))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        Console(width=160).print(table_of(found))


def table_of(found: Sequence[Measured]) -> Table:
    """A column for each stack."""
    table = Table(title="CPU, transactions and WAL per step", title_justify="left")
    table.add_column("")
    for one in found:
        table.add_column(f"{one.coordinators}x{one.cells}", justify="right")
    for field in fields(Measured)[2:]:
        values: list[Any] = [getattr(one, field.name) for one in found]
        table.add_row(field.name.replace("_", " "), *(f"{value:,.4g}" for value in values))
    return table


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
