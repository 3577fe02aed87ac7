"""Plain `def` workflows: steps are called without `await`, and everything else is as in `async` ones."""

import asyncio
import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from datetime import timedelta
from typing import Any

import pytest

import holdfast
from holdfast import App, FatalError, Graph, RunFailed, Saga, StepFailed, blocking, current_run
from holdfast.journal import Entry, RunClosed, StepCompleted, StepScheduled
from holdfast.testing import run_local
from holdfast.testing.local import LocalRun

pytestmark = pytest.mark.feature("F147")

app = App("blocking-tests")


@app.step
def double(x: int) -> int:
    return 2 * x


@app.step
async def increase(x: int) -> int:
    return x + 1


@app.step(retries=0)
def fails(text: str) -> int:
    raise ValueError(text)


@app.step
async def hangs() -> None:
    await asyncio.Event().wait()


async def run(workflow: Any, *args: Any, **options: Any) -> LocalRun[Any]:
    return await run_local(workflow, *args, **options)


def decisions(history: tuple[Entry, ...]) -> list[Any]:
    """What a run decided and got, without the times."""
    texts = []
    for one in history:
        match one:
            case StepScheduled():
                texts.append((type(one).__name__, one.number, one.name, one.arguments))
            case StepCompleted():
                texts.append((type(one).__name__, one.number, one.result))
            case RunClosed():
                texts.append((type(one).__name__, one.status, one.result))
            case _:
                texts.append((type(one).__name__, getattr(one, "number", 0)))
    return texts


async def test_steps_are_called_from_anywhere_below_the_workflow() -> None:
    def three_down(x: int) -> int:
        return two_down(x) + 1

    def two_down(x: int) -> int:
        return one_down(x)

    def one_down(x: int) -> int:
        return increase(double(x))

    def numbers() -> Iterator[int]:
        for x in range(3):
            yield double(x)

    @contextlib.contextmanager
    def around(log: list[int]) -> Iterator[None]:
        log.append(double(10))
        try:
            yield
        finally:
            log.append(double(11))

    @app.workflow(name="anywhere")
    def anywhere() -> list[Any]:
        log: list[int] = []
        with around(log):
            try:
                log += [increase(x) for x in range(2)]
            finally:
                log.append(double(12))
        for x in numbers():
            log.append(increase(x))
        ordered = sorted([3, 1, 2], key=lambda x: -double(x))
        return [three_down(5), log, ordered, {x: double(x) for x in range(2)}]

    assert (await run(anywhere)).value() == [12, [20, 1, 2, 24, 22, 1, 3, 5], [3, 2, 1], {"0": 0, "1": 2}]


async def test_both_styles_have_the_same_journals() -> None:
    @app.workflow(name="same")
    def same() -> list[Any]:
        first = double(1)
        two = holdfast.parallel(double.call(first), increase.call(5))
        holdfast.sleep("1h", "a while")
        return [*two, *double.map(range(3), max_parallel=2), holdfast.inline("text", str, 5)]

    other = App("blocking-tests-other")

    @other.workflow(name="same")
    async def same_async() -> list[Any]:
        first = await double(1)
        two = await asyncio.gather(double(first), increase(5))
        await holdfast.sleep("1h", "a while")
        return [*two, *await double.map(range(3), max_parallel=2), await holdfast.inline("text", str, 5)]

    ours, theirs = await run(same), await run(same_async)
    assert ours.value() == theirs.value() == [4, 6, 0, 2, 4, "5"]
    key = [one for one in decisions(ours.history) if one[0] == "StepScheduled"]
    assert key == [one for one in decisions(theirs.history) if one[0] == "StepScheduled"]
    assert sorted(map(repr, decisions(ours.history))) == sorted(map(repr, decisions(theirs.history)))
    assert ours.took >= timedelta(hours=1)


async def test_an_error_of_a_step_is_raised_where_it_is_called_and_its_traceback_says_where() -> None:
    def helper() -> int:
        return fails("no money")

    shown: list[str] = []

    @app.workflow(name="catches")
    def catches() -> str:
        try:
            helper()
        except StepFailed as failed:
            shown.extend((*traceback.format_exception(failed), failed.traceback))
            return f"{failed.error_type}: {failed.message}"
        return "unreachable"

    assert (await run(catches)).value() == "ValueError: no money"
    text = "".join(shown)
    assert 'return fails("no money")' in text
    assert "raise ValueError(text)" in text, "the traceback of the step itself comes along"
    assert "run_blocking" not in text


async def test_an_error_of_the_code_is_the_failure_of_the_run_with_the_lines_of_the_user() -> None:
    @app.workflow(name="code_fails")
    def code_fails() -> None:
        double(1)
        raise LookupError("mine")

    closed = await run(code_fails)
    with pytest.raises(RunFailed, match="mine"):
        closed.value()
    assert closed.failure is not None
    lines = closed.failure.traceback.splitlines()
    assert "test_blocking_workflows.py" in lines[1], lines
    assert "blocking_code" not in closed.failure.traceback


