"""The `Step` object: what `@step` makes of a function.

Calling it asks the runtime inside a run, and is the plain call outside. It never runs anything by itself.
"""

import functools
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from holdfast.authoring import plain_calls
from holdfast.backoff import BackoffLike
from holdfast.definitions.definitions import PlacementChoice, StepDefinition, StepOverrides
from holdfast.definitions.options import UNSET, RetryOnLike, Unset, checked_count, step_overrides
from holdfast.durations import Duration
from holdfast.workflow.current_run import current_runtime, runtime_here
from holdfast.workflow.styles import in_style

if TYPE_CHECKING:
    from holdfast.workflow.result_or_call import ResultOrCall

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
R = TypeVar("R")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Step(Generic[P, T_co]):
    """A step, called like its function.

    Inside a run of an `async` workflow every call is a coroutine, whether the function is `async def` or `def`, and so
    the call is typed. It asks for the step when it is first awaited, or when a task that was made of it runs. In a
    plain `def` workflow the call gives the result.
    Outside a run the call is the plain function: of a `def` function it gives the result at once; code that
    needs this typed calls `.function`.
    """

    __name__: str

    def __init__(self, definition: StepDefinition, overrides: StepOverrides | None = None) -> None:
        self._definition = definition
        self._overrides = overrides or StepOverrides()
        functools.update_wrapper(self, definition.function, updated=())

    @property
    def definition(self) -> StepDefinition:
        """Its name, options and signature, as registered."""
        return self._definition

    @property
    def overrides(self) -> StepOverrides:
        """What `with_options` changed for the calls of this object."""
        return self._overrides

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self._definition.name

    @property
    def function(self) -> Callable[..., Any]:
        """What the user wrote."""
        return self._definition.function

    # object and None, not Any twice: with Any in it mypy takes asyncio.gather(step_a(), step_b()) for Any.
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, T_co]:
        # Written out, as the rest of this: it is on the path of every step.
        runtime = current_runtime.get()
        if runtime is None:
            runtime = runtime_here()
        definition = self._definition
        if runtime is None:
            made = plain_calls.call_step(definition.function, definition.is_async, args, kwargs)
        else:
            frame = sys._getframe(1)
            made = runtime.call_step(definition, args, kwargs, self._overrides, (frame.f_code, frame.f_lasti))
            if runtime.is_blocking:
                made = runtime.result_here(made)
        return cast("Coroutine[object, None, T_co]", made)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, T_co]:
        """The call without its result, in a plain `def` workflow too: for `holdfast.parallel(f.call(x), g.call(y))`.

        It asks for the step when it is first awaited. Outside a run, awaiting it calls the plain function.
        """
        runtime = runtime_here()
        definition = self._definition
        if runtime is None:
            made: Any = plain_calls.call_as_step(definition.function, definition.is_async, args, kwargs)
        else:
            frame = sys._getframe(1)
            made = runtime.call_step(definition, args, kwargs, self._overrides, (frame.f_code, frame.f_lasti))
        return cast("Coroutine[object, None, T_co]", made)

    def map(
        self: "TakesOne[A, R]", items: Iterable[A], *, max_parallel: int | None = None
    ) -> Coroutine[object, None, list[R]]:
        """Calls the step once for each item, all at once or at most `max_parallel` at a time.

        Gives the results in the order of the items; in `async` code it is awaited. Items are taken from an iterator
        when there is room for them. The first failure cancels the calls that are under way, as in a TaskGroup, and is
        raised itself when they have ended. Raises TypeError or ValueError naming the step.
        """
        # Imported here: a module that defines steps needs no asyncio.
        from holdfast.authoring.maps import results_of_each

        what = f"step {self.name}: map"
        if not isinstance(items, Iterable):
            raise TypeError(f"{what}: items is an iterable, not {items!r}")
        if max_parallel is not None and checked_count(what, "max_parallel", max_parallel) < 1:
            raise ValueError(f"{what}: max_parallel is at least 1, or None for no limit, not {max_parallel}")
        made: Any = results_of_each(self, items, max_parallel)
        # What is never awaited is known by it.
        made.__qualname__ = f"{self.name}.map"
        return cast("Coroutine[object, None, list[R]]", in_style(made))

    def with_options(
        self,
        *,
        step_id: str | None = None,
        retries: int | None = None,
        backoff: BackoffLike | None = None,
        recoveries: int | Unset | None = UNSET,
        timeout: Duration | Unset | None = UNSET,
        queue: str | None = None,
        placement: PlacementChoice | None = None,
        priority: int | None = None,
        retry_on: RetryOnLike | None = None,
    ) -> Self:
        """The same step with other options for the calls of what this returns; the step itself is unchanged.

        step_id: identifies the call across code changes; unique in its run. A callable backoff, or any
        `retry_on`, cannot be recorded and forces the call inline. Raises ValueError or TypeError naming the step.
        """
        overrides = step_overrides(
            f"step {self.name}",
            self._definition.options,
            self._overrides,
            step_id=step_id,
            retries=retries,
            backoff=backoff,
            recoveries=recoveries,
            timeout=timeout,
            queue=queue,
            placement=placement,
            priority=priority,
            retry_on=retry_on,
        )
        return cast("Self", self._with(overrides))

    def _with(self, overrides: StepOverrides) -> Any:
        return type(self)(self._definition, overrides)

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class TakesOne(Protocol[A_contra, R_co]):
    """A step that can be called with one argument."""

    @property
    def name(self) -> str: ...

    def __call__(self, item: A_contra, /) -> Coroutine[object, None, R_co]: ...


class PlainStep(Step[P, T_co]):
    """The step of a `def` function, which the worker runs in a thread."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ResultOrCall[T_co]: ...

        def map(
            self: TakesOne[A, R], items: Iterable[A], *, max_parallel: int | None = None
        ) -> ResultOrCall[list[R]]: ...


class PlainStepWithoutContext(PlainStep[P, T_co]):
    """The same for type checkers: they know how its function is called without a worker."""

    @property
    def function(self) -> Callable[P, T_co]:
        """What the user wrote."""
        return cast("Callable[P, T_co]", self._definition.function)
