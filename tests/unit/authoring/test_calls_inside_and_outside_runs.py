"""Steps, workflows and the free functions: what they ask of the runtime in a run, and what they do without one."""

import asyncio
import inspect
import random
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

import holdfast
from holdfast import App
from holdfast.authoring.plain_calls import PlainCall
from holdfast.definitions.definitions import StepDefinition, StepOverrides, WorkflowDefinition
from holdfast.workflow.current_run import RunInfo, current_runtime

app = App("calls")


@app.step
def double(x: int) -> int:
    return x * 2


@app.step
async def increment(x: int) -> int:
    return x + 1


@app.step
def thread_of() -> int:
    return threading.get_ident()


@app.step
def quadruple(x: int) -> Any:
    return double.function(double.function(x))


@app.step
def nested(x: int) -> Any:
    return double(x)


@app.workflow
async def flow(x: int) -> list[int]:
    doubled, incremented = await asyncio.gather(double(x), increment(x))
    await holdfast.sleep("1ms")
    return [doubled, incremented, await nested(x)]


@app.workflow
async def parent(x: int) -> list[int]:
    return await flow(await double(x))


class Recorder:
    """A runtime that writes down what it is asked and answers with it."""

    is_blocking = False

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.info = RunInfo(run_id="run_1", workflow="flow")
        self.random = random.Random(5)

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def uuid4(self) -> UUID:
        return UUID(int=7)

    async def call_step(
        self,
        step: StepDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        overrides: StepOverrides,
        place: Any = None,
    ) -> Any:
        self.asked.append((step.name, args, kwargs, overrides))
        return "from the journal"

    async def call_child(
        self, workflow: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], place: Any = None
    ) -> Any:
        self.asked.append((workflow.name, args, kwargs))
        return "from the child"

    async def sleep(self, delay: timedelta | None, until: datetime | None, name: str) -> None:
        self.asked.append((delay, until, name))

    async def receive(self, name: str, type_hint: Any, timeout: timedelta | None) -> Any:
        self.asked.append((name, type_hint, timeout))
        return "a signal"


@pytest.fixture
def runtime() -> Iterator[Recorder]:
    recorder = Recorder()
    before = current_runtime.set(recorder)
    yield recorder
    current_runtime.reset(before)


# Outside a run


@pytest.mark.feature("F16")
def test_a_plain_step_outside_a_run_is_its_function() -> None:
    assert double(21) == 42  # type: ignore[comparison-overlap]
    assert double.function(21) == 42


@pytest.mark.feature("F16")
async def test_an_async_step_outside_a_run_is_its_function() -> None:
    assert await increment(1) == 2


async def test_a_workflow_outside_a_run_is_plain_code() -> None:
    assert await flow(3) == [6, 4, 6]


async def test_a_workflow_that_calls_a_workflow_outside_a_run_is_plain_code() -> None:
    assert await parent(3) == [12, 7, 12]


async def test_a_step_called_by_a_step_is_plain_in_a_plain_workflow() -> None:
    @app.workflow
    async def calls_nested() -> Any:
        return [await nested(1), await quadruple(1)]

    assert await calls_nested() == [2, 4]


async def test_a_plain_step_of_a_plain_workflow_runs_in_a_thread() -> None:
    @app.workflow
    async def where() -> int:
        return await thread_of()

    assert await where() != threading.get_ident()


@pytest.mark.parametrize("is_late", [True, False], ids=["it returns later", "it has returned"])
async def test_what_a_step_returns_to_a_plain_workflow_that_was_cancelled_is_not_left_unawaited(is_late: bool) -> None:
    begun, may_return = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    @app.step(name=f"makes {is_late}")
    def makes() -> Any:
        loop.call_soon_threadsafe(begun.set)
        may_return.wait(10)
        made.append(increment.function(1))
        return made[0]

    @app.workflow(name=f"awaits {is_late}")
    async def awaits() -> Any:
        return await makes()

    with ThreadPoolExecutor(1) as executor:
        loop.set_default_executor(executor)
        running = asyncio.create_task(awaits())
        await begun.wait()
        if is_late:
            running.cancel()
            await asyncio.wait([running])
        may_return.set()
        executor.submit(int).result(10)  # the thread has come to the end of the step
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


