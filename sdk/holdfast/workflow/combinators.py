"""asyncio's combinators as workflow code gets them: the same order of events on every Python, whatever is combined.

CPython changed `gather`, `wait_for`, `as_completed` and TaskGroup between 3.11 and 3.14, so a journal of one version
would not replay on another. Here they are once, as Python 3.13 has them; where asyncio iterates over a set, these go in
the order in which things were given. `redirection` leads asyncio's own functions here.

It must never do anything that the loop does not decide.
"""

import asyncio
import inspect
from asyncio import events
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from typing import Any, NoReturn

from holdfast.errors import UnguardedCall
from holdfast.workflow.ordered_sets import ordered_set
from holdfast.workflow.tasks import WorkflowFuture

_ALL_COMPLETED, _FIRST_COMPLETED, _FIRST_EXCEPTION = (
    asyncio.ALL_COMPLETED,
    asyncio.FIRST_COMPLETED,
    asyncio.FIRST_EXCEPTION,
)


class Gathering(WorkflowFuture[list[Any]]):
    """What `asyncio.gather` returns: the results of its children, in their order."""

    __slots__ = ("_children", "_is_cancelled", "_left", "_returns_exceptions")

    def __init__(self, loop: Any, children: list[Any], *, returns_exceptions: bool) -> None:
        super().__init__(loop)
        self._children = children
        self._returns_exceptions = returns_exceptions
        self._is_cancelled = False
        self._left = len(set(children))

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        cancelled = [child.cancel(msg=msg) for child in self._children]
        if any(cancelled):
            # When it is over it raises CancelledError, also with return_exceptions.
            self._is_cancelled = True
            return True
        return False

    def child_done(self, child: Any) -> None:
        self._left -= 1
        if self.done():
            if not child.cancelled():
                child.exception()  # it counts as retrieved
            return
        if not self._returns_exceptions:
            error = _error_of(child)
            if error is not None:
                self.set_exception(error)
                return
        if self._left == 0:
            if self._is_cancelled:
                self.set_exception(child._make_cancelled_error())
            else:
                self.set_result([_outcome_of(one) for one in self._children])
            self._children = []


def _error_of(child: Any) -> BaseException | None:
    error: BaseException | None = child._make_cancelled_error() if child.cancelled() else child.exception()
    return error


def _outcome_of(child: Any) -> Any:
    if child.cancelled():
        message = child._cancel_message
        return asyncio.CancelledError("" if message is None else message)
    error = child.exception()
    return child.result() if error is None else error


def gather(*coros_or_futures: Any, return_exceptions: bool = False) -> "asyncio.Future[list[Any]]":
    """asyncio.gather."""
    loop: Any = events.get_running_loop()
    if loop.is_blocking:
        _refuse_without_await("asyncio.gather", coros_or_futures)
    if not coros_or_futures:
        empty: asyncio.Future[list[Any]] = loop.create_future()
        empty.set_result([])
        return empty
    made: dict[Any, Any] = {}
    for one in coros_or_futures:
        if one not in made:
            child = made[one] = asyncio.ensure_future(one, loop=loop)
            if child is not one:
                child._log_destroy_pending = False
    outer = Gathering(loop, [made[one] for one in coros_or_futures], returns_exceptions=return_exceptions)
    for child in dict.fromkeys(made.values()):
        if child.done():
            outer.child_done(child)
        else:
            child.add_done_callback(outer.child_done)
    return outer


def _refuse_without_await(call: str, given: Iterable[Any]) -> None:
    """Raise for plain `def` code, which would go on with something to await in the place of results."""
    from holdfast.workflow.blocking_code import blocking_code_here

    if blocking_code_here() is None:
        return
    for one in given:
        if asyncio.iscoroutine(one):
            one.close()
    raise UnguardedCall(
        f"{call} in plain `def` code, which cannot await what it gives",
        instead="use holdfast.parallel(f.call(x), g.call(y))",
    )


