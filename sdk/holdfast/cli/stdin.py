"""Ends a worker whose standard input ends: the program that started it holds the other side, and is gone.

No signal comes before a SIGKILL, and the end of a pipe does. Never keeps a process alive: what does not leave in
time is ended without a word, and its leases go to others as those of any lost worker.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.worker import Worker

DRAIN_SECONDS = 1.0
LEAVE_SECONDS = 2.0
EXIT_CODE = 70


def end_with_stdin(worker: "Worker", *, exit_now: Callable[[int], object] = os._exit) -> None:
    """From now on the worker drains when standard input ends, hands back after a second, and is gone after three."""

    def watch() -> None:
        descriptor = sys.stdin.fileno()
        while os.read(descriptor, 4096):
            pass
        worker.drain()
        time.sleep(DRAIN_SECONDS)
        worker.stop()
        time.sleep(LEAVE_SECONDS)
        # Its loop is blocked by a step, or waits for a coordinator that ended with whoever started both.
        exit_now(EXIT_CODE)

    threading.Thread(target=watch, name="holdfast-stdin", daemon=True).start()
