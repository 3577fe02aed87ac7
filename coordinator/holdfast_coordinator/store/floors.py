"""Where claims begin to look: behind the index entries of work that was claimed before.

Dead entries stay in the index while something holds the vacuum horizon back, and a claim from the start would
walk all of them. A floor is only a belief: now and then a claim begins at the start, which finds what other
replicas made ready below it and what they had locked and let go. In memory, one for each queue and name; pure.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

Position = tuple[int, datetime]
"""The order of claims: (priority, ready_at)."""

START: Position = (-(2**31), datetime(1970, 1, 1, tzinfo=UTC))
PROBE_SECONDS = 1.0
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

Place = tuple[str, str, str]
"""(namespace, queue, name)."""


class Floors:
    """The floors of one kind of work in one cell."""

    __slots__ = ("_floors", "_probed_at")

    def __init__(self) -> None:
        self._floors: dict[Place, Position] = {}
        self._probed_at: dict[Place, float] = {}

    def of(self, places: Sequence[Place], now: float) -> list[Position]:
        """Where claims in these places begin. now: seconds of a monotonic clock."""
        positions = []
        for place in places:
            if now - self._probed_at.get(place, -PROBE_SECONDS) >= PROBE_SECONDS:
                self._probed_at[place] = now
                self._floors.pop(place, None)
            positions.append(self._floors.get(place, START))
        return positions

    def lower(self, place: Place, position: Position) -> None:
        """Work became ready."""
        if position < self._floors.get(place, START):
            self._floors[place] = position

    def claimed(self, positions: Iterable[tuple[Place, Position]]) -> None:
        """All work up to these positions was claimed and the claim is committed."""
        for place, position in positions:
            self._floors[place] = max(position, self._floors.get(place, START))

    def forget(self) -> None:
        """A claim was not committed, or not all of what it found was taken: begin at the start again."""
        self._floors.clear()


class TimeFloor:
    """The same for alarms of one kind, which are read by time.

    What was read as due counts as done with. Whoever could not finish with an alarm lowers the floor to it; so does
    every commit that sets one. Another replica's are found by it, or by a read from the start.
    """

    __slots__ = ("_at", "_lowest")

    def __init__(self) -> None:
        self._at = BEGINNING
        self._lowest: datetime | None = None

    def begin(self) -> datetime:
        """A read begins: where. What is set from now on it may not see."""
        self._lowest = None
        return self._at

    def lower(self, due_at: datetime) -> None:
        """An alarm was set, or is still to be read again."""
        if due_at < self._at:
            self._at = due_at
        if self._lowest is None or due_at < self._lowest:
            self._lowest = due_at

    def seen(self, to: datetime) -> None:
        """A read has seen everything that was due up to this time."""
        self._at = to if self._lowest is None else min(to, self._lowest)
