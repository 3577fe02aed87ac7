"""The work of the benchmark on DBOS, in a process of its own. Knows DBOS and nothing of holdfast.

    python -m benchmarks.dbos_work '{"url": ..., "style": "async", "pool": 20}'

Prints "ready"; for each line {"workflow": ..., "count": ..., "in_flight": ...} on stdin prints
{"seconds": ..., "cpu_seconds": ...}; ends when stdin is closed.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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


@DBOS.workflow()
async def one_step(payload: str) -> str:
    return await echo(payload)


@DBOS.workflow()
async def ten_steps(payload: str) -> str:
    for _ in range(STEPS_PER_RUN):
        payload = await echo(payload)
    return payload


@DBOS.workflow()
def one_step_plain(payload: str) -> str:
    return echo_plain(payload)


@DBOS.workflow()
def ten_steps_plain(payload: str) -> str:
    for _ in range(STEPS_PER_RUN):
        payload = echo_plain(payload)
    return payload


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


async def run_async(style: str, workflow: str, count: int, in_flight: int) -> None:
    """All runs on one event loop."""
    left = iter(range(count))
    run, function = ASYNC_STYLES[style], ASYNC[workflow]

    async def one_after_the_other() -> None:
        for _ in left:
            assert await run(function) == PAYLOAD

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))


def run_in_threads(workflow: str, count: int, in_flight: int) -> None:
    """All runs in a pool of threads."""
    with ThreadPoolExecutor(in_flight) as pool:
        for result in pool.map(PLAIN[workflow], [PAYLOAD] * count):
            assert result == PAYLOAD


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _asked() -> Iterator[dict[str, object]]:
    for line in sys.stdin:
        yield json.loads(line)


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
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        for asked in _asked():
            workflow, count, in_flight = str(asked["workflow"]), int(str(asked["count"])), int(str(asked["in_flight"]))
            started, used = time.perf_counter(), time.process_time()
            if settings["style"] == "threads":
                run_in_threads(workflow, count, in_flight)
            else:
                runner.run(run_async(settings["style"], workflow, count, in_flight))
            answer = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - used}
            print(json.dumps(answer), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
