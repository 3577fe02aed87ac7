"""Which run the calling code belongs to, and what it can ask of it. Authoring reaches the runtime only through this."""

import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from holdfast.definitions.definitions import StepDefinition, StepOverrides, WorkflowDefinition
from holdfast.record import record

if TYPE_CHECKING:
    from random import Random
    from uuid import UUID

    from holdfast.journal import Failure
    from holdfast.workflow.calls import ChildOptions
    from holdfast.workflow.child_handles import ChildHandle
    from holdfast.workflow.unawaited_calls import CallPlace


@record
class RunInfo:
    """What workflow code can read of its own run."""

    run_id: str
    workflow: str
    id: str = ""
    queue: str = "default"
    namespace: str = "default"
    parent_run_id: str = ""
    created_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class WorkflowRuntime(Protocol):
    """What a running workflow can ask for. Every awaitable is durable."""

    @property
    def info(self) -> RunInfo: ...

    @property
    def is_replaying(self) -> bool:
        """True while the code repeats what it did before, and logs what it logged before."""
        ...

    @property
    def is_blocking(self) -> bool:
        """True for a plain `def` workflow, whose code does not await what it asks for."""
        ...

    def is_dropped(self) -> bool:
        """True when the code has left memory, or has ended."""
        ...

    def result_here(self, made: Coroutine[Any, Any, Any]) -> Any:
        """In a blocking run: the result of the call for code that waits for it, the call for code that awaits it."""
        ...

    @property
    def random(self) -> "Random": ...

    def now(self) -> datetime: ...

    def uuid4(self) -> "UUID": ...

    def call_step(
        self,
        step: StepDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        overrides: StepOverrides,
        place: "CallPlace | None" = None,
    ) -> Coroutine[Any, Any, Any]:
        """The call as a coroutine, which asks for the step when it is first awaited. place: where it stands."""
        ...

    def set_context(self, value: object) -> None: ...

    def set_metadata(self, facts: Mapping[str, str]) -> None: ...

    def skip_step(self, step: StepDefinition, step_id: str, failure: "Failure") -> None:
        """The code leaves a step out that it would have called; the journal says so. failure: why."""
        ...

    def call_child(
        self,
        workflow: WorkflowDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        place: "CallPlace | None" = None,
    ) -> Coroutine[Any, Any, Any]:
        """The same for a child run."""
        ...

    def start_child(
        self,
        workflow: WorkflowDefinition,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: "ChildOptions",
    ) -> "ChildHandle[Any]":
        """A child run that is asked for at once, by its handle."""
        ...

    def continue_as_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn: ...

    def sleep(self, delay: timedelta | None, until: datetime | None, name: str) -> Awaitable[None]: ...

    def receive(self, name: str, type_hint: Any, timeout: timedelta | None) -> Awaitable[Any]: ...

    def next_hook(self) -> int: ...

    def open_hook(
        self, name: str, type_hint: Any, timeout: timedelta | None, *, number: int, token: str
    ) -> Awaitable[Any]: ...

    def on_signal(self, name: str, function: Callable[..., object]) -> None: ...

    def note(self, text: str, level: str, facts: dict[str, Any]) -> None: ...

    def publish(self, key: str, value: Any) -> None: ...

    def patched(self, change_id: str) -> bool: ...

    def wait_until(self, predicate: Callable[[], object], timeout: timedelta | None) -> Coroutine[Any, Any, None]: ...

    def enter_span(self, name: str) -> "EnteredSpan | None": ...

    def enter_steps(self) -> "EnteredSteps": ...


class EnteredSpan(Protocol):
    """A part of the code that it is in."""

    def leave(self, error: type[BaseException] | None) -> None:
        """The code leaves it, with this error."""


class EnteredSteps(Protocol):
    """A part of the code whose steps may have to be waited for. is_over: what is asked for now has no effect."""

    @property
    def is_over(self) -> bool: ...

    def leave(self) -> None:
        """The code leaves it."""

    async def settle(self, limit: timedelta, name: str) -> None:
        """Wait for its steps that have not ended; cancel those that do not end within the limit of this name."""

    def let_go(self) -> None:
        """Cancel its steps that nobody awaits."""


current_runtime: ContextVar[WorkflowRuntime | None] = ContextVar("holdfast_current_runtime", default=None)
"""Set while workflow code runs; None everywhere else, inside steps too."""

guards_are_off: ContextVar[bool] = ContextVar("holdfast_unguarded", default=False)
"""True in the parts of workflow code that answer for themselves."""


def _no_loop() -> None:
    """Stands for asyncio's, also while another thread imports asyncio."""


def runtime_here() -> WorkflowRuntime | None:
    """The runtime of the run that the caller belongs to; None outside of runs.

    Raises where a run's loop runs code that has lost the run's context: what it calls as plain code there would
    be done for real and recorded nowhere.
    """
    runtime = current_runtime.get()
    if runtime is None:
        # Not imported: a module that defines workflows does not need asyncio, and without it no loop runs.
        events: Any = sys.modules.get("asyncio.events")
        loop = getattr(events, "_get_running_loop", _no_loop)()
        if loop is not None and hasattr(loop, "refuse_strangers"):
            loop.refuse_strangers()
    return runtime
