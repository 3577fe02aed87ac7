"""A run that leaves memory does so without a trace: nothing recorded, nothing printed."""

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.workflow_driver import Driver, a_step


@a_step
def echo(value: Any) -> Any:
    return value


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Any:
    """Fails the test when anything is warned, logged or printed."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(one.message) for one in caught]
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_cleanup_code_runs_and_records_nothing() -> None:
    seen: list[str] = []

    async def flow() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work("a"))
            group.create_task(work("b"))

    async def work(name: str) -> None:
        try:
            async with asyncio.timeout(5):
                await echo(1)
        except asyncio.CancelledError:
            seen.append("never: it is not a cancellation")
        except Exception:  # noqa: BLE001
            seen.append("never: it is not an error")
        finally:
            seen.append(name)
            await echo("not recorded")
            seen.append("unreachable")

    driver = Driver(flow).start()
    taken = len(driver.commands)
    driver.instance.close()
    assert seen == ["a", "b"]
    assert driver.instance.take_commands() == []
    assert len(driver.commands) == taken
    assert driver.instance.waits() == []
    driver.instance.close()


def test_tasks_in_every_state_are_dropped() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield await echo(1)
        finally:
            await echo("not recorded")

    async def flow() -> None:
        async for _ in numbers():
            pending = [asyncio.create_task(echo_twice()) for _ in range(3)]
            waiting = asyncio.gather(*pending, echo(1), return_exceptions=True)
            stubborn = asyncio.create_task(ignore_everything())
            shielded = asyncio.shield(asyncio.create_task(echo_twice()))
            asyncio.create_task(asyncio.Event().wait())  # noqa: RUF006
            await asyncio.wait_for(asyncio.shield(waiting), 10)
            await asyncio.gather(stubborn, shielded)

    async def echo_twice() -> None:
        await echo(await echo(1))

    async def ignore_everything() -> None:
        while True:
            try:
                await asyncio.sleep(10)
            except BaseException:  # noqa: BLE001
                await asyncio.sleep(10)

    driver = Driver(flow, seed=3).start()
    for _ in range(4):
        driver.advance()
    driver.instance.close()
    del driver


def test_a_task_in_cleanup_may_ask_for_anything_and_gets_nothing() -> None:
    asked: list[str] = []

    async def flow() -> None:
        try:
            await echo(1)
        finally:
            for ask in (asyncio.create_task, asyncio.get_running_loop().create_task):
                try:
                    ask(nothing())
                except BaseException as error:  # noqa: BLE001
                    asked.append(type(error).__name__)
            asyncio.get_running_loop().call_soon(asked.append, "never")

    async def nothing() -> None: ...

    driver = Driver(flow).start()
    driver.instance.close()
    assert asked == ["RunUnwinding", "RunUnwinding"]


def test_a_run_that_never_started_is_dropped() -> None:
    async def flow() -> None: ...

    Driver(flow).instance.close()


def test_a_failed_run_is_collected() -> None:
    async def flow() -> None:
        task = asyncio.create_task(echo_and_fail())
        await echo(1)
        await task

    async def echo_and_fail() -> None:
        await echo(1)
        raise ValueError("known")

    driver = Driver(flow).run()
    assert driver.closed.failure is not None
    driver.instance.close()


def test_a_task_that_only_waits_for_itself_survives_the_garbage_collector() -> None:
    seen: list[str] = []

    async def orphan() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("unwound")

    async def flow() -> None:
        asyncio.create_task(orphan())  # noqa: RUF006
        await asyncio.sleep(0)
        gc.collect()
        assert not seen
        await echo(1)

    driver = Driver(flow).start()
    gc.collect()
    assert not seen
    driver.run()
    assert driver.closed.failure is None
    assert seen == ["unwound"]
