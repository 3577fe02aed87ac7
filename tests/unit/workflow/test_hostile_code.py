"""Code that would take its worker with it: it never pauses, raises what ends programs, or refuses to be unwound."""

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.limits import DEFAULT_LIMITS
from holdfast.statuses import RunStatus
from holdfast.workflow import interrupts, loop
from tests.support.workflow_driver import Driver, a_step, runtime


@a_step
def echo(value: Any) -> Any:
    return value


@pytest.fixture
def worker_takes_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a worker process: SIGINT raises nothing, so a KeyboardInterrupt is the code's own."""
    monkeypatch.setattr(interrupts, "_judge", lambda: False)


async def spin() -> None:
    while True:  # noqa: ASYNC110 - a mistake that users make
        await asyncio.sleep(0)


async def spin_in_a_task() -> None:
    await asyncio.gather(spin(), echo(1))


async def spin_by_callbacks() -> None:
    def again() -> None:
        asyncio.get_running_loop().call_soon(again)

    again()
    await echo(1)


@pytest.mark.parametrize("code", [spin, spin_in_a_task, spin_by_callbacks])
def test_code_that_never_pauses_is_told_so_instead_of_holding_its_worker(
    code: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CALLBACKS_MAX", 2_000)
    driver = Driver(code)
    with pytest.raises(loop.CodeDoesNotPause, match="its code does not pause: it ran 2,000 callbacks"):
        driver.start()
    driver.instance.close()


def test_many_calls_at_once_are_no_spinning() -> None:
    async def one(value: int) -> int:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return value

    async def flow() -> int:
        return len(await asyncio.gather(*(one(value) for value in range(10_000))))

    assert 5 * DEFAULT_LIMITS.journal_entries <= loop.CALLBACKS_MAX
    assert Driver(flow).run().result == 10_000


@pytest.mark.usefixtures("worker_takes_signals")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), GeneratorExit(), SystemExit(3)])
def test_what_ends_programs_fails_the_run_that_raised_it(error: BaseException) -> None:
    async def flow() -> None:
        await echo(1)
        raise error

    closed = Driver(flow).run().closed
    assert closed.status is RunStatus.FAILED
    assert closed.failure is not None
    assert closed.failure.error_type == type(error).__name__


@pytest.mark.usefixtures("worker_takes_signals")
@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit, asyncio.CancelledError])
def test_what_ends_programs_ends_no_more_than_the_task_or_callback_that_raised_it(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    async def fail_in_a_task() -> None:
        fail()

    async def flow() -> int:
        asyncio.get_running_loop().call_soon(fail)
        task = asyncio.create_task(fail_in_a_task())
        await asyncio.wait([task])
        return await echo(1)  # type: ignore[no-any-return]

    try:
        assert Driver(flow).run().result == 1
    except KeyboardInterrupt:
        pytest.fail("what the code raised left its run")  # pytest itself would end by it


@pytest.mark.usefixtures("worker_takes_signals")
def test_what_ends_programs_does_not_leave_code_that_is_unwound() -> None:
    async def flow() -> None:
        try:
            await echo(1)
        finally:
            raise KeyboardInterrupt

    Driver(flow).start().instance.close()


@pytest.mark.parametrize("wait", ["echo", "sleep", "task", "signal", "short sleep"])
def test_a_retry_loop_that_catches_everything_lets_its_run_leave_memory(
    wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    tries = 0

    async def flow() -> None:
        nonlocal tries
        while True:
            tries += 1
            assert tries < 10_000, "it goes on and on"
            try:
                match wait:
                    case "echo":
                        await echo(1)
                    case "sleep":
                        await asyncio.sleep(60)
                    case "task":
                        await asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
                    case "signal":
                        await runtime().receive("never", str, None)
                    case _:
                        await asyncio.sleep(0.001)
            except:  # noqa: E722, S110 - a mistake that users make
                pass

    driver = Driver(flow).start()
    driver.instance.close()
    assert driver.instance.take_commands() == []
    del driver
    gc.collect()
