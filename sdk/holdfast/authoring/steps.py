"""The `Step` object: what `@step` makes of a function.

Calling it asks the runtime inside a run, and is the plain call outside. It never runs anything by itself.
"""

import functools
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar, cast

from holdfast.authoring import plain_calls
from holdfast.backoff import BackoffLike
from holdfast.definitions.definitions import PlacementChoice, StepDefinition, StepOverrides
from holdfast.definitions.options import UNSET, RetryOnLike, Unset, step_overrides
from holdfast.durations import Duration
from holdfast.workflow.current_run import current_runtime, runtime_here

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


class Step(Generic[P, T_co]):
    """A step, called like its function.

    Inside a run every call is a coroutine, whether the function is `async def` or `def`, and so the call is typed.
    It asks for the step when it is first awaited, or when a task that was made of it runs.
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
        return cast("Coroutine[object, None, T_co]", made)

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
    ) -> "Step[P, T_co]":
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
        return self._with(overrides)

    def _with(self, overrides: StepOverrides) -> "Step[P, T_co]":
        return type(self)(self._definition, overrides)

    def __repr__(self) -> str:
        return f"<step {self.name}>"


class PlainStep(Step[P, T_co]):
    """The step of a `def` function, which the worker runs in a thread."""

    @property
    def function(self) -> Callable[P, T_co]:
        """What the user wrote."""
        return cast("Callable[P, T_co]", self._definition.function)
