"""Code that does not do what its journal says is found, and the error says what differs."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import NonDeterminism
from holdfast.ids import child_run_id
from holdfast.journal import (
    Arguments,
    ChildCancelled,
    ChildStarted,
    Entry,
    Payload,
    RunClosed,
    RunStarted,
    StepCancelled,
    StepCompleted,
    StepScheduled,
    TimerCancelled,
    TimerSet,
)
from holdfast.statuses import RunStatus
from tests.support.workflow_driver import CODEC, RUN_ID, START, Driver, a_step, instance_of, replayed, runtime


@a_step
def fetch() -> int:
    return 1


@a_step
def process(x: int = 0) -> int:
    return x


async def nothing() -> None: ...


CHILD = WorkflowDefinition("nothing", nothing, CallSignature.of(nothing))


def sleep(name: str) -> Awaitable[None]:
    return runtime().sleep(timedelta(seconds=1), None, name)


async def fetch_and_process() -> int:
    return await process(await fetch())  # type: ignore[no-any-return]


async def process_first() -> int:
    return await process(await fetch()) if await process() else 0


async def ends_at_once() -> int:
    return 1


async def waits_for_a_signal() -> Any:
    return await runtime().receive("go", int, None)


async def naps() -> None:
    await sleep("nap")


async def starts_a_child() -> None:
    await runtime().call_child(CHILD, (), {})


STEP_1 = StepScheduled(START, 1, "fetch", Arguments())
DONE_1 = StepCompleted(START, 1, Payload(b"1"))

TABLE: list[tuple[Callable[..., Any], list[Entry], int, str, str]] = [
    (process_first, [STEP_1], 2, "step fetch (1)", "called step process"),
    (ends_at_once, [STEP_1], 2, "step fetch (1)", "ended as completed"),
    (waits_for_a_signal, [STEP_1], 2, "step fetch (1)", "waits for signal go"),
    (naps, [STEP_1], 2, "step fetch (1)", "set a timer of 0:00:01 (nap)"),
    (starts_a_child, [STEP_1], 2, "step fetch (1)", "started child run 1 of nothing"),
    (
        fetch_and_process,
        [STEP_1, DONE_1, StepScheduled(START, 2, "ship", Arguments())],
        4,
        "step ship (2)",
        "called step process",
    ),
    (
        fetch_and_process,
        [STEP_1, StepScheduled(START, 2, "process", Arguments())],
        3,
        "step process (2)",
        "waits for step fetch (1)",
    ),
    (fetch_and_process, [STEP_1, StepCancelled(START, 1)], 3, "the cancellation of step 1", "waits for step fetch (1)"),
    (fetch_and_process, [DONE_1], 2, "a result of step 1", "called step fetch"),
    (
        fetch_and_process,
        [STEP_1, RunClosed(START, RunStatus.COMPLETED)],
        3,
        "the end of the run as completed",
        "waits for step fetch (1)",
    ),
    (ends_at_once, [RunClosed(START, RunStatus.FAILED)], 2, "the end of the run as failed", "ended as completed"),
    (naps, [TimerSet(START, 1, "rest")], 2, "timer 1 (rest)", "set a timer of 0:00:01 (nap)"),
    (fetch_and_process, [TimerSet(START, 1)], 2, "timer 1", "called step fetch"),
    (
        naps,
        [TimerSet(START, 1, "nap"), TimerCancelled(START, 1)],
        3,
        "the cancellation of timer 1",
        "waits for timer 1 (nap)",
    ),
    (
        starts_a_child,
        [ChildStarted(START, 1, "other", "", Arguments())],
        2,
        "child run 1 of other",
        "started child run 1 of nothing",
    ),
    (
        starts_a_child,
        [ChildStarted(START, 1, "nothing", child_run_id(RUN_ID, 1), Arguments()), ChildCancelled(START, 1)],
        3,
        "the cancellation of child 1",
        "waits for child run 1 of nothing",
    ),
]


@pytest.mark.feature("F46")
@pytest.mark.parametrize(
    ("function", "entries", "position", "expected", "actual"), TABLE, ids=[f"{row[3]}-{row[4]}" for row in TABLE]
)
def test_a_difference_names_what_was_expected_and_what_the_code_did(
    function: Callable[..., Any], entries: list[Entry], position: int, expected: str, actual: str
) -> None:
    with pytest.raises(NonDeterminism) as caught:
        replayed(function, (), [RunStarted(START, "flow"), *entries])
    assert (caught.value.position, caught.value.expected, caught.value.actual) == (position, expected, actual)


def test_a_step_id_that_now_belongs_to_another_step_is_a_difference() -> None:
    async def flow() -> None:
        await asyncio.sleep(1)
        with contextlib.suppress(NonDeterminism):  # the code cannot hide it
            await process.with_id("a")()

    driver = Driver(flow).start()
    driver.instance.feed(StepScheduled(START, 5, "fetch", Arguments(), step_id="a"))
    with pytest.raises(NonDeterminism) as caught:
        driver.fire(1)
    assert (caught.value.expected, caught.value.actual) == ("step fetch [a] (5)", "called step process [a]")


def test_the_journal_still_fits_after_the_code_is_reverted() -> None:
    driver = Driver(fetch_and_process).start()
    driver.advance()
    with pytest.raises(NonDeterminism):
        replayed(process_first, (), driver.journal)
    assert Driver(fetch_and_process).resume(driver.journal).run().result == 1


@pytest.mark.parametrize("status", [RunStatus.TERMINATED, RunStatus.TIMED_OUT])
def test_a_run_that_was_closed_from_outside_replays_with_open_waits(status: RunStatus) -> None:
    instance = instance_of(fetch_and_process)
    for entry in (RunStarted(START, "flow"), STEP_1, RunClosed(START, status)):
        instance.feed(entry)
    assert instance.is_closed
    assert instance.waits() == []
    assert instance.take_commands() == []


@pytest.mark.feature("F44")
def test_a_changed_implementation_keeps_the_stored_result() -> None:
    instance = instance_of(fetch_and_process)
    for entry in (RunStarted(START, "flow"), STEP_1, StepCompleted(START, 1, CODEC.encode(41, what=""))):
        instance.feed(entry)
    (call,) = instance.take_commands()
    assert call.arguments.positional == (Payload(b"41"),)  # type: ignore[union-attr]
