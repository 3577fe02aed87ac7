"""A simulated fleet: coordinators with their loops, workers, and a load, over a database that only counts. Pure.

Who gets a run, what is believed to wait and what replicas say to each other is decided by the coordinator's own Matcher
and Doorbell. Around them stands what the engine does with them, in time that is a number: writers that commit what has
accumulated, claims, loops, polls and heartbeats. Nothing fails here; what faults cost is another question.
"""

from holdfast.ids import run_id, start_id
from holdfast_coordinator.domain.rows import OpenRun, RunState

from .clockwork import Clockwork
from .fleet import NAMESPACE, STARTED_AT, Fleet, Tally, Traffic, traffic
from .simulated_replica import SimulatedReplica
from .simulated_world import SimulatedRun, World


def simulate(fleet: Fleet, *, seconds: float, seed: int = 1, settle_seconds: float = 12.0) -> Traffic:
    """What a fleet does per second of its own time; the same for the same seed, on any machine.

    settle_seconds: how long it runs before anything is counted, until replicas know each other and loops are spread.
    """
    world = World(fleet, Clockwork(seed))
    world.replicas += [SimulatedReplica(world, number) for number in range(fleet.coordinators)]
    Load(world).begin()
    world.clockwork.run(settle_seconds)
    world.tally = Tally()
    world.clockwork.run(seconds)
    return traffic(world.tally, seconds)


class Load:
    """What workers and clients bring: sessions, starts, timers."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._cells = list(world.cells.values())

    def begin(self) -> None:
        """Workers attach, each to a coordinator that is drawn; loops begin, not in step with each other."""
        for number in range(self._world.fleet.workers):
            self._world.clockwork.random.choice(self._world.replicas).attach(number)
        for replica in self._world.replicas:
            replica.begin()
        if self._world.fleet.starts_per_second:
            self._start_next()
        if self._world.fleet.alarms_per_second:
            self._set_next_alarm()

    def _start_next(self) -> None:
        draw = self._world.clockwork.random
        cell = draw.choice(self._cells)
        row = OpenRun(
            run_id(cell.name, start_id(int(self._world.clockwork.now * 1e3), draw.randbytes(10))), NAMESPACE,
            f"queue-{draw.randrange(self._world.fleet.queues)}", f"workflow-{draw.randrange(self._world.fleet.names)}",
            RunState.READY, STARTED_AT,
        )  # fmt: skip
        run = SimulatedRun(
            row, draw.choice(self._world.replicas), self._world.clockwork.now, self._world.fleet.steps_per_run
        )
        self._world.runs[row.run_id] = run
        # Clients spread their calls; who waits for the result is another one.
        draw.choice(self._world.replicas).start(run, cell)
        self._world.clockwork.after(draw.expovariate(self._world.fleet.starts_per_second), self._start_next)

    def _set_next_alarm(self) -> None:
        """Alarms are known long before they are due: here, two seconds."""
        draw = self._world.clockwork.random
        cell = draw.choice(self._cells)
        cell.alarms.append(self._world.clockwork.now + 2.0)
        self._world.clockwork.after(draw.expovariate(self._world.fleet.alarms_per_second), self._set_next_alarm)
