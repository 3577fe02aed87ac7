"""Graphs from data: a mapping, as YAML and JSON have it, becomes a graph. Reads no file.

Everything in the data is checked before a task is made, and what is wrong is said with its place in the data.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from holdfast.authoring.steps import Step
from holdfast.graphs.problems import InvalidGraph, nearest

if TYPE_CHECKING:
    from holdfast.graphs.graph import Graph

_OF_GRAPH = ("max_parallel", "id", "max_duration", "queue", "priority", "metadata")
_OF_TASK = ("deps", "retries", "timeout", "recoveries", "backoff", "queue", "placement", "priority")
_TYPES: Mapping[str, Any] = {
    "text": str, "integer": int, "number": float, "boolean": bool, "list": list, "mapping": dict, "any": Any,
}  # fmt: skip
"""What the type of an input can be called."""


def graph_of(kind: "type[Graph]", spec: Any, functions: Any) -> "Graph":
    """See `Graph.from_spec`."""
    what = "a graph"
    _check_keys(what, spec, required=("name", "tasks"), optional=("inputs", *_OF_GRAPH))
    what = f"graph {spec['name']}"
    options = {key: spec[key] for key in _OF_GRAPH if spec.get(key) is not None}
    graph = kind(spec["name"], inputs=_inputs(what, spec.get("inputs") or ()), **options)
    tasks = spec["tasks"]
    if not isinstance(tasks, Mapping):
        raise InvalidGraph(f"{what}: tasks is a mapping from names to what they are, not {type(tasks).__name__}")
    for name, task in tasks.items():
        _add_task(graph, name, {} if task is None else task, functions)
    graph.validate()
    return graph


def _add_task(graph: "Graph", name: Any, task: Any, functions: Any) -> None:
    what = f"graph {graph.name}: task {name}"
    if not isinstance(name, str):
        raise InvalidGraph(f"{what}: the name of a task is text, not {name!r}")
    _check_keys(what, task, required=(), optional=("function", "args", *_OF_TASK))
    function = _function(what, task.get("function", name), functions)
    arguments = task.get("args") or {}
    if arguments:
        function = _bound(what, function, arguments)
    options = {key: task[key] for key in _OF_TASK if task.get(key) is not None}
    graph.task(name=name, **options)(function)


def _bound(what: str, function: Callable[..., Any], arguments: Any) -> Callable[..., Any]:
    if not isinstance(arguments, Mapping):
        raise InvalidGraph(f"{what}: args is a mapping from parameters to values, not {type(arguments).__name__}")
    try:
        inspect.signature(function).bind_partial(**arguments)
    except TypeError as error:
        raise InvalidGraph(f"{what}: args do not fit its function: {error}") from None
    return functools.partial(function, **arguments)


def _inputs(what: str, inputs: Any) -> Any:
    if not isinstance(inputs, Mapping):
        return inputs
    for name, kind in inputs.items():
        if kind not in _TYPES:
            raise InvalidGraph(f"{what}: input {name} is one of {', '.join(_TYPES)}, not {kind!r}")
    return {name: _TYPES[kind] for name, kind in inputs.items()}


def _function(what: str, name: Any, functions: Any) -> Callable[..., Any]:
    """A function by the name it has among those that are given, or as "module:function"."""
    if not isinstance(name, str):
        raise InvalidGraph(f"{what}: function is the name of one, not {name!r}")
    known = functions if isinstance(functions, Mapping) else {} if functions is None else vars(functions)
    found = known.get(name)
    if found is None and ":" in name:
        found = _imported(what, name)
    if isinstance(found, Step):
        found = found.function
    if not callable(found):
        names = [key for key, value in known.items() if callable(value) and not str(key).startswith("_")]
        raise InvalidGraph(
            f'{what}: there is no function {name!r}; give it in `functions`, or name it as "module:function".'
            f"{nearest(name, names)}"
        )
    return found


def _imported(what: str, name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise InvalidGraph(f"{what}: function {name!r} cannot be imported: {error}") from error


def _check_keys(what: str, spec: Any, *, required: Iterable[str], optional: Iterable[str]) -> None:
    if not isinstance(spec, Mapping):
        raise InvalidGraph(f"{what} is described by a mapping, not by {type(spec).__name__}")
    known = [*required, *optional]
    for key in spec:
        if key not in known:
            raise InvalidGraph(f"{what} has no option {key!r}; its options are {', '.join(known)}.{_meant(key, known)}")
    for key in required:
        if spec.get(key) is None:
            raise InvalidGraph(f"{what} has no {key}; a graph has a name and tasks")


def _meant(key: Any, known: list[str]) -> str:
    hint = nearest(str(key), known)
    return hint if hint.startswith(" Did") else ""
