"""How workflow code continues as new: from where, with what, and what is taken along."""

import asyncio

import pytest

import holdfast
from holdfast import App, Saga, receive, sleep
from holdfast.journal import RunClosed, RunStarted
from holdfast.statuses import RunStatus
from holdfast.testing import run_local

pytestmark = pytest.mark.feature("F101")

app = App("continuing-locally")
undone: list[str] = []


@app.step
async def undo(what: str) -> None:
    undone.append(what)


@app.workflow
async def in_a_task_group(n: int) -> int:
    if n == 2:
        return n
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(3600))
        await sleep(1)
        holdfast.continue_as_new(n + 1)
    return n


@app.workflow
async def in_a_saga(n: int) -> int:
    async with Saga() as saga:
        saga.add(undo, f"round {n}")
        if n < 2:
            holdfast.continue_as_new(n + 1)
    return n


@app.workflow
async def with_finally(n: int) -> int:
    try:
        if n < 2:
            holdfast.continue_as_new(n + 1)
    finally:
        await undo(f"finally {n}")
    return n


async def test_it_leaves_a_task_group_whose_tasks_are_cancelled() -> None:
    assert (await run_local(in_a_task_group, 0)).value() == 2


async def test_a_saga_that_it_leaves_has_gone_well() -> None:
    undone.clear()
    assert (await run_local(in_a_saga, 0)).value() == 2
    assert undone == []


async def test_finally_blocks_run_to_their_end_before_it() -> None:
    undone.clear()
    assert (await run_local(with_finally, 0)).value() == 2
    assert undone == ["finally 0", "finally 1", "finally 2"]


@app.workflow
async def leaves_signals(n: int, seen: list[str]) -> list[str]:
    if n == 2:
        return [*seen, *[await receive("late", str) for _ in range(3)]]
    return holdfast.continue_as_new(n + 1, [*seen, await receive("now", str)])


async def test_signals_that_nobody_took_are_there_for_the_next_run_in_their_order() -> None:
    early = [("late", "1"), ("now", "a"), ("late", "2"), ("late", "3"), ("now", "b")]
    run = await run_local(leaves_signals, 0, [], signals=early)
    assert run.value() == ["a", "b", "1", "2", "3"]
    begun = run.history[0]
    assert isinstance(begun, RunStarted)


@app.workflow
async def handles_signals(n: int) -> list[str]:
    heard: list[str] = []

    @holdfast.on_signal("word")
    async def word(text: str) -> None:
        await sleep(1)
        heard.append(text)

    await sleep(0.1)
    if n == 0:
        holdfast.continue_as_new(1)
    await holdfast.wait_until(lambda: len(heard) > 0)
    return heard


async def test_handlers_that_have_begun_end_before_the_run_goes_on() -> None:
    run = await run_local(handles_signals, 0, signals=[("word", "early"), ("word", "later", "5s")])
    assert run.value() == ["later"]


@app.workflow
async def from_a_task() -> str:
    async def beside() -> None:
        holdfast.continue_as_new()

    try:
        await asyncio.create_task(beside())
    except RuntimeError as error:
        return str(error)
    return ""


@app.workflow
async def badly(n: int) -> str:
    try:
        holdfast.continue_as_new("text")
    except holdfast.ArgumentsRejected as error:
        return str(error)


async def test_it_is_refused_beside_the_function_and_with_what_does_not_fit() -> None:
    beside = (await run_local(from_a_task)).value()
    assert beside.startswith("continue_as_new ends the run: call it in the workflow function itself")
    assert "continue_as_new of workflow badly: argument 'n'" in (await run_local(badly, 1)).value()


async def test_a_deadline_holds_for_all_runs_together() -> None:
    limited = App("limited")

    @limited.workflow(max_duration="10s")
    async def spins() -> None:
        await sleep(3)
        holdfast.continue_as_new()

    run = await run_local(spins)
    assert run.status is RunStatus.TIMED_OUT
    assert isinstance(run.history[-1], RunClosed)
