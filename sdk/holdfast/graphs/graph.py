"""`Graph`: collects tasks and is the workflow that runs them."""

import copy
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
from typing import Any, Self, TypeVar, overload

from holdfast.authoring.apps import App, DuplicateName
from holdfast.authoring.steps import Step
from holdfast.authoring.workflows import Workflow
from holdfast.backoff import BackoffLike
from holdfast.definitions.definitions import PlacementChoice, WorkflowDefinition
from holdfast.definitions.functions import DEFINED_AT, are_same, described, name_for, place_of_caller
from holdfast.definitions.options import UNSET, MetadataLike, RetryOnLike, Unset, checked_count, checked_name
from holdfast.durations import Duration
from holdfast.graphs import drawing
from holdfast.graphs.execution import run_plan
from holdfast.graphs.parameters import UPSTREAM
from holdfast.graphs.plan import Plan, plan_of
from holdfast.graphs.problems import InvalidGraph
from holdfast.graphs.tasks import Dependencies, P, Task, TaskDecorator

T = TypeVar("T")

ONLY = "only"
"""The argument of a run that names the tasks to run; see `Graph.subgraph`."""

_TASK_OPTIONS = (
    "name", "deps", "retries", "timeout", "recoveries", "backoff", "queue", "placement", "priority", "retry_on",
)  # fmt: skip


