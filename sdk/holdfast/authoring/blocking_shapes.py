"""How type checkers see the names of `holdfast.blocking`: as plain `def` code calls them. Nothing here runs.

At run time they are those of `holdfast`: what a call gives is a matter of the code that calls.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from holdfast.authoring.primitives import Concurrent
from holdfast.authoring.shapes import TakesAnything, TakesAnythingAsync
from holdfast.authoring.steps import Step
from holdfast.authoring.workflows import Workflow
from holdfast.backoff import BackoffLike
from holdfast.definitions.context import Context
from holdfast.definitions.definitions import PlacementChoice
from holdfast.definitions.options import MetadataLike, RetryOnLike, Unset
from holdfast.durations import Duration

P = ParamSpec("P")
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)
D = TypeVar("D")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class BlockingStep(Step[P, T_co]):
    """A step whose call gives the result."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...  # type: ignore[override,empty-body]

    def map(  # type: ignore[override,empty-body]
        self: "GivesResults[A, R]", items: Iterable[A], *, max_parallel: int | None = None
    ) -> list[R]: ...


class GivesResults(Protocol[A_contra, R_co]):
    """A step that can be called with one argument, and gives the result."""

    def __call__(self, item: A_contra, /) -> R_co: ...


class BlockingWorkflow(Workflow[P, T_co]):
    """A workflow whose call gives the result."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...  # type: ignore[override,empty-body]


class BlockingStepDecorator(Protocol):
    """What `@step(...)` with options returns."""

    @overload
    def __call__(self, function: TakesAnythingAsync[P, T], /) -> BlockingStep[P, T]: ...
    @overload
    def __call__(self, function: TakesAnything[P, T], /) -> BlockingStep[P, T]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context[D], P], Coroutine[Any, Any, T]], /
    ) -> BlockingStep[P, T]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context[D], P], T], /) -> BlockingStep[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> BlockingStep[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> BlockingStep[P, T]: ...


class BlockingWorkflowDecorator(Protocol):
    """What `@workflow(...)` with options returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> BlockingWorkflow[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T], /) -> BlockingWorkflow[P, T]: ...


@overload
def step(function: TakesAnythingAsync[P, T], /) -> BlockingStep[P, T]: ...
@overload
def step(function: TakesAnything[P, T], /) -> BlockingStep[P, T]: ...
@overload
def step(function: Callable[Concatenate[Context[D], P], Coroutine[Any, Any, T]], /) -> BlockingStep[P, T]: ...
@overload
def step(function: Callable[Concatenate[Context[D], P], T], /) -> BlockingStep[P, T]: ...
@overload
def step(function: Callable[P, Coroutine[Any, Any, T]], /) -> BlockingStep[P, T]: ...
@overload
def step(function: Callable[P, T], /) -> BlockingStep[P, T]: ...
@overload
def step(
    positional_name: str | None = None,
    /,
    *,
    name: str | None = None,
    retries: int | None = None,
    recoveries: int | Unset | None = ...,
    backoff: BackoffLike | None = None,
    timeout: Duration | Unset | None = ...,
    queue: str | None = None,
    placement: PlacementChoice = "auto",
    priority: int | None = None,
    retry_on: RetryOnLike = ...,
    heartbeat_timeout: Duration | None = None,
) -> BlockingStepDecorator: ...
def step(function: Any = None, /, **options: Any) -> Any: ...


@overload
def workflow(function: Callable[P, Coroutine[Any, Any, T]], /) -> BlockingWorkflow[P, T]: ...
@overload
def workflow(function: Callable[P, T], /) -> BlockingWorkflow[P, T]: ...
@overload
def workflow(
    positional_name: str | None = None,
    /,
    *,
    name: str | None = None,
    id: str | None = None,
    max_duration: Duration | None = None,
    queue: str | None = None,
    priority: int | None = None,
    metadata: MetadataLike | None = None,
) -> BlockingWorkflowDecorator: ...
def workflow(function: Any = None, /, **options: Any) -> Any: ...


def sleep(until: Duration | datetime, /, name: str = "") -> None: ...


@overload
def receive(name: str, type: type[T], *, timeout: Duration | None = None) -> T: ...
@overload
def receive(name: str, type: Any = ..., *, timeout: Duration | None = None) -> Any: ...
def receive(name: str, type: Any = Any, *, timeout: Duration | None = None) -> Any: ...


def wait_until(predicate: Callable[[], object], *, timeout: Duration | None = None) -> None: ...


@overload
def shield(call: Awaitable[T], /) -> T: ...
@overload
def shield(call: Callable[[], T], /) -> T: ...
def shield(call: Any, /) -> Any: ...


@overload
def inline(name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
def inline(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
def inline(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any: ...


@overload
def parallel(first: Concurrent[T1], /) -> tuple[T1]: ...
@overload
def parallel(first: Concurrent[T1], second: Concurrent[T2], /) -> tuple[T1, T2]: ...
@overload
def parallel(first: Concurrent[T1], second: Concurrent[T2], third: Concurrent[T3], /) -> tuple[T1, T2, T3]: ...
@overload
def parallel(
    first: Concurrent[T1], second: Concurrent[T2], third: Concurrent[T3], fourth: Concurrent[T4], /
) -> tuple[T1, T2, T3, T4]: ...
@overload
def parallel(*calls: Concurrent[T]) -> tuple[T, ...]: ...
def parallel(*calls: Any) -> Any: ...
