"""Remembers how far the spans of runs are exported, and writes it down: of closed runs soon, of open ones later.

What is not written when the process ends is exported once more by another; backends recognise the same bytes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog

from holdfast_coordinator.store.port import StoreError

log = structlog.get_logger(__name__)

OPEN_SECONDS = 60.0
CLOSED_SECONDS = 1.0
MARKS_PAGE = 1_000
"""Marks that are written with one statement."""
MARKS_WAITING_MAX = 100_000
"""Marks that wait for a database that is gone; with more, runs are exported once more."""

Write = Callable[[dict[str, int], list[str]], Awaitable[None]]
"""Writes how far open runs are exported, and deletes the marks of closed ones. Raises StoreError."""


class Marks:
    """See the module. `run` is its one task."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._open: dict[str, int] = {}
        self._closed: list[str] = []
        self._written_at = time.monotonic()
        self._is_failing = False

    def exported(self, exported: Iterable[tuple[str, int, bool]]) -> None:
        """Spans of runs have reached the collector: (run id, up to which entry, whether the run is closed)."""
        for run_id, seq, closed in exported:
            if closed:
                self._open.pop(run_id, None)
                self._closed.append(run_id)
            elif seq:  # 0: what was exported is of no entry
                self._open[run_id] = seq
        if len(self._open) > MARKS_WAITING_MAX:
            self._open.clear()
        if len(self._closed) > MARKS_WAITING_MAX:
            self._closed.clear()

    async def run(self) -> None:
        """Writes marks until it is cancelled."""
        while True:
            await asyncio.sleep(CLOSED_SECONDS)
            is_due = time.monotonic() - self._written_at >= OPEN_SECONDS
            await self.write(open_too=is_due)

    async def write(self, *, open_too: bool) -> None:
        """Writes what is to be written now; what the database refuses is kept for the next time."""
        closed, self._closed = self._closed, []
        opened: dict[str, int] = {}
        if open_too:
            opened, self._open = self._open, {}
            self._written_at = time.monotonic()
        if not closed and not opened:
            return
        try:
            await self._write(opened, closed)
        except BaseException as error:  # also when it is cancelled: the last write of all comes after that
            self._closed = closed + self._closed
            self._open = opened | self._open
            if not isinstance(error, StoreError):
                raise
            if not self._is_failing:
                log.warning("trace_marks_not_written", runs=len(opened) + len(closed), error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False
