"""Sagas over real processes: what is undone is undone once, and not while it is still being done (F103)."""

import pytest

from holdfast import RunCancelled, RunFailed
from holdfast.client import Client
from tests.support import flows_sagas as flows
from tests.support.ledger import Ledger
from tests.support.watching import kinds, until

from .conftest import WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60), pytest.mark.feature("F103")]

MODULE = "tests.support.flows_sagas"


async def test_a_worker_that_dies_while_a_saga_undoes_leaves_the_rest_to_the_next(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    run = await client.start(flows.trip.with_options(queue=queue), ledger.path)
    async with process_worker(MODULE) as first:
        await ledger.wait_for("cancel hotel")
        await until(lambda: kinds(run), lambda seen: seen.count("StepCompleted") == 4)
        await first.kill()
    ledger.let_go()
    async with process_worker(MODULE):
        with pytest.raises(RunFailed, match="ValueError: no train"):
            await run.result(timeout=40)
    assert ledger.lines == [
        *("book flight", "book hotel", "book car", "explode"),
        *("cancel car", "cancel hotel", "cancel hotel", "cancel flight"),
    ]


async def test_a_cancelled_saga_undoes_a_step_when_that_has_ended(
    client: Client, worker: WorkerFactory, ledger: Ledger, queue: str
) -> None:
    async with worker(workflows=[flows.app]):
        run = await client.start(flows.slow_trip.with_options(queue=queue), ledger.path)
        await ledger.wait_for("book flight")
        assert await run.cancel("enough")
        await until(lambda: kinds(run), lambda seen: "TimerSet" in seen)
        assert ledger.lines == ["book flight"]
        ledger.let_go()
        with pytest.raises(RunCancelled, match="enough"):
            await run.result(timeout=20)
    assert ledger.lines == ["book flight", "booked flight", "cancel flight"]
