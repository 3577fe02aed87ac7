"""How type checkers see the decorators. Nothing here runs.

A first parameter annotated Context[...] leaves the signature, because the worker fills it. The two protocols
come before that rule: a first parameter that takes anything at all (Any, object) would match it by accident.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, final, overload

from holdfast.authoring.steps import PlainStep, PlainStepWithoutContext, Step
from holdfast.authoring.workflows import PlainWorkflow, Workflow
from holdfast.definitions.context import Context

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")


@final
class _Anything:
    """A type that only a parameter without demands accepts."""


class TakesAnythingAsync(Protocol[P, T_co]):
    """An `async def` function whose first parameter takes anything."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T_co]: ...
    @overload
    def __call__(self, first: _Anything, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, T_co]: ...


class TakesAnything(Protocol[P, T_co]):
    """A `def` function whose first parameter takes anything."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...
    @overload
    def __call__(self, first: _Anything, /, *args: Any, **kwargs: Any) -> T_co: ...


class StepDecorator(Protocol):
    """What `@step(...)` with options returns."""

    @overload
    def __call__(self, function: TakesAnythingAsync[P, T], /) -> Step[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: TakesAnything[P, T], /) -> PlainStepWithoutContext[P, T]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[Context[D], P], Coroutine[Any, Any, T]], /
    ) -> Step[P, T]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context[D], P], T], /) -> PlainStep[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> Step[P, T]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[P, T], /) -> PlainStepWithoutContext[P, T]: ...


class WorkflowDecorator(Protocol):
    """What `@workflow(...)` with options returns."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Workflow[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> PlainWorkflow[P, T]: ...
