"""What workflow code sees of steps, timers, children and signals, and what it asks for."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from holdfast.backoff import Constant
from holdfast.definitions.definitions import StepOverrides, WorkflowDefinition
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import (
    ArgumentsRejected,
    DuplicateStepId,
    PayloadNotSerializable,
    RunCancelled,
    RunFailed,
    StepFailed,
)
from holdfast.ids import child_run_id
from holdfast.journal import (
    CancelRequested,
    ChildClosed,
    MailConsumed,
    Payload,
    RetryPolicy,
    RunClosed,
    RunStarted,
    Signal,
    StepCompleted,
    StepScheduled,
    TimerCancelled,
    TimerSet,
)
from holdfast.statuses import RunStatus
from holdfast.workflow.commands import (
    CallStep,
    CancelChild,
    CancelStep,
    CancelTimer,
    Close,
    SetTimer,
    StartChild,
)
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


async def nothing(x: int) -> int:
    return x


CHILD = WorkflowDefinition("nothing", nothing, CallSignature.of(nothing), id_template="child-{x}")


def test_calls_are_numbered_in_the_order_in_which_they_are_awaited() -> None:
    async def flow() -> list[str]:
        second, first = echo("a"), echo("b")
        return [await first, await second]

    driver = Driver(flow).run()
    calls = [call for call in driver.commands if isinstance(call, CallStep)]
    assert [(call.number, call.arguments.positional[0].data) for call in calls] == [(1, b'"b"'), (2, b'"a"')]
    assert driver.result == ["b", "a"]


def test_the_same_step_with_the_same_arguments_twice_is_two_executions() -> None:
    log: list[str] = []

    def append(text: str) -> int:
        log.append(text)
        return len(log)

    step = TestedStep(append)

    async def flow() -> list[int]:
        return [await step("a"), await step("a")]

    assert Driver(flow).run().result == [1, 2]


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False])
def test_falsy_results_are_results_also_in_a_replay(value: Any) -> None:
    async def flow() -> Any:
        first = await echo(value)
        return [first, await echo([first])]

    driver = Driver(flow).run()
    assert driver.result == [value, [value]]
    assert driver.commands[1].arguments.positional[0].data == CODEC.encode([value], what="").data  # type: ignore[union-attr]
    assert replayed(flow, (), driver.journal) == []


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


def test_a_step_id_given_twice_is_refused_at_the_second_call() -> None:
    async def flow() -> None:
        for x in range(3):
            await echo.with_id("same")(x)

    driver = Driver(flow).run()
    assert driver.closed.failure is not None
    assert driver.closed.failure.error_type == DuplicateStepId.__name__
    assert len([command for command in driver.commands if isinstance(command, CallStep)]) == 1


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


# Cancellation and timeouts


def test_a_timeout_around_a_step_cancels_it_and_raises() -> None:
    async def flow() -> str:
        try:
            async with asyncio.timeout(5):
                await echo(1)
        except TimeoutError:
            return "late"
        return "in time"

    driver = Driver(flow).start()
    driver.fire(1)
    assert driver.result == "late"
    assert [type(command) for command in driver.commands] == [SetTimer, CallStep, CancelStep, Close]


def test_a_late_result_of_a_cancelled_step_changes_nothing() -> None:
    async def flow() -> str:
        try:
            async with asyncio.timeout(5):
                await echo(1)
        except TimeoutError:
            await runtime().sleep(timedelta(seconds=1), None, "")
        return "late"

    driver = Driver(flow).start()
    driver.fire(1)
    driver.observe(StepCompleted(driver.at, 1, Payload(b"1")))
    assert not driver.instance.is_closed


def test_what_is_cancelled_before_anybody_heard_of_it_is_not_recorded() -> None:
    async def flow() -> int:
        async with asyncio.timeout(5):
            call = asyncio.create_task(echo("never"))
            await asyncio.sleep(0)
            call.cancel()
        return await echo(1)  # type: ignore[no-any-return]

    driver = Driver(flow).run()
    assert [type(command) for command in driver.commands] == [CallStep, Close]
    assert driver.commands[0].number == 1  # type: ignore[union-attr]
    assert replayed(flow, (), driver.journal) == []


def test_a_failure_in_a_task_group_cancels_the_other_steps() -> None:
    async def flow() -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(explode("x"))
            group.create_task(echo(1))
        return 1

    driver = Driver(flow).start()
    driver.complete(1)
    assert [type(command) for command in driver.commands[2:]] == [CancelStep, Close]


def test_a_cancel_request_is_raised_in_the_code_and_ends_the_run_as_cancelled() -> None:
    async def flow() -> None:
        try:
            await echo(1)
        except asyncio.CancelledError as error:
            reasons.append(error.args)
            await echo("cleanup")
            raise

    reasons: list[Any] = []
    driver = Driver(flow).start()
    driver.post(CancelRequested("too late"))
    driver.post(CancelRequested("again"))
    driver.run()
    assert driver.closed.status is RunStatus.CANCELLED
    assert driver.closed.failure is not None
    assert driver.closed.failure.message == "too late"
    assert reasons == [("too late",)]
    assert [type(command) for command in driver.commands] == [CallStep, CancelStep, CallStep, Close]


def test_code_may_swallow_a_cancel_request() -> None:
    async def flow() -> str:
        try:
            await echo(1)
        except asyncio.CancelledError:
            return "anyway"
        return "normal"

    driver = Driver(flow).start()
    driver.post(CancelRequested())
    assert driver.result == "anyway"


def test_a_shielded_cleanup_survives_a_cancel_request() -> None:
    async def flow() -> None:
        try:
            await echo(1)
        finally:
            await asyncio.shield(echo("cleanup"))

    driver = Driver(flow).start()
    driver.post(CancelRequested())
    driver.run()
    assert driver.closed.status is RunStatus.CANCELLED


def test_background_tasks_end_with_the_run_and_record_nothing() -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await echo("never done")
        finally:
            seen.append("unwound")
            await echo("not recorded")
            seen.append("unreachable")

    async def flow() -> int:
        task = asyncio.create_task(background())
        await asyncio.sleep(0)
        assert not task.done()
        return 1

    driver = Driver(flow).run()
    assert driver.result == 1
    assert seen == ["unwound"]
    assert [type(command) for command in driver.commands] == [CallStep, Close]


# Time


def test_time_is_the_time_of_the_entry_last_observed() -> None:
    async def flow() -> list[Any]:
        loop = asyncio.get_running_loop()
        before = (runtime().now(), loop.time())
        await echo(1)
        return [before[0] == START, before[1], (runtime().now() - before[0]).total_seconds(), loop.time()]

    assert Driver(flow).run().result == [True, 0.0, 1.0, 1.0]


def test_sleeps_become_timers_with_their_exact_delay() -> None:
    async def flow() -> None:
        await echo(1)
        await asyncio.sleep(0.1)
        await runtime().sleep(None, START + timedelta(days=1), "next day")
        await runtime().sleep(timedelta(0), None, "")
        await runtime().sleep(None, START, "")
        await asyncio.sleep(1e-9)

    timers = [command for command in Driver(flow).run().commands if isinstance(command, SetTimer)]
    assert timers == [
        SetTimer(1, delay=timedelta(seconds=0.1)),
        SetTimer(2, "next day", until=START + timedelta(days=1)),
        SetTimer(3, delay=timedelta(microseconds=1)),
    ]


@pytest.mark.parametrize("delay", [float("nan"), float("inf"), 1e12])
def test_an_impossible_delay_is_refused_and_records_nothing(delay: float) -> None:
    async def flow() -> None:
        await asyncio.sleep(delay)

    driver = Driver(flow).run()
    assert driver.closed.failure is not None
    assert driver.closed.failure.error_type == "ValueError"
    assert [type(command) for command in driver.commands] == [Close]


# Signals


def receive(name: str, hint: Any = int, timeout: float | None = None) -> Any:
    return runtime().receive(name, hint, None if timeout is None else timedelta(seconds=timeout))


def test_signals_are_received_per_name_in_arrival_order_also_early_ones() -> None:
    async def flow() -> list[Any]:
        await echo("busy")
        return [await receive("a"), await receive("b"), await receive("a"), await receive("a", Any)]

    driver = Driver(flow).start()
    for name, payload in (("a", b"1"), ("a", b"0"), ("b", b"2")):
        driver.post(Signal(name, Payload(payload)))
    driver.complete(1)
    assert driver.instance.waits() == ["signal a"]
    driver.post(Signal("a", None))
    assert driver.result == [1, 2, 0, None]
    assert replayed(flow, (), driver.journal) == []


def test_a_receive_that_times_out_raises_and_leaves_the_signal_for_the_next() -> None:
    async def flow() -> list[Any]:
        try:
            await receive("go", timeout=3)
        except TimeoutError:
            return ["late", await receive("go", timeout=3)]
        return []

    driver = Driver(flow).start()
    assert driver.instance.waits() == ["timer 1 (signal go)", "signal go"]
    driver.fire(1)
    driver.post(Signal("go", Payload(b"5")))
    assert driver.result == ["late", 5]
    assert [type(entry) for entry in driver.journal[1:]] == [
        *(TimerSet, MailConsumed, TimerSet, MailConsumed, TimerCancelled, RunClosed)
    ]


def test_a_cancelled_receiver_takes_no_signal() -> None:
    async def flow() -> Any:
        first = receive("go")
        first.cancel()
        return await receive("go")

    driver = Driver(flow).start()
    driver.post(Signal("go", Payload(b"5")))
    assert driver.result == 5


# Children


def test_a_child_run_has_an_id_of_its_parent_and_number_and_gives_its_result() -> None:
    async def flow() -> int:
        return await runtime().call_child(CHILD, (4,), {})  # type: ignore[no-any-return]

    driver = Driver(flow).start()
    command = driver.commands[0]
    assert isinstance(command, StartChild)
    assert (command.run_id, command.id) == (child_run_id(RUN_ID, 1), "child-4")
    driver.post(ChildClosed(1, command.run_id, RunStatus.COMPLETED, Payload(b"8")))
    assert driver.result == 8


@pytest.mark.parametrize(
    ("status", "error"), [(RunStatus.FAILED, RunFailed), (RunStatus.TERMINATED, RunCancelled)], ids=str
)
def test_a_child_without_a_result_raises_with_its_run_id(status: RunStatus, error: type[RunFailed]) -> None:
    async def flow() -> str:
        try:
            await runtime().call_child(CHILD, (4,), {})
        except error as failed:
            return failed.run_id
        return ""

    driver = Driver(flow).start()
    driver.post(ChildClosed(1, child_run_id(RUN_ID, 1), status))
    assert driver.result == child_run_id(RUN_ID, 1)


def test_a_child_that_is_no_longer_awaited_is_cancelled() -> None:
    async def flow() -> None:
        async with asyncio.timeout(1):
            await runtime().call_child(CHILD, (4,), {})

    driver = Driver(flow).start()
    driver.fire(1)
    assert CancelChild(1) in driver.commands
    assert driver.closed.failure is not None
    assert driver.closed.failure.error_type == "TimeoutError"


def test_a_child_with_an_impossible_id_is_refused_at_the_call() -> None:
    bad = WorkflowDefinition("nothing", nothing, CallSignature.of(nothing), id_template="{x.missing}")

    async def flow() -> None:
        await runtime().call_child(bad, (4,), {})

    failure = Driver(flow).run().closed.failure
    assert failure is not None
    assert failure.error_type == "InvalidRequest"


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


def test_a_task_of_a_step_that_fails_and_is_never_awaited_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> int:
        unheard = asyncio.create_task(explode("unheard"))
        found: int = await echo(1)
        assert unheard.done()
        return found

    driver = Driver(flow).start()
    driver.complete(2)
    driver.complete(1)
    assert driver.result == 1
    assert not caplog.records


def test_timers_that_fired_are_not_cancelled() -> None:
    async def flow() -> int:
        await asyncio.sleep(1)
        return 1

    driver = Driver(flow).run()
    assert not [command for command in driver.commands if isinstance(command, CancelTimer)]
