"""Async generators that code leaves in the middle are closed inside the run: their `finally` steps are recorded."""

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import holdfast
from holdfast import App
from holdfast.journal import StepScheduled
from holdfast.statuses import RunStatus
from holdfast.testing import run_local
from tests.support.workflow_driver import Driver, replayed

app = App("generators")
done: list[str] = []


@app.step
def fetch(x: int) -> int:
    return x


@app.step
def cleanup(name: str) -> None:
    done.append(name)


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@pytest.fixture(autouse=True)
def _young_heap() -> Iterator[None]:
    """The garbage collector looks at what the test itself has made: the heap of a session takes 0.1 s each time."""
    gc.freeze()
    yield
    gc.unfreeze()


async def pages(name: str = "pages") -> AsyncIterator[int]:
    try:
        for x in range(3):
            yield await fetch(x)
    finally:
        await cleanup(name)


async def returns_in_the_middle() -> int:
    async for page in pages():
        return page
    return -1


async def breaks_and_goes_on() -> int:
    async for _ in pages():
        break
    return await fetch(10)


async def fails_in_the_middle() -> int:
    async for page in pages():
        raise ValueError(page)
    return -1


async def holds_it_in_a_name() -> int:
    numbers = pages()
    async for page in numbers:
        return page
    return -1


async def holds_it_in_a_ring() -> int:
    ring: list[Any] = [pages()]
    ring.append(ring)
    async for page in ring[0]:
        return page
    return -1


async def nests() -> int:
    async def outer() -> AsyncIterator[int]:
        try:
            async for page in pages("inner"):
                yield page
        finally:
            await cleanup("outer")

    async for page in outer():
        return page
    return -1


async def leaves_it_in_a_task() -> int:
    async def first() -> int:
        async for page in pages():
            return page
        return -1

    return await asyncio.create_task(first()) + await fetch(1)


FLOWS: list[Callable[..., Any]] = [
    returns_in_the_middle,
    breaks_and_goes_on,
    fails_in_the_middle,
    holds_it_in_a_name,
    holds_it_in_a_ring,
    nests,
    leaves_it_in_a_task,
]


def scheduled(driver: Driver) -> list[str]:
    return [entry.name for entry in driver.journal if isinstance(entry, StepScheduled)]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_the_finally_step_of_an_abandoned_generator_is_recorded_and_done_once(flow: Callable[..., Any]) -> None:
    driver = Driver(flow).run()
    assert driver.closed.status is (RunStatus.FAILED if flow is fails_in_the_middle else RunStatus.COMPLETED)
    assert scheduled(driver).count("cleanup") == len(done) == (2 if flow is nests else 1)
    before = list(done)
    for length in range(1, len(driver.journal) + 1):
        replayed(flow, (), driver.journal[:length])
        gc.collect()
    assert done == before
    assert replayed(flow, (), driver.journal) == []


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_a_run_that_leaves_memory_does_no_finally_step_for_real(flow: Callable[..., Any]) -> None:
    length = len(Driver(flow).run().journal)
    done.clear()
    for moves in range(length):
        driver = Driver(flow).start()
        for _ in range(moves):
            driver.advance()
        known = list(done)
        driver.instance.close()
        gc.collect()
        assert done == known
        done.clear()


def test_generators_are_closed_in_the_order_in_which_they_began() -> None:
    async def flow() -> None:
        kept = []
        for name in "abc":
            numbers = pages(name)
            kept.append(numbers)
            await anext(numbers)

    driver = Driver(flow).run()
    assert driver.closed.status is RunStatus.COMPLETED
    assert done == ["a", "b", "c"]


@pytest.mark.parametrize("is_held", [True, False], ids=["held", "let go of"])
def test_a_generator_that_begins_while_another_is_closed_is_closed_too(is_held: bool) -> None:
    seen: list[str] = []
    kept: list[Any] = []

    async def inner() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            seen.append("inner")
            await cleanup("inner")

    async def outer() -> AsyncIterator[int]:
        try:
            yield await fetch(1)
        finally:
            seen.append("outer")
            numbers = inner()
            if is_held:
                kept.append(numbers)
            async for _ in numbers:
                break

    async def flow() -> int:
        numbers = outer()
        kept.append(numbers)
        async for number in numbers:
            await fetch(number)
            break
        return 1

    driver = Driver(flow).run()
    assert driver.result == 1
    assert seen == ["outer", "inner"]
    assert done == ["inner"]
    seen.clear()
    dropped = Driver(flow).start()
    dropped.complete(1)
    dropped.instance.close()
    assert seen == ["outer", "inner"]
    assert done == ["inner"]  # nothing is done for a run that leaves memory


def test_a_generator_that_begins_itself_when_it_is_closed_does_not_hold_up_the_end() -> None:
    begun: list[int] = []

    async def again(depth: int) -> AsyncIterator[int]:
        begun.append(depth)
        try:
            yield depth
        finally:
            numbers = again(depth + 1)
            kept.append(numbers)
            await anext(numbers)

    async def flow() -> int:
        numbers = again(0)
        kept.append(numbers)
        return await anext(numbers)

    kept: list[Any] = []
    assert Driver(flow).run().result == 0
    assert 2 < len(begun) < 1_000


def test_a_cancelled_run_closes_its_generators_before_it_ends() -> None:
    from holdfast.journal import CancelRequested

    async def flow() -> None:
        async for _ in pages():
            await holdfast.receive("never")

    driver = Driver(flow).start()
    driver.complete(1)
    driver.post(CancelRequested("enough"))
    driver.run()
    assert driver.closed.status is RunStatus.CANCELLED
    assert done == ["pages"]


async def test_a_local_run_does_it_once_too() -> None:
    run = await run_local(App("local").workflow(returns_in_the_middle))
    assert run.value() == 0
    assert done == ["pages"]


# A call without the context of its run


def test_a_call_that_lost_the_context_of_its_run_is_refused_and_not_done() -> None:
    found: list[str] = []

    async def flow() -> int:
        for lost in (lambda: cleanup("lost"), holdfast.uuid4, holdfast.now, holdfast.random):
            try:
                contextvars.Context().run(lost)
            except holdfast.UnguardedCall as error:
                found.append(error.call)
        task = asyncio.create_task(part(), context=contextvars.Context())
        try:
            await task
        except holdfast.UnguardedCall as error:
            found.append(error.call)
        return await fetch(1)

    async def part() -> None:
        await cleanup("lost")

    assert Driver(flow).run().result == 1
    assert len(found) == 5
    assert "context of its run" in found[0]
    assert done == []
