"""A valid graph: its tasks in order, with what each waits for and what it gets. Made once all tasks are there. Pure."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from holdfast.definitions.definitions import StepDefinition
from holdfast.graphs.parameters import Filling, filling, results_type, with_typed_upstream
from holdfast.graphs.problems import InvalidGraph, nearest
from holdfast.graphs.tasks import Task


@dataclass(slots=True, frozen=True)
class PlannedTask:
    """One task. place: in the topological order, from 0. step: as it is registered."""

    name: str
    place: int
    step: StepDefinition
    filling: Filling

    @property
    def deps(self) -> tuple[str, ...]:
        """What it depends on, directly."""
        return self.filling.deps


@dataclass(frozen=True)
class Plan:
    """The tasks of a graph in topological order: each after all it depends on, else as they were defined."""

    graph: str
    tasks: tuple[PlannedTask, ...]

    @cached_property
    def by_name(self) -> Mapping[str, PlannedTask]:
        """All of them by name, in order."""
        return {task.name: task for task in self.tasks}

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """By the name of each task: those that depend on it directly, in order."""
        found: dict[str, list[str]] = {task.name: [] for task in self.tasks}
        for task in self.tasks:
            for dep in task.deps:
                found[dep].append(task.name)
        return {name: tuple(names) for name, names in found.items()}

    @property
    def roots(self) -> tuple[str, ...]:
        """Those that depend on nothing, in order."""
        return tuple(task.name for task in self.tasks if not task.deps)

    @property
    def leaves(self) -> tuple[str, ...]:
        """Those that nothing depends on, in order: their results are the result of the run."""
        return tuple(task.name for task in self.tasks if not self.children[task.name])

    @property
    def result_hint(self) -> Any:
        """The type of the result of a run: each task that it has in it, as its function is annotated."""
        return results_type("Results", {task.name: task.step for task in self.tasks}, total=False)

    def descendants(self, name: str) -> list[PlannedTask]:
        """Whatever depends on a task, directly or not, in order."""
        found, left = set[str](), [name]
        while left:
            new = [child for child in self.children[left.pop()] if child not in found]
            found.update(new)
            left += new
        return [task for task in self.tasks if task.name in found]

    def beginning_with(self, names: Iterable[str]) -> list[PlannedTask]:
        """These tasks and whatever depends on them, in order. Raises InvalidGraph as `only`."""
        wanted = set(_checked_names(self, names))
        for name in tuple(wanted):
            wanted.update(task.name for task in self.descendants(name))
        return [task for task in self.tasks if task.name in wanted]

    def only(self, names: Iterable[str]) -> "Plan":
        """These tasks and all they depend on. Raises InvalidGraph for a name that is no task, and for no name."""
        wanted, left = set[str](), _checked_names(self, names)
        while left:
            name = left.pop()
            if name not in wanted:
                wanted.add(name)
                left += self.by_name[name].deps
        kept = [task for task in self.tasks if task.name in wanted]
        return Plan(self.graph, tuple(replace(task, place=place) for place, task in enumerate(kept)))


def plan_of(graph: str, tasks: Mapping[str, Task[..., object]], inputs: Sequence[str]) -> Plan:
    """The plan of these tasks, which are by name and in the order of definition.

    Raises InvalidGraph: it has no task, a dependency is missing, a parameter cannot be filled, there is a cycle.
    """
    if not tasks:
        raise InvalidGraph(f"graph {graph} has no task; define some with @{graph_word(graph)}.task")
    fillings = {
        name: filling(f"graph {graph}: task {name}", task.own, task.given, tasks=tasks, inputs=inputs)
        for name, task in tasks.items()
    }
    order = _topological_order(graph, {name: one.deps for name, one in fillings.items()})
    planned = []
    for place, name in enumerate(order):
        step, found = tasks[name].own, fillings[name]
        if found.takes_upstream:
            step = replace(step, signature=with_typed_upstream(step, {dep: tasks[dep].own for dep in found.deps}))
        planned.append(PlannedTask(name, place, step, found))
    return Plan(graph, tuple(planned))


def graph_word(name: str) -> str:
    """How code calls a graph, for examples in errors: its name where that is a name in Python."""
    return name if name.isidentifier() else "graph"


def _topological_order(graph: str, deps: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Of what can come next, always what was defined first."""
    sorter = TopologicalSorter(deps)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        if len(circle) == 2:
            raise InvalidGraph(f"graph {graph}: task {circle[0]} depends on itself") from None
        raise InvalidGraph(f"graph {graph} has a cycle: {' depends on '.join(circle)}") from None
    defined = {name: place for place, name in enumerate(deps)}
    ready = [defined[name] for name in sorter.get_ready()]
    names = list(deps)
    heapq.heapify(ready)
    order = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        sorter.done(name)
        for next_one in sorter.get_ready():
            heapq.heappush(ready, defined[next_one])
    return order


def _checked_names(plan: Plan, names: Iterable[str]) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"graph {plan.graph}: give a list of the names of tasks, not the text {names!r}")
    found = list(names)
    for name in found:
        if name not in plan.by_name:
            raise InvalidGraph(f"graph {plan.graph} has no task {name!r}.{nearest(str(name), plan.by_name)}")
    if not found:
        raise InvalidGraph(f"graph {plan.graph}: a part of it has at least one task; name some")
    return found
