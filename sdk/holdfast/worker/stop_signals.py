"""SIGTERM and SIGINT for the workers of this process, seen at once whatever their loops do.

The operating system's handler writes the number of a signal into a socket, and a thread reads it there: a loop that
is blocked does not hold it up. The first signal drains every worker of the process, the second lets them hand back
everything at once. The process is gone soon after in any case: what a worker could not say is said for it.
"""

import contextlib
import logging
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol

from holdfast.workflow import interrupts

log = logging.getLogger("holdfast.worker")

LEAVE_SECONDS = 2.0
"""Seconds after the second signal in which the workers may leave; then the process is ended."""
LAST_WORDS_SECONDS = 0.5
DID_NOT_LEAVE = 70
"""The exit code of a process that had to be ended while a worker of it was still there."""


class Stoppable(Protocol):
    """What a worker is to the signals of its process. All of it is called from their thread."""

    @property
    def leave_seconds(self) -> float:
        """How long it takes at most to leave after it was asked to drain."""

    def drain(self) -> None:
        """Asks it to drain; the second time, to leave at once."""

    def last_words(self, *, seconds: float) -> None:
        """The process ends now: gives back what the worker holds, as well as that goes from outside its loop."""


class StopSignals:
    """The signals of one process. exit_now: ends it without a word. count: how many there were."""

    def __init__(self, *, exit_now: Callable[[int], object] = os._exit) -> None:
        self._exit_now = exit_now
        self._workers: list[Stoppable] = []
        self._in_main_thread = 0
        self._taken: _Taken | None = None
        self.count = 0

    @contextlib.contextmanager
    def covering(self, worker: Stoppable) -> Iterator[None]:
        """Passes signals on to this worker. They are taken while one of the main thread is covered."""
        is_main = threading.current_thread() is threading.main_thread()
        self._workers.append(worker)
        if is_main:
            self._in_main_thread += 1
            if self._taken is None:
                self.count = 0
                self._taken = _Taken(self._on_signal)
        try:
            yield
        finally:
            self._workers.remove(worker)
            if is_main:
                self._in_main_thread -= 1
                if not self._in_main_thread and self._taken is not None:
                    self._taken.give_back()
                    self._taken = None

    def descriptors(self) -> tuple[int, ...]:
        """Where signals wait until they are seen, for a process that looks too; empty when none are taken."""
        return () if self._taken is None else (self._taken.descriptor,)

    def _on_signal(self) -> None:
        self.count += 1
        workers = list(self._workers)
        for worker in workers:
            worker.drain()
        if self.count == 1:
            self._end_in(max((worker.leave_seconds for worker in workers), default=0.0) + LEAVE_SECONDS)
        elif self.count == 2:
            self._end_in(LEAVE_SECONDS)

    def _end_in(self, seconds: float) -> None:
        count = self.count

        def end() -> None:
            time.sleep(seconds)
            # After one signal the program around the workers may go on once they have left.
            if self.count == count and (count > 1 or self._workers):
                self._end()

        threading.Thread(target=end, name="holdfast-stop", daemon=True).start()

    def _end(self) -> None:
        workers = list(self._workers)
        if workers:
            log.error("%d worker(s) did not leave in time; this process is ended without them", len(workers))
        for worker in workers:
            with contextlib.suppress(Exception):
                worker.last_words(seconds=LAST_WORDS_SECONDS / len(workers))
        end_process(DID_NOT_LEAVE if workers else 0, exit_now=self._exit_now)

    def can_be_interrupted(self) -> bool:
        """True when SIGINT may raise KeyboardInterrupt in this thread: Python does so in the main one only."""
        return self._taken is None and threading.current_thread() is threading.main_thread()

    def forked(self) -> None:
        """This is a forked child. It shares the socket: a signal for it would be taken for one of its parent."""
        taken, self._taken, self._workers = self._taken, None, []
        if taken is not None:
            taken.restore()


STOP_SIGNALS = StopSignals()
interrupts.judge_by(STOP_SIGNALS.can_be_interrupted)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: STOP_SIGNALS.forked())


def end_process(code: int, *, exit_now: Callable[[int], object] = os._exit) -> None:
    """Ends this process now, whatever its threads do, and what it has started to run steps."""
    for child in multiprocessing.active_children():
        child.kill()
    # Whoever is blocked may hold the lock of a stream, so this waits for it no longer than for a moment.
    flush = threading.Thread(target=_flush, daemon=True)
    flush.start()
    flush.join(0.1)
    exit_now(code)


def end_process_in(seconds: float, code: int) -> None:
    """The same after a while, if it has not ended by itself: a thread or a task may keep it."""

    def end() -> None:
        time.sleep(seconds)
        end_process(code)

    threading.Thread(target=end, name="holdfast-end", daemon=True).start()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


class _Taken:
    """SIGTERM and SIGINT while they are ours. on_signal: called in a thread for each."""

    def __init__(self, on_signal: Callable[[], None]) -> None:
        self._on_signal = on_signal
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._before: dict[signal.Signals, Any] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._in_main_thread)
            if hasattr(signal, "siginterrupt"):
                signal.siginterrupt(number, False)
        threading.Thread(target=self._watch, name="holdfast-signals", daemon=True).start()

    @property
    def descriptor(self) -> int:
        """The end of the socket where signals are read."""
        return self._read.fileno()

    def give_back(self) -> None:
        """What was before holds again. Only in the main thread, as all about handlers."""
        self.restore()
        self._write.close()

    def restore(self) -> None:
        """Puts back the handlers and the descriptor."""
        fd = signal.set_wakeup_fd(-1)
        back = self._fd_before if fd == self._write.fileno() else fd
        with contextlib.suppress(ValueError, OSError):  # it may be closed by now
            signal.set_wakeup_fd(back)
        for number, before in self._before.items():
            if signal.getsignal(number) == self._in_main_thread and before is not None:
                signal.signal(number, before)

    def _watch(self) -> None:
        ours = {int(number) for number in self._before}
        with self._read:
            # A `recv` that waits would take a signal that no thread here can see while the interpreter is held; the
            # process beside this one looks there too.
            while select.select([self._read], [], []) and (numbers := self._read.recv(4096)):
                for number in numbers:
                    if number in ours:
                        self._on_signal()
                if self._fd_before >= 0:
                    # Handlers of the loop for other signals go on as before.
                    with contextlib.suppress(OSError):
                        os.write(self._fd_before, numbers)

    def _in_main_thread(self, number: int, _: FrameType | None) -> None:
        """The handler in Python, which has nothing to do unless a loop took the descriptor for one of its own."""
        fd = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        if fd != self._write.fileno():
            self._fd_before = fd
            with contextlib.suppress(OSError):
                self._write.send(bytes([number]))
