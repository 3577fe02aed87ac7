"""The work of the benchmark on DBOS, in a process of its own. Knows DBOS and nothing of holdfast.

    python -m benchmarks.peers.dbos_work '{"url": ..., "style": "async", "pool": 20}'

Prints "ready"; for each line on stdin, such as {"do": "runs", "workflow": ..., "count": ..., "in_flight": ...}, prints
an answer, see `Bench`; ends when stdin is closed.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop
from dbos import DBOS, DBOSConfig

PAYLOAD = "holdfast benchmark payload ".ljust(150, ".")
STEPS_PER_RUN = 10
QUEUE = "bench"

AsyncWorkflow = Callable[[str], Coroutine[Any, Any, str]]


@DBOS.step()
async def echo(payload: str) -> str:
    return payload


@DBOS.step()
def echo_plain(payload: str) -> str:
    return payload


@DBOS.step()
async def clock(payload: str) -> int:
    return time.monotonic_ns()


@DBOS.step()
def clock_plain(payload: str) -> int:
    return time.monotonic_ns()


@DBOS.workflow()
async def one_step(payload: str) -> str:
    return await echo(payload)


@DBOS.workflow()
async def ten_steps(payload: str) -> str:
    for _ in range(STEPS_PER_RUN):
        payload = await echo(payload)
    return payload


@DBOS.workflow()
async def clocked_steps(steps: int) -> list[int]:
    return [await clock(PAYLOAD) for _ in range(steps)]


@DBOS.workflow()
async def fan_out(branches: int) -> int:
    return len(await asyncio.gather(*(echo(PAYLOAD) for _ in range(branches))))


@DBOS.workflow()
def one_step_plain(payload: str) -> str:
    return echo_plain(payload)


@DBOS.workflow()
def ten_steps_plain(payload: str) -> str:
    for _ in range(STEPS_PER_RUN):
        payload = echo_plain(payload)
    return payload


@DBOS.workflow()
def clocked_steps_plain(steps: int) -> list[int]:
    return [clock_plain(PAYLOAD) for _ in range(steps)]


async def _called(workflow: AsyncWorkflow) -> str:
    return await workflow(PAYLOAD)


async def _started(workflow: AsyncWorkflow) -> str:
    handle = await DBOS.start_workflow_async(workflow, PAYLOAD)
    return await handle.get_result()


async def _queued(workflow: AsyncWorkflow) -> str:
    handle = await DBOS.enqueue_workflow_async(QUEUE, workflow, PAYLOAD)
    return await handle.get_result(polling_interval_sec=0.1)


ASYNC_STYLES = {"async": _called, "started": _started, "queue": _queued}
ASYNC = {"one_step": one_step, "ten_steps": ten_steps}
PLAIN = {"one_step": one_step_plain, "ten_steps": ten_steps_plain}


class Bench:
    """One method for each thing that a line may ask for."""

    def __init__(self, style: str, runner: asyncio.Runner) -> None:
        self._style = style
        self._runner = runner

    def runs(self, workflow: str, count: int, in_flight: int) -> list[float]:
        """Nothing, when all of them are done."""
        if self._style == "threads":
            with ThreadPoolExecutor(in_flight) as pool:
                assert set(pool.map(PLAIN[workflow], [PAYLOAD] * count)) == {PAYLOAD}
        else:
            self._runner.run(self._run_all(ASYNC[workflow], count, in_flight))
        return []

    def idle_runs(self, count: int) -> list[float]:
        """How many seconds each took."""
        if self._style != "threads":
            return self._runner.run(self._idle_runs(count))
        took = []
        for _ in range(count):
            started = time.perf_counter()
            one_step_plain(PAYLOAD)
            took.append(time.perf_counter() - started)
        return took

    def clocked_steps(self, steps: int) -> list[int]:
        """The monotonic clock at each step, in nanoseconds."""
        return clocked_steps_plain(steps) if self._style == "threads" else self._runner.run(clocked_steps(steps))

    def fan_out(self, branches: int, count: int) -> list[float]:
        """How many seconds each took."""
        took = []
        for _ in range(count):
            started = time.perf_counter()
            assert self._runner.run(fan_out(branches)) == branches
            took.append(time.perf_counter() - started)
        return took

    async def _run_all(self, workflow: AsyncWorkflow, count: int, in_flight: int) -> None:
        left, run = iter(range(count)), ASYNC_STYLES[self._style]

        async def one_after_the_other() -> None:
            for _ in left:
                assert await run(workflow) == PAYLOAD

        await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))

    async def _idle_runs(self, count: int) -> list[float]:
        took = []
        for _ in range(count):
            started = time.perf_counter()
            await ASYNC_STYLES[self._style](one_step)
            took.append(time.perf_counter() - started)
        return took


def main() -> None:
    """Does what is asked on stdin."""
    settings = json.loads(sys.argv[1])
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": settings["url"],
        "sys_db_pool_size": settings["pool"],
        "log_level": "ERROR",
        "executor_id": str(os.getpid()),
        "application_version": "1",
    }
    DBOS(config=config)
    DBOS.launch()
    if settings["style"] == "queue":
        DBOS.register_queue(QUEUE, worker_concurrency=100, polling_interval_sec=0.05, on_conflict="always_update")
    print("ready", flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        bench = Bench(settings["style"], runner)
        for line in sys.stdin:
            asked = json.loads(line)
            method = getattr(bench, asked.pop("do"))
            print(json.dumps(method(**asked)), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
