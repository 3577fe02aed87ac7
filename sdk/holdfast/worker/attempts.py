"""Runs attempts of steps: async functions as tasks of the loop, plain functions in threads; what such a function
returns to be awaited is awaited on the loop.

Journals and leases are not its matter: it starts and cancels on request, and reports how each attempt ended and
when its slot is free. Those are two things: a plain function that ran into its timeout has ended for its step
and still runs in its thread. What does not come back soon after it was cancelled is abandoned: its slot goes to
others, and it runs on for itself.
"""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from datetime import timedelta
from typing import Any, Protocol

from opentelemetry.context import Context as OtelContext
from opentelemetry.context import attach

from holdfast.codec import Codec
from holdfast.codec.failures import capture
from holdfast.definitions.context import Context
from holdfast.definitions.definitions import StepDefinition
from holdfast.definitions.functions import is_awaitable
from holdfast.hints.value_types import value_type
from holdfast.journal import Arguments, Failure, Payload, StepOrigin
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.record import record
from holdfast.worker.attempt_progress import AttemptProgress
from holdfast.worker.beats import Beats
from holdfast.worker.log_facts import AttemptFacts, current_attempt
from holdfast.worker.process_calls import RaisedThere, submit_by_name, value_of
from holdfast.worker.process_pools import ProcessLost, ProcessPools
from holdfast.worker.process_shield import let_pool_threads_go
from holdfast.worker.retries import Ended, Expired, Lost, Raised, Returned
from holdfast.worker.threads import DaemonThreads
from holdfast.worker.trace_context import headers_of

log = logging.getLogger("holdfast.worker")

GRACE_SECONDS = 1.0
"""Seconds that a cancelled attempt keeps its slot, to come to its end."""
ABANDONED_MAX = 100
"""How many attempts run on without a slot. Those beyond keep theirs: no worker fills its machine with them."""

NO_DEPS: Any = object()
"""Stands for "the worker was given no deps", where None may be one."""


@record
class AttemptCall:
    """What to run. `owner` is given back to the listener as it is; `position` what OpenTelemetry has as current."""

    owner: Any
    run_id: str
    workflow: str
    number: int
    attempt: int
    definition: StepDefinition
    arguments: Arguments
    timeout: timedelta | None = None
    step_id: str = ""
    position: OtelContext | None = None
    seed: str = ""
    saved: Payload | None = None


class AttemptListener(Protocol):
    """Called, on the loop, with what becomes of attempts."""

    def attempt_ended(self, attempt: "Attempt", how: Ended) -> None:
        """It ended and was not cancelled. Called once."""

    def save_progress(self, attempt: "Attempt", details: Payload) -> "asyncio.Future[None]":
        """It saves details for the attempts that may follow; the future says when they are kept."""

    def executor_broken(self, error: BaseException) -> None:
        """The executor takes no calls any more, and another cannot be had: nothing more may be started."""

    def slot_freed(self) -> None:
        """It uses nothing any more. Said once per attempt, whatever became of it."""


class Attempt:
    """One attempt that was started."""

    __slots__ = (
        "_begun",
        "beats",
        "call",
        "deadline",
        "future",
        "has_slot",
        "is_cancelled",
        "is_over",
        "task",
        "timer",
    )

    def __init__(self, call: AttemptCall) -> None:
        self.call = call
        self.is_over = False
        self.is_cancelled = False
        self.has_slot = True
        self.deadline: float | None = None
        self.task: asyncio.Task[None] | None = None
        self.future: Future[Any] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.beats: Beats | None = None
        self._begun = False


