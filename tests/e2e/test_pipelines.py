"""Pipelines on real workers: results that go on, crashes between steps, retries, and how far a run is."""

import asyncio
import json
import sys
from typing import Any

import pytest

from holdfast import App, RunFailed, pipeline
from holdfast.client import Client
from holdfast.journal import StepCompleted, StepScheduled
from tests.support import flows_pipelines as flows
from tests.support.ledger import Ledger
from tests.support.processes import Process
from tests.support.watching import until

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

MODULE = "tests.support.flows_pipelines"

app = App("pipelines")
calls: list[str] = []
broken: set[str] = set()
gate = asyncio.Event()


@pytest.fixture(autouse=True)
def _nothing_yet() -> None:
    calls.clear()
    broken.clear()
    gate.clear()


def checked(x: int) -> int:
    return x


def double(x: int) -> int:
    return x * 2


def text(x: int) -> str:
    return f"Result: {x}"


calculation = pipeline("calculation", [checked, double, text], app=app)


@pytest.mark.feature("F4")
async def test_each_output_is_the_input_of_the_next_step_and_is_stored(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[calculation]):
        run = await client.start(calculation.with_options(id=f"calculation-{queue}", queue=queue), 5)
        assert await run.result(timeout=10) == "Result: 10"
    entries = [one.entry for one in await run.history()]
    assert [entry.name for entry in entries if isinstance(entry, StepScheduled)] == ["checked", "double", "text"]
    results = [entry.result for entry in entries if isinstance(entry, StepCompleted)]
    assert [one.data for one in results if one is not None] == [b"5", b"10", b'"Result: 10"']


@pytest.mark.feature("F5")
@pytest.mark.parametrize("flow", [flows.typed, flows.untyped], ids=lambda flow: flow.name)
async def test_the_items_of_a_tuple_arrive_again_when_the_worker_is_killed_between_two_steps(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str, flow: Any
) -> None:
    async with process_worker(MODULE) as first:
        run = await client.start(flow.with_options(queue=queue), ledger.path)
        await ledger.wait_for("show hello 123")
        async with process_worker(MODULE, environment={"FLOWS_VERSION": "2"}) as second:
            await second.wait_for_line("ready")
            await first.kill()
            assert await run.result(timeout=20) == "[hello 123]"
    assert ledger.counts == {"read": 1, "show hello 123": 2}


def forget(x: int) -> None:
    calls.append(f"forget {x}")


def five() -> int:
    return 5


forgetful = pipeline("forgetful", [forget, five], app=app)


@pytest.mark.feature("F6")
async def test_none_goes_into_a_step_without_parameters(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[forgetful]):
        run = await client.start(forgetful.with_options(queue=queue), 1)
        assert await run.result(timeout=10) == 5
    assert calls == ["forget 1"]


def fetch(order: str) -> str:
    calls.append("fetch")
    return f"goods of {order}"


async def pack(goods: str) -> tuple[str, int]:
    calls.append("pack")
    await gate.wait()
    if "pack" in broken:
        raise ValueError("no box")
    return goods, 3


def send(goods: str, parcels: int) -> str:
    calls.append("send")
    return f"{goods} in {parcels} parcels"


shipping = pipeline("shipping", [fetch, pack, send], app=app)


@pytest.mark.feature("F4", "F36")
async def test_a_failed_pipeline_is_not_repeated_and_a_retry_begins_at_the_failed_step(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    gate.set()
    broken.add("pack")
    async with worker(workflows=[shipping]):
        run = await client.start(shipping.with_options(queue=queue), "o-1")
        with pytest.raises(RunFailed, match="ValueError: no box"):
            await run.result(timeout=10)
        assert calls == ["fetch", "pack"]
        broken.clear()
        assert await (await run.retry()).result(timeout=10) == "goods of o-1 in 3 parcels"
    assert calls == ["fetch", "pack", "pack", "send"]


@pytest.mark.feature("F115")
async def test_unfinished_runs_are_listed_with_the_index_of_the_step_that_they_are_at(
    client: Client, coordinator: Coordinator, worker: WorkerFactory, queue: str
) -> None:
    run = await client.start(shipping.with_options(id=f"ship-{queue}", queue=queue), "o-2")
    waiting = await run.describe()
    assert (waiting.status, waiting.current_step, waiting.progress) == ("pending", None, 0)
    assert (await run.report()).progress == 0
    async with worker(workflows=[shipping]):
        await until(run.describe, lambda seen: seen.current_step == "pack")
        stopped = await run.describe()
        assert (stopped.status, stopped.progress) == ("running", 1)
        assert (await run.report()).progress == 1
        (listed,) = await client.list(text=f"ship-{queue}", status=["running", "suspended"])
        assert (listed.run_id, listed.current_step, listed.progress) == (run.run_id, "pack", 1)
        assert (await shown(coordinator, run.run_id))["progress"] == 1
        broken.add("pack")
        gate.set()
        with pytest.raises(RunFailed):
            await run.result(timeout=10)
        failed = await run.describe()
        assert (failed.status, failed.current_step, failed.progress) == ("failed", None, 1)
        assert (await run.report()).progress == 1
        (listed,) = await client.list(text=f"ship-{queue}", status="failed")
        assert listed.progress == 1
        broken.clear()
        again = await run.retry()
        await again.result(timeout=10)
        assert (await again.describe()).progress == len(shipping.steps) == 3
        assert (await again.report()).progress == 3


async def shown(coordinator: Coordinator, run_id: str) -> dict[str, Any]:
    """What `holdfast runs show` prints of a run."""
    arguments = ["runs", "show", run_id, "--output", "json", "--address", coordinator.address]
    async with Process("holdfast", [sys.executable, "-m", "holdfast", *arguments]) as command:
        assert await command.wait() == 0, command.output
    facts: dict[str, Any] = json.loads(command.output)
    return facts


def takes_text(value: str) -> str:
    return value


@pytest.mark.feature("F7")
async def test_a_pipeline_whose_types_do_not_fit_is_not_there_for_any_worker(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    before = set(app.steps)
    with pytest.raises(TypeError, match=r"Incompatible types.*step double returns int.*step takes_text takes str"):
        pipeline("broken", [double, takes_text], app=app)
    assert "broken" not in app.workflows
    assert set(app.steps) == before
