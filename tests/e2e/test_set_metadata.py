"""Facts that workflow code sets about its run: listings find the run by them, a replay sees what the code saw."""

import pytest

import holdfast
from holdfast import App, current_run, receive
from holdfast.client import Client
from holdfast.errors import InvalidRequest
from holdfast.testing import run_local
from tests.support.watching import until_status

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(40), pytest.mark.feature("F18")]

app = App("set-metadata")


@app.workflow
async def packs() -> list[dict[str, str]]:
    seen = [dict(current_run().metadata)]
    holdfast.set_metadata(stage="packing", boxes=3)
    seen.append(dict(current_run().metadata))
    await receive("go", str)
    holdfast.set_metadata({"stage": "done"})
    holdfast.set_metadata(stage="done")  # which it is
    return [*seen, dict(current_run().metadata)]


async def test_what_code_sets_filters_listings_and_a_replay_sees_what_it_saw(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    start = packs.with_options(queue=queue, metadata={"team": queue, "stage": "new"})
    async with worker(workflows=[app]):
        run = await client.start(start)
        await until_status(run, "suspended")
        assert (await run.describe()).metadata == {"team": queue, "stage": "packing", "boxes": "3"}
        listed = await client.list(metadata={"team": queue, "stage": "packing"})
        assert [one.run_id for one in listed] == [run.run_id]
        assert len(await client.list(metadata={"team": queue, "stage": "new"})) == 0
    async with worker(workflows=[app]):  # which replays
        await run.signal("go", "on")
        first = {"team": queue, "stage": "new"}
        packing = {"team": queue, "stage": "packing", "boxes": "3"}
        assert await run.result(timeout=20) == [first, packing, {**packing, "stage": "done"}]
    assert [one.run_id for one in await client.list(metadata={"team": queue, "stage": "done"})] == [run.run_id]
    assert [entry.type for entry in await run.history()].count("MetadataSet") == 3


@app.workflow
async def sets_and_goes_on(n: int = 0) -> dict[str, str]:
    if n == 0:
        holdfast.set_metadata(round=n)
        await receive("go", str)
        holdfast.set_metadata(last=n)
        holdfast.continue_as_new(1)
    return dict(current_run().metadata)


async def test_the_run_that_goes_on_has_what_was_set(client: Client, worker: WorkerFactory, queue: str) -> None:
    """Also what was set in the very moment in which it went on."""
    async with worker(workflows=[app]):
        run = await client.start(sets_and_goes_on.with_options(queue=queue, metadata={"team": "a"}))
        await until_status(run, "suspended")
        await run.signal("go", "on")
        assert await run.result(timeout=20) == {"team": "a", "round": "0", "last": "0"}
    first, second = await client.chain(run)
    assert first.metadata == second.metadata == {"team": "a", "round": "0", "last": "0"}


@app.workflow
async def sets_badly(kind: str) -> str:
    values = {"type": {"a": object()}, "long": {"a": "x" * 3_000}, "many": {str(n): n for n in range(65)}}
    try:
        holdfast.set_metadata(values[kind])
    except (TypeError, ValueError, InvalidRequest) as error:
        return str(error)
    return "set"


async def test_what_cannot_be_metadata_is_refused_where_it_is_set() -> None:
    said = [(await run_local(sets_badly, kind)).value() for kind in ("type", "long", "many")]
    assert said == [
        "set_metadata: metadata 'a' is text or a number, not object",
        "set_metadata: 'a' has 3,000 characters, the limit is 2,000",
        "metadata: would be 65 entries, 240 bytes; at most 64, 8192 bytes",
    ]
    with pytest.raises(RuntimeError, match=r"set_metadata\(\) works inside a run only"):
        holdfast.set_metadata(a=1)