class AttemptRunner:
    """Starts attempts on one loop.

    deps: what `Context.deps` gives. executor: where plain functions run. context: the context variables that
    every attempt begins with, so that none sees what another one has set.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        codec: Codec,
        executor: Executor,
        listener: AttemptListener,
        context: contextvars.Context,
        deps: Any = NO_DEPS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.limits = limits
        self.plain_running = 0
        self.abandoned: set[Attempt] = set()
        # Held here, since asyncio does not: a task that nothing refers to is collected, and its slot with it.
        self._leaving: set[Attempt] = set()
        self._loop = loop
        self._codec = codec
        self._executor = executor
        self.pools = ProcessPools(executor) if isinstance(executor, ProcessPoolExecutor) else None
        self._listener = listener
        self._context = context
        self._deps = deps
        self._progress = AttemptProgress(
            loop, context, codec=codec, save=lambda attempt, details: listener.save_progress(attempt, details),
            silent=lambda attempt, silence: self._ended_by_limit(attempt, Expired(silence, is_silent=True)),
        )  # fmt: skip

    def start(self, call: AttemptCall) -> Attempt:
        """Starts it. Never raises: what goes wrong is the end of the attempt."""
        attempt = Attempt(call)
        if call.timeout is not None:
            seconds = call.timeout.total_seconds()
            attempt.deadline = self._loop.time() + seconds
            attempt.timer = self._loop.call_later(seconds, self._expire, attempt, context=self._context)
        if (silence := call.definition.options.heartbeat_timeout) is not None:
            self._progress.expect_within(attempt, silence)
        if call.definition.is_async:
            attempt.task = self._loop.create_task(self._run(attempt), context=self._context_of(call))
        else:
            self._submit(attempt)
        return attempt

    def cancel(self, attempt: Attempt) -> None:
        """Cancels the attempt, whose result has no use; of it only the slot is reported."""
        attempt.is_over = True
        attempt.is_cancelled = True
        self._progress.end(attempt)
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._leaving.add(attempt)
        attempt.timer = self._loop.call_later(GRACE_SECONDS, self._abandon, attempt, context=self._context)
        if attempt.task is not None:
            attempt.task.cancel()
            if not attempt._begun:
                # A task that is cancelled before its first step never runs a line of ours.
                attempt._begun = True
                self._left(attempt)
        elif attempt.future is not None:
            attempt.future.cancel()

    def _abandon(self, attempt: Attempt) -> None:
        """It was cancelled and goes on: its slot is given to others, while there are few such."""
        call = attempt.call
        about = f"attempt {call.attempt} of step {call.definition.name} ({call.number}) of run {call.run_id}"
        if attempt.future is not None and not isinstance(self._executor, DaemonThreads):
            if self.pools is not None:
                self.pools.abandon(attempt.future)
            log.warning("%s was ended and still runs; it keeps its place in the executor and its slot", about)
        elif len(self.abandoned) >= ABANDONED_MAX:
            log.error(
                "%s was ended and still runs, as do %d others; no more slots are given back for such, so that they "
                "do not fill the machine. Restart this worker, and let its steps end when they are cancelled",
                about,
                len(self.abandoned),
            )
        else:
            self.abandoned.add(attempt)
            log.warning(
                "%s was ended and still runs; its slot is given back (%d of at most %d such)",
                about,
                len(self.abandoned),
                ABANDONED_MAX,
            )
            self._free_slot(attempt)

    def _left(self, attempt: Attempt) -> None:
        """It uses nothing any more."""
        if attempt.timer is not None:
            attempt.timer.cancel()
        self._leaving.discard(attempt)
        self.abandoned.discard(attempt)
        self._free_slot(attempt)
        let_pool_threads_go(attempt.call.run_id, attempt.call.number, attempt.call.attempt)

    def _free_slot(self, attempt: Attempt) -> None:
        if attempt.has_slot:
            attempt.has_slot = False
            self._listener.slot_freed()

    def _expire(self, attempt: Attempt) -> None:
        timeout = attempt.call.timeout
        if attempt.is_over or timeout is None:
            return
        self._ended_by_limit(attempt, Expired(timeout))

    def _ended_by_limit(self, attempt: Attempt, how: Expired) -> None:
        self.cancel(attempt)
        self._listener.attempt_ended(attempt, how)

    # Async functions

    async def _run(self, attempt: Attempt, returned: Awaitable[Any] | None = None) -> None:
        """returned: what a plain function has returned to be awaited."""
        attempt._begun = True
        call = attempt.call
        definition = call.definition
        how: Ended | None
        try:
            if returned is None:
                args, kwargs = self._arguments(attempt)
                returned = definition.function(*args, **kwargs)
            value = await returned
            how = Returned(self._encoded(definition, value))
        except BaseException as error:
            # Also SystemExit and the like: it ends the step, not the worker.
            if self._loop.is_closed():
                raise
            how = None if attempt.is_over else self._raised(call, error)
        self._finish(attempt, how)

    # Plain functions

    def _submit(self, attempt: Attempt) -> None:
        try:
            args, kwargs = self._arguments(attempt)
            function = attempt.call.definition.function
        except BaseException as error:  # noqa: BLE001 - arguments that do not fit
            # Said from the loop and not from within `start`: the caller does not have the attempt yet.
            how = self._raised(attempt.call, error)
            self._loop.call_soon(self._finish, attempt, how, context=self._context)
            return
        try:
            attempt.future = future = self._given(attempt.call, function, args, kwargs)
        except (BrokenExecutor, RuntimeError) as error:
            self._loop.call_soon(self._lose, attempt, error, context=self._context)
            return
        self.plain_running += 1
        future.add_done_callback(self._in_loop(self._plain_done, attempt))

    def _given(
        self, call: AttemptCall, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[Any]:
        """The call in the executor. Raises BrokenExecutor or RuntimeError when that takes none any more."""
        if self.pools is None:
            return self._executor.submit(self._context_of(call).run, function, *args, **kwargs)
        headers = headers_of(call.position)
        return self.pools.submit(
            f"{call.run_id}/{call.number}",
            lambda pool: submit_by_name(pool, function, args, kwargs, headers=headers),
        )

    def _lose(self, attempt: Attempt, error: BaseException) -> None:
        """The executor is of no use any more, and what the attempt has done in it is not known."""
        # First: with the loss the step may be started again, and must not be, here.
        self._listener.executor_broken(error)
        self._finish(attempt, Lost(self._raised(attempt.call, error).failure))

    def _in_loop(self, function: Callable[[Attempt, Future[Any]], None], attempt: Attempt) -> Callable[..., None]:
        def done(future: Future[Any]) -> None:
            try:
                self._loop.call_soon_threadsafe(function, attempt, future, context=self._context)
            except RuntimeError:
                # The loop is closed: the worker left without waiting for this thread, as it says it does.
                _close_result(future)

        return done

    def _plain_done(self, attempt: Attempt, future: Future[Any]) -> None:
        self.plain_running -= 1
        how: Ended | None = None
        if attempt.is_over:
            _close_result(future)
        else:
            call = attempt.call
            try:
                value = future.result()
                if self.pools is not None:
                    value = value_of(value, StepOrigin(call.definition.name, call.number, call.attempt))
                elif is_awaitable(value):
                    attempt.future = None
                    attempt.task = self._loop.create_task(self._run(attempt, value), context=self._context_of(call))
                    # A task that is cancelled before its first step awaits nothing.
                    attempt.task.add_done_callback(lambda _: _close_result(future))
                    return
                how = Returned(self._encoded(call.definition, value))
            except RaisedThere as there:
                how = Raised(there.error, there.failure)
            except ProcessLost as error:
                how = Lost(self._raised(call, error).failure)
            except BrokenExecutor as error:
                self._lose(attempt, error)
                return
            except BaseException as error:  # noqa: BLE001 - whatever the function raised belongs to its step
                how = self._raised(attempt.call, error)
        self._finish(attempt, how)

    # Both

    def _encoded(self, definition: StepDefinition, value: Any) -> Payload:
        """The result as it is recorded: read back as annotated, so that nothing completes that cannot be read."""
        return self._codec.encode(value, definition.signature.result, what=f"result of step {definition.name}")

    def _context_of(self, call: AttemptCall) -> contextvars.Context:
        context = self._context.copy()
        context.run(_enter, call)
        return context

    def _arguments(self, attempt: Attempt) -> tuple[tuple[Any, ...], dict[str, Any]]:
        call = attempt.call
        signature = call.definition.signature
        args, kwargs = self._codec.decode_arguments(signature, call.arguments, what=f"step {call.definition.name}")
        if signature.context_parameter is None:
            return args, kwargs
        return signature.with_context(args, kwargs, self._step_context(attempt))

    def _step_context(self, attempt: Attempt) -> Context[Any]:
        call = attempt.call
        what = f"progress of step {call.definition.name}"
        given: dict[str, Any] = {} if self._deps is NO_DEPS else {"deps": self._deps}
        context = call.arguments.context
        if context is not None:
            of_workflow = f"the context of the steps of workflow {call.workflow}"
            given["context"] = lambda hint: self._codec.decode(context, value_type(hint), what=of_workflow)
        return Context(
            run_id=call.run_id,
            workflow=call.workflow,
            step=call.definition.name,
            attempt=call.attempt,
            idempotency_key=f"{call.seed or call.run_id}/{call.number}",
            saved=None if call.saved is None else self._codec.decode(call.saved, Any, what=what),
            heartbeat=lambda details: self._progress.heartbeat(attempt, details),
            save=lambda details: self._progress.save(attempt, details),
            is_cancelled=lambda: attempt.is_cancelled,
            time_left=lambda: self._time_left(attempt),
            **given,
        )

    def _time_left(self, attempt: Attempt) -> timedelta | None:
        return None if attempt.deadline is None else timedelta(seconds=attempt.deadline - self._loop.time())

    def _raised(self, call: AttemptCall, error: BaseException) -> Raised:
        origin = StepOrigin(call.definition.name, call.number, call.attempt)
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            # The first frame is ours and says nothing to the user.
            error.__traceback__ = error.__traceback__.tb_next
        try:
            return Raised(error, capture(error, limits=self.limits, step=origin))
        except BaseException as odd:  # noqa: BLE001 - describing it runs code of the user, which may raise anything
            text = f"it cannot be described: {type(odd).__name__} while its text was made"
            return Raised(error, Failure(type(error).__name__, text, step=origin))

    def _finish(self, attempt: Attempt, how: Ended | None) -> None:
        if how is not None and not attempt.is_over:
            attempt.is_over = True
            self._progress.end(attempt)
            self._listener.attempt_ended(attempt, how)
        self._left(attempt)


def _enter(call: AttemptCall) -> None:
    # Not the call itself: what a step leaves behind, a task or a pool of connections, keeps its context for ever.
    facts = AttemptFacts(call.run_id, call.workflow, call.definition.name, call.number, call.step_id, call.attempt)
    current_attempt.set(facts)
    if call.position is not None:
        attach(call.position)


def _close_result(future: Future[Any]) -> None:
    """Closes what a plain function has returned to be awaited, where it is not, or not to its end."""
    if not future.cancelled() and future.exception() is None and inspect.iscoroutine(future.result()):
        future.result().close()
