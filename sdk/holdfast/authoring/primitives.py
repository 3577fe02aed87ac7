"""What workflow code calls besides steps: sleep, receive, on_signal, wait_until, now, random, uuid4, current_run, ...

Inside a run each asks the runtime and is durable. Outside, those that make sense are ordinary Python. What waits is
awaited in `async` code, and called without `await` in plain `def` workflows.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Token
from datetime import UTC, datetime, timedelta
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from holdfast.authoring.starter import has_running_loop
from holdfast.definitions.functions import described, is_async, is_awaitable
from holdfast.definitions.options import checked_name
from holdfast.durations import Duration, parse_duration, parse_moment
from holdfast.limits import NOTE_LEVELS
from holdfast.workflow.current_run import RunInfo, WorkflowRuntime, guards_are_off, runtime_here
from holdfast.workflow.styles import in_both_styles, in_style, result_of

# A module that defines workflows needs none of these: what they are for imports them.
if TYPE_CHECKING:
    import random as _random
    import uuid as _uuid

    from holdfast.workflow.result_or_call import ResultOrCall

NoteLevel = Literal["debug", "info", "warning", "error"]
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
Concurrent = Awaitable[T] | Callable[[], T]
"""What `parallel` takes: a call to await, or a function of workflow code."""
H = TypeVar("H", bound=Callable[..., object])


@in_both_styles
async def sleep(until: Duration | datetime, /, name: str = "") -> None:
    """Sleeps for a duration or until an instant; a naive datetime is UTC, a past one returns at once.

    Inside a run the sleep is durable, and `name` shows what it is for. Outside it is an ordinary sleep.
    Raises ValueError naming the accepted forms.
    """
    moment = parse_moment(until)
    runtime = runtime_here()
    if runtime is not None:
        if isinstance(moment, datetime):
            await runtime.sleep(None, moment, name)
        else:
            await runtime.sleep(moment, None, name)
        return
    import asyncio

    span = moment - datetime.now(UTC) if isinstance(moment, datetime) else moment
    await asyncio.sleep(max(span, timedelta(0)).total_seconds())


@overload
def receive(name: str, type: type[T], *, timeout: Duration | None = None) -> "ResultOrCall[T]": ...
@overload
def receive(name: str, type: Any = Any, *, timeout: Duration | None = None) -> "ResultOrCall[Any]": ...
@in_both_styles
async def receive(name: str, type: Any = Any, *, timeout: Duration | None = None) -> Any:
    """Waits for the next signal of this name and returns its payload as `type`.

    Raises TimeoutError when none came within `timeout`, and RuntimeError outside a run.
    """
    checked_name("receive", "name", name)
    span = None if timeout is None else parse_duration(timeout)
    return await _runtime("receive").receive(name, type, span)


def on_signal(name: str) -> Callable[[H], H]:
    """Lets a function inside the workflow function take the signals of one name: `@holdfast.on_signal("add")`.

    The function, `def` or `async def`, gets the payload as its parameter is annotated; one without parameters takes
    signals without payload. What does not fit is set aside, as by `receive`. Signals that arrived before come first.
    They begin in the order of arrival; an `async` handler that waits lets the next one begin. The run ends when its
    function and the handlers that have begun have ended: if one of them fails the others are cancelled, as in a
    TaskGroup, and the run fails with that error.
    Raises RuntimeError outside a run, and for a name that has a handler or is waited for by `receive`.
    """
    if not isinstance(name, str):
        raise TypeError(f'on_signal takes the name of the signal, as in @holdfast.on_signal("add"), not {name!r}')
    checked_name("on_signal", "name", name)
    runtime = _runtime("on_signal")

    def register(function: H) -> H:
        runtime.on_signal(name, function)
        return function

    return register


@in_both_styles
async def wait_until(predicate: Callable[[], object], *, timeout: Duration | None = None) -> None:
    """Waits until `predicate()` is true: `await wait_until(lambda: len(items) >= 3, timeout="1h")`.

    It is looked at once now, and again whenever anything has made the code of the run go on: a result, a signal, a
    timer. When this returns the predicate holds. It is a plain function over the variables of the workflow that
    changes nothing: one that asks for a step, a timer or a random number raises UnguardedCall here, and what it raises
    itself is raised here. Raises TimeoutError after `timeout`, and RuntimeError outside a run.
    """
    if not callable(predicate):
        raise TypeError(f"wait_until: the predicate is a function without parameters, not {predicate!r}")
    if is_async(predicate):
        raise TypeError(
            f"wait_until: the predicate {described(predicate)} is async; it is a plain function that looks at "
            "variables of the workflow: await elsewhere, and keep what came of it in one of them"
        )
    span = None if timeout is None else parse_duration(timeout)
    await _runtime("wait_until").wait_until(predicate, span)


def note(text: str, *, level: NoteLevel = "info", **facts: Any) -> None:
    """Writes a line into the history of the run, its trace and the log: `note("approved", by="Ada")`.

    A replay writes none of it again; code may gain and lose notes under open runs. facts: what goes with it, stored
    with the note as JSON; the trace has the text alone. The logger is `holdfast.notes`; outside a run, inside a step
    too, the line is in the log only. text: what is longer than 2,000 characters is cut in history and trace.
    Raises ValueError for a level that there is not, PayloadNotSerializable or PayloadTooLarge for the facts.
    """
    if not isinstance(text, str) or not text:
        raise ValueError(f"note: the text is a text of at least one character, not {text!r}")
    if level not in NOTE_LEVELS:
        raise ValueError(f"note: level is one of {', '.join(NOTE_LEVELS)}, not {level!r}")
    runtime = runtime_here()
    if runtime is not None:
        runtime.note(text, level, facts)
    import logging

    # What replayed code logs is dropped on its way, as all that it logs.
    shown = ", ".join(f"{name}={value!r}" for name, value in facts.items())
    logging.getLogger("holdfast.notes").log(
        logging.getLevelName(level.upper()), "%s%s", text, f" ({shown})" if shown else ""
    )


def patched(change_id: str) -> bool:
    """Whether this run goes the new way of a change: `if holdfast.patched("ask-twice"): ...`.

    Lets code be changed under open runs. True in runs that come here for the first time with the changed code, which
    the history then shows; False in those that have passed here before it. The answer for a change is the same
    throughout a run. When no run is open that began before the change, question and old way can be removed together.
    change_id: at most 200 characters. Raises RuntimeError outside a run.
    """
    checked_name("patched", "change_id", change_id)
    return _runtime("patched").patched(change_id)


def publish(key: str, value: Any) -> None:
    """Lets anybody read a value of the run: `publish("progress", 0.5)`, and `await handle.get("progress")` elsewhere.

    It replaces what the run has published under this key before, stays when the run is closed, and is there once what
    the code does next is committed. A replay publishes nothing again. key: at most 200 characters.
    Raises PayloadNotSerializable or PayloadTooLarge for the value, RuntimeError outside a run.
    """
    checked_name("publish", "key", key)
    _runtime("publish").publish(key, value)


def now() -> datetime:
    """The time as an aware UTC datetime; inside a run the same on every replay."""
    runtime = runtime_here()
    return datetime.now(UTC) if runtime is None else runtime.now()


def random() -> "_random.Random":
    """A source of random numbers: `random().choice(...)`; inside a run the same on every replay."""
    runtime = runtime_here()
    return _outside() if runtime is None else runtime.random


def uuid4() -> "_uuid.UUID":
    """A random UUID; inside a run the same on every replay."""
    runtime = runtime_here()
    if runtime is not None:
        return runtime.uuid4()
    import uuid

    return uuid.uuid4()


def current_run() -> RunInfo:
    """The run that this code belongs to. Raises RuntimeError outside a run."""
    return _runtime("current_run").info


@in_both_styles
async def shield(call: Awaitable[T] | Callable[[], T], /) -> T:
    """Waits for something that goes on when the waiting code is cancelled, as asyncio.shield does.

    call: what asyncio.shield takes, as `refund.call(receipt)`; or a function of workflow code without parameters.
    """
    import asyncio

    return await asyncio.shield(call if is_awaitable(call) else result_of(call))  # type: ignore[arg-type]


@overload
def parallel(first: "Concurrent[T1]", /) -> "ResultOrCall[tuple[T1]]": ...
@overload
def parallel(first: "Concurrent[T1]", second: "Concurrent[T2]", /) -> "ResultOrCall[tuple[T1, T2]]": ...
@overload
def parallel(
    first: "Concurrent[T1]", second: "Concurrent[T2]", third: "Concurrent[T3]", /
) -> "ResultOrCall[tuple[T1, T2, T3]]": ...
@overload
def parallel(
    first: "Concurrent[T1]", second: "Concurrent[T2]", third: "Concurrent[T3]", fourth: "Concurrent[T4]", /
) -> "ResultOrCall[tuple[T1, T2, T3, T4]]": ...
@overload
def parallel(*calls: "Concurrent[T]") -> "ResultOrCall[tuple[T, ...]]": ...
def parallel(*calls: Any) -> Any:
    """Has several calls at work at once: `pdf, sent = holdfast.parallel(render.call(order), notify.call(order))`.

    Gives their results in their order. The first failure cancels the others, as in a TaskGroup, and is raised itself
    when they have ended.
    calls: of steps and workflows, `f.call(x)`; in `async` code whatever can be awaited; or functions of workflow code
    without parameters, which may do several things one after the other. Raises TypeError for anything else.
    """
    # Imported here: a module that defines steps needs no asyncio.
    from holdfast.authoring.maps import results_of_all

    for place, call in enumerate(calls, start=1):
        if not (is_awaitable(call) or callable(call)):
            for one in calls:
                if hasattr(one, "close"):
                    one.close()
            raise TypeError(
                f"parallel: argument {place} is {call!r:.100}, and no call: in plain `def` code write f.call(x), "
                "since f(x) is the result there, or give a function without parameters"
            )
    made: Any = results_of_all(calls)
    made.__qualname__ = "parallel"
    return in_style(made)


class timeout:
    """Limits how long its block may take: `with holdfast.timeout("5s"):`, in `async` code with `async with` too.

    What the block waits for then is cancelled, and the block raises TimeoutError. In a run the time is that of its
    journal, so that it is the same in every replay. For workflow code, and whatever else an event loop runs.
    limit: a duration; None is no limit.
    """

    __slots__ = ("_entered", "_seconds")

    def __init__(self, limit: Duration | None) -> None:
        self._seconds = None if limit is None else parse_duration(limit).total_seconds()
        self._entered: Any = None

    def __enter__(self) -> Self:
        import asyncio

        if self._entered is not None:
            raise RuntimeError("a timeout is entered once; make one for each `with`")
        entered = asyncio.timeout(self._seconds)
        if not has_running_loop():
            raise RuntimeError(
                "timeout() works in workflow code, and elsewhere where an event loop runs: in a step, give the step a "
                "timeout, or what it calls"
            )
        _without_waiting(entered.__aenter__())
        self._entered = entered
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _without_waiting(self._entered.__aexit__(kind, error, traceback))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def expired(self) -> bool:
        """Whether the time was over before the block ended."""
        return self._entered is not None and bool(self._entered.expired())


def _without_waiting(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Runs a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError("asyncio.timeout waits where it never did")


class unguarded:
    """Lets workflow code make calls that are refused elsewhere in it: `with holdfast.unguarded():`.

    For what does no harm when a replay does it again with another outcome. Outside of a run it does nothing.
    """

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(guards_are_off.set(True))

    def __exit__(self, *_: object) -> None:
        guards_are_off.reset(self._tokens.pop())


def _runtime(call: str) -> WorkflowRuntime:
    runtime = runtime_here()
    if runtime is None:
        raise RuntimeError(
            f"{call}() works inside a run only: call it from workflow code that a worker runs, "
            "or try the workflow with holdfast.testing.run_local"
        )
    return runtime


@cache
def _outside() -> "_random.Random":
    import random

    return random.Random()
