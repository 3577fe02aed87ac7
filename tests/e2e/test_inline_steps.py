"""`holdfast.inline` and `step.map` over a worker that is killed in the middle (F107)."""

import pytest

from holdfast.client import Client
from holdfast.journal import Noted, StepScheduled
from holdfast.statuses import Placement
from tests.support import flows_inline as flows
from tests.support.ledger import Ledger
from tests.support.watching import kinds, until

from .conftest import WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

MODULE = "tests.support.flows_inline"


@pytest.mark.feature("F107")
async def test_an_inline_step_is_in_the_history_and_runs_again_when_its_worker_dies(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    run = await client.start(flows.rates.with_options(queue=queue), ledger.path)
    async with process_worker(MODULE) as first:
        await ledger.wait_for("read held")
        await first.kill()
    ledger.let_go()
    async with process_worker(MODULE):
        assert await run.result(timeout=40) == [3, 4, 3]
    assert ledger.counts == {"read EUR": 1, "read held": 2, "read CHF": 1}
    steps = [one.entry for one in await run.history() if isinstance(one.entry, StepScheduled)]
    assert [(step.name, step.placement) for step in steps] == [("read rate", Placement.INLINE)] * 3


@pytest.mark.feature("F161")
async def test_a_map_goes_on_with_what_is_left_and_a_note_is_written_once(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    run = await client.start(flows.treats.with_options(queue=queue), ledger.path)
    async with process_worker(MODULE) as first:
        await ledger.wait_for("treat 5")
        await until(lambda: kinds(run), lambda seen: seen.count("StepCompleted") == 5)
        await first.kill()
    ledger.let_go()
    async with process_worker(MODULE):
        assert await run.result(timeout=40) == [0, 10, 20, 30, 40, 50]
    assert ledger.counts == {f"treat {number}": 1 + (number == 3) for number in range(6)}
    notes = [one.entry for one in await run.history() if isinstance(one.entry, Noted)]
    assert [note.text for note in notes] == ["many items"]
