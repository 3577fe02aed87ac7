"""Waiting code is woken in the order in which it came, with work in proportion to how much of it there is."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast.statuses import RunStatus
from holdfast.workflow.tasks import WorkflowFuture
from tests.support.workflow_driver import CODEC, Driver


async def released_at_once(waiters: int) -> list[int]:
    """All places are given back in one turn of the loop."""
    order: list[int] = []
    room = asyncio.Semaphore(waiters)
    for _ in range(waiters):
        await room.acquire()

    async def enter(number: int) -> None:
        async with room:
            order.append(number)

    tasks = [asyncio.create_task(enter(number)) for number in range(waiters)]
    await asyncio.sleep(0)
    for _ in range(waiters):
        room.release()
    await asyncio.gather(*tasks)
    return order


async def one_after_the_other(waiters: int) -> list[int]:
    order: list[int] = []
    room = asyncio.Semaphore(1)

    async def enter(number: int) -> None:
        async with room:
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(enter(number) for number in range(waiters)))
    return order


async def given_up(waiters: int) -> list[int]:
    """All wait, all are cancelled, and as many look at the semaphore before these have left it."""
    room = asyncio.Semaphore(1)
    await room.acquire()
    tasks = [asyncio.create_task(room.acquire()) for _ in range(waiters)]
    await asyncio.sleep(0)
    for task in reversed(tasks):
        task.cancel()
    room.release()
    order = [number for number in range(waiters) if not room.locked()]
    assert await asyncio.gather(*tasks, return_exceptions=True)
    return order


async def notified_one_by_one(waiters: int) -> list[int]:
    order: list[int] = []
    changed = asyncio.Condition()

    async def wait(number: int) -> None:
        async with changed:
            await changed.wait()
            order.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(waiters)]
    await asyncio.sleep(0)
    async with changed:
        for _ in range(waiters):
            changed.notify()
    await asyncio.gather(*tasks)
    return order


async def notified_together(waiters: int) -> list[int]:
    order: list[int] = []
    changed = asyncio.Condition()

    async def wait(number: int) -> None:
        async with changed:
            await changed.wait()
            order.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(waiters)]
    await asyncio.sleep(0)
    async with changed:
        changed.notify_all()
    await asyncio.gather(*tasks)
    return order


def operations_of(function: Callable[[int], Awaitable[list[int]]], waiters: int) -> int:
    """How many functions are called while the code runs, those in C included."""
    count = 0

    def called(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    driver = Driver(function, (waiters,))
    before = sys.getprofile()
    sys.setprofile(called)
    try:
        driver.run()
    finally:
        sys.setprofile(before)
    assert driver.closed.status is RunStatus.COMPLETED, driver.closed.failure
    assert CODEC.decode(driver.closed.result, list[int], what="") == list(range(waiters))  # type: ignore[arg-type]
    return count


@pytest.mark.parametrize(
    "function", [released_at_once, one_after_the_other, given_up, notified_one_by_one, notified_together]
)
def test_ten_times_as_many_waiters_cost_ten_times_as_much(function: Callable[[int], Awaitable[list[int]]]) -> None:
    few, many = operations_of(function, 100), operations_of(function, 1_000)
    assert many < 12 * few


async def used_by_steps_too(room: asyncio.Semaphore, news: asyncio.Condition) -> list[int]:
    """Two tasks that must wait for each other outside of workflow code, where asyncio's own methods run."""
    order: list[int] = []

    async def enter(number: int) -> None:
        async with room:
            await asyncio.sleep(0)
            order.append(number)

    async def listen() -> None:
        async with news:
            await news.wait()

    listening = asyncio.create_task(listen())
    await asyncio.gather(*(enter(number) for number in range(4)))
    async with news:
        news.notify_all()
    await listening
    return order


def test_what_workflow_code_has_used_still_works_in_steps() -> None:
    room, news = asyncio.Semaphore(1), asyncio.Condition()

    async def uses() -> None:
        async with room, news:
            news.notify_all()

    assert Driver(uses).run().closed.status is RunStatus.COMPLETED
    assert asyncio.run(used_by_steps_too(room, news)) == [0, 1, 2, 3]


def count_futures() -> int:
    gc.collect()
    return sum(type(one) is WorkflowFuture for one in gc.get_objects())


async def give_up_on_a_semaphore(times: int) -> None:
    room = asyncio.Semaphore(0)
    patient = asyncio.create_task(room.acquire())
    for _ in range(times):
        waiter = asyncio.create_task(room.acquire())
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.wait([waiter])
    assert count_futures() < 100
    room.release()
    assert await patient


async def wake_by_a_condition(times: int) -> None:
    """Someone always waits, and everyone is woken."""
    news = asyncio.Condition()

    async def listen() -> bool:
        async with news:
            return await news.wait()

    listeners = [asyncio.create_task(listen()) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(times):
        listeners.append(asyncio.create_task(listen()))
        await asyncio.sleep(0)
        async with news:
            news.notify()
        assert await listeners.pop(0)
    assert count_futures() < 100
    async with news:
        news.notify_all()
    assert all(await asyncio.gather(*listeners))


@pytest.mark.parametrize("function", [give_up_on_a_semaphore, wake_by_a_condition])
def test_those_who_no_longer_wait_leave_memory_while_others_wait_on(function: Callable[[int], Awaitable[None]]) -> None:
    driver = Driver(function, (1_000,)).run()
    assert driver.closed.status is RunStatus.COMPLETED, driver.closed.failure
