"""What a step can read and do while an attempt of it runs. The worker makes one per attempt.

Plain: it never talks to anything by itself. What needs the worker is a callable given to the constructor.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from holdfast.errors import HoldfastError

# A module that defines steps needs the class only: logging and asyncio are imported where an attempt runs.
if TYPE_CHECKING:
    import logging

Deps = TypeVar("Deps")
T = TypeVar("T")

_NOT_GIVEN: Any = object()


class Saved:
    """What a plain function gets of `save`: it is done, and awaiting it returns at once."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


class ContextUnavailable(HoldfastError):
    """A step asked for something that its context was not given."""


class NoDeps(ContextUnavailable, AttributeError):
    """A step asked its context for something of the live objects of its worker, which was given none."""


class Context(Generic[Deps]):
    """Handed to a step through a parameter annotated `Context[...]`, in any position.

    What it has not itself it looks up in `deps`: an attribute of the object, or a key where deps are a mapping.

    deps: the live objects the worker was given, of the type in brackets.
    run_id, workflow, step: whose attempt this is. attempt: from 1.
    idempotency_key: the same for every attempt of this step, also in a retry of its run; different for every other.
    saved: what `save`, or `heartbeat` with details, has stored last, in this attempt or one before; None for nothing.
        Of an attempt before it is what JSON makes of it: a tuple is a list.
    log: a logger that carries the facts above.
    """

    __slots__ = (
        "_deps",
        "_heartbeat",
        "_is_cancelled",
        "_read_context",
        "_save",
        "_time_left",
        "attempt",
        "idempotency_key",
        "log",
        "run_id",
        "saved",
        "step",
        "workflow",
    )

    def __init__(
        self,
        *,
        run_id: str,
        workflow: str,
        step: str,
        attempt: int = 1,
        idempotency_key: str = "",
        deps: Deps = _NOT_GIVEN,
        saved: Any = None,
        context: Callable[[Any], Any] | None = None,
        heartbeat: Callable[[Any], None] | None = None,
        save: Callable[[Any], Awaitable[None]] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        time_left: Callable[[], timedelta | None] | None = None,
        log: "logging.Logger | logging.LoggerAdapter[Any] | None" = None,
    ) -> None:
        """The callables come from the worker; a test of a step gives only those it needs.

        context: what gives the context of the workflow as a type, `lambda _: Tenant("t-1")` in a test.
        """
        self.run_id = run_id
        self.workflow = workflow
        self.step = step
        self.attempt = attempt
        self.idempotency_key = idempotency_key
        self.saved = saved
        facts = {"run_id": run_id, "workflow_name": workflow, "step_name": step, "attempt": attempt}
        if log is None:
            from holdfast.definitions.step_log import step_log

            log = step_log(step, facts)
        self.log = log
        self._deps = deps
        self._read_context = context
        self._heartbeat = heartbeat
        self._save = save
        self._is_cancelled = is_cancelled
        self._time_left = time_left

    @property
    def deps(self) -> Deps:
        """The live objects the worker was given. Raises ContextUnavailable when it was given none."""
        if self._deps is _NOT_GIVEN:
            # No AttributeError: Python would then look for deps in deps.
            raise ContextUnavailable(self._without_deps())
        return self._deps

    def _without_deps(self) -> str:
        return (
            f"step {self.step} asks for a context with deps, but this worker was given none; "
            "start it with Worker(..., deps=...)"
        )

    def __getattr__(self, name: str) -> Any:
        """What deps have under this name. Raises AttributeError when they have nothing, or are not there."""
        if name.startswith("_"):
            # Nothing private is looked up in deps, and nothing at all before a copy has its own attributes.
            raise AttributeError(f"the context of a step has no attribute {name!r}")
        if self._deps is _NOT_GIVEN:
            raise NoDeps(self._without_deps())
        deps = self._deps
        # Keys first: a mapping may have one that is called `items`.
        found = deps[name] if isinstance(deps, Mapping) and name in deps else getattr(deps, name, _NOT_GIVEN)
        if found is _NOT_GIVEN:
            raise AttributeError(
                f"the context of step {self.step} has no attribute {name!r}, and neither has what the worker was given "
                f"as deps ({type(deps).__name__})"
            )
        return found

    def context(self, type: type[T], /) -> T:
        """What the workflow has set for its steps by `holdfast.set_context`, as the type that it has set.

        A copy of this attempt's own, which cannot be changed. Raises ContextUnavailable where nothing was set, and
        PayloadNotSerializable where it does not fit the type.
        """
        if self._read_context is None:
            raise ContextUnavailable(
                f"step {self.step} asks for the context of its workflow, but workflow {self.workflow} had set none "
                "when it called the step; call holdfast.set_context(...) before"
            )
        found: T = self._read_context(type)
        return found

    def heartbeat(self, details: Any = None) -> None:
        """Says that the attempt is alive, as `heartbeat_timeout` may ask, and saves details without waiting for it.

        details: what JSON can hold; None saves nothing. They are saved every other second at most, so that those of the
        last two seconds may be lost. Raises PayloadNotSerializable, PayloadTooLarge.
        """
        if self._heartbeat is None:
            self._refuse("heartbeat")
        self._heartbeat(details)
        if details is not None:
            self.saved = details

    def save(self, details: Any) -> Awaitable[None]:
        """Stores progress for the attempts that may follow; it is committed when this has been awaited.

        In a plain function, which cannot await, it is committed when this returns. details: what JSON can hold.
        Raises PayloadNotSerializable, PayloadTooLarge, and HoldfastError when this attempt no longer counts.
        """
        if self._save is None:
            self._refuse("save")
        return self._saving(self._save(details), details)

    def _saving(self, saving: Awaitable[None], details: Any) -> Awaitable[None]:
        if isinstance(saving, Saved):
            self.saved = details
            return saving

        async def saved() -> None:
            await saving
            self.saved = details

        return saved()

    @property
    def cancelled(self) -> bool:
        """True when the run no longer needs the result of this attempt."""
        return self._is_cancelled is not None and self._is_cancelled()

    def raise_if_cancelled(self) -> None:
        """Ends the attempt with asyncio.CancelledError when it is cancelled; for plain functions that loop."""
        if self.cancelled:
            from asyncio import CancelledError

            raise CancelledError(f"step {self.step} was cancelled")

    @property
    def time_remaining(self) -> timedelta | None:
        """How long this attempt may still run; None when it has no timeout, never below zero."""
        left = self._time_left() if self._time_left is not None else None
        return None if left is None else max(left, timedelta(0))

    def _refuse(self, what: str) -> NoReturn:
        raise ContextUnavailable(
            f"{what} is not available here: the context of step {self.step} was made without it; "
            f"pass {what}=... to Context in a test, or run the step on a worker"
        )
