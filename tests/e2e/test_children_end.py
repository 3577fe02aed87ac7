"""Children end with their parent, however it ends."""

import asyncio

import pytest

from holdfast import App, FatalError, RunCancelled, RunFailed, RunNotFound, receive, sleep
from holdfast.client import Client, RunHandle
from holdfast.ids import child_run_id
from tests.support.watching import until, until_status

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("children-end")


@app.step
async def breaks() -> None:
    raise FatalError("the parent breaks")


@app.workflow
async def sleeper() -> None:
    await sleep("1h")


@app.workflow
async def breaks_when_told() -> None:
    child = asyncio.ensure_future(sleeper())
    await receive("break", str)
    await asyncio.gather(child, breaks())


@app.workflow
async def waits_for_its_child() -> None:
    await sleeper()


async def _sleeping_child(client: Client, parent: RunHandle[None]) -> RunHandle[None]:
    """The first child of a parent, once both of them wait."""
    child: RunHandle[None] = client.get(child_run_id(parent.run_id, 1))

    async def status() -> str:
        try:
            return await child.status()
        except RunNotFound:  # its start is still on its way
            return ""

    await until(status, lambda found: found == "suspended")
    await until_status(parent, "suspended")
    return child


@pytest.mark.feature("F100")
async def test_a_child_is_cancelled_when_its_parent_fails(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        parent = await client.start(breaks_when_told.with_options(queue=queue))
        child = await _sleeping_child(client, parent)
        await parent.signal("break", "now")
        with pytest.raises(RunFailed, match="the parent breaks"):
            await parent.result(timeout=10)
        with pytest.raises(RunCancelled, match="the parent run closed"):
            await child.result(timeout=10)


@pytest.mark.feature("F100")
@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_child_is_cancelled_when_its_parent_is_ended(
    how: str, client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        parent = await client.start(waits_for_its_child.with_options(queue=queue))
        child = await _sleeping_child(client, parent)
        await (parent.cancel("enough") if how == "cancel" else parent.terminate("enough"))
        with pytest.raises(RunCancelled):
            await parent.result(timeout=10)
        with pytest.raises(RunCancelled):
            await child.result(timeout=10)
        assert await child.status() == "cancelled"
