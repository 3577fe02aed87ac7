"""The `Workflow` object: what `@workflow` makes of a function.

Called inside a run it is a child run. Outside it is a durable run where a client is the default one, else plain code;
`start` always reaches a client.
"""

import functools
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, get_args

from holdfast.authoring import plain_calls
from holdfast.authoring.starter import (
    OnClose,
    OnConflict,
    Reuse,
    StartOptions,
    TraceRelation,
    blocking_caller,
    caller_here,
    default_starter,
    has_running_loop,
)
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.definitions.options import (
    MetadataLike,
    checked_metadata,
    checked_name,
    checked_priority,
    checked_span,
    checked_switch,
)
from holdfast.durations import Duration, parse_moment
from holdfast.ids import business_id_problem
from holdfast.workflow.current_run import runtime_here
from holdfast.workflow.styles import in_style

if TYPE_CHECKING:
    from holdfast.client import RunHandle
    from holdfast.workflow.result_or_call import ResultOrCall

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


class Workflow(Generic[P, T_co]):
    """A workflow, awaited like its function: `await order("o-1")` inside a run is a child run.

    In a plain `def` workflow the call gives the result of the child run.
    Outside it is a run that is waited for, where a client is the default one (`Client.as_default`), else plain code.
    """

    __name__: str

    def __init__(self, definition: WorkflowDefinition) -> None:
        self._definition = definition
        functools.update_wrapper(self, definition.function, updated=())

    @property
    def definition(self) -> WorkflowDefinition:
        """Its name, options and signature, as runs of it are started."""
        return self._definition

    @property
    def registered(self) -> WorkflowDefinition:
        """The definition by which workers run it: the same, unless this is a part of a workflow."""
        return self.definition

    @property
    def name(self) -> str:
        """The name it is registered under."""
        return self.definition.name

    @property
    def function(self) -> Callable[P, Coroutine[Any, Any, T_co]]:
        """What the user wrote."""
        return cast("Callable[P, Coroutine[Any, Any, T_co]]", self.definition.function)

    # object and None, not Any twice: with Any in it mypy takes asyncio.gather(step_a(), step_b()) for Any.
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, T_co]:
        runtime = runtime_here()
        if runtime is None:
            made: Any = self._called_outside(args, kwargs, waits=self.definition.is_blocking)
            if plain_calls.is_in_workflow():
                made = in_style(made)
        else:
            frame = sys._getframe(1)
            made = runtime.call_child(self.definition, args, kwargs, (frame.f_code, frame.f_lasti))
            if runtime.is_blocking:
                made = runtime.result_here(made)
        return cast("Coroutine[object, None, T_co]", made)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[object, None, T_co]:
        """The call without its result, in a plain `def` workflow too: for `holdfast.parallel(f.call(x), g.call(y))`.

        It asks for the child run when it is first awaited. Outside a run, awaiting it is what awaiting a workflow is.
        """
        runtime = runtime_here()
        if runtime is None:
            made: Any = self._called_outside(args, kwargs, waits=False)
        else:
            frame = sys._getframe(1)
            made = runtime.call_child(self.definition, args, kwargs, (frame.f_code, frame.f_lasti))
        return cast("Coroutine[object, None, T_co]", made)

    def _called_outside(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, waits: bool) -> Any:
        """waits: gives the result where no event loop runs, instead of something to await."""
        function, is_blocking = self.function, self.definition.is_blocking
        is_in_workflow = plain_calls.is_in_workflow()
        waits = waits and not is_in_workflow and not has_running_loop()
        if not is_in_workflow:
            call: Any = blocking_caller() if waits else caller_here()
            if call is not None:
                return call(self.definition, args, kwargs)
            plain_calls.warn_of_plain_call(self.name)
        if waits:
            return plain_calls.run_workflow(function, args, kwargs)
        return plain_calls.call_workflow(function, "blocking" if is_blocking else "async", args, kwargs)

    def with_options(
        self,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        delay: Duration | datetime | None = None,
        metadata: MetadataLike | None = None,
        on_conflict: OnConflict = "attach",
        reuse: Reuse = "attach",
        max_duration: Duration | None = None,
        trace: TraceRelation = "link",
        sampled: bool | None = None,
        on_close: OnClose | None = None,
    ) -> "WorkflowStart[P, T_co]":
        """Options for one start: `await order.with_options(id="o-1").start("o-1", amount)`.

        delay: a duration, or the instant to start at. trace: "link" gives the run a trace of its own that links to
        the caller's span, "join" makes the run a child of that span. sampled: whether the run is traced, whatever the
        coordinator's ratio says. on_close: for `holdfast.start_child` only, see there. Raises ValueError or TypeError
        naming the option.
        """
        what = f"workflow {self.name}"
        if id is not None and (problem := business_id_problem(checked_name(what, "id", id))):
            raise ValueError(f"{what}: id {id!r} {problem}")
        options = StartOptions(
            id=id or "",
            idempotency_key="" if idempotency_key is None else checked_name(what, "idempotency_key", idempotency_key),
            queue="" if queue is None else checked_name(what, "queue", queue),
            priority=None if priority is None else checked_priority(what, priority),
            delay=None if delay is None else parse_moment(delay),
            metadata=checked_metadata(what, metadata),
            on_conflict=_one_of(what, "on_conflict", on_conflict, get_args(OnConflict)),
            reuse=_one_of(what, "reuse", reuse, get_args(Reuse)),
            max_duration=checked_span(what, "max_duration", max_duration),
            trace=_one_of(what, "trace", trace, get_args(TraceRelation)),
            sampled=checked_switch(what, "sampled", sampled),
            on_close=None if on_close is None else _one_of(what, "on_close", on_close, get_args(OnClose)),
        )
        return WorkflowStart(self.definition, options)

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> "RunHandle[T_co]":
        """Starts a run with the default client and returns its handle once the start is committed."""
        handle = await default_starter()(self.definition, args, dict(kwargs), StartOptions())
        return cast("RunHandle[T_co]", handle)

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"


class PlainWorkflow(Workflow[P, T_co]):
    """The workflow of a plain `def` function, which calls its steps and is given their results.

    Called in `async` code it gives something to await, everywhere else the result.
    """

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ResultOrCall[T_co]: ...


class WorkflowStart(Generic[P, T_co]):
    """A workflow with the options of one start."""

    def __init__(self, definition: WorkflowDefinition, options: StartOptions) -> None:
        self.definition = definition
        self.options = options

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> "RunHandle[T_co]":
        """Starts a run with the default client and returns its handle once the start is committed."""
        handle = await default_starter()(self.definition, args, dict(kwargs), self.options)
        return cast("RunHandle[T_co]", handle)


def _one_of(what: str, option: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{what}: {option} is one of {', '.join(map(repr, choices))}, not {value!r}")
    return value
