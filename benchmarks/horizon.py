"""B8: what a transaction that somebody leaves open costs: vacuum removes no row that dies while it stands.

The load is of queued steps, which write and delete more rows than any other, and with more runs at work than there are
slots, so that work is claimed from behind dead entries of the index too.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from . import flows
from .programs import BenchFailed
from .sizes import Say, Sizes
from .stack import Stack, stack

FIGURES = ("B8",)
WORKERS = 2
NO_TIMEOUT = "SET idle_in_transaction_session_timeout = 0"
"""The role of a coordinator does not leave a transaction open for long; others of the same database may."""
HOLD = "SELECT count(*) FROM pg_class"
"""With its snapshot the horizon stands."""


async def measure_held_horizon(sizes: Sizes, say: Say) -> dict[str, list[float]]:
    """B8: of each round, the steps per second in a window after the horizon was held, over those in the first one."""
    ratios = []
    for number in range(1, sizes.rounds + 1):
        say(f"B8: round {number} of {sizes.rounds}, {sizes.held_seconds:g} s and more")
        # A stack for each: what dead rows one round has left would be there in the first window of the next one.
        async with stack(workers=WORKERS) as running:
            ratios.append(await _one_round(running, sizes))
    return {"B8": ratios}


async def _one_round(running: Stack, sizes: Sizes) -> float:
    window = sizes.window_seconds
    async with _load(running, sizes) as ended_at:
        await asyncio.sleep(window)  # until what is compared is a steady state
        async with _held_horizon(running.server.url()) as holder:
            began = time.monotonic()
            await asyncio.sleep(sizes.held_seconds + window)
            await holder.execute("SELECT 1")  # it stood until now, or this raises
    first = sum(began <= at < began + window for at in ended_at)
    last = sum(began + sizes.held_seconds <= at < began + sizes.held_seconds + window for at in ended_at)
    if not first:
        raise BenchFailed(f"no run ended within {window:g} s", log=running.programs.log)
    return last / first


@asynccontextmanager
async def _load(running: Stack, sizes: Sizes) -> AsyncIterator[list[float]]:
    """Keeps runs going; when each ended, by the monotonic clock."""
    ended_at: list[float] = []

    async def one_after_the_other() -> None:
        while True:
            await running.client.run(flows.ten_queued_steps, flows.PAYLOAD)
            ended_at.append(time.monotonic())

    going = [asyncio.create_task(one_after_the_other()) for _ in range(sizes.in_flight)]
    try:
        yield ended_at
    finally:
        failed = [task.exception() for task in going if task.done()]
        for task in going:
            task.cancel()
        await asyncio.gather(*going, return_exceptions=True)
    if failed:
        raise BenchFailed(f"a run did not complete: {failed[0]!r}", log=running.programs.log)


@asynccontextmanager
async def _held_horizon(url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(url) as holder:
        await holder.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await holder.execute(NO_TIMEOUT)
        await holder.execute(HOLD)
        yield holder
