"""What code of steps and runs cannot do to the process and the loop that others run on too.

A signal that a process sends to itself looks like one from outside: a worker that takes it drains in good order, no
loss is counted, and the next worker gets the same code. So the call that sends it is refused where it is made, and so
is what takes the loop, its tasks or the interpreter's limits from everybody. Whose code it is, its context says, or
the thread that it has started. The code around workers may do all of it, and a signal from outside is never touched.

Native code is out of reach, and so is what a process of a step's does.
"""

import _thread
import asyncio
import concurrent.futures.thread
import contextlib
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from holdfast.errors import HoldfastError
from holdfast.worker.imported_names import exchange_imported_names
from holdfast.worker.log_facts import AttemptFacts, attempt_of, current_attempt
from holdfast.workflow.current_run import current_runtime

log = logging.getLogger("holdfast.worker")

DRAINS = frozenset((signal.SIGTERM, signal.SIGINT))
ANY: frozenset[int] = frozenset()
_POOL_THREAD = concurrent.futures.thread._worker
"""What threads of a ThreadPoolExecutor run."""
LOOP_METHODS = {
    **dict.fromkeys(("stop", "close", "shutdown_default_executor", "shutdown_asyncgens", "set_task_factory"), ANY),
    **dict.fromkeys(("add_signal_handler", "remove_signal_handler"), DRAINS),
}
"""What of a loop is shielded, and for which first arguments alone."""


class ProcessIsShared(HoldfastError):
    """Code of a step or a run asked for what would reach everybody in its process. Nothing was done."""

    def __init__(self, call: str) -> None:
        super().__init__(
            f"{call} would be for all that run in this process, and they are others' too; to end this alone, return "
            "or raise"
        )
        self.call = call


_installed = threading.Lock()
_is_installed = False
_worker_pid = 0
_threads: WeakKeyDictionary[threading.Thread, AttemptFacts] = WeakKeyDictionary()
_pool_threads: WeakKeyDictionary[threading.Thread, AttemptFacts] = WeakKeyDictionary()
"""Threads that an attempt has made a pool start: while it runs, what they do is taken for its own."""
_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, int] = WeakKeyDictionary()
"""How many workers each has."""