async def test_after_a_plain_workflow_a_step_is_plain_again() -> None:
    await flow(1)
    assert double(1) == 2  # type: ignore[comparison-overlap]


@pytest.mark.feature("F82")
async def test_a_sleep_outside_a_run_is_an_ordinary_sleep() -> None:
    started = time.monotonic()
    await holdfast.sleep(timedelta(milliseconds=50))
    assert 0.045 <= time.monotonic() - started < 5


@pytest.mark.feature("F78")
async def test_a_sleep_until_a_past_time_returns_at_once() -> None:
    await asyncio.wait_for(holdfast.sleep(datetime(2000, 1, 1)), 1)


@pytest.mark.feature("F81")
@pytest.mark.parametrize("span", ["5 minutes", "-5s", ""])
async def test_an_invalid_sleep_is_refused(span: str) -> None:
    with pytest.raises(ValueError, match="500ms"):
        await holdfast.sleep(span)


async def test_what_needs_a_run_says_so_outside() -> None:
    with pytest.raises(RuntimeError, match="inside a run only"):
        await holdfast.receive("approval")
    with pytest.raises(RuntimeError, match="inside a run only"):
        holdfast.current_run()


def test_time_and_randomness_are_ordinary_outside_a_run() -> None:
    assert abs(holdfast.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert holdfast.uuid4() != holdfast.uuid4()
    assert 0 <= holdfast.random().random() < 1


async def test_shield_outlives_the_cancellation_of_its_waiter() -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def undo() -> None:
        await go.wait()
        done.set()

    async def waiter() -> None:
        await holdfast.shield(undo())

    task = asyncio.create_task(waiter())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await asyncio.wait_for(done.wait(), 5)


# Inside a run


async def test_a_step_inside_a_run_asks_the_runtime(runtime: Recorder) -> None:
    answer: object = await double(21)
    assert answer == "from the journal"
    assert runtime.asked == [("double", (21,), {}, StepOverrides())]


async def test_a_call_with_options_carries_them(runtime: Recorder) -> None:
    await double.with_options(retries=5, step_id="item-3").with_options(timeout=None)(x=1)
    assert runtime.asked == [
        ("double", (), {"x": 1}, StepOverrides(step_id="item-3", retries=5, timeout_given=True)),
    ]


async def test_a_workflow_inside_a_run_is_a_child(runtime: Recorder) -> None:
    answer: object = await flow(3)
    assert answer == "from the child"
    assert runtime.asked == [("flow", (3,), {})]


async def test_a_sleep_inside_a_run_is_asked_of_the_runtime(runtime: Recorder) -> None:
    await holdfast.sleep("500ms", name="reminder")
    await holdfast.sleep(datetime(2030, 1, 1))
    assert runtime.asked == [
        (timedelta(milliseconds=500), None, "reminder"),
        (None, datetime(2030, 1, 1, tzinfo=UTC), ""),
    ]


async def test_a_signal_is_received_as_its_type(runtime: Recorder) -> None:
    assert await holdfast.receive("approval", str, timeout="3d") == "a signal"
    await holdfast.receive("any")
    assert runtime.asked == [("approval", str, timedelta(days=3)), ("any", Any, None)]


def test_time_and_randomness_come_from_the_runtime_inside_a_run(runtime: Recorder) -> None:
    assert holdfast.now() == datetime(2030, 1, 1, tzinfo=UTC)
    assert holdfast.uuid4() == UUID(int=7)
    assert holdfast.random() is runtime.random
    assert holdfast.current_run().run_id == "run_1"


async def test_a_workflow_that_is_called_outside_a_run_warns_once() -> None:
    app = App("plain call")

    @app.workflow
    async def inner() -> int:
        return 1

    @app.workflow
    async def outer() -> int:
        return await inner()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert await outer() == 1
        assert await outer() == 1
    assert [issubclass(one.category, PlainCall) for one in warned] == [True]
    assert [str(one.message) for one in warned] == [
        "workflow outer runs as plain code here, and nothing of it is stored; "
        "start a durable run with `await client.start(outer, ...)`, or make calls durable with `client.as_default()`"
    ]
    assert warned[0].filename == __file__
