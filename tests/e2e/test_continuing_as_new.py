"""Runs that continue as new: their chain, their result, and what reaches them while they do."""

import asyncio
import json
import sys
from datetime import timedelta

import pytest

import holdfast
from holdfast import App, FatalError, RunCancelled, RunFailed, RunTimedOut, receive, sleep
from holdfast.client import Client, RunHandle
from holdfast.ids import child_run_id
from holdfast.journal import RunStarted
from holdfast.statuses import RunStatus
from tests.support import flows_continuing
from tests.support.ledger import Ledger
from tests.support.watching import until, until_status

from .conftest import Coordinator, WorkerFactory, WorkerProcessFactory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60), pytest.mark.feature("F101")]

app = App("continuing-as-new")
CONTINUED = [RunStatus.CONTINUED_AS_NEW]
failures: set[str] = set()


@app.step
async def doubled(x: int) -> int:
    return x * 2


@app.workflow(id="looper-{key}")
async def looper(key: str, n: int = 0) -> int:
    doubling = await doubled(n)
    if n < 3:
        holdfast.continue_as_new(key, n=n + 1)
    return doubling


async def test_a_looper_is_a_chain_of_runs_with_one_result(
    client: Client, worker: WorkerFactory, queue: str, coordinator: Coordinator
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(looper.with_options(queue=queue, metadata={"team": "a"}), "a")
        assert await run.result(timeout=10) == 6
        assert await client.get("looper-a").result(timeout=10) == 6
        assert await client.run(looper.with_options(queue=queue), "a") == 6, "the call that began it joins it"
    chain = await client.chain(run)
    assert [one.status for one in chain] == [*CONTINUED * 3, RunStatus.COMPLETED]
    assert chain[0].run_id == run.run_id
    assert {one.chain_run_id for one in chain} == {None, run.run_id}
    assert all((one.id, one.metadata, one.queue) == ("looper-a", {"team": "a"}, queue) for one in chain)
    for member in (chain[2].run_id, "looper-a"):
        assert [one.run_id for one in await client.chain(member)] == [one.run_id for one in chain]
    begun = (await client.get(chain[1].run_id).history())[0].entry
    assert isinstance(begun, RunStarted)
    assert begun.continued_run_id == run.run_id
    assert await run.status() == "continued_as_new"
    assert (await client.get(chain[3].run_id).describe()).args == ("a", 3)
    shown = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holdfast", "runs", "chain", chain[1].run_id, "--output", "json", "--address",
        coordinator.address, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    text, _ = await shown.communicate()
    assert [one["run_id"] for one in json.loads(text)] == [one.run_id for one in chain]


@app.workflow
async def needs_an_argument(n: int) -> int:
    try:
        holdfast.continue_as_new()
    except holdfast.ArgumentsRejected as error:
        raise FatalError(str(error)) from None
    return n


async def test_without_the_arguments_that_it_needs_a_workflow_does_not_continue(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(needs_an_argument.with_options(queue=queue), 1)
        with pytest.raises(RunFailed, match="continue_as_new of workflow needs_an_argument: argument 'n'"):
            await run.result(timeout=10)
    assert len(await client.chain(run)) == 1
    with pytest.raises(RuntimeError, match=r"continue_as_new\(\) works inside a run only"):
        holdfast.continue_as_new(1)


@app.workflow
async def collects(goal: int, seen: list[int]) -> list[int]:
    for _ in range(3):
        if len(seen) == goal:
            return seen
        seen.append(await receive("number", int))
    return holdfast.continue_as_new(goal, seen)


async def test_signals_that_come_while_a_run_continues_are_neither_lost_nor_doubled(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    """They are sent to the first run of the chain, one after the other, and so they arrive."""
    goal = 100
    async with worker(workflows=[app]):
        run = await client.start(collects.with_options(queue=queue), goal, [])
        for number in range(goal):
            await run.signal("number", number)
        assert await run.result(timeout=40) == list(range(goal))
    assert len(await client.chain(run)) == goal // 3 + 1


async def test_signals_of_many_clients_at_once_reach_a_chain_once_each(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(collects.with_options(queue=queue, id="many"), 60, [])
        by_id: RunHandle[list[int]] = client.get("many")
        await asyncio.gather(*((run, by_id)[n % 2].signal("number", n) for n in range(60)))
        assert sorted(await run.result(timeout=40)) == list(range(60))


@app.workflow
async def spins() -> None:
    await sleep(0.005)
    holdfast.continue_as_new()


@app.workflow
async def waits_for_spins() -> None:
    await spins()


@pytest.mark.parametrize("attempt", range(3))
async def test_a_cancel_reaches_a_run_that_continues_all_the_time(
    attempt: int, client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(spins.with_options(queue=queue))
        await until_status(run, "continued_as_new")
        assert await run.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await run.result(timeout=10)
        assert await run.cancel() is False
    *before, last = await client.chain(run)
    assert {one.status for one in before} == set(CONTINUED)
    assert last.status == "cancelled"


async def test_a_child_that_continues_ends_with_its_parent(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        parent = await client.start(waits_for_spins.with_options(queue=queue))
        child: RunHandle[None] = client.get(child_run_id(parent.run_id, 1))

        async def of_parent() -> int:
            page = await client.list(workflow="spins", status="continued_as_new", limit=1_000)
            return sum(one.parent_run_id == parent.run_id for one in page)

        await until(of_parent, lambda count: count > 3)
        await parent.terminate()
        with pytest.raises(RunCancelled, match="the parent run closed"):
            await child.result(timeout=10)


@app.workflow
async def parent_of_looper() -> int:
    return await looper("child") + 1


async def test_a_parent_gets_the_result_of_the_last_run(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        assert await client.run(parent_of_looper.with_options(queue=queue)) == 7


async def test_the_deadline_is_that_of_the_chain(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[app]):
        run = await client.start(spins.with_options(queue=queue, max_duration="500ms"))
        with pytest.raises(RunTimedOut):
            await run.result(timeout=10)
    chain = await client.chain(run)
    assert len(chain) > 2
    assert chain[-1].closed_at is not None
    assert chain[-1].closed_at - chain[0].created_at < timedelta(seconds=5)


@app.step
async def breaks_once(key: str) -> None:
    if key not in failures:
        failures.add(key)
        raise FatalError("once")


@app.workflow(id="breaks-{key}")
async def breaks_in_the_middle(key: str, n: int = 0) -> int:
    if n == 1:
        await breaks_once(key)
    if n < 2:
        holdfast.continue_as_new(key, n + 1)
    return n


async def test_a_run_of_a_chain_that_failed_is_retried_and_the_chain_goes_on(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[app]):
        run = await client.start(breaks_in_the_middle.with_options(queue=queue), queue)
        with pytest.raises(RunFailed, match="once"):
            await run.result(timeout=10)
        again = await client.get(f"breaks-{queue}").retry()
        assert await again.result(timeout=10) == 2
        assert await client.get(run.run_id).result(timeout=10) == 2, "whoever asks the chain gets its newest result"
    chain = await client.chain(again)
    assert [one.status for one in chain] == ["continued_as_new", "failed", "continued_as_new", "completed"]
    assert chain[2].origin_run_id == chain[1].run_id


async def test_a_chain_whose_worker_is_killed_goes_on_with_each_run_there_once(
    client: Client, process_worker: WorkerProcessFactory, ledger: Ledger, queue: str
) -> None:
    async with process_worker("tests.support.flows_continuing") as first:
        run = await client.start(flows_continuing.turns.with_options(queue=queue), ledger.path)
        await ledger.wait_for("turn 2")
        await first.kill()
    ledger.let_go()
    async with process_worker("tests.support.flows_continuing"):
        assert await run.result(timeout=40) == 4
    assert ledger.counts == {"turn 0": 1, "turn 1": 1, "turn 2": 2, "turn 3": 1, "turn 4": 1}
    assert len(await client.chain(run)) == 5