async def wait_for(fut: Any, timeout: float | None) -> Any:
    """asyncio.wait_for."""
    if fut is not None and not asyncio.isfuture(fut) and not asyncio.iscoroutine(fut):
        fut = _awaited(fut)
    if timeout is not None and timeout <= 0:
        fut = asyncio.ensure_future(fut)
        if fut.done():
            return fut.result()
        await _cancel_and_wait(fut)
        try:
            return fut.result()
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    async with asyncio.timeout(timeout):
        return await fut


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _cancel_and_wait(fut: "asyncio.Future[Any]") -> None:
    waiter = asyncio.get_running_loop().create_future()

    def release(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    fut.add_done_callback(release)
    try:
        fut.cancel()
        await waiter
    finally:
        fut.remove_done_callback(release)


async def wait(
    fs: Iterable[Any], *, timeout: float | None = None, return_when: str = _ALL_COMPLETED
) -> tuple[set[Any], set[Any]]:
    """asyncio.wait."""
    if asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
        raise TypeError(f"expect an iterable of futures, not {type(fs).__name__}")
    given = list(dict.fromkeys(fs))
    if not given:
        raise ValueError("Set of Tasks/Futures is empty.")
    if return_when not in (_ALL_COMPLETED, _FIRST_COMPLETED, _FIRST_EXCEPTION):
        raise ValueError(f"Invalid return_when value: {return_when}")
    if any(asyncio.iscoroutine(one) for one in given):
        raise TypeError("Passing coroutines is forbidden, use tasks explicitly.")
    loop = asyncio.get_running_loop()
    if any(one.get_loop() is not loop for one in given):
        raise ValueError("The future belongs to a different loop than the one of this run")
    waiter = loop.create_future()
    handle = None if timeout is None else loop.call_later(timeout, _release, waiter)
    left = len(given)

    def completed(one: "asyncio.Future[Any]") -> None:
        nonlocal left
        left -= 1
        failed = return_when == _FIRST_EXCEPTION and not one.cancelled() and one.exception() is not None
        if left <= 0 or return_when == _FIRST_COMPLETED or failed:
            if handle is not None:
                handle.cancel()
            _release(waiter)

    for one in given:
        one.add_done_callback(completed)
    try:
        await waiter
    finally:
        if handle is not None:
            handle.cancel()
        for one in given:
            one.remove_done_callback(completed)
    return ordered_set(one for one in given if one.done()), ordered_set(one for one in given if not one.done())


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class as_completed(AsyncIterator[Any], Iterator[Any]):
    """asyncio.as_completed: with `for` a coroutine for each next result, with `async for` the futures themselves."""

    def __init__(self, fs: Iterable[Any], *, timeout: float | None = None) -> None:
        if inspect.isawaitable(fs):
            raise TypeError(f"expects an iterable of awaitables, not {type(fs).__name__}")
        loop: Any = asyncio.get_running_loop()
        if loop.is_blocking:
            fs = list(fs)
            _refuse_without_await("asyncio.as_completed", fs)
        # By the order in which they are given: they are started here.
        futures = [asyncio.ensure_future(one, loop=loop) for one in dict.fromkeys(fs)]
        self._todo: dict[asyncio.Future[Any], None] = dict.fromkeys(futures)
        self._left = len(self._todo)
        self._done: deque[asyncio.Future[Any] | None] = deque()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._timeout = None
        for one in self._todo:
            one.add_done_callback(self._completed)
        if self._todo and timeout is not None:
            self._timeout = loop.call_later(timeout, self._time_out)

    def __iter__(self) -> "as_completed":
        return self

    def __next__(self) -> Coroutine[Any, Any, Any]:
        if not self._left:
            raise StopIteration
        self._left -= 1
        return self._next_result()

    def __aiter__(self) -> "as_completed":
        return self

    async def __anext__(self) -> "asyncio.Future[Any]":
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return await self._next_done()

    async def _next_result(self) -> Any:
        return (await self._next_done()).result()

    async def _next_done(self) -> "asyncio.Future[Any]":
        while not self._done:
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except BaseException:
                if getter in self._getters:
                    self._getters.remove(getter)
                elif self._done:
                    self._wake_one()
                raise
        found = self._done.popleft()
        if found is None:
            raise TimeoutError
        return found

    def _completed(self, one: "asyncio.Future[Any]") -> None:
        if one not in self._todo:
            return
        del self._todo[one]
        self._done.append(one)
        self._wake_one()
        if not self._todo and self._timeout is not None:
            self._timeout.cancel()

    def _time_out(self) -> None:
        for one in self._todo:
            one.remove_done_callback(self._completed)
            self._done.append(None)
            self._wake_one()
        self._todo.clear()

    def _wake_one(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return


def wrap_future(future: Any, *, loop: Any = None) -> NoReturn:
    """asyncio.wrap_future, which lets a thread decide when code goes on."""
    raise UnguardedCall("asyncio.wrap_future", instead="wait for what another thread does in a step")


# A TaskGroup keeps its state in asyncio's own attributes, the same on every Python.


async def leave_group(self: Any, et: type[BaseException] | None, exc: BaseException | None, _tb: object) -> None:
    self._exiting = True
    if exc is not None and isinstance(exc, (SystemExit, KeyboardInterrupt)) and self._base_error is None:
        self._base_error = exc
    is_cancelled = et is not None and issubclass(et, asyncio.CancelledError)
    cancelled = exc if is_cancelled else None
    if et is not None and not self._aborting:
        self._abort()
    while self._tasks:
        if self._on_completed_fut is None:
            self._on_completed_fut = self._loop.create_future()
        try:
            await self._on_completed_fut
        except asyncio.CancelledError as error:
            if not self._aborting:
                cancelled = error
                self._abort()
        self._on_completed_fut = None
    if self._base_error is not None:
        raise self._base_error
    if self._parent_cancel_requested and self._parent_task.uncancel() == 0:
        cancelled = None
    try:
        if cancelled is not None and not self._errors:
            raise cancelled
        if exc is not None and not is_cancelled:
            self._errors.append(exc)
        if self._errors:
            if self._parent_task.cancelling():
                # Somebody else has cancelled the parent too: that is raised at its next wait.
                self._parent_task.uncancel()
                self._parent_task.cancel()
            raise BaseExceptionGroup("unhandled errors in a TaskGroup", self._errors) from None
    finally:
        self._errors = None


def create_in_group(self: Any, coro: Any, *, name: str | None = None, context: Any = None) -> Any:
    problem = ""
    if not self._entered:
        problem = "has not been entered"
    elif self._exiting and not self._tasks:
        problem = "is finished"
    elif self._aborting:
        problem = "is shutting down"
    if problem:
        coro.close()
        raise RuntimeError(f"TaskGroup {self!r} {problem}")
    task = self._loop.create_task(coro, name=name, context=context)
    self._tasks.add(task)
    task.add_done_callback(self._on_task_done)
    return task
