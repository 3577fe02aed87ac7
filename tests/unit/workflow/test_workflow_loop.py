"""The loop runs what is ready in order, and refuses what a replay cannot repeat."""

import asyncio
import contextvars
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from holdfast.workflow.current_run import current_runtime
from holdfast.workflow.loop import WorkflowLoop
from tests.support.workflow_driver import Driver, a_step


@a_step
def echo(value: Any) -> Any:
    return value


def running() -> WorkflowLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WorkflowLoop)
    return loop


REFUSED: dict[str, Callable[[], Awaitable[Any]]] = {
    "to_thread": lambda: asyncio.to_thread(print),
    "run_in_executor": lambda: running().run_in_executor(None, print),
    "open_connection": lambda: asyncio.open_connection("localhost", 1),
    "start_server": lambda: asyncio.start_server(print, "localhost", 1),
    "subprocess": lambda: asyncio.create_subprocess_exec("true"),
    "getaddrinfo": lambda: running().getaddrinfo("localhost", 1),
    "sock_recv": lambda: running().sock_recv(socket.socket(), 1),
    "add_reader": lambda: running().add_reader(0, print),
    "add_signal_handler": lambda: running().add_signal_handler(1, print),
    "call_soon_threadsafe": lambda: running().call_soon_threadsafe(print),
}


@pytest.mark.parametrize("name", REFUSED)
def test_real_io_is_refused_with_the_way_out(name: str) -> None:
    async def flow() -> None:
        await REFUSED[name]()

    failure = Driver(flow).run().closed.failure
    assert failure is not None
    assert failure.error_type == "UnguardedCall"
    assert "put this in a step" in failure.message


def test_as_completed_starts_calls_in_order_and_gives_them_as_they_complete() -> None:
    async def flow() -> list[int]:
        return [await one for one in asyncio.as_completed([echo(1), echo(2), _echo(3)])]

    driver = Driver(flow).start()
    assert [command.arguments.positional[0].data for command in driver.commands] == [b"1", b"2", b"3"]  # type: ignore[union-attr]
    for number in (2, 3, 1):
        driver.complete(number)
    assert driver.result == [2, 3, 1]


async def _echo(x: int) -> int:
    return await echo(x)  # type: ignore[no-any-return]


def test_sets_of_tasks_and_futures_iterate_in_order_of_creation() -> None:
    async def flow() -> list[bool]:
        tasks = [asyncio.create_task(_echo(x)) for x in range(20)]
        calls = [asyncio.ensure_future(echo(x)) for x in range(20)]
        futures = [running().create_future() for _ in range(20)]
        return [list({found[-1], *found}) == found for found in (tasks, calls, futures)]

    assert Driver(flow).run().result == [True, True, True]


def test_runs_do_not_share_hashes_of_tasks() -> None:
    hashes = {hash(WorkflowLoop(_NoTimers(), salt=salt).create_future()) for salt in range(100)}
    assert len(hashes) == 100


class _NoTimers:
    def elapsed_seconds(self) -> float:
        return 0.0

    def set_timer(self, timer: object) -> None: ...

    def withdraw_timer(self, timer: object) -> None: ...


def test_callbacks_run_in_the_order_in_which_they_became_ready() -> None:
    seen: list[int] = []
    loop = WorkflowLoop(_NoTimers())
    for x in range(5):
        loop.call_soon(seen.append, x)
    loop.call_soon(loop.call_soon, seen.append, 6)
    cancelled = loop.call_soon(seen.append, 99)
    cancelled.cancel()
    loop.call_later(0, seen.append, 5)
    loop.run_until_idle()
    assert seen == [0, 1, 2, 3, 4, 5, 6]


async def test_a_loop_and_task_around_it_are_current_again_afterwards() -> None:
    outer_loop, outer_task = asyncio.get_running_loop(), asyncio.current_task()
    inside: list[Any] = []

    async def flow() -> int:
        inside.extend([asyncio.get_running_loop(), asyncio.current_task()])
        return await echo(1)  # type: ignore[no-any-return]

    driver = Driver(flow).run()
    assert driver.result == 1
    assert inside[0] is not outer_loop
    assert inside[1] is not outer_task
    assert asyncio.get_running_loop() is outer_loop
    assert asyncio.current_task() is outer_task
    await asyncio.sleep(0)


def test_the_runtime_is_current_in_tasks_of_the_run_and_nowhere_else() -> None:
    marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker", default="unset")

    async def flow() -> list[Any]:
        async def inner() -> bool:
            return current_runtime.get() is not None

        return [await asyncio.create_task(inner()), marker.get()]

    marker.set("of the worker")
    assert Driver(flow).run().result == [True, "unset"]
    assert current_runtime.get() is None


def test_sys_exit_in_a_background_task_does_not_stop_the_worker() -> None:
    async def leave() -> None:
        raise SystemExit(1)

    async def flow() -> int:
        task = asyncio.create_task(leave())
        await asyncio.sleep(0)
        assert task.done()
        return await echo(1)  # type: ignore[no-any-return]

    assert Driver(flow).run().result == 1


def test_keyboard_interrupt_reaches_the_worker() -> None:
    async def flow() -> None:
        raise KeyboardInterrupt

    driver = Driver(flow)
    with pytest.raises(KeyboardInterrupt):
        driver.start()
    assert not driver.instance.is_closed
    driver.instance.close()


def test_an_error_of_a_callback_is_logged_but_not_in_a_replay(caplog: pytest.LogCaptureFixture) -> None:
    async def flow() -> int:
        running().call_soon(fail_now)
        return await echo(1)  # type: ignore[no-any-return]

    def fail_now() -> None:
        raise ValueError("in a callback")

    driver = Driver(flow)
    driver.instance.is_replaying = True
    driver.start()
    assert not caplog.records
    again = Driver(flow).start()
    assert [record.message for record in caplog.records] == ["a callback of workflow code failed"]
    assert again.run().result == 1


def test_a_task_keeps_the_context_that_it_is_given_also_an_empty_one() -> None:
    marker: contextvars.ContextVar[str] = contextvars.ContextVar("marker", default="unset")

    async def read() -> str:
        return marker.get()

    async def flow() -> str:
        marker.set("of the caller")
        return await asyncio.create_task(read(), context=contextvars.Context())

    assert Driver(flow).run().result == "unset"
