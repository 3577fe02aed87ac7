"""A call that is never awaited is an error of the run, with the place where it stands; a coroutine is one."""

import asyncio
import contextlib
import functools
import gc
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import holdfast
from holdfast import App
from holdfast.errors import StepFailed
from holdfast.statuses import RunStatus
from holdfast.testing import run_local
from holdfast.workflow.commands import CallStep, Close
from tests.support.workflow_driver import Driver, replayed

app = App("unawaited")


@app.step
def mail(x: int) -> int:
    return x


@app.step(retries=0)
def explode(x: int) -> int:
    raise ValueError(f"no {x}")


@app.workflow
async def child(x: int) -> int:
    return x


async def both(x: int) -> int:
    return await mail(x) + await mail(x + 1)


async def limited(room: asyncio.Semaphore, call: Coroutine[Any, Any, int]) -> int:
    async with room:
        return await call


def line_of(function: Callable[..., Any], text: str) -> int:
    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


async def forgets_a_step() -> int:
    mail(1)  # type: ignore[unused-coroutine]  # here
    return 1


async def forgets_a_step_and_goes_on() -> int:
    mail(1)  # type: ignore[unused-coroutine]  # here
    return await mail(2)


async def forgets_options() -> None:
    mail.with_options(step_id="x")(1)  # type: ignore[unused-coroutine]  # here


async def forgets_a_child() -> None:
    child(1)  # type: ignore[unused-coroutine]  # here


async def forgets_a_sleep() -> int:
    holdfast.sleep("1d")  # type: ignore[unused-coroutine]  # here
    return await mail(1)


async def forgets_an_asyncio_sleep() -> int:
    asyncio.sleep(5)  # type: ignore[unused-coroutine]  # here
    return await mail(1)


async def forgets_a_receive() -> None:
    holdfast.receive("go")  # type: ignore[unused-coroutine]  # here


async def forgets_a_function_of_its_own() -> int:
    both(1)  # type: ignore[unused-coroutine]  # here
    return await mail(1)


async def forgets_the_second_of_a_list() -> int:
    calls = [mail(1), mail(2)]  # here
    return await calls[0]


async def returns_a_call() -> Any:
    return mail(1)  # here


async def adds_to_a_call() -> int:
    return mail(1) + 1  # type: ignore[operator, no-any-return]  # here


async def asks_a_call_for_something() -> int:
    return mail(1).real  # type: ignore[attr-defined, no-any-return]  # here


async def gives_a_call_to_a_step() -> int:
    return await mail(mail(1))  # type: ignore[arg-type]  # here


async def forgets_it_in_a_task() -> int:
    async def part() -> None:
        mail(1)  # type: ignore[unused-coroutine]  # here
        await asyncio.Event().wait()

    task = asyncio.create_task(part())
    await task
    return 1


FORGETFUL = {
    forgets_a_step: "mail",
    forgets_a_step_and_goes_on: "mail",
    forgets_options: "mail",
    forgets_a_child: "child",
    forgets_a_sleep: "sleep",
    forgets_an_asyncio_sleep: "sleep",
    forgets_a_receive: "receive",
    forgets_a_function_of_its_own: "both",
    forgets_the_second_of_a_list: "mail",
    returns_a_call: "mail",
    adds_to_a_call: "mail",
    asks_a_call_for_something: "mail",
    gives_a_call_to_a_step: "mail",
    forgets_it_in_a_task: "mail",
}


@pytest.mark.feature("F150")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("flow", FORGETFUL, ids=lambda flow: flow.__name__)
def test_what_is_called_and_never_awaited_fails_the_run_with_function_and_line(flow: Callable[..., Any]) -> None:
    driver = Driver(flow).run()
    failure = driver.closed.failure
    assert failure is not None
    assert failure.error_type == "NotAwaited"
    where = f"{FORGETFUL[flow]}, test_unawaited_calls.py line {line_of(flow, '# here')}, was called and never awaited"
    assert where in failure.message
    assert replayed(flow, (), driver.journal) == []


def test_code_goes_no_further_than_a_call_that_it_forgot() -> None:
    driver = Driver(forgets_a_step_and_goes_on).run()
    assert [type(command) for command in driver.commands] == [CallStep, Close]


@pytest.mark.feature("F150")
async def test_a_local_run_fails_with_it_too() -> None:
    flow = App("forgetful").workflow(forgets_a_step)
    run = await run_local(flow)
    assert run.status is RunStatus.FAILED
    assert run.failure is not None
    assert "mail, test_unawaited_calls.py line" in run.failure.message


