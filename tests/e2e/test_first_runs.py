"""The first things that anybody does: start a run, wait for it, see it fail, sleep, signal."""

import asyncio

import pytest

import holdfast
from holdfast import RunFailed, step, workflow
from holdfast.client import Client
from holdfast.errors import NamespaceNotFound

from .conftest import Coordinator, WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")

calls: list[str] = []


@step
async def double(x: int) -> int:
    calls.append("double")
    return x * 2


@step
def add(x: int, y: int) -> int:
    return x + y


@workflow
async def calculate(n: int) -> int:
    doubled = await double(n)
    await holdfast.sleep(0.05)
    first, second = await asyncio.gather(add(doubled, 1), add(doubled, 2))
    return first + second


@workflow
async def breaks() -> None:
    raise ValueError("kaput")


@workflow
async def greets() -> str:
    name = await holdfast.receive("name", str, timeout="5s")
    return f"hello {name}"


async def test_a_run_returns_its_typed_result(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[calculate]):
        run = await client.start(calculate.with_options(queue=queue), 5)
        assert await run.result(timeout=10) == 23


@pytest.mark.feature("F30")
async def test_a_failing_run_raises_at_the_waiting_client(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[breaks]):
        run = await client.start(breaks.with_options(queue=queue))
        with pytest.raises(RunFailed, match="ValueError: kaput") as caught:
            await run.result(timeout=10)
    assert caught.value.error_type == "ValueError"
    assert "kaput" in caught.value.traceback


async def test_a_signal_reaches_a_suspended_run(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[greets]):
        run = await client.start(greets.with_options(queue=queue))
        await run.signal("name", "Ada")
        assert await run.result(timeout=10) == "hello Ada"


@pytest.mark.parametrize("timeout", [0, 0.0005])
async def test_a_closed_run_gives_its_result_to_who_does_not_wait_at_all(
    client: Client, worker: WorkerFactory, queue: str, timeout: float
) -> None:
    waiting = await client.start(greets.with_options(queue=f"{queue}-nobody"))
    with pytest.raises(TimeoutError, match="still open"):
        await client.get(waiting.run_id).result(timeout=timeout)
    async with worker(workflows=[calculate]):
        closed = await client.start(calculate.with_options(queue=queue), 5)
        await closed.result(timeout=10)
    assert await client.get(closed.run_id).result(timeout=timeout) == 23
    assert await client.wait_many([closed.run_id] * 3, timeout=timeout) == [23] * 3
    await waiting.terminate()


async def test_a_worker_of_an_unknown_namespace_ends_with_one_sentence(
    coordinator: Coordinator, worker: WorkerFactory
) -> None:
    async with Client.connect(coordinator.address, namespace="nowhere") as stranger:
        with pytest.raises(NamespaceNotFound, match="holdfast serve --namespace nowhere"):
            async with worker(client=stranger, workflows=[calculate]):
                pass
