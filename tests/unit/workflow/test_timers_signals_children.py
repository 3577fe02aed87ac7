"""What workflow code sees of time, signals and child runs, and what it asks for."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.definitions.signatures import CallSignature
from holdfast.errors import RunCancelled, RunFailed
from holdfast.ids import child_run_id
from holdfast.journal import ChildClosed, MailConsumed, Payload, RunClosed, Signal, TimerCancelled, TimerSet
from holdfast.statuses import RunStatus
from holdfast.workflow.commands import CancelChild, CancelTimer, Close, SetTimer, StartChild
from tests.support.workflow_driver import RUN_ID, START, Driver, a_step, replayed, runtime


@a_step
def echo(value: Any) -> Any:
    return value


def receive(name: str, hint: Any = int, timeout: float | None = None) -> Any:
    return runtime().receive(name, hint, None if timeout is None else timedelta(seconds=timeout))


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


def test_timers_that_fired_are_not_cancelled() -> None:
    async def flow() -> int:
        await asyncio.sleep(1)
        return 1

    driver = Driver(flow).run()
    assert not [command for command in driver.commands if isinstance(command, CancelTimer)]


# Signals


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


async def nothing(x: int) -> int:
    return x


CHILD = WorkflowDefinition("nothing", nothing, CallSignature.of(nothing), id_template="child-{x}")


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