@contextlib.contextmanager
def shielded(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """What is shared is shielded, and so is this loop in this block. Blocks of one loop may overlap."""
    install()
    workers = _loops[loop] = _loops.get(loop, 0) + 1
    if workers == 1:
        for name, only_for in LOOP_METHODS.items():
            setattr(loop, name, _of_loop(getattr(loop, name), name, only_for=only_for))
    try:
        yield
    finally:
        _loops[loop] -= 1
        if not _loops[loop]:
            del _loops[loop]
            for name in LOOP_METHODS:
                with contextlib.suppress(AttributeError):  # someone has put back what was there
                    delattr(loop, name)


def refuse(call: str) -> None:
    """Raise ProcessIsShared in code of a step or a run."""
    whose = _whose_code()
    if whose:
        log.error("%s was refused to %s: it would be for all that run in this process", call, whose)
        raise ProcessIsShared(call)


def _whose_code() -> str:
    attempt = _attempt_here()
    if attempt is not None:
        return str(attempt)
    runtime = current_runtime.get()
    return "" if runtime is None else f"run {runtime.info.run_id}"


def install() -> None:
    """Put the shields in place, once for the process, which is from now on that of the worker."""
    global _is_installed, _worker_pid
    with _installed:
        _worker_pid = os.getpid()
        if not _is_installed:
            _is_installed = True
            exchanged = {}
            for owners, name, shield in _shields():
                original = getattr(owners[0], name, None)
                if original is None:
                    continue  # this system does not have it
                shielding = functools.update_wrapper(functools.partial(shield, original), original)
                exchanged[id(original)] = original, shielding
                for owner in owners:
                    setattr(owner, name, shielding)
            exchange_imported_names(exchanged)
            threading.Thread.start = _start_noted(threading.Thread.start)  # type: ignore[method-assign, assignment]


def _shields() -> list[tuple[tuple[Any, ...], str, Callable[..., Any]]]:
    """What is exchanged: where it is, its name, and what is called with it in its place."""
    return [
        ((os,), "kill", _kill),
        ((os,), "killpg", _killpg),
        ((signal,), "raise_signal", _raise_signal),
        ((signal,), "pthread_kill", _pthread_kill),
        ((_thread,), "interrupt_main", _interrupt_main),
        ((signal,), "signal", _signal),
        ((os,), "closerange", _closerange),
        ((sys,), "setrecursionlimit", _setrecursionlimit),
        ((asyncio, asyncio.tasks), "all_tasks", _all_tasks),
    ]


# Signals


def _kill(original: Any, pid: int, number: int, /) -> None:
    if number in DRAINS and pid in _pids_of_the_worker():
        refuse(f"os.kill({pid}, {signal.Signals(number).name})")
    original(pid, number)


def _killpg(original: Any, group: int, number: int, /) -> None:
    if number in DRAINS and group in (0, os.getpgrp()):
        refuse(f"os.killpg({group}, {signal.Signals(number).name})")
    original(group, number)


def _raise_signal(original: Any, number: int, /) -> None:
    if number in DRAINS and os.getpid() == _worker_pid:
        refuse(f"signal.raise_signal({signal.Signals(number).name})")
    original(number)


def _pthread_kill(original: Any, thread: int, number: int, /) -> None:
    if number in DRAINS and os.getpid() == _worker_pid:
        refuse(f"signal.pthread_kill(..., {signal.Signals(number).name})")
    original(thread, number)


def _interrupt_main(original: Any, number: int = signal.SIGINT, /) -> None:
    if number in DRAINS and os.getpid() == _worker_pid:
        refuse("_thread.interrupt_main()")
    original(number)


def _pids_of_the_worker() -> tuple[int, ...]:
    """What `kill` takes for it: itself, its group, and its parent, which may be that of several workers.

    In a child that was forked of it, not the child: that may end itself.
    """
    group = (0, -1, -os.getpgrp())
    return (_worker_pid, os.getppid(), *group)


def _signal(original: Any, number: int, handler: Any) -> Any:
    # A handler in Python leaves the worker's way of seeing signals as it is; these two do not.
    if number in DRAINS and handler in (signal.SIG_DFL, signal.SIG_IGN) and os.getpid() == _worker_pid:
        refuse(f"signal.signal({signal.Signals(number).name}, {signal.Handlers(handler).name})")
    return original(number, handler)


# What else is there once for all


def _closerange(original: Any, low: int, high: int, /) -> None:
    if os.getpid() == _worker_pid:
        refuse(f"os.closerange({low}, {high})")
    original(low, high)


def _setrecursionlimit(original: Any, limit: int, /) -> None:
    if limit < sys.getrecursionlimit():
        refuse(f"sys.setrecursionlimit({limit})")
    original(limit)


def _all_tasks(original: Any, loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    """In an attempt, on a loop with workers, its own tasks. Whoever cancels all tasks means its own."""
    loop = loop or asyncio.get_running_loop()
    found: set[asyncio.Task[Any]] = original(loop)
    attempt = current_attempt.get()
    if attempt is None or loop not in _loops:
        return found
    return {task for task in found if attempt_of(task) == attempt}


def _of_loop(original: Any, name: str, *, only_for: frozenset[int]) -> Any:
    @functools.wraps(original)
    def shielding(*args: Any, **kwargs: Any) -> Any:
        if not only_for or (args and args[0] in only_for):
            refuse(f"loop.{name}({', '.join(map(str, args[:1]))})")
        return original(*args, **kwargs)

    return shielding


def let_pool_threads_go(run_id: str, number: int, attempt: int) -> None:
    """An attempt has ended: threads of pools that it has made are no longer taken for its code."""
    if _pool_threads:
        over = (run_id, number, attempt)
        for thread, facts in list(_pool_threads.items()):
            if (facts.run_id, facts.number, facts.attempt) == over:
                _pool_threads.pop(thread, None)


def _attempt_here() -> AttemptFacts | None:
    thread = threading.current_thread()
    return current_attempt.get() or _threads.get(thread) or _pool_threads.get(thread)


def _start_noted(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def noted(self: threading.Thread) -> None:
        attempt = _attempt_here()
        if attempt is not None:
            # A thread of a pool goes on to the work of others; any other is the step's for as long as it runs.
            is_of_pool = getattr(self, "_target", None) is _POOL_THREAD
            (_pool_threads if is_of_pool else _threads)[self] = attempt
        start(self)

    return noted
