"""The stacks of plain `def` workflows: they end with their run, whatever their code does, and leave nothing behind."""

import asyncio
import gc
import logging
import sys
import weakref
from typing import Any

import pytest

import holdfast
from holdfast import App, Saga
from holdfast.journal import Entry, RunStarted
from holdfast.workflow import blocking_code
from holdfast.workflow.blocking_code import BlockingCode
from holdfast.workflow.instance import WorkflowInstance
from tests.support.workflow_driver import START, Driver, instance_of

pytestmark = pytest.mark.feature("F147")

app = App("blocking-eviction-tests")


@app.step
def echo(value: Any) -> Any:
    return value


def stacks() -> list[BlockingCode]:
    """All that have begun and not ended."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, BlockingCode) and not one.dead]


@pytest.fixture(autouse=True)
def no_stack_is_left() -> Any:
    before = set(map(id, stacks()))
    yield
    assert [one for one in stacks() if id(one) not in before] == []


def test_clean_up_code_of_an_evicted_run_runs_at_once_and_asks_for_nothing() -> None:
    seen: list[str] = []

    def branch(name: str) -> None:
        try:
            echo(name)
        except asyncio.CancelledError:
            seen.append("never: it is not a cancellation")
        except Exception:  # noqa: BLE001
            seen.append("never: it is not an error")
        finally:
            seen.append(name)
            echo("not recorded")
            seen.append("unreachable")

    def flow() -> None:
        with Saga() as saga:
            saga.add(seen.append, "never: nothing has failed")
            try:
                holdfast.parallel(lambda: branch("a"), lambda: branch("b"))
            finally:
                seen.append("main")
                holdfast.sleep("1h")
                seen.append("unreachable")

    driver = Driver(flow).start()
    taken = len(driver.commands)
    driver.instance.close()
    assert sorted(seen) == ["a", "b", "main"]
    assert driver.instance.take_commands() == []
    assert len(driver.commands) == taken
    assert driver.instance.waits() == []
    driver.instance.close()


def test_code_that_takes_its_end_for_an_error_and_goes_on_is_refused_and_ends() -> None:
    seen: list[str] = []

    def flow() -> str:
        for _ in range(3):
            try:
                echo(1)
            except BaseException as error:  # noqa: BLE001
                seen.append(type(error).__name__)
        return "unheard"

    driver = Driver(flow).start()
    driver.instance.close()
    assert seen == ["GeneratorExit", "RunUnwinding", "RunUnwinding"]
    assert driver.instance.take_commands() == []


def test_code_that_never_ends_is_left_where_it_is_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    asked = 0
    is_stubborn = True

    def flow() -> None:
        nonlocal asked
        while is_stubborn:
            try:
                echo(1)
            except BaseException:  # noqa: BLE001
                asked += 1

    driver = Driver(flow).start()
    with caplog.at_level(logging.ERROR):
        driver.instance.close()
    assert 1_000 <= asked <= 1_010
    assert [one.message for one in caplog.records if "goes on waiting although its run has left memory" in one.message]
    (left,) = blocking_code._left_behind
    gc.collect()
    assert not left.dead
    blocking_code._left_behind.clear()
    is_stubborn = False
    left.end()
    assert left.dead


def test_memory_of_an_evicted_run_is_given_back() -> None:
    class Big:
        pass

    held: list[weakref.ref[Big]] = []

    def flow() -> None:
        big = Big()
        held.append(weakref.ref(big))
        try:
            echo(1)
        except GeneratorExit:
            assert big is not None
            raise

    driver = Driver(flow).start()
    driver.instance.close()
    gc.collect()
    assert held[0]() is None


def sequential(steps: int) -> int:
    depths = set()
    value = 0
    for _ in range(steps):
        value = echo(value + 1)
        depths.add(len(_frames()))
    assert len(depths) == 1, depths
    return value


def _frames() -> list[Any]:
    found, frame = [], sys._getframe(1)
    while frame is not None:
        found.append(frame.f_code)
        frame = frame.f_back  # type: ignore[assignment]
    return found


def test_thousands_of_calls_grow_neither_the_stack_nor_the_memory_and_are_replayed() -> None:
    driver = Driver(sequential, (5_000,)).run()
    assert driver.result == 5_000
    journal = driver.journal
    instance = instance_of(sequential, 5_000)
    counts = []
    for place, entry in enumerate(journal):
        instance.feed(entry)
        if place in (2_000, 8_000):
            gc.collect()
            counts.append(len(gc.get_objects()))
    assert instance.is_closed
    assert abs(counts[1] - counts[0]) < 1_000, counts


def test_a_run_is_rebuilt_from_every_place_of_its_journal_with_the_same_decisions() -> None:
    def flow() -> list[Any]:
        holdfast.note("begins")
        two = holdfast.parallel(echo.call(1), lambda: echo(echo(2)))
        with holdfast.span("part"):
            holdfast.sleep("1h")
        return [*two, holdfast.random().random(), str(holdfast.uuid4()), *echo.map([1, 2])]

    journal = Driver(flow, seed=3).run().journal
    for place in range(1, len(journal)):
        resumed = Driver(flow, seed=3).resume(journal[:place])
        if not resumed.instance.is_closed:
            resumed.run()
        assert resumed.closed.result == journal[-1].result, place  # type: ignore[attr-defined]


def test_an_interrupt_from_another_thread_reaches_the_code_and_ends_its_stack() -> None:
    instance = _started(lambda: echo(1))
    instance.interrupt(RuntimeError("held its worker"))
    with pytest.raises(RuntimeError, match="held its worker"):
        instance.feed(RunStarted(START, "flow"))
    instance.close()


def _started(function: Any) -> WorkflowInstance:
    instance = instance_of(function)
    started: Entry = RunStarted(START, "flow")
    instance.feed(started)
    return instance
