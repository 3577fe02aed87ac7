"""Workers that are told to leave, and programs that vanish with all they started, --exit-with-stdin."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator

import pytest

from holdfast.client import Client
from holdfast.statuses import AttemptOutcome
from tests.support import flows_drain as flows
from tests.support.ledger import Ledger
from tests.support.process_tree import command_of, descendants, is_running
from tests.support.processes import Process, worker_process
from tests.support.watching import until

from .conftest import Coordinator, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_drain"
RUNS = 20
TTL_SECONDS = 2.0


@pytest.mark.feature("F140")
async def test_a_drained_worker_finishes_its_steps_and_loses_none(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    names = [str(number) for number in range(RUNS)]
    async with process_worker(MODULE) as leaving:
        runs = await client.start_many(flows.two_steps.with_options(queue=queue), [(ledger.path, one) for one in names])
        await asyncio.gather(*(ledger.wait_for(f"moment {name}") for name in names))
        leaving.send(signal.SIGTERM)
        assert await leaving.wait() == 0
    assert ledger.counts == {f"moment {name}": 1 for name in names}
    async with process_worker(MODULE) as staying:
        began = time.monotonic()
        assert set(await client.wait_many(runs, timeout=20)) == {staying.pid}
        assert time.monotonic() - began < 10
    assert ledger.counts == {f"{kind} {name}": 1 for kind in ("moment", "afterwards") for name in names}


@pytest.mark.feature("F140")
async def test_a_second_signal_hands_running_attempts_back_at_once(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    kinds = ("inline", "queued", "thread")
    async with process_worker(MODULE) as leaving, process_worker(MODULE) as staying:
        await leaving.wait_for_line("ready")
        run = await client.start(flows.three_endless_steps.with_options(queue=queue), ledger.path)
        await until(_lines(ledger), lambda lines: len(lines) == len(kinds))
        holder, other = (leaving, staying) if f"inline {leaving.pid}" in ledger.lines else (staying, leaving)
        await other.wait_for_line("ready")
        holder.send(signal.SIGTERM)
        await asyncio.sleep(0.2)
        holder.send(signal.SIGTERM)
        asked_at = time.monotonic()
        await asyncio.gather(*(ledger.wait_for(f"{kind} {other.pid}") for kind in kinds))
        assert time.monotonic() - asked_at < TTL_SECONDS
        assert await holder.wait() == 0
        ledger.let_go()
        assert await run.result(timeout=10) == [other.pid] * 3
    history = await run.history()
    ended = [entry.entry.attempt.outcome for entry in history if entry.type == "AttemptEnded"]
    assert set(ended) == {AttemptOutcome.HANDED_BACK}


async def test_a_worker_leaves_when_its_standard_input_ends(
    client: Client, coordinator: Coordinator, ledger: Ledger, queue: str
) -> None:
    async with _worker_with_stdin(coordinator, queue) as idle, _worker_with_stdin(coordinator, f"{queue}-b") as blocked:
        await asyncio.gather(_until_ready(idle), _until_ready(blocked))
        run = await client.start(flows.one_blocking_step.with_options(queue=f"{queue}-b"), ledger.path)
        await ledger.wait_for(f"blocked {blocked.pid}")
        for process in (idle, blocked):
            assert process.stdin is not None
            process.stdin.close()
        async with asyncio.timeout(5):
            assert await idle.wait() == 0
            assert await blocked.wait() == 70
        await run.terminate("its worker is gone")


async def test_nothing_is_left_of_a_dev_program_that_was_killed() -> None:
    command = [sys.executable, "-m", "holdfast", "dev", MODULE, "--ephemeral", "--port", "0"]
    async with Process("dev", command) as dev:
        await dev.wait_for_line("worker: ready")
        started = descendants(dev.pid)
        assert any("holdfast worker" in command_of(pid) for pid in started)
        assert any("postgres" in command_of(pid) for pid in started)
        await dev.kill()

        async def left() -> list[str]:
            return [command_of(pid) for pid in started if is_running(pid)]

        await until(left, lambda commands: not commands)


def _lines(ledger: Ledger):  # type: ignore[no-untyped-def]
    async def look() -> list[str]:
        return ledger.lines

    return look


@contextlib.asynccontextmanager
async def _worker_with_stdin(coordinator: Coordinator, queue: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that ends with its standard input."""
    command = worker_process(coordinator.address, MODULE, queue=queue, options=["--exit-with-stdin"]).command
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _until_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while b"ready" not in await process.stderr.readline():
        assert process.returncode is None
