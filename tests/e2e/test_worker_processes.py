"""Worker processes that get signals while code could clean up, lose processes of their pool, or start among proxies."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from holdfast.client import Client
from holdfast.statuses import AttemptOutcome, RunStatus
from tests.support import flows_processes as flows
from tests.support.ledger import Ledger
from tests.support.processes import Process
from tests.support.watching import until

from .conftest import Coordinator, WorkerProcessFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULE = "tests.support.flows_processes"
RUNS_BESIDE = 10


@pytest.mark.parametrize("flow", [flows.waits_in_try, flows.waits_in_generator, flows.works_in_try], ids=str)
async def test_a_finally_step_is_not_done_when_its_worker_is_told_to_stop_and_once_when_the_code_ends(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, flow: object
) -> None:
    async with process_worker(MODULE) as stopped:
        run = await client.start(flow.with_options(queue=queue), ledger.path)  # type: ignore[attr-defined]
        if flow is flows.works_in_try:
            await ledger.wait_for("held")
            stopped.send(signal.SIGTERM)
            await asyncio.sleep(0.3)  # two at once may be one
        else:
            await until(run.status, lambda status: status is RunStatus.SUSPENDED)
        stopped.send(signal.SIGTERM)
        assert await stopped.wait() == 0
    assert ledger.counts["cleaned up"] == 0
    ledger.let_go()
    async with process_worker(MODULE):
        await run.signal("word", "over")
        assert await run.result(timeout=20) == "over"
    assert ledger.counts["cleaned up"] == 1
    scheduled = [entry.entry for entry in await run.history() if entry.type == "StepScheduled"]
    assert [entry.name for entry in scheduled].count("clean_up") == 1


WITH_POOL = """
import asyncio, multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from holdfast.client import Client
from holdfast.worker import Worker
from tests.support import flows_processes, pool_steps

async def main():
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    async with Client.connect(sys.argv[1]) as client:
        apps = [flows_processes.app, pool_steps.app]
        worker = Worker(client, sys.argv[2], workflows=apps, steps=apps, executor=pool)
        running = asyncio.create_task(worker.run())
        await worker.ready()
        print("ready", flush=True)
        await running
    print("left", flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.feature("F158")
@pytest.mark.timeout(120)
async def test_a_killed_process_of_a_pool_costs_its_attempt_and_no_other_run_of_the_worker(
    coordinator: Coordinator, client: Client, queue: str, tmp_path: Path
) -> None:
    async with Process("pool", [sys.executable, "-c", WITH_POOL, coordinator.address, queue]) as worker:
        await worker.wait_for_line("^ready")
        killed = await client.start(flows.killed_once.with_options(queue=queue), str(tmp_path / "was here"))
        beside = [await client.start(flows.in_pool.with_options(queue=queue)) for _ in range(RUNS_BESIDE)]
        assert await killed.result(timeout=60) == "done"
        assert len(await client.wait_many(beside, timeout=60)) == RUNS_BESIDE
        again = await client.start(flows.in_pool.with_options(queue=queue))
        assert await again.result(timeout=60) > 0
        worker.send(signal.SIGTERM)
        assert await worker.wait() == 0, worker.output
        assert "left" in worker.output
    lost = [entry.entry.attempt for entry in await killed.history() if entry.type == "AttemptEnded"]
    assert [attempt.outcome for attempt in lost] == [AttemptOutcome.LOST]


async def test_proxies_of_the_environment_do_not_cut_a_worker_process_off(
    process_worker: WorkerProcessFactory, client: Client, queue: str, ledger: Ledger
) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        none = dict.fromkeys(("no_proxy", "no_grpc_proxy", "NO_PROXY", "HOLDFAST_PROXY"), "")
        async with process_worker(MODULE, environment=dict.fromkeys(names, url) | none) as worker:
            await worker.wait_for_line("ready")
            run = await client.start(flows.waits_in_try.with_options(queue=queue), ledger.path)
            await run.signal("word", "through")
            assert await run.result(timeout=20) == "through"
    assert asked == []
