"""B7: how fast workers take runs from a queue in which a million wait, over one in which ten thousand do.

Both queues stand at once, each on a stack of its own, and are worked off in turns. What is measured is what a user
gets: runs claimed, executed and closed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from holdfast.ids import CELL_IN_RUN_ID
from holdfast_coordinator.store.migrate import cell_schema

from . import flows
from .backlog import fill, settle
from .programs import BenchFailed
from .sizes import Say, Sizes
from .stack import Stack, stack

FIGURES = ("B7",)
WORKERS = 2
QUEUE = "deep"
NOBODYS = "nobody"
"""The queue of the run that the others are copied from."""
LOOK_SECONDS = 0.1
DRAIN_SECONDS = 300.0
BEGINS, ENDS = 0.1, 0.9
"""The share of the small backlog that is closed when the clock begins and when it stops. Workers start before that."""


class Backlog:
    """A stack whose queue is filled up to `depth` before it is worked off."""

    def __init__(self, running: Stack, run_id: str, depth: int) -> None:
        self._running = running
        self._run_id = run_id
        self._depth = depth
        self._made = 0
        self._schema = cell_schema(run_id[CELL_IN_RUN_ID])

    async def fill_up(self) -> None:
        """Makes as many runs as were worked off."""
        waiting = await self._value("SELECT count(*) FROM {}.open_runs WHERE queue = %s", QUEUE)
        count = self._depth - waiting
        url = self._running.server.url()
        await asyncio.to_thread(fill, url, self._run_id, QUEUE, first=self._made, count=count)
        self._made += count
        await asyncio.to_thread(settle, self._running.server.url(role="postgres"))

    async def runs_per_second(self, count: int) -> float:
        """Starts workers, lets them close about `count` runs, and ends them."""
        began_at: datetime = await self._value("SELECT clock_timestamp()")
        programs = self._running.programs
        names = [f"worker-{number}" for number in range(1, WORKERS + 1)]
        for name in names:
            await programs.start_worker(name, self._running.addresses[0], queue=QUEUE)
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                closed = "SELECT count(*) FROM {}.run_results WHERE closed_at > %s"
                while await self._value(closed, began_at) < count * ENDS:  # noqa: ASYNC110 - rows are no events
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise BenchFailed(f"{count} runs are not closed in {DRAIN_SECONDS:g} s", log=programs.log) from None
        finally:
            for name in names:
                await programs.stop(name)
        nth = "SELECT closed_at FROM {}.run_results WHERE closed_at > %s ORDER BY closed_at OFFSET %s LIMIT 1"
        first, last = int(count * BEGINS), int(count * ENDS) - 1
        since: datetime = await self._value(nth, began_at, first)
        until: datetime = await self._value(nth, began_at, last)
        return (last - first) / (until - since).total_seconds()

    async def _value(self, query: str, *parameters: object) -> Any:
        async with await psycopg.AsyncConnection.connect(self._running.server.url()) as connection:
            composed = sql.SQL(query).format(sql.Identifier(self._schema))
            row = await (await connection.execute(composed, parameters)).fetchone()
        assert row is not None
        return row[0]


async def measure_deep_queue(sizes: Sizes, say: Say) -> dict[str, list[float]]:
    """B7: of each round, the runs per second with the deep backlog over those with the shallow one."""
    ratios = []
    async with backlog(sizes.shallow_queue) as shallow, backlog(sizes.deep_queue) as deep:
        for number in range(1, sizes.rounds + 1):
            say(f"B7: round {number} of {sizes.rounds}, filling queues")
            await shallow.fill_up()
            await deep.fill_up()
            say(f"B7: round {number} of {sizes.rounds}")
            # Who goes first takes turns: what the second finds is not what the first found.
            order = (shallow, deep) if number % 2 else (deep, shallow)
            found = {id(one): await one.runs_per_second(sizes.shallow_queue) for one in order}
            ratios.append(found[id(deep)] / found[id(shallow)])
    return {"B7": ratios}


@asynccontextmanager
async def backlog(depth: int) -> AsyncIterator[Backlog]:
    """A stack without workers, with one run that nobody takes."""
    async with stack(workers=0) as running:
        run = await running.client.start(flows.one_step.with_options(queue=NOBODYS), flows.PAYLOAD)
        yield Backlog(running, run.run_id, depth)
