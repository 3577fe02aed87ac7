"""The clockwork of a simulation: what happens when, in one order for one seed. Pure: its time is a number.

Nothing here or in what it runs may depend on a clock, on the order of a set, or on where objects lie in memory.
"""

import heapq
import random
from collections.abc import Callable

Act = Callable[[], None]


class Clockwork:
    """Runs what is due, in the order of time; what is due at the same time, in the order in which it was set."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._due: list[tuple[float, int, Act]] = []
        self._count = 0

    def after(self, seconds: float, act: Act) -> None:
        """Calls a function after `seconds` of simulated time."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, act))

    def every(self, seconds: float, act: Callable[[], float], *, first: float) -> None:
        """Has something happen again and again. act: returns the seconds that it takes, as the next turn begins after
        it. first: seconds until the first turn."""

        def turn() -> None:
            self.after(act() + seconds, turn)

        self.after(first, turn)

    def run(self, seconds: float) -> None:
        """Lets so much time pass."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, act = heapq.heappop(self._due)
            act()
        self.now = end