@pytest.mark.filterwarnings("error")
def test_calls_that_are_closed_or_dropped_by_cancelled_tasks_are_no_mistake() -> None:
    async def flow() -> list[int]:
        mail(0).close()
        room = asyncio.Semaphore(1)
        never = asyncio.create_task(limited(room, mail(1)))
        never.cancel()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail_at_once())
                for x in range(3):
                    group.create_task(limited(room, mail(x)))
        except* ValueError:
            pass
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(limited(room, mail(2)), 0)
        prepared = asyncio.create_task(prepares())
        await asyncio.sleep(0)
        prepared.cancel()
        await asyncio.wait([prepared])
        del prepared
        return [await mail(3)]

    async def prepares() -> None:
        calls = [mail(x) for x in range(3)]
        await asyncio.Event().wait()
        await asyncio.gather(*calls)

    async def fail_at_once() -> None:
        raise ValueError("at once")

    driver = Driver(flow).run()
    assert driver.result == [3]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_what_only_the_garbage_collector_finds_fails_no_run() -> None:
    async def flow() -> int:
        ring: list[Any] = [mail(1)]
        ring.append(ring)
        del ring
        gc.collect()
        return await mail(2)

    assert Driver(flow).run().result == 2


def test_an_error_of_the_code_is_not_hidden_by_a_call_that_it_left_behind() -> None:
    async def flow() -> None:
        calls = [mail(1)]
        await explode(2)
        await asyncio.gather(*calls)

    failure = Driver(flow).run().closed.failure
    assert failure is not None
    assert failure.error_type == "ValueError"


# Calls are coroutines


def asked(driver: Driver) -> list[int]:
    return [int(call.arguments.positional[0].data) for call in driver.commands if isinstance(call, CallStep)]


def test_a_list_of_calls_under_a_semaphore_starts_two_at_a_time() -> None:
    async def flow() -> list[int]:
        room = asyncio.Semaphore(2)
        calls = [mail(x) for x in range(50)]
        return list(await asyncio.gather(*(limited(room, call) for call in calls)))

    driver = Driver(flow).start()
    assert asked(driver) == [0, 1]
    driver.complete(2)
    assert asked(driver) == [0, 1, 2]
    driver.run()
    assert driver.result == list(range(50))
    assert replayed(flow, (), driver.journal) == []


def test_a_call_is_a_coroutine_in_every_respect() -> None:
    async def flow() -> list[Any]:
        call = mail(1)
        found: list[Any] = [inspect.iscoroutine(call), asyncio.iscoroutine(call), asyncio.isfuture(call)]
        found.append(inspect.getcoroutinestate(call))
        found.append(await call)
        try:
            await call
        except RuntimeError as error:
            found.append(str(error))
        return found

    once = "cannot reuse already awaited coroutine"
    assert Driver(flow).run().result == [True, True, False, "CORO_CREATED", 1, once]


def test_a_task_group_that_is_not_entered_refuses_a_call_as_it_does_any_coroutine() -> None:
    async def flow() -> str:
        group = asyncio.TaskGroup()
        try:
            group.create_task(mail(1))
        except RuntimeError as error:
            return str(error)
        return "accepted"

    assert "has not been entered" in Driver(flow).run().result


def test_a_call_that_is_started_by_its_function_as_anyio_does_it_is_asked_for_when_its_task_runs() -> None:
    async def start_soon(function: Callable[..., Any], *args: Any) -> "asyncio.Task[Any]":
        made = function(*args)
        if not inspect.iscoroutine(made):
            raise TypeError(f"{function} did not return a coroutine")
        return asyncio.create_task(made)

    async def flow() -> list[int]:
        tasks = [await start_soon(mail, 1), await start_soon(functools.partial(mail, 2))]
        return [await task for task in tasks]

    assert Driver(flow).run().result == [1, 2]


def test_the_same_call_twice_in_a_gather_is_one_step() -> None:
    async def flow() -> list[int]:
        call = mail(1)
        return list(await asyncio.gather(call, mail(2), call))

    driver = Driver(flow).run()
    assert driver.result == [1, 2, 1]
    assert asked(driver) == [1, 2]


def test_gathered_calls_cancel_and_fail_as_they_did() -> None:
    async def flow() -> str:
        try:
            await asyncio.gather(explode(1), mail(2))
        except StepFailed as failed:
            return failed.message
        return "unreachable"

    driver = Driver(flow).start()
    driver.complete(1)
    assert driver.result == "no 1"
