"""What time it is in the database, and whether the session can still be sure of its leases.

Read and set from the loop and from the heartbeat thread: all that belongs together is one tuple, replaced at
once. It never asks the machine for the time of day: a wrong clock does not matter.
"""

import time
from datetime import datetime, timedelta

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
SAFETY = timedelta(seconds=1)


def boot_seconds() -> float:
    """Seconds since the machine started, sleep included: unlike CLOCK_MONOTONIC it runs on in a suspended laptop."""
    return time.clock_gettime(_CLOCK)


class SessionClock:
    """Database time and the age of the last sign of life, from the answers to heartbeats."""

    __slots__ = ("_anchor", "_sure_for", "_sure_since")

    def __init__(self) -> None:
        self._anchor = (datetime(1970, 1, 1), 0.0, float("inf"))
        self._sure_since = float("-inf")
        self._sure_for = 0.0

    def acknowledged(self, database_time: datetime, *, sent: float, received: float, ttl: timedelta) -> None:
        """Takes note of an answered sign of life. sent, received: from `boot_seconds`.

        The database's time is taken to be that of the middle of the round trip. A sample with a round trip much
        longer than the one in use is worse than that one, until that one is a minute old.
        """
        _, anchored, uncertainty = self._anchor
        round_trip = received - sent
        if round_trip <= 2 * uncertainty + 0.001 or received - anchored > 60:
            self._anchor = (database_time, (sent + received) / 2, round_trip)
        # The session may be declared dead `ttl` after the coordinator last got a heartbeat, which was after `sent`.
        self._sure_for = (ttl - SAFETY).total_seconds()
        self._sure_since = sent

    def now(self) -> datetime:
        """The estimate of the database's time."""
        base, anchored, _ = self._anchor
        return base + timedelta(seconds=boot_seconds() - anchored)

    def silent_for(self) -> float:
        """Seconds since the last sign of life that was acknowledged, from when it was sent."""
        return boot_seconds() - self._sure_since

    def is_sure(self) -> bool:
        """True while no other session can have been given what this one holds."""
        return self.silent_for() < self._sure_for
