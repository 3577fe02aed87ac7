"""Children that are started and held by a handle: their results, ends, signals, and what becomes of them."""

import asyncio

import pytest

import holdfast
from holdfast import App, FatalError, RunAlreadyClosed, RunCancelled, RunFailed, receive, sleep
from holdfast.authoring.starter import OnClose
from holdfast.client import Client
from holdfast.errors import InvalidRequest
from holdfast.ids import child_run_id
from tests.support import flows_children
from tests.support.ledger import Ledger
from tests.support.watching import until, until_status

from .conftest import WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(40), pytest.mark.feature("F99")]

app = App("child-handles")


@app.step
async def doubled(x: int) -> int:
    if x < 0:
        raise FatalError(f"{x} is negative")
    return x * 2


@app.workflow
async def child(x: int) -> int:
    return await doubled(x)


@app.workflow
async def words(count: int) -> list[str]:
    return [await receive("word", str) for _ in range(count)]


@app.workflow
async def parent(x: int) -> list[object]:
    handle = holdfast.start_child(child, x)
    before = await handle.status()
    return [handle.run_id, before, await handle.result(), await handle.status(), await handle.result("1s")]


async def test_a_parent_starts_a_child_goes_on_and_gets_its_result(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(parent.with_options(queue=queue), 4)
        run_id, *rest = await run.result(timeout=10)
    assert rest == ["running", 8, "completed", 8]
    description = await client.get(str(run_id)).describe()
    assert (description.parent_run_id, description.workflow, description.queue) == (run.run_id, "child", queue)


@app.workflow
async def catches() -> list[str]:
    handle = await holdfast.start_child(child, -1)
    try:
        await handle.result()
    except RunFailed as failure:
        return [handle.run_id, failure.run_id, failure.error_type, failure.message]
    return []


async def test_the_failure_of_a_child_names_its_run(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run_id, *rest = await client.run(catches.with_options(queue=queue))
    assert rest == [run_id, "FatalError", "-1 is negative"]


@app.workflow
async def gives_up_and_asks_again() -> list[object]:
    handle = holdfast.start_child(words, 1)
    try:
        await handle.result(timeout=0.05)
    except TimeoutError as error:
        told = str(error).replace(handle.run_id, "ID")
    with pytest.raises(TimeoutError):
        await handle.result(timeout=0)
    await handle.signal("word", "now")
    return [told, await handle.result()]


async def test_who_waits_for_so_long_only_gets_a_timeout_and_the_child_goes_on(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        told, result = await client.run(gives_up_and_asks_again.with_options(queue=queue))
    assert told == "child run ID of words is still open after 0.05 s; it goes on"
    assert result == ["now"]


@app.workflow
async def sends(count: int) -> list[str]:
    handle = holdfast.start_child(words.with_options(id="words-of-one"), count)
    for number in range(count):
        await handle.signal("word", f"{number} of {handle.id}")
    result = await handle.result()
    with pytest.raises(RunAlreadyClosed):
        await handle.signal("word", "too late")
    assert await handle.cancel() is False
    return result


async def test_what_a_parent_sends_arrives_in_order_also_while_the_child_is_being_started(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        result = await client.run(sends.with_options(queue=queue), 30)
    assert result == [f"{number} of words-of-one" for number in range(30)]


@app.workflow
async def cleans_up() -> str:
    try:
        await sleep("1h")
    except asyncio.CancelledError:
        await doubled(1)
        raise
    return "slept"


@app.workflow
async def cancels() -> list[object]:
    handle = holdfast.start_child(cleans_up)
    await sleep(0.2)
    asked = await handle.cancel("not needed")
    try:
        await handle.result()
    except RunCancelled as error:
        return [asked, error.run_id == handle.run_id, error.message, await handle.status()]
    return []


async def test_a_child_that_is_cancelled_cleans_up_and_its_result_says_why(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(cancels.with_options(queue=queue))
        assert await run.result(timeout=10) == [True, True, "not needed", "cancelled"]
        cleaned = await client.get(child_run_id(run.run_id, 1)).history()
    assert "StepCompleted" in [entry.type for entry in cleaned]


@app.workflow
async def leaves_them() -> list[str]:
    policies: tuple[OnClose | None, ...] = ("abandon", "cancel", "terminate", None)
    handles = [holdfast.start_child(words.with_options(on_close=policy), 1) for policy in policies]
    await receive("end", str)
    return [handle.run_id for handle in handles]


async def test_what_becomes_of_children_when_their_parent_closes_is_their_policy(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(leaves_them.with_options(queue=queue))
        ids = [child_run_id(run.run_id, number) for number in (1, 2, 3, 4)]
        for run_id in ids:
            await until(lambda: client.list(workflow="words", status="suspended"), lambda page: len(page) >= 4)
            await until_status(client.get(run_id), "suspended")
        await run.signal("end", "now")
        assert await run.result(timeout=10) == ids
        for run_id, status in zip(ids[1:], ("cancelled", "terminated", "cancelled"), strict=True):
            await until_status(client.get(run_id), status)
        detached = client.get(ids[0])
        assert await detached.status() == "suspended"
        await detached.signal("word", "on my own")
        assert await detached.result(timeout=10) == ["on my own"]


async def test_a_worker_that_is_killed_leaves_one_child_and_the_same_handle(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    """The next worker replays the start, and sends what the first one had not sent."""
    async with process_worker("tests.support.flows_children") as first:
        run = await client.start(flows_children.asks_later.with_options(queue=queue), ledger.path)
        await ledger.wait_for("held")
        await ledger.wait_for("child")
        # Its step is committed then: what is lost with the worker is the step of the parent alone.
        await until_status(client.get(child_run_id(run.run_id, 1)), "suspended")
        await first.kill()
    ledger.let_go()
    async with process_worker("tests.support.flows_children"):
        run_id, answer = await run.result(timeout=30)
    assert answer == "heard hello"
    assert ledger.counts == {run_id: 1, "child": 1, "held": 2}
    children = [one for one in await client.list(workflow="answers") if one.parent_run_id == run.run_id]
    assert [one.run_id for one in children] == [run_id]


@app.workflow
async def asks_for_what_there_is_not() -> list[str]:
    told = []
    for bad in (lambda: child.with_options(idempotency_key="k"), lambda: "child", lambda: child.with_options(delay=1)):
        with pytest.raises((TypeError, ValueError)) as caught:
            holdfast.start_child(bad(), 1)
        told.append(str(caught.value))
    return told


async def test_options_that_a_child_cannot_have_are_refused_where_it_is_started(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(asks_for_what_there_is_not.with_options(queue=queue))
        key, kind, delay = await run.result(timeout=10)
    assert key == (
        "start_child: idempotency_key is 'k', but a child of child takes only id, queue, max_duration, on_close"
    )
    assert kind == "start_child takes a function decorated with @workflow, not 'child'"
    assert delay.startswith("start_child: delay is ")
    assert [entry.type for entry in await run.history()] == ["RunStarted", "RunClosed"]


async def test_a_client_starts_no_children(client: Client, queue: str) -> None:
    with pytest.raises(InvalidRequest, match="on_close: is 'abandon', but a run that a client starts has no parent"):
        await client.start(child.with_options(queue=queue, on_close="abandon"), 1)
    with pytest.raises(RuntimeError, match=r"start_child\(\) works inside a run only"):
        holdfast.start_child(child, 1)
