"""What workflow code sees of steps, what it asks for, and how it ends."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from holdfast.backoff import Constant
from holdfast.definitions.definitions import StepOverrides
from holdfast.errors import ArgumentsRejected, DuplicateStepId, PayloadNotSerializable, StepFailed
from holdfast.journal import CancelRequested, RetryPolicy, RunStarted, StepCompleted, StepScheduled
from holdfast.statuses import RunStatus
from holdfast.workflow.commands import CallStep, Close
from tests.support.workflow_driver import (
    CODEC,
    RUN_ID,
    START,
    Driver,
    TestedStep,
    a_step,
    instance_of,
    replayed,
    runtime,
)


@a_step
def echo(value: Any) -> Any:
    return value


@a_step
def explode(text: str) -> int:
    raise ValueError(text)


def test_calls_are_numbered_in_the_order_in_which_they_are_awaited() -> None:
    async def flow() -> list[str]:
        second, first = echo("a"), echo("b")
        return [await first, await second]

    driver = Driver(flow).run()
    calls = [call for call in driver.commands if isinstance(call, CallStep)]
    assert [(call.number, call.arguments.positional[0].data) for call in calls] == [(1, b'"b"'), (2, b'"a"')]
    assert driver.result == ["b", "a"]


@pytest.mark.feature("F39")
def test_the_same_step_with_the_same_arguments_twice_is_two_executions() -> None:
    log: list[str] = []

    def append(text: str) -> int:
        log.append(text)
        return len(log)

    step = TestedStep(append)

    async def flow() -> list[int]:
        return [await step("a"), await step("a")]

    assert Driver(flow).run().result == [1, 2]


@pytest.mark.feature("F42")
@pytest.mark.parametrize("value", [None, 0, "", [], {}, False])
def test_falsy_results_are_results_also_in_a_replay(value: Any) -> None:
    async def flow() -> Any:
        first = await echo(value)
        return [first, await echo([first])]

    driver = Driver(flow).run()
    assert driver.result == [value, [value]]
    assert driver.commands[1].arguments.positional[0].data == CODEC.encode([value], what="").data  # type: ignore[union-attr]
    assert replayed(flow, (), driver.journal) == []


@pytest.mark.feature("F43")
def test_code_sees_the_decoded_value_of_a_result() -> None:
    def pair() -> tuple[int, Decimal]:
        return (1, Decimal("2.50"))

    step, seen = TestedStep(pair), []

    async def flow() -> None:
        seen.append(await step())

    driver = Driver(flow).run()
    replayed(flow, (), driver.journal)
    assert seen == [(1, Decimal("2.50"))] * 2


def test_arguments_are_encoded_at_the_call() -> None:
    async def flow() -> list[int]:
        items = [1]
        call = echo(items)
        items.append(2)
        return await call  # type: ignore[no-any-return]

    assert Driver(flow).run().result == [1]


def test_arguments_that_do_not_fit_are_refused_at_the_call_and_record_nothing() -> None:
    async def flow() -> str:
        try:
            echo()
        except ArgumentsRejected as error:
            return error.parameter
        return "accepted"

    driver = Driver(flow).run()
    assert driver.result == "value"
    assert [type(command) for command in driver.commands] == [Close]


def test_a_recorded_result_that_the_code_cannot_read_is_a_fault_and_no_failure_of_the_run() -> None:
    def wrong() -> int:
        return "x"  # type: ignore[return-value]

    step = TestedStep(wrong)

    async def flow() -> str:
        try:
            await step()
        except PayloadNotSerializable:
            return "caught"
        return "accepted"

    driver = Driver(flow).start()
    with pytest.raises(PayloadNotSerializable, match="the result of step wrong cannot be read as int"):
        driver.run()
    assert not driver.instance.is_closed


def test_a_failed_step_raises_with_its_facts_and_its_cause() -> None:
    async def flow() -> list[Any]:
        try:
            await explode("boom")
        except StepFailed as error:
            return [error.step, error.number, error.attempts, error.error_type, error.message, str(error.__cause__)]
        return []

    driver = Driver(flow).run()
    assert driver.result == ["explode", 1, 1, "ValueError", "boom", "boom"]
    assert replayed(flow, (), driver.journal) == []


def test_a_run_that_a_step_failed_fails_with_the_original_error() -> None:
    async def flow() -> None:
        await echo(1)
        await explode("boom")

    failure = Driver(flow).run().closed.failure
    assert failure is not None
    assert (failure.error_type, failure.message) == ("ValueError", "boom")
    assert failure.step is not None
    assert (failure.step.name, failure.step.number) == ("explode", 2)
    assert "raise ValueError(text)" in failure.traceback


def test_an_error_of_the_code_fails_the_run_with_a_traceback_of_the_code_alone() -> None:
    async def flow() -> None:
        raise KeyError("missing")

    closed = Driver(flow).run().closed
    assert closed.status is RunStatus.FAILED
    assert closed.failure is not None
    assert closed.failure.error_type == "KeyError"
    assert "holdfast/workflow/" not in closed.failure.traceback


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), BaseException("odd")])
def test_whatever_leaves_the_code_fails_the_run_and_nothing_else(error: BaseException) -> None:
    async def flow() -> None:
        raise error

    assert Driver(flow).run().closed.status is RunStatus.FAILED


def test_a_result_that_cannot_be_stored_fails_the_run() -> None:
    async def flow() -> object:
        return object()

    failure = Driver(flow).run().closed.failure
    assert failure is not None
    assert failure.error_type == "PayloadNotSerializable"


def test_arguments_that_the_workflow_cannot_take_fail_the_run() -> None:
    async def flow(x: int) -> int:
        return x

    failure = Driver(flow, ("x",)).run().closed.failure
    assert failure is not None
    assert failure.error_type == "ArgumentsRejected"


def test_options_of_a_call_are_resolved_and_its_retry_policy_is_recorded() -> None:
    step = TestedStep(echo.function, StepOverrides(retries=7, backoff=Constant(timedelta(seconds=1)), queue="gpu"))

    async def flow() -> Any:
        return await step(1)

    command = Driver(flow).run().commands[0]
    assert isinstance(command, CallStep)
    assert (command.options.retries, command.options.queue) == (7, "gpu")
    assert command.retry == RetryPolicy(7, Constant(timedelta(seconds=1)))


# Step ids


def by_ids(ids: list[str]) -> Callable[[], Any]:
    async def flow() -> list[Any]:
        return [await echo.with_id(f"item-{id}")(id) for id in ids]

    return flow


@pytest.mark.feature("F40")
def test_a_step_id_given_twice_is_refused_at_the_second_call() -> None:
    async def flow() -> None:
        for x in range(3):
            await echo.with_id("same")(x)

    driver = Driver(flow).run()
    assert driver.closed.failure is not None
    assert driver.closed.failure.error_type == DuplicateStepId.__name__
    assert len([command for command in driver.commands if isinstance(command, CallStep)]) == 1


@pytest.mark.feature("F38")
def test_steps_with_ids_keep_their_results_when_the_order_changes() -> None:
    first = Driver(by_ids(["a", "b", "c", "d", "e"])).start()
    for _ in range(3):
        first.advance()
    second = Driver(by_ids(["e", "d", "c", "b", "a"])).resume(first.journal)
    assert [call.step_id for call in second.instance.open_steps()] == ["item-e"]
    second.run()
    assert second.result == ["e", "d", "c", "b", "a"]
    assert [entry.step_id for entry in second.journal if isinstance(entry, StepScheduled)] == [
        *("item-a", "item-b", "item-c", "item-d", "item-e")
    ]
    numbers = [entry.number for entry in second.journal if isinstance(entry, StepCompleted)]
    assert sorted(numbers) == [1, 2, 3, 4, 5]
    assert replayed(by_ids(["e", "d", "c", "b", "a"]), (), second.journal) == []


def test_a_numbered_step_after_steps_with_ids_keeps_its_result_when_one_of_them_is_removed() -> None:
    def of(ids: list[str]) -> Callable[[], Any]:
        async def flow() -> Any:
            for id in ids:
                await echo.with_id(id)(id)
            await echo("between")
            return await echo("last")

        return flow

    first = Driver(of(["a", "b"])).start()
    for _ in range(3):
        first.advance()
    second = Driver(of(["b"])).resume(first.journal).run()
    assert second.result == "last"
    assert len([entry for entry in second.journal if isinstance(entry, StepScheduled)]) == 4


# What does not belong to the code


def test_an_error_of_the_runtime_leaves_feed_and_does_not_fail_the_run() -> None:
    broken = TestedStep(echo.function)
    object.__setattr__(broken.definition, "signature", None)

    async def flow() -> None:
        try:
            await broken(1)
        except Exception:  # noqa: BLE001
            return

    driver = Driver(flow)
    with pytest.raises(AttributeError):
        driver.start()
    with pytest.raises(AttributeError):
        driver.post(CancelRequested())
    assert not driver.instance.is_closed


def test_random_numbers_are_those_of_the_run() -> None:
    async def flow() -> list[str]:
        return [str(runtime().uuid4()), str(runtime().random.random())]

    def numbers_of(run_id: str) -> Any:
        instance = instance_of(flow, run_id=run_id)
        instance.feed(RunStarted(START, "flow"))
        [close] = instance.take_commands()
        assert isinstance(close, Close)
        return CODEC.decode(close.result, Any, what="")

    assert numbers_of(RUN_ID) == numbers_of(RUN_ID)
    assert not {*numbers_of(RUN_ID)} & {*numbers_of("run_00" + "1" * 26)}


def test_a_step_that_fails_in_a_task_that_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> int:
        unheard = asyncio.create_task(explode("unheard"))
        found: int = await echo(1)
        assert unheard.done()
        return found

    driver = Driver(flow).start()
    driver.complete(2)
    driver.complete(1)
    assert driver.result == 1
    assert ["nothing awaited it" in record.message for record in caplog.records] == [True]
