"""B9: what runs cost that only wait: memory of the coordinator, and time of a run that is started beside them.

Two stacks stand side by side, one with the waiting runs and one without, and new runs take turns.
"""

import asyncio
import statistics
import time

import psycopg
from psycopg import sql

from holdfast.ids import CELL_IN_RUN_ID
from holdfast_coordinator.domain.rows import RunState
from holdfast_coordinator.store.migrate import cell_schema

from . import flows
from .cases import run_all
from .memory import resident_mb
from .programs import BenchFailed
from .sizes import Say, Sizes
from .stack import COORDINATOR, Stack, stack

FIGURES = ("B9", "B9.new_run")
WORKERS = 2
STARTED_AT_ONCE = 1_000
TURNS = 6
LOOK_SECONDS = 0.5
SUSPEND_SECONDS = 300.0


async def measure_suspended(sizes: Sizes, say: Say) -> dict[str, list[float]]:
    """B9: of each round, megabytes above those of an idle coordinator, and the time of a new run over that without."""
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for number in range(1, sizes.rounds + 1):
        say(f"B9: round {number} of {sizes.rounds}, {sizes.suspended_runs} runs")
        async with stack(workers=WORKERS) as empty, stack(workers=WORKERS) as full:
            for running in (empty, full):
                await run_all(running.client, flows.one_step, sizes.one_step_runs, in_flight=sizes.in_flight)
            before = resident_mb(full.pids[COORDINATOR])
            await _suspend(full, sizes.suspended_runs)
            after = resident_mb(full.pids[COORDINATOR])
            if before is not None and after is not None:
                found["B9"].append(max(0.0, after - before))
            found["B9.new_run"].append(await _slowdown(empty, full, sizes))
    return found


async def _suspend(running: Stack, count: int) -> None:
    """Starts runs; returns when all of them are suspended."""
    started = []
    for first in range(0, count, STARTED_AT_ONCE):
        calls = [()] * min(STARTED_AT_ONCE, count - first)
        started += await running.client.start_many(flows.waits, calls)
    schema = sql.Identifier(cell_schema(started[0].run_id[CELL_IN_RUN_ID]))
    waiting = sql.SQL("SELECT count(*) FROM {}.open_runs WHERE state = %s").format(schema)
    try:
        async with (
            await psycopg.AsyncConnection.connect(running.server.url(), autocommit=True) as connection,
            asyncio.timeout(SUSPEND_SECONDS),
        ):
            found = None
            while found != (count,):
                await asyncio.sleep(LOOK_SECONDS)
                found = await (await connection.execute(waiting, (RunState.SUSPENDED,))).fetchone()
    except TimeoutError:
        raise BenchFailed(
            f"{count} runs are not suspended after {SUSPEND_SECONDS:g} s", log=running.programs.log
        ) from None


async def _slowdown(empty: Stack, full: Stack, sizes: Sizes) -> float:
    """The median time of a run on one stack over that on the other, in turns."""
    took: dict[int, list[float]] = {id(empty): [], id(full): []}
    for turn in range(TURNS):
        for running in (empty, full) if turn % 2 else (full, empty):
            for _ in range(max(sizes.idle_runs // TURNS, 1)):
                began = time.perf_counter()
                await running.client.run(flows.one_step, flows.PAYLOAD)
                took[id(running)].append(time.perf_counter() - began)
    return statistics.median(took[id(full)]) / statistics.median(took[id(empty)])
