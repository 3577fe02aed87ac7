"""`Saga`: compensations run in reverse when the block fails or is cancelled, whatever happens meanwhile (F103)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import holdfast
from holdfast import Saga
from holdfast.errors import StepFailed
from holdfast.journal import (
    CancelRequested,
    Failure,
    Payload,
    Signal,
    StepCancelled,
    StepCompleted,
    StepScheduled,
    TimerCancelled,
    TimerSet,
)
from holdfast.statuses import RunStatus
from holdfast.workflow.step_scopes import StepScope
from tests.support.workflow_driver import Driver, a_step, instance_of

pytestmark = pytest.mark.feature("F103")


@a_step
def book(what: str) -> str:
    return f"booked {what}"


@a_step
def cancel(what: str) -> None: ...


@a_step
def explode(text: str) -> None:
    raise ValueError(text)


def called(driver: Driver) -> list[str]:
    """The steps in the order of their calls, each with its argument."""
    steps = [entry for entry in driver.journal if isinstance(entry, StepScheduled)]
    return [f"{step.name} {step.arguments.positional[0].data.decode().strip(chr(34))}" for step in steps]


def failure_of(driver: Driver) -> Failure:
    assert driver.closed.failure is not None, driver.closed
    return driver.closed.failure


async def trip(last: str = "explode") -> str:
    async with Saga() as saga:
        for what in ("flight", "hotel", "car"):
            saga.add(cancel, what)
            await book(what)
        if last == "explode":
            await explode("no train")
        elif last == "wait":
            await holdfast.receive("go")
    return "booked"


def test_a_block_that_ends_well_undoes_nothing() -> None:
    driver = Driver(trip, ["nothing"]).run()
    assert driver.result == "booked"
    assert called(driver) == ["book flight", "book hotel", "book car"]


def test_a_failure_undoes_in_reverse_and_goes_on_as_it_was() -> None:
    driver = Driver(trip).run()
    assert called(driver)[3:] == ["explode no train", "cancel car", "cancel hotel", "cancel flight"]
    assert driver.closed.status is RunStatus.FAILED
    assert (failure_of(driver).error_type, failure_of(driver).message) == ("ValueError", "no train")


def test_compensations_run_one_after_the_other() -> None:
    driver = Driver(trip).start()
    for number in range(1, 5):
        driver.complete(number)
    for number, what in ((5, "car"), (6, "hotel"), (7, "flight")):
        assert called(driver)[-1] == f"cancel {what}"
        assert driver.instance.waits() == [f"step cancel ({number})"]
        driver.complete(number)
    assert driver.closed.status is RunStatus.FAILED


def test_a_cancelled_run_undoes_and_ends_as_cancelled() -> None:
    driver = Driver(trip, ["wait"]).run()
    driver.post(CancelRequested("enough"))
    assert called(driver)[3:] == ["cancel car"]
    driver.run()
    assert called(driver)[3:] == ["cancel car", "cancel hotel", "cancel flight"]
    assert driver.closed.status is RunStatus.CANCELLED
    assert failure_of(driver).message == "enough"


def test_a_cancel_request_does_not_interrupt_compensations_and_counts_afterwards() -> None:
    driver = Driver(trip).start()
    for number in range(1, 5):
        driver.complete(number)
    driver.post(CancelRequested("enough"))
    assert not any(isinstance(entry, StepCancelled) for entry in driver.journal)
    driver.run()
    assert called(driver)[4:] == ["cancel car", "cancel hotel", "cancel flight"]
    assert driver.closed.status is RunStatus.CANCELLED
    cause = failure_of(driver).cause
    assert cause is not None
    assert cause.message == "no train"


async def with_failing_compensations() -> None:
    async with Saga() as saga:
        saga.add(cancel, "flight")
        saga.add(explode, "cannot cancel the hotel")
        saga.add(cancel, "car")
        saga.add(_raises, "no taxi")
        await holdfast.receive("go")
        await explode("no train")


def _raises(text: str) -> None:
    raise LookupError(text)


def test_a_failing_compensation_stops_no_other_and_is_in_the_error() -> None:
    driver = Driver(with_failing_compensations).start()
    driver.post(Signal("go"))
    driver.run()
    assert called(driver) == [
        "explode no train", "cancel car", "explode cannot cancel the hotel", "cancel flight",
    ]  # fmt: skip
    failure = failure_of(driver)
    assert failure.error_type == "ExceptionGroup"
    assert failure.message.startswith(
        "a saga failed with StepFailed, and 2 of 4 compensations failed (3 sub-exceptions)"
    )
    assert [leaf.message for leaf in failure.leaves] == ["no train", "no taxi", "cannot cancel the hotel"]
    assert "_raises, which was to undo a part of a saga" in failure.traceback


def test_a_failing_compensation_of_a_cancelled_run_fails_the_run() -> None:
    driver = Driver(with_failing_compensations).start()
    driver.post(CancelRequested("enough"))
    driver.run()
    assert driver.closed.status is RunStatus.FAILED
    failure = failure_of(driver)
    assert failure.message.startswith("a saga was cancelled, and 2 of 4 compensations failed")
    assert [leaf.message for leaf in failure.leaves] == ["no taxi", "cannot cancel the hotel"]


def test_the_error_of_the_block_can_be_caught_around_it() -> None:
    async def flow() -> str:
        try:
            await trip()
        except StepFailed as failed:
            return failed.message
        return ""

    assert Driver(flow).run().result == "no train"


def test_functions_of_the_workflow_compensate_too() -> None:
    async def flow() -> list[str]:
        undone: list[str] = []

        async def undo(what: str, *, times: int) -> None:
            await holdfast.sleep("1h")
            undone.append(what * times)

        try:
            async with Saga() as saga:
                saga.add(undone.append, "sync")
                saga.add(undo, "a", times=2)
                raise OSError
        except OSError:
            return undone

    assert Driver(flow).run().result == ["aa", "sync"]


# Steps that still run


async def together() -> None:
    async with Saga() as saga:
        for what in ("flight", "hotel"):
            saga.add(cancel, what)
        async with asyncio.TaskGroup() as group:
            group.create_task(book("flight"))
            group.create_task(book("hotel"))
            group.create_task(explode("no train"))


def test_an_undo_does_not_overlap_what_it_undoes() -> None:
    driver = Driver(together).start()
    driver.complete(3)
    # Both are still running; the code has let go of them.
    assert driver.instance.waits() == ["step book (1)", "step book (2)", "timer 1 (saga: steps that still run)"]
    driver.complete(2)
    assert len(called(driver)) == 3
    driver.complete(1)
    assert called(driver)[3:] == ["cancel hotel"]
    assert any(isinstance(entry, TimerCancelled) for entry in driver.journal)
    driver.run()
    assert called(driver)[3:] == ["cancel hotel", "cancel flight"]
    assert not any(isinstance(entry, StepCancelled) for entry in driver.journal)


def test_what_does_not_end_within_30_seconds_is_cancelled_and_undone_all_the_same() -> None:
    driver = Driver(together).start()
    driver.complete(3)
    driver.complete(2)
    [timer] = [entry for entry in driver.journal if isinstance(entry, TimerSet)]
    assert timer.delay == timedelta(seconds=30)
    driver.fire(1)
    assert [entry.number for entry in driver.journal if isinstance(entry, StepCancelled)] == [1]
    driver.run()
    assert called(driver)[3:] == ["cancel hotel", "cancel flight"]


def test_a_cancel_request_waits_for_the_running_step_before_it_undoes() -> None:
    driver = Driver(trip, ["nothing"]).start()
    driver.complete(1)
    driver.post(CancelRequested("enough"))
    assert driver.instance.waits() == ["step book (2)", "timer 1 (saga: steps that still run)"]
    driver.complete(2)
    driver.run()
    assert called(driver) == ["book flight", "book hotel", "cancel hotel", "cancel flight"]
    assert driver.closed.status is RunStatus.CANCELLED


def test_a_failing_step_that_nobody_awaits_any_more_is_no_failure_of_its_own() -> None:
    async def flow() -> None:
        async with Saga() as saga:
            saga.add(cancel, "all")
            async with asyncio.TaskGroup() as group:
                group.create_task(explode("first"))
                group.create_task(explode("second"))

    driver = Driver(flow).start()
    driver.complete(2)
    driver.complete(1)
    driver.run()
    assert [leaf.message for leaf in failure_of(driver).leaves] == ["second"]


def test_what_a_task_of_the_block_adds_meanwhile_is_undone_too() -> None:
    async def flow() -> None:
        async with Saga() as saga:

            async def part(what: str) -> None:
                await book(what)
                saga.add(cancel, what)

            await asyncio.gather(part("flight"), explode("no train"))

    driver = Driver(flow).start()
    driver.complete(2)
    driver.complete(1)
    driver.run()
    assert called(driver) == ["book flight", "explode no train", "cancel flight"]


def test_a_step_whose_time_is_up_goes_on_until_the_block_ends_well() -> None:
    async def flow() -> str:
        async with Saga():
            try:
                async with asyncio.timeout(5):
                    await book("flight")
            except TimeoutError:
                await book("train")
        return await book("hotel")  # type: ignore[no-any-return]

    driver = Driver(flow).start()
    driver.fire(1)
    assert driver.instance.waits() == ["step book (1)", "step book (2)"]
    driver.complete(2)
    assert [entry.number for entry in driver.journal if isinstance(entry, StepCancelled)] == [1]
    driver.complete(3)
    assert driver.result == "booked hotel"


def test_a_step_that_a_task_still_awaits_outlives_the_block() -> None:
    async def flow() -> str:
        async with Saga():
            task = asyncio.create_task(book("flight"))
            await asyncio.sleep(0)
        await holdfast.receive("go")
        return await task  # type: ignore[no-any-return]

    driver = Driver(flow).start()
    driver.post(Signal("go"))
    assert driver.instance.waits() == ["step book (1)"]
    assert driver.run().result == "booked flight"


def test_cancelled_after_the_block_it_is_cancelled_at_once() -> None:
    async def flow() -> None:
        async with Saga():
            task = asyncio.create_task(book("flight"))
            await asyncio.sleep(0)
        await holdfast.receive("go")
        task.cancel()
        await asyncio.wait([task])

    driver = Driver(flow).start()
    driver.post(Signal("go"))
    assert [entry.number for entry in driver.journal if isinstance(entry, StepCancelled)] == [1]


def test_inside_another_saga_the_outer_one_waits_too_and_undoes_after_the_inner_one() -> None:
    async def flow() -> None:
        async with Saga() as outer:
            outer.add(cancel, "outer")
            async with Saga() as inner:
                inner.add(cancel, "inner")
                async with asyncio.timeout(5):
                    await book("flight")

    driver = Driver(flow).start()
    driver.fire(1)
    assert len(called(driver)) == 1
    driver.complete(1)
    driver.run()
    assert called(driver) == ["book flight", "cancel inner", "cancel outer"]
    assert failure_of(driver).error_type == "TimeoutError"


def test_a_step_that_the_inner_block_leaves_is_waited_for_by_the_outer_one() -> None:
    async def flow() -> None:
        async with Saga() as outer:
            outer.add(cancel, "outer")
            async with Saga():
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(5):
                        await book("flight")
            await explode("no train")

    driver = Driver(flow).start()
    driver.fire(1)
    driver.complete(2)
    assert driver.instance.waits() == ["step book (1)", "timer 2 (saga: steps that still run)"]
    driver.complete(1)
    driver.run()
    assert called(driver) == ["book flight", "explode no train", "cancel outer"]


# Replay, dropping, outside


@pytest.mark.parametrize("function", [trip, together, with_failing_compensations])
@pytest.mark.parametrize("seed", range(8))
def test_a_replay_from_any_place_goes_the_same_way(function: Callable[..., Any], seed: int) -> None:
    mail = [Signal("go", Payload(b"1")), CancelRequested("enough")][: 1 + seed % 2]
    driver = Driver(function, seed=seed, mail=mail).run()
    for end, entry in enumerate(driver.journal):
        if isinstance(entry, StepCompleted):
            again = Driver(function, seed=seed, mail=mail).resume(driver.journal[:end]).run()
            assert again.closed.status.is_closed
    instance = instance_of(function)
    for entry in driver.journal:
        instance.feed(entry)
    assert instance.take_commands() == []
    assert instance.is_closed


def test_code_that_is_dropped_from_memory_compensates_nothing() -> None:
    driver = Driver(trip).start()
    driver.complete(1)
    driver.instance.close()
    assert driver.instance.take_commands() == []


async def test_outside_a_run_it_is_plain_code() -> None:
    undone: list[str] = []

    async def undo(what: str) -> None:
        await asyncio.sleep(0)
        undone.append(what)

    async def work() -> None:
        async with Saga() as saga:
            saga.add(undo, "first")
            saga.add(undone.append, "second")
            raise OSError("kaput")

    with pytest.raises(OSError, match="kaput"):
        await work()
    assert undone == ["second", "first"]


async def test_outside_a_run_a_cancelled_task_undoes_too() -> None:
    undone: list[str] = []
    entered = asyncio.Event()

    async def work() -> None:
        async with Saga() as saga:
            saga.add(undone.append, "it")
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert undone == ["it"]


# Misuse


@holdfast.App("sagas").step
def refund(receipt: str) -> None: ...


async def test_what_cannot_be_called_is_refused_where_it_is_added() -> None:
    async def undo(what: str) -> None: ...

    async with Saga() as saga:
        with pytest.raises(TypeError, match=r"not the call: saga\.add\(refund, receipt\)"):
            saga.add(undo("x"))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes a function and its arguments, not 5"):
            saga.add(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"undo, \.\.\.\): missing a required argument: 'what'"):
            saga.add(undo)  # type: ignore[call-arg]
        with pytest.raises(holdfast.ArgumentsRejected, match="step refund"):
            saga.add(refund, "r", "more")  # type: ignore[call-arg]
        saga.add(refund, "r")
        saga.add(print, "whatever it takes")


async def test_it_takes_compensations_inside_of_its_block_only() -> None:
    saga = Saga()
    with pytest.raises(RuntimeError, match="the saga is not entered yet"):
        saga.add(print)
    async with saga:
        saga.add(print)
    with pytest.raises(RuntimeError, match="the saga has ended"):
        saga.add(print)
    with pytest.raises(RuntimeError, match="a saga is entered once"):
        async with saga:
            pass


def test_a_scope_keeps_nothing_of_steps_that_have_ended() -> None:
    """A saga around a loop of many steps costs memory for those only that run."""
    scopes: list[StepScope] = []

    async def flow() -> None:
        async with Saga() as saga:
            assert isinstance(saga._steps, StepScope)
            scopes.append(saga._steps)
            for _ in range(50):
                await book("it")
            assert not scopes[0]._calls

    assert Driver(flow).run().closed.status is RunStatus.COMPLETED


def test_a_call_that_is_not_awaited_ends_the_run_and_undoes_nothing() -> None:
    """The code has gone past a step that it believes to have made: what it would undo now may be wrong."""

    async def flow() -> None:
        async with Saga() as saga:
            saga.add(cancel, "flight")
            await book("flight")
            book("hotel")
            await book("car")

    driver = Driver(flow).run()
    assert failure_of(driver).error_type == "NotAwaited"
    assert not any(call.startswith("cancel") for call in called(driver))