async def test_time_outs_signals_and_conditions_wait_without_await() -> None:
    @app.workflow(name="waits")
    def waits() -> list[Any]:
        items: list[str] = []

        @holdfast.on_signal("add")
        def add(item: str) -> None:
            items.append(f"{item} {increase(1)}")

        @holdfast.on_signal("more")
        async def more(item: str) -> None:
            items.append(f"{item} {await increase(2)}")

        holdfast.wait_until(lambda: len(items) >= 2, timeout="1d")
        answer = holdfast.receive("approval", str, timeout="3d")
        try:
            with holdfast.timeout("5s") as limit:
                holdfast.sleep("1h")
        except TimeoutError:
            items.append(f"late {limit.expired()}")
        with pytest.raises(TimeoutError):
            holdfast.receive("never", timeout="1m")
        with pytest.raises(TimeoutError), holdfast.timeout(1):
            holdfast.parallel(hangs.call(), double.call(1))
        return [*items, answer]

    signals = [("add", "a", "1m"), ("more", "b", "2m"), ("approval", "yes", "3m")]
    assert (await run(waits, signals=signals)).value() == ["a 2", "b 3", "late True", "yes"]


async def test_children_graphs_and_both_styles_mix() -> None:
    @app.workflow(name="blocking_child")
    def blocking_child(x: int) -> int:
        return double(x)

    @app.workflow(name="async_child")
    async def async_child(x: int) -> int:
        return await blocking_child(x) + await increase(x)

    @app.workflow(name="told")
    def told() -> str:
        text: str = holdfast.receive("go", str)
        return text

    graph = Graph("mixed-graph", inputs={"x": int})

    @graph.task
    def first(x: int) -> int:
        return x + 1

    @app.workflow(name="blocking_parent")
    def blocking_parent(x: int) -> list[Any]:
        handle = holdfast.start_child(told)
        both = holdfast.parallel(blocking_child.call(x), async_child.call(x))
        before = str(handle.status())
        handle.signal("go", "now")
        return [async_child(x), graph(x), *both, before, handle.result(timeout="1h"), str(handle.status())]

    found = [13, {"first": 5}, 8, 13, "running", "now", "completed"]
    assert (await run(blocking_parent, 4)).value() == found


async def test_functions_run_side_by_side_and_the_first_failure_cancels_the_others() -> None:
    ended: list[str] = []

    def branch(name: str) -> str:
        try:
            double(1)
            if name == "b":
                fails("kaput")
            hangs()
        except asyncio.CancelledError:
            ended.append(f"{name} cancelled, {double(21)}")
            raise
        return "unreachable"

    @app.workflow(name="branches")
    def branches() -> str:
        try:
            holdfast.parallel(lambda: branch("a"), lambda: branch("b"), hangs.call())
        except StepFailed as failed:
            return failed.message
        return "unreachable"

    assert (await run(branches)).value() == "kaput"
    assert ended == ["a cancelled, 42"]


async def test_a_saga_undoes_in_reverse_and_a_compensation_may_be_a_function_that_calls_steps() -> None:
    undone: list[Any] = []

    def undo(what: str) -> None:
        undone.append((what, double(len(undone))))

    @app.workflow(name="books")
    def books() -> None:
        with Saga() as saga:
            saga.add(undo, "flight")
            saga.add(increase, 1)
            saga.add(undo, "hotel")
            fails("no train")

    closed = await run(books)
    assert closed.failure is not None
    assert closed.failure.message == "no train"
    assert undone == [("hotel", 0), ("flight", 2)]


async def test_a_cancel_request_is_raised_where_the_code_waits_and_clean_up_runs() -> None:
    seen: list[Any] = []

    @app.workflow(name="cancelled_child")
    def cancelled_child() -> None:
        try:
            holdfast.sleep("10d")
        except asyncio.CancelledError:
            seen.append(double(4))
            holdfast.shield(increase.call(1))
            raise
        finally:
            seen.append(holdfast.shield(lambda: increase(double(4))))

    @app.workflow(name="cancels")
    def cancels() -> str:
        try:
            with holdfast.timeout("1h"):
                cancelled_child()
        except TimeoutError:
            holdfast.sleep("1h")  # the child cleans up meanwhile
            return "gave up"
        return "unreachable"

    assert (await run(cancels)).value() == "gave up"
    assert seen == [8, 9]


async def test_a_plain_workflow_continues_as_new() -> None:
    @app.workflow(name="goes_on")
    def goes_on(left: int, total: int) -> int:
        with Saga() as saga:
            saga.add(fails, "never: nothing has failed")
            if left:
                holdfast.continue_as_new(left - 1, total + double(left))
        return total

    assert (await run(goes_on, 3, 0)).value() == 12