class Graph(Workflow[..., dict[str, Any]]):
    """A workflow of tasks that depend on each other; its result is that of the tasks nothing depends on, by name.

    name: what it is registered as; its tasks are registered as steps, as "name.task".
    max_parallel: how many tasks of one run are called at once; None, the default, is no limit.
    inputs: what a run is started with, as names, or names with their types: {"user_id": str}. They fill the
    parameters of tasks that are named so. id, max_duration, queue, priority, metadata: as of any workflow.
    """

    def __init__(
        self,
        name: str,
        *,
        max_parallel: int | None = None,
        inputs: Mapping[str, Any] | Iterable[str] = (),
        id: str | None = None,
        max_duration: Duration | None = None,
        queue: str | None = None,
        priority: int | None = None,
        metadata: MetadataLike | None = None,
    ) -> None:
        checked_name("a graph", "name", name)
        if max_parallel is not None and checked_count(f"graph {name}", "max_parallel", max_parallel) < 1:
            raise ValueError(f"graph {name}: max_parallel is {max_parallel}; at least 1 task must be able to run")
        self._app = App(name, retries=0)
        self._max_parallel = max_parallel
        self._inputs = _checked_inputs(name, inputs)
        self._tasks: dict[str, Task[..., Any]] = {}
        self._only: tuple[str, ...] | None = None
        self._place = place_of_caller(__name__)
        self._known: tuple[Plan, WorkflowDefinition] | None = None
        self._base = self._app.workflow(
            name=name, id=id, max_duration=max_duration, queue=queue, priority=priority, metadata=metadata
        )(self._function_of(None)).definition
        self.__name__ = name

    # Definition

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> Task[P, T]: ...
    @overload
    def task(self, function: Callable[P, T], /) -> Task[P, T]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        deps: Dependencies = (),
        retries: int = 0,
        timeout: Duration | None = None,
        recoveries: int | Unset | None = UNSET,
        backoff: BackoffLike | None = None,
        queue: str | None = None,
        placement: PlacementChoice = "auto",
        priority: int | None = None,
        retry_on: RetryOnLike = Exception,
    ) -> TaskDecorator: ...
    def task(self, function: Any = None, /, **options: Any) -> Any:
        """Makes a task of a function: `@g.task`, `@g.task()` or `@g.task(name=..., deps=[...])`.

        name: the function's name by default. deps: what has to be done before, as tasks, functions or names; names may
        be of tasks that are defined later. A parameter that is named after a task is a dependency too, and gets its
        result; one that is named after an input gets that. `upstream: dict[str, Any]` gets the results of all `deps`
        by name, and then no parameter is a dependency. A parameter annotated `Context[...]` is filled by the worker.
        retries: 0 by default. The other options are those of `@step`.
        Raises TypeError or ValueError that names the function, DuplicateName, and InvalidGraph for a task of another
        graph.
        """
        for option in options:
            if option not in _TASK_OPTIONS:
                raise TypeError(f"@task has no option {option!r}; its options are {', '.join(_TASK_OPTIONS)}")
        if function is not None:
            return self._add(function, **options)
        return lambda decorated: self._add(decorated, **options)

    def validate(self) -> None:
        """Raises InvalidGraph unless the graph can run.

        It says what is missing, what cannot be filled, what is in a cycle. Starting a run, and giving the graph to a
        worker, validate it too.
        """
        assert self.plan.tasks

    def tasks(self) -> tuple[Task[..., Any], ...]:
        """The tasks in topological order: each after all it depends on, else as they were defined."""
        return tuple(self._tasks[task.name] for task in self.plan.tasks)

    def display(self) -> str:
        """The graph as a tree of text, each task below what it depends on; see there what [shared] means."""
        return drawing.tree(self.plan)

    def mermaid(self) -> str:
        """The graph as a flow chart for Mermaid."""
        return drawing.mermaid(self.plan)

    def subgraph(self, names: Iterable[str]) -> Self:
        """These tasks and all they depend on, as a workflow: `await client.start(g.subgraph(["email"]))`.

        It is the same workflow as the whole, started with `only=[...]`, which the run records: any worker that has the
        whole can run it. Raises InvalidGraph for a name that is no task.
        """
        names = tuple(self.plan.only(names).by_name) if not isinstance(names, str) else (names,)
        part = copy.copy(self)
        part._only = names
        part._known = None
        return part

    def from_tasks(self, names: Iterable[str]) -> tuple[str, ...]:
        """These tasks and all that depends on them, in order. Raises InvalidGraph for a name that is no task."""
        return tuple(task.name for task in self.plan.beginning_with(names))

    @property
    def plan(self) -> Plan:
        """The tasks in order, with what each waits for. Raises InvalidGraph."""
        return self._validated()[0]

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]] | object = None) -> "Graph":
        """A graph from data, as YAML and JSON have it.

        spec: `name` and `tasks`, a mapping from the name of each task to its `function` (the name of the task by
        default), `deps`, `args` that are bound, and the options of `task`; beside those the options of a graph, where
        `inputs` are names, or names with text, integer, number, boolean, list, mapping or any.
        functions: by the names that the data uses, or a module; others are imported as "module:function".
        Raises InvalidGraph, TypeError or ValueError that name the task.
        """
        from holdfast.graphs.specs import graph_of

        return graph_of(cls, spec, functions)

    def defined_in(self, module: str, path: str) -> None:
        """It was made from a file, which stands for the module that defines it."""
        self._place = module, path, 1
        self._known = None

    # What a workflow has

    @property
    def definition(self) -> WorkflowDefinition:
        """As runs of it are started. Raises InvalidGraph."""
        definition = self._validated()[1]
        if self._only is None:
            return definition
        return replace(definition, signature=definition.signature.with_default(ONLY, list(self._only)))

    @property
    def registered(self) -> WorkflowDefinition:
        """By which workers run it: of a part, that of the whole."""
        return self._validated()[1]

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self._base.name

    def __repr__(self) -> str:
        part = "" if self._only is None else f", only {', '.join(self._only)}"
        return f"<graph {self.name}: {len(self._tasks)} tasks{part}>"

    # Parts

    def _add(
        self, function: Any, *, name: str | None = None, deps: Dependencies = (), **options: Any
    ) -> Task[..., Any]:
        if self._only is not None:
            raise InvalidGraph(f"{self!r} is a part of graph {self.name}; define tasks in the whole")
        if isinstance(function, (Step, Workflow)):
            raise TypeError(f"@task cannot take {function!r}: it is decorated already; give its `.function`")
        own = name_for("task", function, name)
        what = f"graph {self.name}: task {own}"
        if own == UPSTREAM:
            raise InvalidGraph(f"{what}: {UPSTREAM!r} is what a parameter for all results is called; take another name")
        known = self._tasks.get(own)
        if known is not None and not are_same(known.function, function):
            first, second = (described(one, with_place=True) for one in (known.function, function))
            raise DuplicateName("task", own, app=self.name, first=first, second=second)
        given = tuple(dict.fromkeys(self._dependency(what, one) for one in _checked_deps(what, deps)))
        registered = checked_name(what, "name as a step", f"{self.name}.{own}")
        definition = self._app.step(name=registered, **options)(function).definition
        task: Task[..., Any] = Task(definition, self, name=own, given=given)
        self._tasks[own] = task
        self._known = None
        return task

    def _dependency(self, what: str, given: Any) -> str:
        """The name of the task that is meant. A name is looked up later, when all tasks are there."""
        if isinstance(given, str):
            return checked_name(what, "the name of a dependency", given)
        if isinstance(given, Task):
            if self._tasks.get(given.name) is not given:
                raise InvalidGraph(
                    f"{what} depends on {given!r}, which belongs to another graph"
                    if given.graph is not self
                    else f"{what} depends on {given!r}, which was defined anew"
                )
            return given.name
        if not callable(given):
            raise TypeError(f"{what}: deps are names, tasks or functions, not {given!r}")
        names = [task.name for task in self._tasks.values() if task.function is given]
        if len(names) != 1:
            why = f"is {len(names)} tasks ({', '.join(names)}); give the name of one" if names else "is no task of it"
            raise InvalidGraph(f"{what} depends on {described(given)}, which {why}")
        return names[0]

    def _validated(self) -> tuple[Plan, WorkflowDefinition]:
        if self._known is None:
            whole = plan_of(self.name, self._tasks, tuple(self._inputs))
            for task in whole.tasks:
                self._tasks[task.name].settle(task.step)
            steps = {task.step.name: task.step for task in whole.tasks}
            signature = self._base.signature.with_hints({"return": whole.result_hint})
            definition = replace(self._base, function=self._function_of(whole), signature=signature, app_steps=steps)
            self._known = whole if self._only is None else whole.only(self._only), definition
        return self._known

    def _function_of(self, plan: Plan | None) -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
        """The workflow function that runs this plan, with the inputs as its parameters."""
        max_parallel = self._max_parallel
        hints = {**self._inputs, ONLY: list[str] | None}

        async def run(*args: Any, **kwargs: Any) -> dict[str, Any]:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            only = bound.arguments.pop(ONLY)
            assert plan is not None, "the graph was validated before a run of it began"
            return await run_plan(plan if only is None else plan.only(only), bound.arguments, max_parallel)

        kinds = inspect.Parameter
        parameters = [kinds(name, kinds.POSITIONAL_OR_KEYWORD, annotation=hint) for name, hint in self._inputs.items()]
        only = kinds(ONLY, kinds.KEYWORD_ONLY, default=None, annotation=hints[ONLY])
        signature = inspect.Signature([*parameters, only], return_annotation=dict[str, Any])
        run.__module__, path, line = self._place
        run.__name__ = run.__qualname__ = f"Graph({self._app.name!r})"
        run.__annotations__ = {**hints, "return": dict[str, Any]}
        made: Any = run
        made.__signature__ = signature
        setattr(made, DEFINED_AT, (path, line))
        return run


def _checked_inputs(name: str, inputs: Any) -> dict[str, Any]:
    if isinstance(inputs, str):
        raise TypeError(f"graph {name}: inputs are a list of names, or names with types, not the text {inputs!r}")
    found = dict(inputs) if isinstance(inputs, Mapping) else dict.fromkeys(inputs, Any)
    for one in found:
        if not isinstance(one, str) or not one.isidentifier() or one in (ONLY, UPSTREAM):
            raise ValueError(f"graph {name}: input {one!r} cannot be the name of a parameter, or is taken")
    return found


def _checked_deps(what: str, deps: Any) -> list[Any]:
    if isinstance(deps, str) or not isinstance(deps, Iterable):
        raise TypeError(f"{what}: deps is a list of names, tasks or functions, not {deps!r}")
    return list(deps)
