"""Defining graphs: dependencies in every form, and every mistake said before anything runs."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from holdfast import App, Context, Graph, InvalidGraph
from holdfast.authoring.apps import DuplicateName
from holdfast.testing import run_local
from holdfast.worker.registration import Registrations


def nothing() -> None: ...


def names(graph: Graph) -> list[str]:
    return [task.name for task in graph.tasks()]


@pytest.mark.feature("F9")
async def test_a_task_depends_on_others_by_function_and_by_name_and_starts_after_both() -> None:
    g = Graph("onboarding")
    ended: list[str] = []

    @g.task
    async def fetch_user() -> str:
        ended.append("fetch_user")
        return "ann"

    @g.task(deps=[fetch_user, "fetch_settings"])
    async def email() -> None:
        assert sorted(ended) == ["fetch_settings", "fetch_user"]
        ended.append("email")

    @g.task
    def fetch_settings() -> dict[str, int]:
        ended.append("fetch_settings")
        return {"volume": 3}

    assert email.deps == ("fetch_user", "fetch_settings")
    assert (await run_local(g)).value() == {"email": None}
    assert ended[-1] == "email"


@pytest.mark.feature("F9")
def test_a_dependency_may_be_the_undecorated_function_of_a_task() -> None:
    g = Graph("plain")
    g.task(name="first")(nothing)
    g.task(name="second", deps=[nothing])(partial(print, "second"))
    assert g.tasks()[1].deps == ("first",)
    g.task(name="third")(nothing)
    with pytest.raises(InvalidGraph, match=r"task fourth depends on .*nothing, which is 2 tasks \(first, third\)"):
        g.task(name="fourth", deps=[nothing])(partial(print))


@pytest.mark.feature("F11")
def test_what_is_defined_first_comes_first_where_dependencies_allow_it() -> None:
    g = Graph("order")
    g.task(name="late", deps=["early"])(nothing)
    for name in ("b", "a", "early"):
        g.task(name=name)(nothing)
    assert names(g) == ["b", "a", "early", "late"]
    assert [names(g) for _ in range(10)] == [names(g)] * 10


def no_task() -> Graph:
    return Graph("flow")


def missing_dependency() -> Graph:
    g = Graph("flow")
    g.task(name="producer")(nothing)
    g.task(name="consumer", deps=["producerr"])(nothing)
    return g


def nothing_similar() -> Graph:
    g = Graph("flow")
    g.task(name="producer")(nothing)
    g.task(name="consumer", deps=["xyz"])(nothing)
    return g


def cycle() -> Graph:
    g = Graph("flow")
    g.task(name="a", deps=["b"])(nothing)
    g.task(name="b", deps=["a"])(nothing)
    g.task(name="c")(nothing)
    return g


def own_result() -> Graph:
    g = Graph("flow")

    @g.task
    def total(total: int) -> int:
        return total

    return g


def unknown_parameter() -> Graph:
    g = Graph("flow")
    g.task(name="extract")(nothing)

    @g.task
    def load(extrct: list[int]) -> None: ...

    return g


def parameter_beside_upstream() -> Graph:
    g = Graph("flow")
    g.task(name="extract")(nothing)

    @g.task(deps=["extract"])
    def load(upstream: dict[str, Any], extract: list[int]) -> None: ...

    return g


def positional_only() -> Graph:
    g = Graph("flow")
    g.task(name="extract")(nothing)

    @g.task
    def load(extract: list[int], /) -> None: ...

    return g


@pytest.mark.feature("F10")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_task, r"graph flow has no task; define some with @flow.task"),
        (
            missing_dependency,
            r"task consumer depends on 'producerr', which is no task of it. Did you mean 'producer'\?",
        ),
        (nothing_similar, r"task consumer depends on 'xyz', which is no task of it. There is 'consumer', 'producer'\."),
        (cycle, r"graph flow has a cycle: (a depends on b depends on a|b depends on a depends on b)$"),
        (own_result, r"graph flow: task total depends on itself"),
        (unknown_parameter, r"task load: nothing fills parameter 'extrct'.* Did you mean 'extract'\?"),
        (
            parameter_beside_upstream,
            r"task load: nothing fills parameter 'extract': beside 'upstream' a task takes only",
        ),
        (positional_only, r"task load: parameter 'extract' is positional only"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
async def test_a_graph_that_cannot_run_is_refused_before_anything_runs(make: Callable[[], Graph], words: str) -> None:
    for use in (Graph.validate, Graph.tasks, Graph.display, Graph.mermaid, lambda g: Registrations.of([g], [])):
        with pytest.raises(InvalidGraph, match=words):
            use(make())
    with pytest.raises(InvalidGraph, match=words):
        await run_local(make())


@pytest.mark.feature("F10")
def test_a_task_of_another_graph_is_refused_where_it_is_named() -> None:
    one, other = Graph("one"), Graph("other")
    foreign = one.task(name="fetch")(nothing)
    other.task(name="fetch")(nothing)
    with pytest.raises(InvalidGraph, match=r"task load depends on <task fetch of graph one>, which belongs to another"):
        other.task(name="load", deps=[foreign])(nothing)
    assert names(other) == ["fetch"]


@pytest.mark.feature("F10")
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"deps": "fetch"}, TypeError, "deps is a list of names, tasks or functions, not 'fetch'"),
        ({"deps": [3]}, TypeError, "deps are names, tasks or functions, not 3"),
        ({"deps": [print]}, InvalidGraph, "print, which is no task of it"),
        ({"retries": -1}, ValueError, "retries is -1"),
        ({"retry": 1}, TypeError, "@task has no option 'retry'; its options are name, deps, retries, timeout"),
        ({"name": "upstream"}, InvalidGraph, "take another name"),
        ({"name": ""}, ValueError, "name is empty"),
    ],
)
def test_a_bad_option_of_a_task_is_refused_at_once(options: dict[str, Any], error: type[Exception], words: str) -> None:
    g = Graph("flow")
    with pytest.raises(error, match=re.escape(words)):
        g.task(**{"name": "t", **options})(nothing)
    with pytest.raises(InvalidGraph, match="no task"):
        g.validate()


@pytest.mark.feature("F83")
@pytest.mark.parametrize("cap", [0, -1])
def test_a_cap_below_one_is_refused(cap: int) -> None:
    with pytest.raises(ValueError, match=r"graph flow: max_parallel is (0|-1)"):
        Graph("flow", max_parallel=cap)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": ""}, "a graph: name is empty"),
        ({"max_parallel": 1.5}, "graph flow: max_parallel is a whole number, not 1.5"),
        ({"inputs": "user"}, "not the text 'user'"),
        ({"inputs": ["upstream"]}, "input 'upstream' cannot be"),
        ({"inputs": ["only"]}, "input 'only' cannot be"),
        ({"inputs": ["a b"]}, "input 'a b' cannot be"),
        ({"id": "order-{order}"}, "uses 'order', which is not a parameter"),
    ],
)
def test_a_bad_option_of_a_graph_is_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        Graph(**{"name": "flow", **options})


def test_what_is_decorated_already_is_no_task() -> None:
    app, g = App("shop"), Graph("flow")
    with pytest.raises(TypeError, match=r"it is decorated already; give its `\.function`"):
        g.task(app.step(name="s")(nothing))


@pytest.mark.feature("F14")
def test_two_functions_of_one_name_are_refused_and_the_same_one_may_come_again() -> None:
    g = Graph("flow")
    g.task(name="t")(nothing)
    g.task(name="t")(nothing)
    with pytest.raises(DuplicateName, match=r"task 't' is defined twice in app 'flow'"):
        g.task(name="t")(names)
    assert names(g) == ["t"]


@pytest.mark.feature("F14")
def test_two_graphs_of_one_name_are_refused_by_a_worker_and_the_same_one_may_come_again() -> None:
    def made() -> Graph:
        g = Graph("flow")
        g.task(name="t")(nothing)
        return g

    assert list(Registrations.of([made(), made()], []).workflows) == ["flow"]
    other = Graph("flow")
    other.task(name="t")(nothing)
    with pytest.raises(DuplicateName, match=r"workflow 'flow' is defined twice.*test_graph_definition"):
        Registrations.of([made(), other], [])


@pytest.mark.feature("F13")
async def test_a_loop_makes_a_family_of_tasks_and_each_returns_its_own_value() -> None:
    g = Graph("family")

    def fetch(value: str) -> str:
        return value.upper()

    for value in ("alpha", "beta", "gamma"):
        g.task(name=f"fetch_{value}")(partial(fetch, value=value))
    assert names(g) == ["fetch_alpha", "fetch_beta", "fetch_gamma"]

    @g.task(deps=[f"fetch_{value}" for value in ("alpha", "beta", "gamma")])
    def collect(upstream: dict[str, str]) -> list[str]:
        return list(upstream.values())

    run = await run_local(g)
    assert run.value() == {"collect": ["ALPHA", "BETA", "GAMMA"]}


@pytest.mark.feature("F13")
def test_an_argument_that_is_bound_is_no_dependency() -> None:
    g = Graph("bound")
    g.task(name="value")(nothing)

    def fetch(value: str, other: int = 3) -> str:
        return value

    g.task(name="fetch")(partial(fetch, value="alpha"))
    assert g.tasks()[1].deps == ()


@pytest.mark.feature("F87")
def test_dependencies_are_inferred_from_parameters_beside_those_that_are_given() -> None:
    g = Graph("inferred")
    for name in ("extract", "settings", "audit"):
        g.task(name=name)(nothing)

    @g.task(deps=["audit"])
    def load(ctx: Context[Any], extract: Any, settings: Any = None, batch: int = 10) -> None: ...

    assert load.deps == ("audit", "extract", "settings")


@pytest.mark.feature("F87")
def test_with_upstream_a_parameter_with_a_default_is_no_dependency_although_a_task_has_its_name() -> None:
    g = Graph("inferred")
    for name in ("extract", "settings"):
        g.task(name=name)(nothing)

    @g.task(deps=["extract"])
    def load(upstream: dict[str, Any], settings: Any = None) -> None: ...

    assert load.deps == ("extract",)


@pytest.mark.feature("F16")
def test_a_task_is_its_function_outside_of_runs() -> None:
    g = Graph("outside")

    @g.task(timeout="30s", retries=2)
    def double(x: int) -> int:
        return 2 * x

    assert double(21) == 42  # type: ignore[comparison-overlap]
    assert repr(double) == "<task double of graph outside>"


def test_a_graph_is_found_in_its_module_with_its_tasks(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.authoring.discovery import discover

    (tmp_path / "graph_module.py").write_text(
        "from __future__ import annotations\n"
        "from typing import Any\n"
        "from holdfast import Graph\n"
        "g = Graph('found')\n"
        "@g.task\n"
        "def first() -> int: return 1\n"
        "@g.task(deps=[first])\n"
        "def second(upstream: dict[str, Any]) -> int: return upstream['first']\n"
        "part = g.subgraph(['first'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = discover(["graph_module"])
    (workflow,) = [one for one in found.workflows if one.app == "found"]
    assert workflow.name == "found"
    assert workflow.signature.by_name["only"].default is None, "a part of a graph is not registered for it"
    registered = Registrations.of([workflow], [one for one in found.steps if one.app == "found"])
    assert set(registered.steps) == {"found.first", "found.second"}
    assert "first" in registered.steps["found.second"].signature.by_name["upstream"].hint.__annotations__