VARIABLE: ContextVar[str] = ContextVar("variable", default="unset")


async def test_context_variables_and_the_current_run_are_right_on_every_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    def branch(name: str) -> list[str]:
        VARIABLE.set(name)
        double(1)
        logging.getLogger("shop").info("in %s", name)
        inside = copy_context().run(lambda: (double(2), VARIABLE.get())[1])
        return [VARIABLE.get(), inside, current_run().workflow]

    @app.workflow(name="contexts")
    def contexts() -> list[Any]:
        VARIABLE.set("main")
        both = holdfast.parallel(lambda: branch("a"), lambda: branch("b"))
        return [*both, VARIABLE.get(), current_run().run_id]

    done = await run(contexts)
    assert done.value() == [["a", "a", "contexts"], ["b", "b", "contexts"], "main", done.run_id]
    records = [one for one in caplog.records if one.name == "shop"]
    assert [(one.getMessage(), one.run_id) for one in records] == [  # type: ignore[attr-defined]
        ("in a", done.run_id),
        ("in b", done.run_id),
    ]
    assert VARIABLE.get() == "unset"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (lambda: time.time(), "holdfast.now()"),
        (lambda: time.sleep(1), "holdfast.sleep"),
        (lambda: open("/etc/hostname"), "put this in a step"),  # noqa: SIM115
        (lambda: threading.Thread(target=print).start(), "put this in a step"),
        (lambda: asyncio.run(increase.function(1)), "asyncio.run"),
        (lambda: asyncio.sleep(1), "plain `def` code cannot await"),
        (lambda: increase.function(1), "plain `def` code cannot await"),
        (lambda: double.call(1), "plain `def` code cannot await"),
        (lambda: asyncio.gather(double.call(1), double.call(2)), "holdfast.parallel"),
        (lambda: holdfast.parallel(double(1)), "f.call(x)"),
        (lambda: holdfast.wait_until(lambda: double(1)), "predicate of wait_until"),
    ],
)
async def test_misuse_is_said_with_what_to_write_instead(code: Any, said: str) -> None:
    @app.workflow(name=f"misuse {said} {id(code)}")
    def misuse() -> None:
        made = code()
        del made
        double(1)

    closed = await run(misuse)
    assert closed.failure is not None
    assert said in closed.failure.message


async def test_a_step_that_is_called_in_a_thread_of_the_workflow_is_refused() -> None:
    said: list[str] = []

    @app.workflow(name="threads")
    def threads() -> None:
        def called() -> None:
            try:
                double(1)
            except holdfast.UnguardedCall as error:
                said.append(str(error))

        with holdfast.unguarded():
            thread = threading.Thread(target=copy_context().run, args=(called,))
            thread.start()
            thread.join()
        double(2)

    with pytest.raises(holdfast.UnguardedCall, match="from outside"):
        await run(threads)
    assert "a thread" in said[0]


async def test_an_async_workflow_is_told_how_to_enter_a_saga() -> None:
    @app.workflow(name="async_saga")
    async def async_saga() -> None:
        with Saga():
            await double(1)

    closed = await run(async_saga)
    assert closed.failure is not None
    assert "async with Saga()" in closed.failure.message


def test_outside_of_a_run_it_is_plain_code_whose_sleeps_sleep() -> None:
    @app.workflow(name="plain_child")
    async def plain_child(x: int) -> int:
        return await increase(x)

    @app.workflow(name="plain")
    def plain(x: int) -> list[Any]:
        holdfast.sleep(0.05)
        with pytest.raises(TimeoutError), holdfast.timeout(0.05):
            hangs()
        with Saga() as saga:
            saga.add(print, "never")
            both = holdfast.parallel(double.call(x), lambda: increase(double(x)))
        return [*both, plain_child(x), double.map([1, 2])]

    began = time.monotonic()
    with pytest.warns(UserWarning, match="plain runs as plain code"):
        assert plain(3) == [6, 7, 4, [2, 4]]
    assert time.monotonic() - began >= 0.1
    with pytest.raises(FatalError, match="twice"):
        raises_twice()


@app.step
def fatal() -> None:
    raise FatalError("twice")


@app.workflow
def raises_twice() -> None:
    fatal()


async def test_where_an_event_loop_runs_a_plain_workflow_is_awaited() -> None:
    @app.workflow(name="awaited")
    def awaited(x: int) -> int:
        return double(x)

    with pytest.warns(UserWarning, match="plain code"):
        assert await awaited(4) == 8


def test_the_names_of_blocking_are_those_of_holdfast() -> None:
    for name in ("step", "workflow", "sleep", "receive", "parallel", "shield", "wait_until", "inline"):
        assert getattr(blocking, name) is getattr(holdfast, name)
