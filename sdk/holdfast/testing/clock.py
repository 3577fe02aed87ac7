"""A clock that stands, goes with the real one, or is moved: the time of runs in tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta


class VirtualClock:
    """Begins at an instant and never goes back."""

    def __init__(self, begins_at: datetime) -> None:
        self._stood_at = begins_at
        self._going = 0
        self._went_on = 0.0

    def now(self) -> datetime:
        """What it shows."""
        if not self._going:
            return self._stood_at
        return self._stood_at + timedelta(seconds=time.monotonic() - self._went_on)

    def move_to(self, instant: datetime) -> None:
        """Show this instant, where it is not past already."""
        ahead = instant - self.now()
        if ahead > timedelta(0):
            self._stood_at += ahead

    @contextmanager
    def going(self) -> Iterator[None]:
        """Inside of the block real time passes; of several blocks at once, until the last one ends."""
        if not self._going:
            self._went_on = time.monotonic()
        self._going += 1
        try:
            yield
        finally:
            now = self.now()
            self._going -= 1
            if not self._going:
                self._stood_at = now
