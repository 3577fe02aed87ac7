"""A task of a graph: a step with a place in it. What a task depends on is resolved by `plan`, when all are there."""

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from holdfast.authoring.steps import Step
from holdfast.definitions.definitions import StepDefinition, StepOverrides

if TYPE_CHECKING:
    from holdfast.graphs.graph import Graph

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Dependencies = Iterable[str | Callable[..., Any]]
"""Tasks by their names, the tasks themselves, or the functions that were made tasks."""


class Task(Step[P, T_co]):
    """A task: `@graph.task` makes it. Called outside a run it is its function; in other workflows it is a step too."""

    def __init__(self, definition: StepDefinition, graph: "Graph", *, name: str, given: tuple[str, ...]) -> None:
        """definition: with the signature of its function. given: what it was said to depend on, by name."""
        super().__init__(definition)
        self._graph = graph
        self._name = name
        self.own = definition
        self.given = given

    @property
    def definition(self) -> StepDefinition:
        """Its name, options and signature, as registered. Raises InvalidGraph when its graph is not valid."""
        self._graph.validate()
        return self._definition

    def settle(self, definition: StepDefinition) -> None:
        """The signature is known, now that all tasks of the graph are."""
        self._definition = definition

    @property
    def graph(self) -> "Graph":
        """The graph that it belongs to."""
        return self._graph

    @property
    def deps(self) -> tuple[str, ...]:
        """The names of the tasks that it depends on, those among its parameters too. Raises InvalidGraph."""
        return self._graph.plan.by_name[self._name].deps

    @property
    def name(self) -> str:
        """Its name in the graph; as a step it is registered as "graph.name"."""
        return self._name

    def _with(self, overrides: StepOverrides) -> Step[P, T_co]:
        return Step(self._definition, overrides)

    def __repr__(self) -> str:
        return f"<task {self._name} of graph {self._graph.name}>"


class TaskDecorator(Protocol):
    """What `@graph.task(...)` with options returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> Task[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> Task[P, T]: ...
