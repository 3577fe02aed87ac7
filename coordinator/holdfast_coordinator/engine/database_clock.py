"""What time it is in the database, measured against this machine's time since boot, so that a step of either shows.

Pure: it is given readings and keeps the last ones. It never asks for the time of day.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
STEP_MIN = timedelta(seconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


boot_seconds: Callable[[], float] = partial(time.clock_gettime, _CLOCK)
"""Seconds since the machine started, suspension included; no step of the time of day moves it."""


@dataclass(slots=True, frozen=True)
class Reading:
    """The database's time, and between which of this machine's boot seconds it was that."""

    at: datetime
    sent: float
    received: float

    @property
    def middle(self) -> float:
        """When it was that by the best guess."""
        return (self.sent + self.received) / 2

    def until(self, boot: float) -> datetime:
        """What the database's time is at that moment, if neither clock steps."""
        return self.at + timedelta(seconds=boot - self.middle)


@dataclass(slots=True, frozen=True)
class ClockStep:
    """The clocks disagree. before: what the database's time would be now had none of them stepped."""

    before: datetime
    after: datetime

    @property
    def is_back(self) -> bool:
        """True when the database's time is earlier than it should be."""
        return self.after < self.before


class DatabaseClock:
    """See the module. window: how long a reading is what the next ones are compared with."""

    def __init__(self, window: timedelta, clock: Callable[[], float] = boot_seconds) -> None:
        self._clock = clock
        self._window_seconds = window.total_seconds()
        self._step_min_seconds = min(STEP_MIN, window / 8).total_seconds()
        self._anchor: Reading | None = None
        self._last = Reading(EPOCH, clock(), clock())
        self._middle = self._last.middle
        self._steady_since = clock()

    def now(self) -> datetime:
        """The database's time by this replica's estimate."""
        return self._last.at + timedelta(seconds=self._clock() - self._middle)

    def is_steady(self) -> bool:
        """True when no step was seen for a whole window."""
        return self._clock() - self._steady_since >= self._window_seconds

    def read(self, reading: Reading) -> ClockStep | None:
        """Takes a reading; the step that it shows.

        It is compared with one that is up to a window old, so that several small steps are one.
        """
        anchor, self._last, self._middle = self._anchor, reading, reading.middle
        if anchor is None:
            self._anchor, self._steady_since = reading, reading.received
            return None
        expected = anchor.until(reading.middle)
        uncertain = (reading.received - reading.sent + anchor.received - anchor.sent) / 2
        if abs((reading.at - expected).total_seconds()) > self._step_min_seconds + uncertain:
            self._anchor, self._steady_since = reading, reading.received
            return ClockStep(expected, reading.at)
        if reading.received - anchor.received > self._window_seconds:
            self._anchor = reading
        return None
