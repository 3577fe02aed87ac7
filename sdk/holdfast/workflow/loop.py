"""The event loop that workflow code runs on: asyncio without a clock and without sockets.

Everything that is ready runs in the order in which it became ready, and tasks and futures hash by the order
in which they were created, so that code which is given the same answers does the same things, in any
process. Timers are asked of a `TimerHost`; whatever else needs the outside world is refused.

It must never read a clock, wait, block or do I/O.
"""

import asyncio
import logging
import sys
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from datetime import timedelta
from typing import Any, NoReturn, ParamSpec, TypeVar

from holdfast.errors import HoldfastError, NotAwaited, UnguardedCall
from holdfast.limits import SPAN_MAX
from holdfast.workflow import interrupts, redirection, unawaited_calls
from holdfast.workflow.generators import BegunGenerators
from holdfast.workflow.held_tasks import HeldTasks, unheard_words
from holdfast.workflow.tasks import LoopTimer, ReadyHandle, TimerHost, WorkflowFuture, WorkflowTask

_P = ParamSpec("_P")
_T = TypeVar("_T")

_logger = logging.getLogger("holdfast.workflow")

CALLBACKS_MAX = 250_000
"""How many callbacks may run for one entry: five for each of the 50,000 entries that a journal may have, 0.5 s."""
REFUSALS_MAX = 1_000
"""How often code that is being unwound may ask for something before it is left where it is."""

_running_loop = events._get_running_loop
_SHORTEST_DELAY = timedelta(microseconds=1)


class RunUnwinding(BaseException):
    """Stops code that is being unwound after its run has ended or was dropped from memory.

    Not an Exception: no handler of the user may take it for a failure and carry on.
    """


