"""Retrying a closed run: a new run continues at the failed step and takes over the business id."""

import asyncio
from typing import Any

import pytest

import holdfast
from holdfast import App, Context, RunFailed
from holdfast.channel.run_calls import RunCalls
from holdfast.client import Client
from holdfast.client.handle import new_start_id
from holdfast.errors import RunNotRetryable

from .conftest import WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

app = App("continuing")
calls: list[str] = []
broken: set[str] = set()


@app.step(retries=0)
async def fetch(order: str) -> str:
    calls.append(f"fetch {order}")
    return f"goods of {order}"


@app.step(retries=0)
async def pack(goods: str) -> str:
    calls.append(f"pack {goods}")
    if goods in broken:
        raise ValueError("no box")
    return f"packed {goods}"


@app.workflow
async def ship(order: str) -> str:
    return await pack(await fetch(order))


@app.workflow
async def ship_two(first: str, second: str) -> list[str]:
    return list(await asyncio.gather(pack(first), pack(second)))


keys: list[tuple[str, str, str]] = []


@app.step(retries=0)
async def pay(ctx: Context[None], key: str) -> None:
    keys.append(("pay", key, ctx.idempotency_key))


@app.step(retries=0)
async def send(ctx: Context[None], key: str) -> None:
    keys.append(("send", key, ctx.idempotency_key))
    if "send" in broken:
        raise ValueError("no courier")


@app.step(retries=0, placement="queued")
async def send_elsewhere(ctx: Context[None], key: str) -> None:
    keys.append(("send_elsewhere", key, ctx.idempotency_key))
    if "send_elsewhere" in broken:
        raise ValueError("no courier")


@app.workflow
async def pays_and_sends(step_name: str) -> str:
    key = str(holdfast.uuid4())
    if holdfast.random().random() < 2:
        await pay(key)
    await (send if step_name == "send" else send_elsewhere)(key)
    return key


@app.workflow
async def only_sends(step_name: str) -> str:
    key = str(holdfast.uuid4())
    await (send if step_name == "send" else send_elsewhere)(key)
    return key


@app.workflow
async def waits_then_packs(order: str) -> str:
    answer = await holdfast.receive("go", str)
    return await pack(f"{order} {answer}")


@pytest.mark.feature("F36")
async def test_a_retried_run_does_not_repeat_finished_steps(client: Client, worker: WorkerFactory, queue: str) -> None:
    broken.add("goods of o-1")
    async with worker(workflows=[ship]):
        run = await client.start(ship.with_options(id=f"ship-{queue}", queue=queue), "o-1")
        with pytest.raises(RunFailed, match="no box"):
            await run.result(timeout=10)
        broken.clear()
        again = await run.retry()
        assert again.run_id != run.run_id
        assert await again.result(timeout=10) == "packed goods of o-1"
        assert calls.count("fetch o-1") == 1
        found = await client.get(f"ship-{queue}")
        assert found.run_id == again.run_id
        description = await again.describe()
        assert description.origin_run_id == run.run_id


async def test_a_retry_by_the_id_that_is_repeated_has_made_one_run(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    broken.add("goods of o-5")
    async with worker(workflows=[ship]):
        run = await client.start(ship.with_options(id=f"ship-{queue}", queue=queue), "o-5")
        with pytest.raises(RunFailed, match="no box"):
            await run.result(timeout=10)
        broken.clear()
        asked, start = RunCalls(client.connection, "default"), new_start_id()
        made = await asked.retry(f"ship-{queue}", start_id=start)
        assert await asked.retry(f"ship-{queue}", start_id=start) == made
        assert await client.get(made.run_id).result(timeout=10) == "packed goods of o-5"
        assert await asked.retry(f"ship-{queue}", start_id=start) == made
        with pytest.raises(RunNotRetryable, match="completed"):
            await asked.retry(f"ship-{queue}", start_id=new_start_id())


async def test_results_that_came_beside_the_failure_are_kept(client: Client, worker: WorkerFactory, queue: str) -> None:
    broken.add("bad")
    async with worker(workflows=[ship_two]):
        run = await client.start(ship_two.with_options(queue=queue), "good", "bad")
        with pytest.raises(RunFailed):
            await run.result(timeout=10)
        before = calls.count("pack good")
        broken.clear()
        again = await run.retry()
        assert await again.result(timeout=10) == ["packed good", "packed bad"]
        assert before == 1
        assert calls.count("pack good") <= 2


async def test_signals_that_were_received_stay_received(client: Client, worker: WorkerFactory, queue: str) -> None:
    broken.add("o-2 now")
    async with worker(workflows=[waits_then_packs]):
        run = await client.start(waits_then_packs.with_options(queue=queue), "o-2")
        await run.signal("go", "now")
        with pytest.raises(RunFailed):
            await run.result(timeout=10)
        broken.clear()
        assert await (await run.retry()).result(timeout=10) == "packed o-2 now"


async def test_only_a_run_that_did_not_complete_can_be_retried(
    client: Client, worker: WorkerFactory, queue: str
) -> None:
    async with worker(workflows=[ship]):
        run = await client.start(ship.with_options(queue=queue), "o-3")
        await run.result(timeout=10)
        with pytest.raises(RunNotRetryable, match="completed"):
            await run.retry()


@pytest.mark.feature("F36")
async def test_a_terminated_run_continues_where_it_was(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[waits_then_packs]):
        run = await client.start(waits_then_packs.with_options(queue=queue), "o-4")
        await run.terminate("by mistake")
        again = await run.retry()
        await again.signal("go", "on")
        assert await again.result(timeout=10) == "packed o-4 on"


@pytest.mark.feature("F153")
@pytest.mark.parametrize("step_name", ["send", "send_elsewhere"])
@pytest.mark.parametrize("flow", [pays_and_sends, only_sends], ids=lambda flow: flow.name)
async def test_a_retried_run_keeps_its_random_values_and_the_keys_of_its_steps(
    client: Client, worker: WorkerFactory, queue: str, flow: Any, step_name: str
) -> None:
    keys.clear()
    broken.add(step_name)
    async with worker(workflows=[flow]):
        run = await client.start(flow.with_options(queue=queue), step_name)
        with pytest.raises(RunFailed, match="no courier"):
            await run.result(timeout=10)
        twice = await run.retry()
        with pytest.raises(RunFailed, match="no courier"):
            await twice.result(timeout=10)
        broken.clear()
        again = await twice.retry()
        key = await again.result(timeout=10)
    sent = [found for found in keys if found[0] == step_name]
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert sent[0][1] == key
    assert sent[0][2].startswith(f"{run.run_id}/")
    assert len([found for found in keys if found[0] == "pay"]) == (1 if flow is pays_and_sends else 0)
