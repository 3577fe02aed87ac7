"""The processes of a ProcessPoolExecutor, and what becomes of calls when one of them dies.

A pool whose process was killed is broken for good: it fails all its calls, and every later one at once. Here the
calls that ran in it count as lost, and another pool takes its place. Only as many calls are given to a pool as it has
processes; the others wait here, where a death does not reach them. A call whose process has died runs in a pool of
its own the next time, so that one that kills its process takes no other with it again.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from holdfast.errors import HoldfastError

log = logging.getLogger("holdfast.worker")

SUSPECTS_MAX = 10_000

Submit = Callable[[ProcessPoolExecutor], "Future[Any]"]
"""Gives one call to a pool."""


class ProcessLost(HoldfastError):
    """The process that ran the call died with it. It says nothing about the call: memory, a signal, a crash in C."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the process of the pool that ran the step died: {reason}")


def check_executor(executor: Executor | None) -> None:
    """Raises ValueError for an executor whose processes are forked, which gRPC does not survive."""
    context = getattr(executor, "_mp_context", None)
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "the processes of this executor are forked, and a fork of a process that uses gRPC hangs or crashes; let "
            'it start them anew: ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))'
        )


@dataclass(slots=True, eq=False)
class _Call:
    """A call and its result to come. pool: where it is now."""

    key: str
    submit: Submit
    result: "Future[Any]" = field(default_factory=Future)
    pool: ProcessPoolExecutor | None = None
    is_alone: bool = False
    is_abandoned: bool = False


class ProcessPools:
    """Runs calls in the pool given, or in those that take its place. Thread-safe, as Executor.submit is.

    pool: of the program around the worker, which may shut it down; those made here end with `shutdown`.
    """

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._own: set[ProcessPoolExecutor] = set()
        self._lock = threading.RLock()
        self._waiting: deque[_Call] = deque()
        self._running: dict[Future[Any], _Call] = {}
        self._suspects: dict[str, None] = {}
        self._closed = False

    def submit(self, key: str, submit: Submit) -> "Future[Any]":
        """The result to come of a call. key: what the call is for, the same when it is repeated."""
        call = _Call(key, submit)
        with self._lock:
            if self._closed:
                raise RuntimeError("the worker's pool is shut down")
            self._waiting.append(call)
        self._start_some()
        return call.result

    def abandon(self, result: "Future[Any]") -> None:
        """The result of this call is no longer awaited. When all processes are held by such calls, they are killed."""
        with self._lock:
            call = self._running.get(result)
            if call is None or call.pool is None:
                return
            call.is_abandoned = True
            pool = call.pool
            there = [one for one in self._running.values() if one.pool is pool]
            if not all(one.is_abandoned for one in there) or len(there) < _size(pool):
                return
        log.error("all %d process(es) of the pool run calls that are no longer awaited; they are killed", len(there))
        for process in list((pool._processes or {}).values()):
            process.kill()

    def shutdown(self) -> None:
        """Takes no more calls, and ends the pools that were made here. Waits for none of them."""
        with self._lock:
            self._closed = True
            own, waiting = self._own, self._waiting
            self._own, self._waiting = set(), deque()
        for call in waiting:
            call.result.cancel()
        for pool in own:
            pool.shutdown(wait=False, cancel_futures=True)

    def _start_some(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or len(self._running) >= _size(self._pool):
                    return
                call = self._waiting.popleft()
                if not call.result.set_running_or_notify_cancel():
                    continue
                self._running[call.result] = call
            error = self._start(call)
            if error is not None:
                self._forget(call)
                call.result.set_exception(error)

    def _start(self, call: _Call) -> BaseException | None:
        """Gives a call to a pool; the error that keeps it from beginning."""
        call.is_alone = call.key in self._suspects
        error: BaseException | None = None
        for _ in range(2):
            call.pool = pool = self._another(self._pool, processes=1) if call.is_alone else self._pool
            try:
                future = call.submit(pool)
            except BrokenExecutor as broken:
                # It died with others, or while nothing ran: this call has not begun, and the next pool may take it.
                error = ProcessLost(str(broken))
                self._replace(pool)
            except BaseException as refused:  # noqa: BLE001 - a pool that is shut down
                return refused
            else:
                future.add_done_callback(lambda done: self._done(call, done))
                return None
        return error

    def _done(self, call: _Call, done: "Future[Any]") -> None:
        error: BaseException | None = ProcessLost("its pool was shut down") if done.cancelled() else done.exception()
        assert call.pool is not None
        if isinstance(error, BrokenExecutor):
            error = ProcessLost(str(error))
            with self._lock:
                if not call.is_abandoned:
                    self._suspects[call.key] = None
                if len(self._suspects) > SUSPECTS_MAX:
                    del self._suspects[next(iter(self._suspects))]
            self._replace(call.pool)
        elif call.is_alone:
            with self._lock:
                self._suspects.pop(call.key, None)
        if call.is_alone:
            with self._lock:
                self._own.discard(call.pool)
            call.pool.shutdown(wait=False)
        self._forget(call)
        if error is not None:
            call.result.set_exception(error)
        else:
            call.result.set_result(done.result())
        self._start_some()

    def _forget(self, call: _Call) -> None:
        with self._lock:
            self._running.pop(call.result, None)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is not broken or self._closed:
                return
            self._own.discard(broken)
            self._pool = self._another(broken)
        log.error("a process of the pool for plain functions died; another pool takes the place of this one")
        broken.shutdown(wait=False)

    def _another(self, like: ProcessPoolExecutor, *, processes: int | None = None) -> ProcessPoolExecutor:
        """A pool as the one given. What it was made with is not public, and has had these names since Python 3.9."""
        given: Any = like
        options: dict[str, Any] = {
            "max_workers": processes or _size(like),
            "mp_context": given._mp_context,
            "initializer": given._initializer,
            "initargs": given._initargs,
        }
        tasks_max = getattr(given, "_max_tasks_per_child", None)
        if tasks_max is not None:
            options["max_tasks_per_child"] = tasks_max
        made = ProcessPoolExecutor(**options)
        with self._lock:
            self._own.add(made)
        return made


def _size(pool: Any) -> int:
    count: int = pool._max_workers
    return count
