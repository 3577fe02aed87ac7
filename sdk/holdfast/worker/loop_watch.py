"""Sees from another thread how late the worker's event loop runs, and says in the log what blocks it."""

import logging
import sys
import threading
import time
import traceback
from asyncio import AbstractEventLoop

log = logging.getLogger("holdfast.worker")

BLOCKED_SECONDS = 1.0
LOOK_SECONDS_MAX = 2.0
"""What one look adds to `blocked_seconds` at most. A longer gap means that nothing of this process could run: it was
stopped, or something held the interpreter. That is not the doing of whoever has the loop now."""


class LoopWatch:
    """blocked_seconds: for how long the loop has owed an answer while it could have given one."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.watched_thread = 0
        self.blocked_seconds = 0.0
        self._loop = loop
        self._asked_at: float | None = None
        self._looked_at = 0.0
        self._last_lag = 0.0
        self._was_reported = False

    @property
    def lag(self) -> float:
        """Seconds; while the loop is blocked, how long it has been so far."""
        asked_at = self._asked_at
        return self._last_lag if asked_at is None else max(self._last_lag, time.monotonic() - asked_at)

    def look(self) -> None:
        """Asks the loop for an answer, or reports that it still owes one."""
        now = time.monotonic()
        asked_at = self._asked_at
        if asked_at is None:
            self.blocked_seconds = 0.0
            self._asked_at = now
            self._was_reported = False
            self._loop.call_soon_threadsafe(self._answer)
        else:
            self.blocked_seconds += min(now - self._looked_at, LOOK_SECONDS_MAX)
            if self.blocked_seconds > BLOCKED_SECONDS and not self._was_reported:
                self._was_reported = True
                log.warning(
                    "the event loop of this worker has been blocked for %.1f s; put blocking work into a plain "
                    "function, which runs in a thread. It is here:\n%s",
                    now - asked_at,
                    self.place(),
                )
        self._looked_at = now

    def place(self) -> str:
        """Where the loop's thread is."""
        frame = sys._current_frames().get(self.watched_thread)
        return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "unknown\n"

    def begin(self) -> None:
        """Called in the loop's thread, which is the one to watch."""
        self.watched_thread = threading.get_ident()

    def _answer(self) -> None:
        if self._asked_at is not None:
            self._last_lag = time.monotonic() - self._asked_at
            self._asked_at = None
