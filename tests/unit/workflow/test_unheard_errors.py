"""Errors of tasks that workflow code does not await: they are logged once, wherever the code keeps the task."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.statuses import RunStatus
from holdfast.workflow.commands import CallStep
from tests.support.workflow_driver import Driver, a_step


@a_step
def echo(value: Any) -> Any:
    return value


async def fail_later() -> None:
    await echo("of the task")
    raise ValueError("unheard")


async def forgets_its_task() -> None:
    asyncio.create_task(fail_later())  # noqa: RUF006
    await echo("of main")
    await echo("of main")


async def holds_its_task() -> bool:
    task = asyncio.create_task(fail_later())
    await echo("of main")
    return task.done()


async def holds_its_task_in_a_ring() -> None:
    ring: list[Any] = [asyncio.create_task(fail_later())]
    ring.append(ring)
    await echo("of main")


async def waits_and_does_not_ask() -> None:
    await asyncio.wait([asyncio.create_task(fail_later())])


async def forgets_one_of_many() -> None:
    for _ in range(200):
        asyncio.create_task(asyncio.sleep(3600))  # noqa: RUF006
    await forgets_its_task()


FLOWS: list[Callable[..., Any]] = [
    forgets_its_task,
    holds_its_task,
    holds_its_task_in_a_ring,
    waits_and_does_not_ask,
    forgets_one_of_many,
]


def complete_steps(driver: Driver) -> None:
    """Those of tasks first, so that the tasks end before the code does."""
    while not driver.instance.is_closed:
        steps = [call for call in driver.due.values() if isinstance(call, CallStep)]
        of_tasks = [call for call in steps if call.arguments.positional[0].data == b'"of the task"']
        driver.complete((of_tasks or steps)[0].number)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [str(record.exc_info[1]) for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_the_error_of_a_task_that_nobody_awaits_is_logged_once_and_in_no_replay(
    flow: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    driver = Driver(flow).start()
    complete_steps(driver)
    gc.collect()
    assert driver.closed.status is RunStatus.COMPLETED
    assert errors(caplog) == ["unheard"]
    (record,) = caplog.records
    assert "(fail_later) of workflow code failed, and nothing awaited it" in record.message
    assert "raise ValueError" in caplog.text  # the traceback
    again = Driver(flow)
    again.instance.is_replaying = True
    for entry in driver.journal:
        again.instance.feed(entry)
    again.instance.close()
    gc.collect()
    assert errors(caplog) == ["unheard"]


def test_an_error_that_was_logged_before_its_run_moved_is_not_logged_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = Driver(forgets_its_task).start()
    driver.complete(2)
    assert errors(caplog) == ["unheard"]  # now, not when the run ends
    driver.instance.close()
    again = Driver(forgets_its_task)
    again.instance.is_replaying = True
    again.resume(driver.journal)
    complete_steps(again)
    assert again.closed.status is RunStatus.COMPLETED
    assert errors(caplog) == ["unheard"]


def test_an_error_that_the_code_asks_for_late_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> str:
        task = asyncio.create_task(fail_later())
        await echo("of main")
        return str(task.exception())

    driver = Driver(flow).start()
    complete_steps(driver)
    assert driver.result == "unheard"
    assert not caplog.records


def test_what_a_task_group_gather_or_a_cancellation_ends_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_later())
                group.create_task(fail_later())
        except* ValueError:
            pass
        await asyncio.gather(fail_later(), fail_later(), return_exceptions=True)
        asyncio.create_task(fail_later()).cancel()
        await echo("of main")

    driver = Driver(flow).start()
    complete_steps(driver)
    assert driver.closed.status is RunStatus.COMPLETED
    assert not caplog.records
