"""Graphs that run: what tasks get, what is skipped, what the run returns. In process, with the worker's runtime."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest

from holdfast import App, Context, Graph, InvalidGraph, RunFailed, RunStatus
from holdfast.client.history import HistoryEntry
from holdfast.client.story import StepStory, story_of
from holdfast.journal import Entry
from holdfast.statuses import StepStatus
from holdfast.testing import LocalRun, run_local


@dataclass
class User:
    name: str


def steps_of(run: LocalRun[Any]) -> dict[str, StepStory]:
    entries = [HistoryEntry(number, 1, entry) for number, entry in enumerate(run.history, start=1)]
    return {one.step_id: one for one in story_of(entries) if isinstance(one, StepStory)}


def kinds(history: Sequence[Entry]) -> list[str]:
    return [type(entry).__name__ for entry in history]


@pytest.mark.feature("F83")
async def test_ten_tasks_with_a_cap_of_three_never_run_more_than_three_at_once() -> None:
    g = Graph("capped", max_parallel=3)
    running, most = 0, 0

    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    for place in range(10):
        g.task(name=f"t{place}")(work)
    run = await run_local(g)
    assert run.status == "completed"
    assert most == 3


@pytest.mark.feature("F83")
async def test_without_a_cap_all_that_can_run_runs_at_once() -> None:
    g = Graph("uncapped")
    together = threading.Barrier(5)

    def work() -> None:
        together.wait(timeout=10)

    for place in range(5):
        g.task(name=f"t{place}")(work)
    assert (await run_local(g)).status == "completed"


def failing_graph() -> Graph:
    g = Graph("partly")
    done = asyncio.Event()

    @g.task
    async def slow() -> None:
        raise ValueError("kaput")

    @g.task(deps=[slow])
    def child() -> None: ...

    @g.task(deps=[child])
    def grand() -> None: ...

    @g.task
    async def indep() -> int:
        await asyncio.sleep(0.01)
        done.set()
        return 1

    @g.task
    async def after(indep: int) -> int:
        return indep + 1

    return g


@pytest.mark.feature("F84")
async def test_what_depends_on_a_failed_task_is_skipped_and_the_rest_finishes() -> None:
    run = await run_local(failing_graph())
    assert run.status is RunStatus.FAILED
    steps = steps_of(run)
    assert {name: one.status.value for name, one in steps.items()} == {
        "slow": "failed",
        "child": "skipped",
        "grand": "skipped",
        "indep": "completed",
        "after": "completed",
    }
    for name in ("child", "grand"):
        failure = steps[name].failure
        assert failure is not None
        assert (failure.error_type, failure.message) == ("UPSTREAM_FAILED", "task slow failed")
        assert not steps[name].attempts
    with pytest.raises(RunFailed, match="kaput") as caught:
        run.value()
    assert caught.value.error_type == "ValueError"


@pytest.mark.feature("F84")
async def test_all_that_failed_is_in_the_failure_of_the_run() -> None:
    g = Graph("twice")

    @g.task
    async def first() -> None:
        raise ValueError("one")

    @g.task
    async def second() -> None:
        raise KeyError("two")

    run = await run_local(g)
    assert run.failure is not None
    assert run.failure.error_type == "ExceptionGroup"
    assert run.failure.message.startswith("2 tasks of graph twice failed")
    assert [leaf.error_type for leaf in run.failure.leaves] == ["ValueError", "KeyError"]


@pytest.mark.feature("F84")
async def test_a_task_that_cannot_be_called_fails_and_what_depends_on_it_is_skipped() -> None:
    g = Graph("misfits")
    for name in ("one", "two"):
        g.task(name=name)(lambda: "x" * 1_500_000)

    @g.task(deps=["one", "two"])
    async def join(upstream: dict[str, Any]) -> int:
        return len(upstream)

    @g.task
    async def end(join: int) -> None: ...

    run = await run_local(g)
    steps = steps_of(run)
    assert run.failure is not None
    assert run.failure.error_type == "PayloadTooLarge", run.failure
    assert steps["join"].status is steps["end"].status is StepStatus.SKIPPED
    assert steps["join"].failure is not None
    assert steps["join"].failure.error_type == "PayloadTooLarge"


@pytest.mark.feature("F85")
async def test_children_run_when_a_retry_of_their_parent_succeeds() -> None:
    g = Graph("retried")

    @g.task(retries=1, backoff=[1])
    def parent(ctx: Context[Any]) -> int:
        if ctx.attempt == 1:
            raise ValueError("once")
        return ctx.attempt

    @g.task
    def child(parent: int) -> int:
        return parent * 10

    run = await run_local(g)
    assert run.value() == {"child": 20}
    assert "StepSkipped" not in kinds(run.history)


@pytest.mark.feature("F85")
async def test_a_task_has_no_retries_unless_it_asks_for_them() -> None:
    g = Graph("once")
    attempts: list[int] = []

    @g.task
    def flaky() -> None:
        attempts.append(1)
        raise ValueError

    assert (await run_local(g)).status is RunStatus.FAILED
    assert attempts == [1]


@pytest.mark.feature("F86")
async def test_upstream_has_the_results_of_direct_parents_with_their_types() -> None:
    g = Graph("upstream")

    @g.task
    def root() -> int:
        return 1

    @g.task(deps=[root])
    def fetch_user() -> User:
        return User("ann")

    @g.task
    async def fetch_settings() -> date:
        return date(2026, 1, 2)

    @g.task
    def untyped():  # type: ignore[no-untyped-def]
        return [1]

    seen: list[Any] = []

    @g.task(deps=[fetch_user, "fetch_settings", "untyped"])
    def email(upstream: dict[str, Any]) -> None:
        seen.append(upstream)

    assert (await run_local(g)).status == "completed"
    assert seen == [{"fetch_user": User("ann"), "fetch_settings": date(2026, 1, 2), "untyped": [1]}]


@pytest.mark.feature("F86")
async def test_upstream_keeps_the_types_that_it_is_annotated_with() -> None:
    g = Graph("upstream")
    g.task(name="a")(lambda: "1")

    @g.task(deps=["a"])
    def total(upstream: dict[str, int]) -> int:
        return sum(upstream.values())

    assert (await run_local(g)).value() == {"total": 1}


@pytest.mark.feature("F87")
async def test_a_parameter_named_after_a_task_gets_its_result() -> None:
    g = Graph("named")

    @g.task
    def extract() -> list[int]:
        return [1, 2, 3]

    @g.task
    def sum_values(extract: list[int]) -> int:
        assert extract == [1, 2, 3]
        return sum(extract)

    assert (await run_local(g)).value() == {"sum_values": 6}


async def test_inputs_of_a_run_reach_the_parameters_named_after_them() -> None:
    g = Graph("inputs", inputs={"user": User, "day": date}, id="onboard-{day}")

    @g.task
    def greet(user: User) -> str:
        return f"hello {user.name}"

    @g.task(deps=[greet])
    def send(upstream: dict[str, Any], day: date) -> str:
        return f"{upstream['greet']} on {day:%d.%m.}"

    run = await run_local(g, User("ann"), day=date(2026, 1, 2))
    assert run.value() == {"send": "hello ann on 02.01."}
    with pytest.raises(Exception, match="day"):
        await run_local(g, User("ann"))


class Settings:
    value = "attribute"


@pytest.mark.feature("F88", "F89")
@pytest.mark.parametrize("place", ["first", "last", "named"])
async def test_a_context_is_given_by_its_annotation_wherever_it_stands(place: str) -> None:
    g = Graph("context")
    g.task(name="one")(lambda: 1)

    def first(ctx: Context[Settings], one: int) -> str:
        return f"{ctx.value} {one}"

    def last(one: int, ctx: "Context[Settings]") -> str:
        return f"{ctx.deps.value} {one}"

    def named(one: int, *, context: Context[Settings]) -> str:
        return f"{context.value} {one}"

    g.task(name="two")({"first": first, "last": last, "named": named}[place])
    assert (await run_local(g, deps=Settings())).value() == {"two": "attribute 1"}


@pytest.mark.feature("F88")
async def test_a_task_that_needs_a_context_fails_without_one_in_a_sentence_that_names_it() -> None:
    g = Graph("context")

    @g.task
    def fetch(ctx: Context[Settings]) -> Any:
        return ctx.value

    @g.task
    def beside() -> int:
        return 1

    run = await run_local(g)
    assert run.status is RunStatus.FAILED
    assert run.failure is not None
    assert "step context.fetch asks for a context with deps, but this worker was given none" in run.failure.message
    assert steps_of(run)["beside"].status == "completed"


@pytest.mark.feature("F89")
@pytest.mark.parametrize("deps", [Settings(), {"value": "attribute"}], ids=["object", "mapping"])
async def test_what_a_context_lacks_is_looked_up_in_deps(deps: Any) -> None:
    g = Graph("context")

    @g.task
    def fetch(ctx: Context[Any]) -> list[str]:
        with pytest.raises(AttributeError, match=r"step context\.fetch has no attribute 'nope'"):
            _ = ctx.nope
        return [ctx.value, ctx.step, str(hasattr(ctx, "nope"))]

    assert (await run_local(g, deps=deps)).value() == {"fetch": ["attribute", "context.fetch", "False"]}


@pytest.mark.feature("F91")
async def test_a_task_sees_how_much_of_its_timeout_is_left() -> None:
    g = Graph("timed")

    @g.task(timeout=30)
    def timed(ctx: Context[Any]) -> float:
        assert ctx.time_remaining is not None
        assert not ctx.cancelled
        ctx.raise_if_cancelled()
        return ctx.time_remaining / timedelta(seconds=1)

    run = await run_local(g)
    assert 0 < run.value()["timed"] <= 30


@pytest.mark.feature("F53")
async def test_a_part_runs_with_all_it_depends_on_and_nothing_else() -> None:
    g = Graph("diamond")
    ran: list[str] = []
    for name, deps in {"A": [], "B": ["A"], "C": ["A"], "D": ["B", "C"]}.items():
        g.task(name=name, deps=deps)(partial(ran.append, name))
    part = g.subgraph(["B"])
    assert [task.name for task in part.tasks()] == ["A", "B"]
    run = await run_local(part)
    assert run.value() == {"B": None}
    assert ran == ["A", "B"]
    assert (await run_local(g, only=["C"])).value() == {"C": None}
    with pytest.raises(InvalidGraph, match=r"graph diamond has no task 'Bottom'\. There is 'A', 'B', 'C', 'D'\."):
        g.subgraph(["Bottom"])
    with pytest.raises(InvalidGraph, match="at least one task"):
        g.subgraph([])
    with pytest.raises(InvalidGraph, match="define tasks in the whole"):
        part.task(name="E")(lambda: None)
    run = await run_local(g, only=["E"])
    assert run.failure is not None
    assert "graph diamond has no task 'E'" in run.failure.message


async def test_a_graph_is_a_child_of_another_workflow() -> None:
    g = Graph("inner", inputs={"x": int})
    g.task(name="double")(lambda x: 2 * x)
    app = App("outer")

    @app.workflow
    async def outer(x: int) -> Any:
        whole = await g(x)
        part = await g.subgraph(["double"])(x=whole["double"])
        return [whole, part]

    assert (await run_local(outer, 2)).value() == [{"double": 4}, {"double": 8}]


async def test_a_task_is_a_step_of_other_workflows_too() -> None:
    g = Graph("inner")

    @g.task
    def double(x: int = 2) -> int:
        return 2 * x

    app = App("outer")

    @app.workflow
    async def outer() -> int:
        return await double.with_options(step_id="doubled")(21)

    assert (await run_local(outer)).value() == 42


@pytest.mark.filterwarnings("ignore:workflow plain runs as plain code")
@pytest.mark.feature("F16")
async def test_a_graph_called_outside_of_runs_is_plain_code() -> None:
    g = Graph("plain", max_parallel=1)

    @g.task
    async def one() -> int:
        return 1

    @g.task
    def two(one: int) -> int:
        return one + 1

    assert await g() == {"two": 2}


async def test_the_results_of_a_run_have_the_types_that_tasks_return() -> None:
    g = Graph("typed")

    @g.task
    def user() -> User:
        return User("ann")

    assert (await run_local(g)).value() == {"user": User("ann")}


async def test_a_cancelled_run_leaves_no_task_running() -> None:
    g = Graph("cancelled", max_duration="100ms")

    @g.task
    async def endless() -> None:
        await asyncio.Event().wait()

    @g.task
    def after(endless: None) -> None: ...

    run = await run_local(g)
    assert run.status == "timed_out"
    assert kinds(run.history) == ["RunStarted", "StepScheduled", "RunClosed"]
