"""`holdfast worker` in several processes, and a Worker inside a program that has other things to do."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable

import pytest

from holdfast import App
from holdfast.client import Client
from holdfast.errors import HoldfastError, NamespaceNotFound, RunFailed
from holdfast.worker import Worker
from tests.support import flows_health as flows
from tests.support.process_tree import command_of, descendants, is_running
from tests.support.processes import Process
from tests.support.watching import until

from .conftest import Coordinator, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_health"
app = App("embedded")
began: asyncio.Queue[int] = asyncio.Queue()


@app.step(recoveries=3)
async def hold(attempts: int) -> int:
    """Hangs in its first attempt."""
    began.put_nowait(os.getpid())
    if began.qsize() < attempts:
        await asyncio.Event().wait()
    return began.qsize()


@app.workflow
async def held() -> int:
    return await hold(2)


async def holds(fact: Callable[[], bool]) -> None:
    """Returns when the fact is true."""

    async def look() -> bool:
        return fact()

    await until(look, bool, seconds=20)


def workers_below(supervisor: Process) -> list[int]:
    """The workers that a process has started; each has a small process beside it, which ends after it."""
    return [pid for pid in descendants(supervisor.pid) if "holdfast worker" in command_of(pid)]


async def test_two_worker_processes_serve_one_queue_and_end_together(
    process_worker: WorkerProcessFactory, client: Client, queue: str
) -> None:
    async with process_worker(MODULE, options=["--processes", "2"]) as supervisor:
        await supervisor.wait_for_line("worker: ready")
        await holds(lambda: supervisor.output.count("worker: ready") == 2)
        # Between its fork and its exec the small process has the command of its worker.
        await holds(lambda: len(workers_below(supervisor)) == 2)
        below = descendants(supervisor.pid)
        handle = await client.start(flows.one_step.with_options(queue=queue))
        assert await handle.result(timeout=20) > 0
        supervisor.send(signal.SIGTERM)
        assert await supervisor.wait() == 0, supervisor.output
    await holds(lambda: not any(map(is_running, below)))


@pytest.mark.feature("F151")
@pytest.mark.parametrize("processes", ["1", "2"])
async def test_guards_are_switched_off_on_the_command_line(
    process_worker: WorkerProcessFactory, client: Client, queue: str, processes: str
) -> None:
    async with process_worker(MODULE, options=["--processes", processes]) as worker:
        await worker.wait_for_line("worker: ready")
        refused = await client.start(flows.asks_the_clock.with_options(queue=queue))
        with pytest.raises(RunFailed, match="UnguardedCall"):
            await refused.result(timeout=20)
    async with process_worker(MODULE, options=["--processes", processes, "--guards", "off"]) as worker:
        await worker.wait_for_line("worker: ready")
        allowed = await client.start(flows.asks_the_clock.with_options(queue=queue))
        assert await allowed.result(timeout=20) > 0


async def test_a_worker_process_that_dies_takes_the_others_along_and_says_which(
    process_worker: WorkerProcessFactory,
) -> None:
    async with process_worker(MODULE, options=["--processes", "2", "--quiet"]) as supervisor:
        await holds(lambda: len(workers_below(supervisor)) == 2)
        below = descendants(supervisor.pid)
        killed = min(workers_below(supervisor))
        os.kill(killed, signal.SIGKILL)
        assert await supervisor.wait() == 1
        assert f"holdfast: worker process {killed} was killed by signal 9" in supervisor.output
    await holds(lambda: not any(map(is_running, below)))


async def test_a_health_port_in_use_is_one_sentence(
    process_worker: WorkerProcessFactory, coordinator: Coordinator
) -> None:
    port = coordinator.address.rpartition(":")[2]
    async with process_worker(MODULE, options=["--health-port", port, "--quiet"]) as process:
        assert await process.wait() == 1
        assert process.lines == [
            f"holdfast: health port {port} cannot be opened: it is in use, or not for this user; choose another"
        ]


async def test_a_worker_inside_a_program_leaves_its_garbage_collector_and_its_signals_alone(
    client: Client, queue: str
) -> None:
    def of_the_program(*_: object) -> None: ...

    frozen = gc.get_freeze_count()
    before = signal.signal(signal.SIGTERM, of_the_program)
    try:
        for handles in (True, False):
            worker = Worker(client, queue, workflows=[flows.one_step], handle_signals=handles)
            working = asyncio.create_task(worker.run())
            await worker.ready()
            assert (signal.getsignal(signal.SIGTERM) is of_the_program) is not handles
            assert gc.get_freeze_count() == frozen
            worker.stop()
            await working
            assert signal.getsignal(signal.SIGTERM) is of_the_program
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_worker_whose_task_is_cancelled_gives_its_work_to_others_at_once(client: Client, queue: str) -> None:
    first = Worker(client, queue, workflows=[held])
    working = asyncio.create_task(first.run())
    await first.ready()
    handle = await client.start(held.with_options(queue=queue))
    await holds(lambda: began.qsize() == 1)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    second = Worker(client, queue, workflows=[held])
    working = asyncio.create_task(second.run())
    try:
        # The session's time limit is 2 s here: without a good-bye the run would wait for it.
        assert await handle.result(timeout="1.5s") == 2
    finally:
        second.stop()
        await working


async def test_a_run_that_fails_among_many_leaves_no_wait_behind(client: Client, queue: str) -> None:
    handles = [await client.start(held.with_options(queue=queue)) for _ in range(3)]
    await handles[0].terminate("enough")
    before = asyncio.all_tasks()
    with pytest.raises(Exception, match="was terminated: enough"):
        await client.wait_many(handles)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()
    outcomes = await client.wait_many(handles[:1], return_exceptions=True)
    assert [type(one).__name__ for one in outcomes] == ["RunCancelled"]
    for handle in handles[1:]:
        await handle.terminate()


async def test_who_waits_for_a_worker_that_ended_before_it_was_ready_is_told(coordinator: Coordinator) -> None:
    async with Client.connect(coordinator.address, namespace="nowhere") as client:
        worker = Worker(client, workflows=[flows.one_step])
        working = asyncio.create_task(worker.run())
        with pytest.raises(HoldfastError, match="ended before it was ready"):
            await asyncio.wait_for(worker.ready(), 10)
        with pytest.raises(NamespaceNotFound):
            await working
