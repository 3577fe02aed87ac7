"""Handlers of signals and conditions over real processes: F93, F96."""

import pytest

from holdfast import ArgumentsRejected, RunFailed, on_signal, receive
from holdfast.authoring.apps import App
from holdfast.client import Client
from tests.support import flows_handlers as flows
from tests.support.ledger import Ledger
from tests.support.watching import kinds, until, until_status

from .conftest import WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60), pytest.mark.feature("F93")]

MODULE = "tests.support.flows_handlers"

app = App("handlers-here")


async def test_a_worker_that_dies_in_a_handler_repeats_no_step_that_has_finished(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    run = await client.start(flows.cart.with_options(queue=queue), ledger.path, 3)
    # Before there is a worker, so before there is a handler; the order over both names counts.
    for name, item in (("add", "lamp"), ("add", "chair"), ("drop", "table"), ("add", "held")):
        await run.signal(name, item)
    async with process_worker(MODULE) as first:
        await ledger.wait_for("price held")
        await until(lambda: kinds(run), lambda seen: seen.count("StepCompleted") == 2)
        await run.signal("drop", "lamp")
        await run.signal("add", "bed")
        await ledger.wait_for("price bed")
        await until(lambda: kinds(run), lambda seen: seen.count("StepCompleted") == 3)
        await first.kill()
    await run.signal("drop", "chair")
    await run.signal("add", "desk")
    ledger.let_go()
    async with process_worker(MODULE):
        result = await run.result(timeout=40)
    assert result["begun"] == ["lamp", "chair", "-table", "held", "-lamp", "bed", "-chair", "desk"]
    assert result["prices"] == {"bed": 3, "held": 4, "desk": 4}
    assert ledger.counts == {"price lamp": 1, "price chair": 1, "price held": 2, "price bed": 1, "price desk": 1}


@pytest.mark.feature("F96")
async def test_a_signal_that_does_not_fit_its_handler_is_refused_to_its_sender_and_ends_no_run(
    client: Client, worker: WorkerFactory, ledger: Ledger, queue: str
) -> None:
    async with worker(workflows=[flows.app]):
        run = await client.start(flows.cart.with_options(queue=queue), ledger.path, 1)
        await until_status(run, "suspended")
        assert (await run.describe()).reason == "waits for signal add; signal drop; condition flows_handlers.py line 36"
        for payload in ({"no": "text"}, 5):
            with pytest.raises(ArgumentsRejected, match="input should be a valid string; accepted is str"):
                await run.signal("add", payload)
        assert await run.status() == "suspended"
        await run.signal("add", "lamp")
        assert (await run.result(timeout=10))["prices"] == {"lamp": 4}


@app.workflow
async def fails_in_a_handler() -> None:
    @on_signal("add")
    async def add(item: str) -> None:
        raise LookupError(f"no {item} here")

    await receive("end")


async def test_the_error_of_a_handler_reaches_who_waits_for_the_run(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(fails_in_a_handler.with_options(queue=queue))
        await run.signal("add", "lamp")
        with pytest.raises(RunFailed, match="LookupError: no lamp here") as caught:
            await run.result(timeout=10)
    assert isinstance(caught.value.__cause__, LookupError)
    assert "which handles signal 'add'" in caught.value.__cause__.__notes__[0]
