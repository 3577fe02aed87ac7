"""Graphs from data and from files: what is understood, and what is said of everything that is not."""

import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast import App, Graph, InvalidGraph
from holdfast.authoring.build import build_of
from holdfast.graphs.files import load_graph
from holdfast.testing import run_local

app = App("functions")


@app.step
def double(start: int) -> int:
    return 2 * start


async def total(double: int, extra: int) -> int:
    return double + extra


FUNCTIONS = {"double": double, "total": total}

SPEC: dict[str, Any] = {
    "name": "sums",
    "max_parallel": 2,
    "inputs": {"start": "integer"},
    "metadata": {"team": "backend"},
    "tasks": {
        "double": None,
        "plus_one": {"function": "total", "args": {"extra": 1}, "retries": 2, "timeout": "5s", "backoff": [1]},
        "plus_two": {"function": "total", "args": {"extra": 2}, "deps": ["plus_one"]},
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    return SPEC | changes


@pytest.mark.feature("F162", "F13")
async def test_a_graph_of_a_mapping_runs_with_functions_by_name() -> None:
    g = Graph.from_spec(SPEC, FUNCTIONS)
    assert (await run_local(g, 5)).value() == {"plus_two": 12}
    assert g.definition.metadata == {"team": "backend"}
    options = g.plan.by_name["plus_one"].step.options
    assert (options.retries, options.timeout) == (2, timedelta(seconds=5))
    assert g.plan.by_name["double"].step.options.retries == 0


@pytest.mark.feature("F162")
async def test_functions_may_be_a_module() -> None:
    g = Graph.from_spec(SPEC, sys.modules[__name__])
    assert (await run_local(g, start=1)).value() == {"plus_two": 4}


@pytest.mark.feature("F162", "F10")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ([], "a graph is described by a mapping, not by list"),
        ({"tasks": {}}, "a graph has no name"),
        ({"name": "sums"}, "a graph has no tasks"),
        (changed(task={}), "a graph has no option 'task'; its options are name, tasks, inputs"),
        (changed(tasks=[]), "graph sums: tasks is a mapping from names to what they are, not list"),
        (changed(tasks={}), "graph sums has no task"),
        (changed(inputs={"start": "int"}), "input start is one of text, integer, number, boolean, list, mapping, any"),
        (changed(tasks={1: {}}), "graph sums: task 1: the name of a task is text, not 1"),
        (changed(tasks={"double": "x"}), "graph sums: task double is described by a mapping, not by str"),
        (changed(tasks={"double": {"retry": 1}}), "task double has no option 'retry'; its options are function, args"),
        (changed(tasks={"double": {"retry": 1}}), "Did you mean 'retries'?"),
        (changed(tasks={"doubel": {}}), "there is no function 'doubel'"),
        (changed(tasks={"doubel": {}}), "Did you mean 'double'?"),
        (changed(tasks={"x": {"function": 3}}), "task x: function is the name of one, not 3"),
        (changed(tasks={"x": {"function": "nosuch:f"}}), "function 'nosuch:f' cannot be imported: No module named"),
        (changed(tasks={"x": {"function": "json:f"}}), "there is no function 'json:f'"),
        (changed(tasks={"x": {"function": "total", "args": {"y": 1}}}), "args do not fit its function: got an unexp"),
        (changed(tasks={"x": {"function": "total", "args": [1]}}), "args is a mapping from parameters to values"),
        (changed(tasks={"double": {"retries": -1}}), "retries is -1"),
        (changed(tasks={"double": {"deps": "start"}}), "deps is a list of names, tasks or functions, not 'start'"),
        (changed(tasks={"double": {"deps": ["tripel"]}, "triple": {"function": "double"}}), "Did you mean 'triple'?"),
        (changed(max_parallel=0), "graph sums: max_parallel is 0"),
    ],
    ids=str,
)
def test_what_is_wrong_with_data_is_said_with_its_place(spec: Any, words: str) -> None:
    with pytest.raises((InvalidGraph, TypeError, ValueError), match=re.escape(words)):
        Graph.from_spec(spec, FUNCTIONS)


@pytest.mark.feature("F162")
@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
async def test_files_hold_graphs_whose_functions_are_imported(tmp_path: Path, suffix: str) -> None:
    # JSON is YAML too.
    tasks = {"double": {"function": f"{__name__}:double"}}
    path = tmp_path / f"flow{suffix}"
    path.write_text(json.dumps(changed(tasks=tasks)))
    assert (await run_local(load_graph(path), 4)).value() == {"double": 8}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("flow.yaml", "a: [", "flow.yaml cannot be read: while parsing"),
        ("flow.json", "{", "flow.json cannot be read: Expecting property name"),
        ("flow.json", "[]", "flow.json: a graph is described by a mapping"),
        ("flow.yaml", "name: x\ntasks: {a: {function: 'json:nosuch'}}", "flow.yaml: graph x: task a: there is no"),
        ("flow.yaml", None, "flow.yaml cannot be read: No such file"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(tmp_path: Path, name: str, content: Any, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidGraph, match=re.escape(words)):
        load_graph(tmp_path / name)


def test_without_pyyaml_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "flow.yaml").write_text("name: x")
    with pytest.raises(InvalidGraph, match=r"pip install 'holdfast\[yaml\]'; or write them as JSON"):
        load_graph(tmp_path / "flow.yaml")


def test_the_build_changes_with_the_file_and_with_the_module_of_a_bound_function(tmp_path: Path) -> None:
    path = tmp_path / "flow.json"
    builds = set()
    for cap in (1, 2):
        path.write_text(
            json.dumps(
                {"name": "x", "max_parallel": cap, "tasks": {"f": {"function": "json:dumps", "args": {"obj": 1}}}}
            )
        )
        builds.add(build_of([load_graph(path).definition]))
    assert len(builds) == 2
    steps = [Graph.from_spec({"name": "x", "tasks": {"f": {"function": name, "args": args}}}).plan.tasks[0].step
             for name, args in (("json:dumps", {"obj": 1}), ("pickle:dumps", {"obj": 1}))]  # fmt: skip
    assert build_of(steps[:1]) != build_of(steps[1:])


def test_functions_may_be_any_object_with_attributes() -> None:
    functions = SimpleNamespace(f=lambda: 1, not_callable=3)
    assert Graph.from_spec({"name": "x", "tasks": {"f": {}}}, functions).tasks()
    with pytest.raises(InvalidGraph, match=r"no function 'g'.*There is 'f'"):
        Graph.from_spec({"name": "x", "tasks": {"g": {}}}, functions)
