"""Child runs that are awaited: their results, failures and ids."""

import asyncio

import pytest

from holdfast import App, ArgumentsRejected, LimitExceeded, RunFailed, constant, receive, sleep
from holdfast.client import Client
from holdfast.journal import ChildStarted
from tests.support.watching import until, until_status

from .conftest import WorkerFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(30)]

app = App("children", backoff=constant(0))
calls: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


@app.step
async def doubled(x: int) -> int:
    calls.append(f"doubled {x}")
    if x < 0:
        raise ValueError(f"{x} is negative")
    return x * 2


@app.workflow
async def child(x: int) -> int:
    return await doubled.with_options(retries=0)(x)


@app.workflow(id="named-{key}")
async def named_child(key: str) -> str:
    return await receive("answer", str)


@app.workflow
async def parent(x: int) -> int:
    return await child(x) + 1


@pytest.mark.feature("F99")
async def test_a_parent_returns_the_result_of_its_child(client: Client, worker: WorkerFactory, queue: str) -> None:
    """The child is a run of its own, with its parent's id."""
    async with worker(workflows=[app]):
        run = await client.start(parent.with_options(queue=queue), 4)
        assert await run.result(timeout=10) == 9
    (started,) = [entry.entry for entry in await run.history() if isinstance(entry.entry, ChildStarted)]
    description = await client.get(started.run_id).describe()
    assert (description.workflow, description.status, description.result) == ("child", "completed", 8)
    assert description.parent_run_id == run.run_id
    assert description.queue == queue


@app.workflow
async def catches(x: int) -> list[str]:
    try:
        await child(x)
    except RunFailed as failure:
        return [failure.run_id, failure.error_type, failure.message, type(failure.__cause__).__name__]
    return []


@pytest.mark.feature("F99")
async def test_a_failed_child_raises_at_its_parent_with_its_run_id(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(catches.with_options(queue=queue), -1)
        run_id, *what = await run.result(timeout=10)
    assert what == ["ValueError", "-1 is negative", "ValueError"]
    assert await client.get(run_id).status() == "failed"


@pytest.mark.feature("F99")
async def test_a_parent_that_does_not_catch_fails_with_the_error_of_its_child(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """The failure names the child."""
    async with worker(workflows=[app]):
        run = await client.start(parent.with_options(queue=queue), -2)
        with pytest.raises(RunFailed, match="ValueError: -2 is negative") as caught:
            await run.result(timeout=10)
    assert caught.value.run_id == run.run_id
    failure = (await run.describe()).failure
    assert failure is not None
    assert await client.get(failure.child_run_id).status() == "failed"


@app.workflow
async def many(count: int) -> list[int]:
    return list(await asyncio.gather(*(child(x) for x in range(count))))


@pytest.mark.feature("F99")
async def test_many_children_run_at_once_and_are_not_repeated_by_the_next_worker(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        assert await client.run(many.with_options(queue=queue), 20) == [2 * x for x in range(20)]
    assert sorted(calls) == sorted(f"doubled {x}" for x in range(20))


@app.workflow
async def waits_for_child(key: str) -> str:
    answer = await named_child(key)
    await sleep(0.05)
    return f"child says {answer}"


@pytest.mark.feature("F99")
async def test_a_child_has_its_business_id_and_a_waiting_parent_survives_its_worker(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(waits_for_child.with_options(queue=queue), "k")
        await until_status(run, "suspended")
        assert (await run.describe()).reason == "waits for child run 1 of named_child"
        children = await until(lambda: client.list(workflow="named_child"), lambda page: len(page) == 1)
        await until_status(client.get(children[0].run_id), "suspended")
    async with worker(workflows=[app]):
        await client.get("named-k").signal("answer", "yes")
        assert await run.result(timeout=10) == "child says yes"


@pytest.mark.feature("F99")
async def test_a_second_child_of_one_id_joins_nothing_and_fails_with_the_reason(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """An open id belongs to one run; its parent hears so at once."""
    async with worker(workflows=[app]):
        first = await client.start(named_child.with_options(queue=queue), "busy")
        run = await client.start(waits_for_child.with_options(queue=queue), "busy")
        with pytest.raises(RunFailed, match="named-busy"):
            await run.result(timeout=10)
        assert await first.status() in ("pending", "running", "suspended")
        await first.terminate()


@app.workflow
async def calls_child_badly() -> str:
    try:
        await child("a", "b")  # type: ignore[call-arg, arg-type]
    except ArgumentsRejected as error:
        return str(error)
    return "accepted"


@pytest.mark.feature("F99")
async def test_wrong_arguments_of_a_child_are_refused_where_it_is_called(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """No child is started."""
    async with worker(workflows=[app]):
        run = await client.start(calls_child_badly.with_options(queue=queue))
        assert (await run.result(timeout=10)).startswith("workflow child: argument")
    assert not [entry for entry in await run.history() if entry.type == "ChildStarted"]


@app.workflow
async def nests(depth: int) -> int:
    return 0 if depth == 0 else 1 + await nests(depth - 1)


@pytest.mark.feature("F100")
async def test_a_child_that_is_nested_too_deep_is_an_error_of_the_run_that_starts_it(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """Twenty runs may be above one; whoever does not catch the error hands it on."""
    async with worker(workflows=[app]):
        assert await client.run(nests.with_options(queue=queue), 20) == 20
        with pytest.raises(RunFailed, match="would have 21 runs above it, the limit is 20") as caught:
            await client.run(nests.with_options(queue=queue), 21)
    assert caught.value.error_type == "LimitExceeded"
    assert isinstance(caught.value.__cause__, LimitExceeded)


@pytest.mark.feature("F99")
async def test_children_have_children(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        assert await client.run(nests.with_options(queue=queue), 5) == 5
