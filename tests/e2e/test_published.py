"""Values that a run publishes, read by clients over real processes, while it is open and when it is closed."""

import asyncio
import json

import pytest

from holdfast import KeyNotPublished, RunFailed, RunNotFound, blocking
from holdfast.client import Client
from tests.support import flows_published as flows
from tests.support.ledger import Ledger
from tests.support.processes import module_run
from tests.support.watching import kinds, until

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

MODULE = "tests.support.flows_published"


async def test_the_latest_published_value_is_read_also_when_its_worker_was_killed_and_the_run_is_closed(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    run = await client.start(flows.loads.with_options(queue=queue), ledger.path, ["a", "held", "b"])
    with pytest.raises(KeyNotPublished, match="nothing under 'done'"):
        await run.get("done")
    async with process_worker(MODULE) as first:
        await ledger.wait_for("load held")
        assert await run.get("done") == ["A"]
        assert await run.get("share", float) == pytest.approx(1 / 3)
        await first.kill()
    assert await run.get("done") == ["A"]
    ledger.let_go()
    async with process_worker(MODULE):
        assert await run.result(timeout=40) == 3
    assert await run.get("done", tuple[str, ...]) == ("A", "HELD", "B")
    assert (await kinds(run)).count("Published") == 6
    with pytest.raises(KeyNotPublished) as caught:
        await run.get("other")
    assert caught.value.key == "other"
    with pytest.raises(RunNotFound):
        await client.get("no-such-run").get("done")


async def test_a_retried_run_has_what_still_holds_of_what_its_origin_published(
    client: Client, worker: WorkerFactory, ledger: Ledger, queue: str
) -> None:
    async with worker(workflows=[flows.app]):
        run = await client.start(flows.loads.with_options(queue=queue), ledger.path, ["a", "broken"])
        with pytest.raises(RunFailed, match="no such item"):
            await run.result(timeout=20)
        again = await run.retry()
        assert await again.get("done") == ["A"]
        with pytest.raises(RunFailed):
            await again.result(timeout=20)
        assert await run.get("done") == await again.get("done") == ["A"]


async def test_published_values_are_read_by_blocking_clients_and_on_the_command_line(
    client: Client, worker: WorkerFactory, ledger: Ledger, queue: str, coordinator: Coordinator
) -> None:
    address = coordinator.address
    async with worker(workflows=[flows.app]):
        run = await client.start(flows.loads.with_options(queue=queue), ledger.path, ["a", "b"])
        await until(lambda: kinds(run), lambda seen: seen[-1] == "RunClosed")

    def read() -> float:
        with blocking.Client.connect(address) as waits:
            return waits.get(run.run_id).get("share", float)

    assert await asyncio.to_thread(read) == 1.0
    code, shown = await module_run("holdfast", "runs", "get", run.run_id, "done", "--address", address)
    assert (code, json.loads(shown)) == (0, ["A", "B"])
    code, problem = await module_run("holdfast", "runs", "get", run.run_id, "other", "--address", address)
    assert code != 0
    assert "has published nothing under 'other'" in " ".join(problem.split())
