"""What workflow code is cancelled by, what it cancels, and what of that is recorded."""

import asyncio
from datetime import timedelta
from typing import Any

from holdfast.journal import CancelRequested, Payload, StepCompleted
from holdfast.statuses import RunStatus
from holdfast.workflow.commands import CallStep, CancelStep, Close, SetTimer
from tests.support.workflow_driver import Driver, a_step, replayed, runtime


@a_step
def echo(value: Any) -> Any:
    return value


@a_step
def explode(text: str) -> int:
    raise ValueError(text)


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