class CodeDoesNotPause(HoldfastError):
    """Workflow code went on and on without waiting for anything that could be recorded."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"its code does not pause: it {what}. Let it await a step, a sleep, a signal or a child run "
            "(asyncio.sleep(0) waits for nothing), and put what takes long into a step"
        )


# mypy takes AbstractEventLoop's methods for abstract; the ones that are refused are set below the class.
_LoopBase: Any = asyncio.AbstractEventLoop


class WorkflowLoop(_LoopBase):  # type: ignore[misc]
    """A deterministic asyncio loop: first ready, first run.

    host: where timers go. salt: kept apart per run, because asyncio holds the tasks of all loops in one set
    and equal hashes would make each lookup in it walk over the tasks of every other run.
    generators: those that the code has begun to iterate.
    mistake: what the code has called and not awaited; nothing runs after it. excused: calls that cancelled tasks
    leave behind, held so that they are not taken for such a mistake.
    is_blocking: the code of its run is plain `def`, and waits without `await`.
    is_driven: it is entered for all that is done to it, so who calls from elsewhere is a stranger.
    is_looking: a predicate of `wait_until` is being called, which must do nothing. look_again: has those called that
    are waited for, and answers whether something is ready then.
    fault: why the code cannot go on, which is no error of the code and which it may have caught.
    """

    def __init__(self, host: TimerHost, *, salt: int = 0) -> None:
        self.ready: deque[asyncio.Handle] = deque()
        self.mistake: NotAwaited | None = None
        self.excused: list[Any] = []
        self.is_quiet = False
        self.is_dead = False
        self._host = host
        self._order = (salt & 0xFF_FFFF_FFFF) << 20
        self._tasks = HeldTasks()
        self.is_guarded = False
        self.is_blocking = False
        self.is_driven = False
        self.is_looking = False
        self.look_again: Callable[[], bool] = _nothing_to_look_at
        self.fault: BaseException | None = None
        self.generators = BegunGenerators(self)
        self._is_running = False
        self._refusals = 0

    # What drives it

    def run_until_idle(self) -> None:
        """Run what is ready, and what becomes ready by that, until nothing is left.

        Raises CodeDoesNotPause when it does not come to an end. A KeyboardInterrupt from outside passes through; what
        else plain callbacks raise is logged, as asyncio does.
        """
        self.enter_and(self.run_ready)

    def stop(self) -> None:
        """Drop what is ready and run nothing any more, also within the current run_until_idle."""
        self.is_dead = True
        self.ready.clear()

    def interrupt(self, error: BaseException) -> None:
        """Remember why the code cannot go on, and stop it. From any thread."""
        self.fault = error
        self.stop()

    def break_off(self, error: BaseException) -> NoReturn:
        """Raise an error of the runtime below workflow code, and remember it, since the code may catch it."""
        self.interrupt(error)
        raise error

    def guarded(self, act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call a part of the runtime below workflow code: what it refuses is the code's, what breaks is ours."""
        try:
            return act(*args, **kwargs)
        except HoldfastError:
            raise
        except BaseException as error:  # noqa: BLE001
            self.break_off(error)

    def pending_tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended, in the order of their creation."""
        return [task for task in self._tasks.pending if not task.done()]

    def shut_down(self) -> None:
        """Say which errors nobody has heard, and close every task's coroutine: `finally` blocks run now, none later."""
        self.stop()
        for task, error in self._tasks.take_unheard():
            self._report(unheard_words(task), error, task.context)
        if self._tasks.pending or self.generators.begun:
            self.enter_and(self._close_coroutines)

    def refuse(self) -> None:
        """Raises RunUnwinding, again and again for code that catches it and tries once more.

        Returns after REFUSALS_MAX refusals, since it would never end: whatever the code awaits then never comes, so
        that it yields, and is dropped with a RuntimeError that says so.
        """
        self._refusals += 1
        if self._refusals <= REFUSALS_MAX:
            raise RunUnwinding

    def next_order(self) -> int:
        """The number of a new task or future, which is its hash."""
        self._order = order = self._order + 1
        return order

    def set_timer(
        self,
        delay: timedelta,
        callback: Callable[..., object],
        *args: Any,
        name: str = "",
        signal: str = "",
        context: Context | None = None,
    ) -> asyncio.Handle:
        """A durable timer. A delay of zero or less runs the callback soon.

        name: what the history shows. signal: the name of the one that this wait is for.
        """
        if self.is_dead:
            self.refuse()
            return self.call_soon(callback, *args, context=context)
        if self.is_looking:
            self.refuse_in_predicate("a timer")
        if delay <= timedelta(0):
            return self.call_soon(callback, *args, context=context)
        context = copy_context() if context is None else context
        timer = LoopTimer(callback, args, self, context, delay=delay, name=name, signal=signal)
        timer.host = self._host
        self._host.set_timer(timer)
        return timer

    def enter_and(self, act: Callable[..., None], *args: Any) -> None:
        """Call `act` as if no other loop ran in this thread.

        The driver is normally a plain callback of the worker's loop. When it is a task (in tests), that task
        is put aside: newer asyncio keeps one current task per thread, not per loop.
        """
        outer = _running_loop()
        outer_task = asyncio.current_task(outer) if outer is not None else None
        if outer is not None and outer_task is not None:
            asyncio.tasks._leave_task(outer, outer_task)
        hooks = sys.get_asyncgen_hooks()
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(self.generators.keep, _leave_it)
        try:
            act(*args)
        finally:
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(outer)
            if outer is not None and outer_task is not None:
                asyncio.tasks._enter_task(outer, outer_task)

    def run_ready(self) -> None:
        """What `run_until_idle` does, for who has entered the loop."""
        self._is_running = True
        try:
            self._run_ready()
            while self._goes_on() and self._has_more():
                self._run_ready()
            if len(self._tasks.pending) > 1 and self._goes_on():
                self._tasks.let_go()
        finally:
            self._is_running = False

    def _run_ready(self) -> None:
        ready = self.ready
        for _ in range(CALLBACKS_MAX):
            if not ready:
                return
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)  # type: ignore[attr-defined]
            except (SystemExit, asyncio.CancelledError):
                # A task keeps its own; the worker must not stop because a workflow called sys.exit().
                pass
            except KeyboardInterrupt:
                # The same, unless it is a person's.
                if interrupts.can_be_from_outside():
                    raise
            except BaseException as error:  # noqa: BLE001 - a callback's, which ends nothing but itself
                self.call_exception_handler({"message": "a callback of workflow code failed", "exception": error})
            if self.mistake is not None:
                # The code has gone past a call that it believes to have made: it goes no further.
                self.ready.clear()
        if ready:
            raise CodeDoesNotPause(f"ran {CALLBACKS_MAX:,} callbacks after one entry, and more were ready")

    def _has_more(self) -> bool:
        """What comes when nothing is ready: True when something is, by that."""
        return self.look_again() or bool(self.generators.begun and self.generators.close_abandoned())

    def _goes_on(self) -> bool:
        return not self.is_dead and self.mistake is None

    def _close_coroutines(self) -> None:
        for task in self._tasks.pending:
            coroutine = task.get_coro()
            if not task.done() and coroutine is not None:
                _swallow(task.context.run, coroutine.close)
        for generator, context in self.generators.take_in_rounds():
            # In the context that it was iterated in: what its `finally` asks for is asked of this run.
            _swallow(context.run, generator.aclose().send, None)
        self._tasks.clear()
        self.excused.clear()

    def thrown_away(self, coroutine: Coroutine[Any, Any, Any]) -> bool:
        """Note a call that was never awaited. True: it has been dealt with."""
        if self._goes_on():
            self.mistake = unawaited_calls.not_awaited(coroutine, can_await=not self.is_blocking)
        return True

    # What asyncio and workflow code ask of it

    def time(self) -> float:
        """Seconds since the run started, by its journal."""
        return self._host.elapsed_seconds()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = ReadyHandle(callback, args, self, copy_context() if context is None else context)
        if not self.is_dead:
            if self.is_looking:
                self.refuse_in_predicate("a callback, or what wakes another task")
            if self.is_driven and _running_loop() is not self:
                self._refuse_from_outside()
            self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if self.is_dead:
            return ReadyHandle(callback, args, self, context or Context())
        if _running_loop() is self:
            raise UnguardedCall("real I/O (loop.call_soon_threadsafe)", instead="put this in a step")
        return self._refuse_from_outside()

    @property
    def is_entered(self) -> bool:
        """True for who is called by this loop: the code of its run, and what is asked for it there."""
        return _running_loop() is self

    def refuse_from_outside(self) -> None:
        """Raise where the caller is not the code of this run. Called before anything is asked for."""
        if _running_loop() is not self:
            self._refuse_from_outside()

    def _refuse_from_outside(self) -> NoReturn:
        error = UnguardedCall(
            "a call into this run from outside of it (another run, a thread, or a future that is not this loop's)",
            instead="put what waits for it in a step, or send the run a signal",
        )
        if self.fault is None:
            self.fault = error
        raise error

    def refuse_strangers(self) -> NoReturn:
        """Raise for code of this run that has lost its context, and so the run: nothing of it would be recorded."""
        if self.is_dead:
            raise RunUnwinding
        raise UnguardedCall(
            "a call without the context of its run (as in contextvars.Context().run, or context=Context())",
            instead="keep the context that the code was called with, or make the new one with copy_context()",
        )

    def refuse_in_predicate(self, what: str) -> NoReturn:
        """Raise for what a predicate of `wait_until` asks for: how often it is called is nobody's business."""
        raise UnguardedCall(
            f"{what} in the predicate of wait_until",
            instead="let the predicate look at variables only, and do this before or after the wait",
        )

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.set_timer(_span(delay), callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.set_timer(_span(when - self.time()), callback, *args, context=context)

    def create_future(self) -> WorkflowFuture[Any]:
        return WorkflowFuture(self)

    def create_task(
        self,
        coroutine: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        **_options: Any,
    ) -> WorkflowTask[Any]:
        """A task for a coroutine."""
        if not asyncio.iscoroutine(coroutine):
            raise TypeError(f"a coroutine was expected, got {coroutine!r}")
        if self.is_dead:
            coroutine.close()
            self.refuse()
            coroutine = _never(self.create_future())
        if self.is_looking:
            coroutine.close()
            self.refuse_in_predicate("a task")
        task: WorkflowTask[Any] = WorkflowTask(coroutine, self, name, copy_context() if context is None else context)
        self._tasks.hold(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log what asyncio reports, except in a replay, after the end, and of what was cancelled on purpose."""
        if self.is_dead:
            return
        message, future = context.get("message", ""), context.get("future")
        if future is not None:
            message = unheard_words(future)
        self._report(message, context.get("exception"), getattr(future, "context", None))

    def _report(self, message: str, error: BaseException | None, context: Context | None) -> None:
        if not self.is_quiet and not isinstance(error, (asyncio.CancelledError, RunUnwinding)):
            # In the context of the task, so that the record says whose it is.
            (copy_context() if context is None else context).run(_log_error, message, error)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def is_running(self) -> bool:
        return self._is_running

    def is_closed(self) -> bool:
        return self.is_dead


def _refusal(name: str) -> Callable[..., NoReturn]:
    instead = "put this in a step"
    if name == "run_in_executor":
        words = "work in another thread (asyncio.to_thread, loop.run_in_executor)"
    elif name.startswith("run_") or name in ("close", "shutdown_asyncgens", "shutdown_default_executor"):
        words = f"loop.{name}"
    elif name.startswith("set_"):
        words = f"loop.{name}"
        instead = "leave it out, since each run has a loop of its own, with settings of its own"
    else:
        words = f"real I/O (loop.{name})"

    def refuse(self: WorkflowLoop, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise UnguardedCall(words, instead=instead)

    refuse.__name__ = name
    return refuse


def _refuse_the_rest(names: Iterable[str]) -> None:
    for name in names:
        if not name.startswith("_") and name not in vars(WorkflowLoop):
            setattr(WorkflowLoop, name, _refusal(name))


_refuse_the_rest(dir(asyncio.AbstractEventLoop))
redirection.replace_in_asyncio(WorkflowLoop)
unawaited_calls.report_to_loops()


def _nothing_to_look_at() -> bool:
    return False


def _span(seconds: float) -> timedelta:
    """A delay as a timedelta, at least one microsecond when it is above zero."""
    if seconds <= 0:
        return timedelta(0)
    if not seconds <= SPAN_MAX.total_seconds():
        raise ValueError(f"a delay of {seconds} seconds is longer than the limit of ten years")
    return timedelta(seconds=seconds) or _SHORTEST_DELAY


def _log_error(message: str, error: BaseException | None) -> None:
    _logger.error("%s", message, exc_info=error)


def _leave_it(_: AsyncGenerator[Any, Any]) -> None:
    """What becomes of a generator that outlived its loop: nothing, it cannot run any more."""


def _swallow(act: Callable[..., object], *args: Any) -> None:
    """Call what unwinds code whose run is over; an error has no caller left that it could reach."""
    try:
        act(*args)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and interrupts.can_be_from_outside():
            raise


async def _never(future: asyncio.Future[Any]) -> Any:
    return await future
