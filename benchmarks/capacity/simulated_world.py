"""What all of a simulated fleet share: its time, its load, the rows of its database, and what was counted. Pure."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast_coordinator.domain.rows import OpenRun

from .clockwork import Clockwork
from .fleet import ROUND_TRIP_SECONDS, Fleet, Tally

if TYPE_CHECKING:
    from .simulated_replica import SimulatedReplica


@dataclass(slots=True)
class SimulatedRun:
    row: OpenRun
    waits_at: "SimulatedReplica"
    ready_at: float
    steps_left: int
    epoch: int = 0


@dataclass(slots=True)
class CellRows:
    """The rows of a cell that loops look at. ready: runs by (queue, workflow). closes, alarms: when, in order."""

    name: str
    ready: dict[tuple[str, str], deque[SimulatedRun]] = field(default_factory=dict)
    closes: list[float] = field(default_factory=list)
    alarms: list[float] = field(default_factory=list)
    alarms_fired: int = 0


class World:
    """See the module."""

    def __init__(self, fleet: Fleet, clockwork: Clockwork) -> None:
        self.fleet = fleet
        self.clockwork = clockwork
        self.tally = Tally()
        self.cells = {name: CellRows(name) for name in (f"{number:02}" for number in range(fleet.cells))}
        self.replicas: list[SimulatedReplica] = []
        self.runs: dict[str, SimulatedRun] = {}

    def ring(self, notices: Sequence[str]) -> None:
        """Notices go to all who listen, the sender too."""
        self.tally.asks("doorbell")
        self.tally.notices += len(notices)

        def arrive() -> None:
            for replica in self.replicas:
                self.tally.notices_taken += len(notices)
                for notice in notices:
                    self.tally.notice_bytes += len(notice)
                    replica.take_notice(notice)

        self.clockwork.after(ROUND_TRIP_SECONDS, arrive)
