"""Other threads and other runs that call into a run, and futures that are not its own, are refused."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import holdfast
from holdfast import App, UnguardedCall
from holdfast.journal import StepScheduled
from holdfast.statuses import RunStatus
from tests.support.workflow_driver import Driver

app = App("outside")


@app.step
def fetch(x: int) -> int:
    return x


def test_an_event_that_another_run_sets_is_a_fault_of_the_run_that_waits_for_it() -> None:
    shared = asyncio.Event()

    async def waits() -> int:
        await shared.wait()
        return await fetch(1)

    async def sets() -> str:
        try:
            shared.set()
        except UnguardedCall as error:
            return str(error)
        return "set"

    waiting = Driver(waits).start()
    assert "another run" in Driver(sets).run().result
    with pytest.raises(UnguardedCall, match="send the run a signal"):
        waiting.post(holdfast_signal())
    waiting.instance.close()


def holdfast_signal() -> Any:
    from holdfast.journal import Signal

    return Signal("go")


def test_a_thread_that_completes_a_future_of_a_run_is_refused_and_is_a_fault_of_the_run() -> None:
    futures: list[asyncio.Future[int]] = []
    errors: list[BaseException] = []

    async def flow() -> int:
        made = asyncio.get_running_loop().create_future()
        futures.append(made)
        found: int = await made
        return found

    driver = Driver(flow).start()

    def complete() -> None:
        for act in (futures[0].get_loop().call_soon_threadsafe, lambda f, x: futures[0].set_result(x)):
            try:
                act(print, 1)
            except UnguardedCall as error:
                errors.append(error)

    thread = threading.Thread(target=complete)
    thread.start()
    thread.join()
    assert len(errors) == 2
    with pytest.raises(UnguardedCall):
        driver.post(holdfast_signal())
    driver.instance.close()


def test_a_call_of_a_step_that_another_thread_awaits_asks_for_nothing() -> None:
    found: list[str] = []

    async def flow() -> int:
        call = fetch(1)

        def elsewhere() -> None:
            try:
                asyncio.run(awaits(call))
            except UnguardedCall as error:
                found.append(str(error))

        with holdfast.unguarded():
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
        return await fetch(2)

    async def awaits(call: Any) -> None:
        await call

    driver = Driver(flow)
    with pytest.raises(UnguardedCall):
        driver.start()
    assert len(found) == 1
    assert not [entry for entry in driver.journal if isinstance(entry, StepScheduled)]
    driver.instance.close()


def test_futures_of_threads_and_of_other_loops_are_refused_in_the_code() -> None:
    with ThreadPoolExecutor(1) as pool:
        finished: Future[int] = pool.submit(int, 1)
        finished.result()
    elsewhere = asyncio.new_event_loop()
    foreign: asyncio.Future[int] = elsewhere.create_future()
    foreign.set_result(1)
    pending: asyncio.Future[int] = elsewhere.create_future()

    async def flow() -> list[str]:
        found = []
        for wait in (
            lambda: asyncio.wrap_future(finished),
            lambda: asyncio.gather(pending),
            lambda: asyncio.wait([foreign]),
            lambda: asyncio.wait_for(pending, 1),
            lambda: pending,
        ):
            try:
                await wait()  # type: ignore[no-untyped-call]
            except (UnguardedCall, ValueError, RuntimeError) as error:
                found.append(type(error).__name__)
        return found

    driver = Driver(flow).run()
    elsewhere.close()
    assert driver.result == ["UnguardedCall", "ValueError", "ValueError", "RuntimeError", "RuntimeError"]


def test_a_callback_that_raises_a_cancellation_ends_nothing() -> None:
    async def flow() -> int:
        def cancel() -> None:
            raise asyncio.CancelledError

        asyncio.get_running_loop().call_soon(cancel)
        return await fetch(1)

    assert Driver(flow).run().closed.status is RunStatus.COMPLETED


def test_a_task_factory_is_refused_with_the_reason() -> None:
    async def flow() -> None:
        asyncio.get_running_loop().set_task_factory(None)

    failure = Driver(flow).run().closed.failure
    assert failure is not None
    assert failure.message == (
        "loop.set_task_factory cannot be repeated when workflow code is replayed: "
        "leave it out, since each run has a loop of its own, with settings of its own"
    )


def test_plain_futures_and_tasks_are_waited_for_in_the_order_in_which_they_are_given() -> None:
    async def flow() -> list[list[int]]:
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[int]] = [asyncio.Future() for _ in range(50)]
        tasks: list[asyncio.Task[int]] = [asyncio.Task(fetch(x), loop=loop) for x in range(20)]
        for x, future in enumerate(futures):
            future.set_result(x)
        done, _ = await asyncio.wait(futures)
        first, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        rest, _ = await asyncio.wait(pending)
        return [[one.result() for one in part] for part in (done, first | rest, rest - first)]

    noise = [object() for _ in range(1000)]
    driver = Driver(flow).start()
    del noise
    for number in (3, *(n for n in range(1, 21) if n != 3)):
        driver.complete(number)
    expected = [2, *(x for x in range(20) if x != 2)]
    assert driver.result == [list(range(50)), expected, expected[1:]]
