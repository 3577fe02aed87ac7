"""How long sessions live without a sign, and what follows from that."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(slots=True, frozen=True)
class SessionPolicy:
    """How long a silent session lives, and how often it is to speak.

    missing_max: how long a grant may be missing from what its session says that it holds; one TTL unless it is given.
    """

    ttl: timedelta = timedelta(seconds=10)
    heartbeat_interval: timedelta = timedelta(seconds=2.5)
    poll_wait: timedelta = timedelta(seconds=30)
    missing_max: timedelta | None = None

    @property
    def away_after(self) -> timedelta:
        """Time without a written heartbeat after which a replica is away, and a session gets no work."""
        return self.ttl / 2

    @property
    def foreign_ttl(self) -> timedelta:
        """Silence after which a session of another replica is dead: its own would have buried it, or is gone."""
        return self.ttl * 1.5

    @property
    def watched_for(self) -> timedelta:
        """How long a silent session is seen with a free row before it is buried: some turns of the heartbeat loop.

        What waited for its row is written first, whoever had locked it, and for however long.
        """
        return self.ttl / 4

    @property
    def released_after(self) -> timedelta:
        """How long a grant is missing from full sets before it is released."""
        return self.ttl if self.missing_max is None else self.missing_max
