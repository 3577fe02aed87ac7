"""`step.map`: one call for each item, in order, some at a time."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import holdfast
from holdfast import App, NotAwaited, StepFailed
from holdfast.journal import StepCancelled, StepScheduled
from holdfast.testing import run_local

app = App("mapped", retries=0)


class Work:
    """How many are at work at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0

    async def do(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1


work = Work()


@app.step
async def double(x: int) -> int:
    await work.do()
    return 2 * x


@app.step
async def break_at_three(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    if x > 3:
        await asyncio.Event().wait()
    return x


@pytest.fixture(autouse=True)
def _nobody_at_work() -> None:
    work.now = work.most = 0


@app.workflow
async def doubles(count: int, max_parallel: int | None) -> list[int]:
    return await double.map(range(count), max_parallel=max_parallel)


@pytest.mark.parametrize("max_parallel", [None, 1, 3, 100])
async def test_the_results_are_in_order_and_no_more_than_that_run_at_a_time(max_parallel: int | None) -> None:
    run = await run_local(doubles, 10, max_parallel)
    assert run.value() == [2 * x for x in range(10)]
    assert work.most <= (max_parallel or 10)
    assert work.most > 1 or max_parallel == 1


async def test_no_items_give_no_results() -> None:
    assert (await run_local(doubles, 0, None)).value() == []


async def test_items_are_taken_when_there_is_room() -> None:
    local = App("one flow")
    done: list[int] = []
    taken: list[tuple[int, int]] = []

    @local.step
    async def note(x: int) -> int:
        done.append(x)
        return x

    def items() -> Iterator[int]:
        for number in range(6):
            taken.append((number, len(done)))
            yield number

    @local.workflow
    async def flow() -> list[int]:
        return await note.map(items(), max_parallel=2)

    assert (await run_local(flow)).value() == list(range(6))
    assert len(taken) == 6
    assert all(finished >= number - 1 for number, finished in taken), taken


@app.workflow
async def fails(max_parallel: int | None) -> str:
    try:
        await break_at_three.map(range(1, 7), max_parallel=max_parallel)
    except StepFailed as failed:
        return f"{failed.step} {failed.message}"
    return ""


@pytest.mark.parametrize(("max_parallel", "called", "cancelled"), [(None, 6, {4, 5, 6}), (2, 4, {4})])
async def test_the_first_failure_cancels_the_others_and_is_raised_itself(
    max_parallel: int | None, called: int, cancelled: set[int]
) -> None:
    run = await run_local(fails, max_parallel)
    assert run.value() == "break_at_three three"
    assert sum(isinstance(entry, StepScheduled) for entry in run.history) == called
    assert {entry.number for entry in run.history if isinstance(entry, StepCancelled)} == cancelled


async def test_a_failure_fails_the_run_with_its_own_type() -> None:
    @App("one flow").workflow
    async def flow() -> None:
        await break_at_three.map([3])

    with pytest.raises(holdfast.RunFailed) as caught:
        (await run_local(flow)).value()
    assert caught.value.error_type == "ValueError"


async def test_an_iterator_that_fails_ends_it_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    @App("one flow").workflow
    async def flow() -> str:
        try:
            await double.map(items(), max_parallel=1)
        except LookupError as error:
            return str(error)
        return ""

    assert (await run_local(flow)).value() == "no more"


async def test_cancelled_it_cancels_its_calls() -> None:
    @App("one flow").workflow
    async def flow() -> str:
        try:
            async with asyncio.timeout(0.01):
                await break_at_three.map([4, 5])
        except TimeoutError:
            return "late"
        return ""

    run = await run_local(flow)
    assert run.value() == "late"
    assert sum(isinstance(entry, StepCancelled) for entry in run.history) == 2


async def test_not_awaited_it_says_so() -> None:
    @App("one flow").workflow
    async def flow() -> None:
        double.map([1])  # type: ignore[unused-coroutine]

    run = await run_local(flow)
    assert run.failure is not None
    assert run.failure.error_type == NotAwaited.__name__
    assert run.failure.message.startswith("double.map, test_mapped_steps.py line ")


@app.step
def in_a_thread(x: int) -> str:
    return f"{x} {threading.current_thread() is threading.main_thread()}"


async def test_outside_a_run_it_calls_the_function() -> None:
    assert await double.map([1, 2], max_parallel=1) == [2, 4]
    assert await in_a_thread.map([1, 2]) == ["1 True", "2 True"]


MISUSE: list[tuple[Any, Any, type[Exception], str]] = [
    (5, None, TypeError, "step double: map: items is an iterable, not 5"),
    ([1], 0, ValueError, "step double: map: max_parallel is at least 1, or None for no limit, not 0"),
    ([1], -1, ValueError, "max_parallel is -1"),
    ([1], True, TypeError, "max_parallel is a whole number, not True"),
    ([1], 1.5, TypeError, "max_parallel is a whole number, not 1.5"),
]


@pytest.mark.parametrize(("items", "max_parallel", "kind", "words"), MISUSE)
def test_misuse_is_refused_at_the_call(items: Any, max_parallel: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        double.map(items, max_parallel=max_parallel)
