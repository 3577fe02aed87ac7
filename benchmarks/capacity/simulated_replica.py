"""A coordinator of a simulated fleet: its loops, its writers, its claims, its part of the doorbell. Pure.

The Matcher and the Doorbell are those of the coordinator; what is around them does as the engine does.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from holdfast.ids import cell_of
from holdfast_coordinator.domain.events import LeaseReturned, RunLeased
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.claims import CLAIMED_MAX
from holdfast_coordinator.engine.doorbell import HELLO_SECONDS, SEVERAL, Doorbell
from holdfast_coordinator.engine.held_work import HELD_PAGE
from holdfast_coordinator.engine.line import BATCH_COMMANDS_MAX
from holdfast_coordinator.engine.matcher import Matcher, QueueKey
from holdfast_coordinator.engine.other_replicas import CLOSED_MAX, COMMIT_TIME, RESULTS_PAGE
from holdfast_coordinator.engine.unknown_grants import SESSIONS_PAGE
from holdfast_coordinator.loops.alarms import ALARMS_PAGE, wakes_for_all
from holdfast_coordinator.loops.gauges import COUNT_MAX

from .fleet import COMMAND_SECONDS, COMMIT_SECONDS, NAMESPACE, ROUND_TRIP_SECONDS, STARTED_AT
from .simulated_worker import SimulatedWorker, nothing
from .simulated_world import CellRows, SimulatedRun, World

Done = Callable[[], None]


class Writer:
    """The writer of one replica for one cell: what has accumulated while a commit was under way is the next batch."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._line: deque[tuple[Done, Done]] = deque()
        self._is_busy = False

    def submit(self, decide: Done, done: Done) -> None:
        """decide: called when the batch of a command is decided; done: when it is committed."""
        self._line.append((decide, done))
        if not self._is_busy:
            self._is_busy = True
            self._world.clockwork.after(0.0, self._next_batch)

    def _next_batch(self) -> None:
        batch = [self._line.popleft() for _ in range(min(len(self._line), BATCH_COMMANDS_MAX))]
        if not batch:
            self._is_busy = False
            return
        self._world.tally.asks("commits", rows=len(batch))
        self._world.tally.commands += len(batch)
        for decide, _ in batch:
            decide()

        def committed() -> None:
            for _, done in batch:
                done()
            self._next_batch()

        self._world.clockwork.after(COMMIT_SECONDS + len(batch) * COMMAND_SECONDS, committed)


class SimulatedReplica:
    """A coordinator."""

    def __init__(self, world: World, number: int) -> None:
        clock = world.clockwork
        self.world = world
        self.matcher = Matcher(lambda: clock.now)
        self.matcher.on_room = self._claim_soon
        self.bell = Doorbell(f"coordinator-{number:04}", clock=lambda: clock.now)
        self.bell.on_news = self._ring_soon
        self.bell.on_rung = self._look_soon
        self.writers = {cell.name: Writer(world) for cell in world.cells.values()}
        self.waited: set[str] = set()
        self.signs = 0
        self._is_ringing = self._is_looking = False
        self._has_news = False
        self._claiming: set[QueueKey] = set()
        self._claim_again: set[QueueKey] = set()
        self._closed_until = {cell.name: 0.0 for cell in world.cells.values()}

    # Workers

    def attach(self, number: int) -> None:
        """A worker attaches, polls and sends heartbeats."""
        fleet, clock = self.world.fleet, self.world.clockwork
        names = [f"workflow-{name}" for name in range(fleet.names)]
        steps = [f"step-{name}" for name in range(fleet.names)]
        queue = f"queue-{number % fleet.queues}"
        one = Attachment(
            f"ses_{number:06}", 1, namespace=NAMESPACE, queue=queue, workflows=names, steps=steps, build="one"
        )
        worker = SimulatedWorker(self, one)
        worker.poll()
        self.matcher.attach(one)
        interval = fleet.policy.heartbeat_interval.total_seconds()
        clock.every(interval, worker.beat, first=clock.random.uniform(0.0, interval))

    # Loops

    def begin(self) -> None:
        """Its loops begin, and it says that it is there."""
        clock, fleet = self.world.clockwork, self.world.fleet
        turns: dict[str, Callable[[], int]] = {
            "heartbeats": self._write_heartbeats, "burials": self._look_for_dead, "sweep": self._sweep,
            "unknown_grants": self._find_unknown_grants, "held_work": self._compare_held,
            "work_elsewhere": self._find_work, "closed_elsewhere": self._find_closed,
            "registry": partial(self._ask_once, "registry"), "prune": partial(self._ask_cells, "prune"),
            "gauges": self._read_gauges, "outbox": partial(self._ask_cells, "outbox"),
            "overdue attempts": partial(self._ask_cells, "overdue attempts"),
        }  # fmt: skip
        for name, seconds in fleet.turns().items():
            if name != "alarms":
                turn = partial(self._take_turn, turns[name])
                clock.every(seconds, turn, first=clock.random.uniform(0.0, seconds))
        for cell in self.world.cells.values():
            clock.after(clock.random.uniform(0.0, fleet.turns()["alarms"]), partial(self._read_alarms, cell))
        if fleet.has_doorbell:
            clock.after(clock.random.uniform(0.0, 1.0), self.bell.hello)
            clock.every(HELLO_SECONDS, self._say_here, first=clock.random.uniform(0.0, HELLO_SECONDS))

    def _take_turn(self, turn: Callable[[], int]) -> float:
        return turn() * ROUND_TRIP_SECONDS

    def _asks(self, what: str, *, statements: int = 1, rows: int = 0) -> int:
        self.world.tally.asks(what, statements=statements, rows=rows)
        return 1

    def _ask_once(self, what: str) -> int:
        return self._asks(what)

    def _ask_cells(self, what: str) -> int:
        return sum(self._asks(what) for _ in self.world.cells)

    def _write_heartbeats(self) -> int:
        asked = self._asks("heartbeats", rows=len(self.matcher.sessions())) + self._asks("heartbeats", rows=1)
        if self.signs:
            asked += self._asks("heartbeats", rows=self.signs)
            self.signs = 0
        return asked

    def _look_for_dead(self) -> int:
        """Reads the rows of all sessions, whoever has them, when it is its turn; none is silent here."""
        now = STARTED_AT + timedelta(seconds=self.world.clockwork.now)
        asked = self._asks("burials", rows=1)
        if self.bell.has_turn(now, self.world.fleet.policy.ttl, of=SEVERAL):
            asked += self._asks("burials", rows=self.world.fleet.workers)
        return asked

    def _sweep(self) -> int:
        """Reads the owners of each cell, one probe of an index for each, and then what has become of them."""
        fleet = self.world.fleet
        if not self.bell.has_turn(STARTED_AT + timedelta(seconds=self.world.clockwork.now), fleet.policy.ttl):
            return 0
        owners = fleet.workers if fleet.held_runs or fleet.starts_per_second else 0
        asked = sum(self._asks("sweep", statements=2, rows=owners) for _ in self.world.cells)
        return asked + self._asks("sweep", rows=owners) + self._asks("sweep", rows=1) + self._asks("sweep")

    def _held(self) -> int:
        sessions = self.matcher.sessions()
        return sum(len(one.granted) for one in sessions) + len(sessions) * self.world.fleet.held_runs

    def _find_unknown_grants(self) -> int:
        pages = -(-len(self.matcher.sessions()) // SESSIONS_PAGE) * len(self.world.cells)
        held = self._held()
        return sum(self._asks("unknown_grants", statements=2, rows=held // pages) for _ in range(pages))

    def _compare_held(self) -> int:
        of_cell = self._held() // len(self.world.cells)
        pages = -(-of_cell // HELD_PAGE) * len(self.world.cells)
        return sum(self._asks("held_work", rows=of_cell * len(self.world.cells) // pages) for _ in range(pages))

    def _find_work(self) -> int:
        self.matcher.claim_where_believed()
        runs, steps = self.matcher.unknown_names()
        if not runs and not steps:
            return 0
        asked = 0
        for cell in self.world.cells.values():
            for names in (runs, steps):
                asked += self._asks("work_elsewhere", rows=len(names)) if names else 0
            for _, queue, workflow in sorted(runs):
                if cell.ready.get((queue, workflow)):
                    self.matcher.left_ready((NAMESPACE, queue), workflow)
        return asked

    def _find_closed(self) -> int:
        now, asked = self.world.clockwork.now, 0
        for cell in self.world.cells.values():
            since = min(self._closed_until[cell.name], now)
            self._closed_until[cell.name] = now
            if not self.waited:
                continue
            first = bisect_left(cell.closes, since - COMMIT_TIME.total_seconds())
            rows = min(len(cell.closes) - first, CLOSED_MAX)
            asked += self._asks("closed_elsewhere", rows=rows)
        return asked

    def _read_gauges(self) -> int:
        asked = 0
        for cell in self.world.cells.values():
            ready = sum(map(len, cell.ready.values()))
            asked += self._asks("gauges", statements=2, rows=min(ready, COUNT_MAX))
            asked += self._asks("gauges", statements=2, rows=min(self._open_runs(), COUNT_MAX))
            asked += self._asks("gauges") + self._asks("gauges")
        return asked

    def _open_runs(self) -> int:
        fleet = self.world.fleet
        return (len(self.world.runs) + fleet.workers * fleet.held_runs) // fleet.cells

    def _read_alarms(self, cell: CellRows) -> None:
        """Reads what is due, and has its writer fire it; the first replica that does so does it."""
        clock = self.world.clockwork
        last = bisect_right(cell.alarms, clock.now)
        due = list(range(cell.alarms_fired, min(last, cell.alarms_fired + ALARMS_PAGE)))
        self._asks("alarms", rows=len(due))
        for number in due:
            self.writers[cell.name].submit(partial(_fire, cell, number), nothing)
        longest = self.world.fleet.turns()["alarms"]
        wait = longest
        if last < len(cell.alarms) and wakes_for_all(self.bell, STARTED_AT + timedelta(seconds=clock.now)):
            wait = min(cell.alarms[last] - clock.now, longest)
        clock.after(wait + ROUND_TRIP_SECONDS, partial(self._read_alarms, cell))

    # The doorbell

    def _say_here(self) -> float:
        self.bell.here()
        return 0.0

    def take_notice(self, notice: str) -> None:
        """A notice comes, of whomever."""
        self.bell.receive(notice)

    def _ring_soon(self) -> None:
        if not self.world.fleet.has_doorbell:
            return
        self._has_news = True
        if not self._is_ringing:
            self._is_ringing = True
            self.world.clockwork.after(0.0, self._ring)

    def _ring(self) -> None:
        if not self._has_news:
            self._is_ringing = False
            return
        self._has_news = False
        if notices := self.bell.take():
            self.world.ring(notices)
        pause = self.world.fleet.gather(self.bell.others)
        self.world.clockwork.after(ROUND_TRIP_SECONDS + pause, self._ring)

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self.world.clockwork.after(0.0, self._look)

    def _look(self) -> None:
        self._is_looking = False
        rung = self.bell.take_rung()
        self.world.tally.keys_taken += len(rung.runs_ready) + len(rung.closed)
        for namespace, queue, workflow in sorted(rung.runs_ready):
            self.matcher.left_ready((namespace, queue), workflow)
        closed = rung.closed & self.waited
        self.waited -= closed
        for _ in range(-(-len(closed) // RESULTS_PAGE)):
            self._asks("results", rows=len(closed))

    # Runs

    def start(self, run: SimulatedRun, cell: CellRows) -> None:
        """A client starts a run here; it goes to a session of this replica that has room, or is left ready."""
        self.world.tally.messages["start"] += 1
        chosen: list[str | None] = []

        def decide() -> None:
            self.matcher.begin()
            chosen.append(self.matcher.run(run.row))

        def committed() -> None:
            self.world.tally.runs_started += 1
            self.world.tally.messages["wait"] += 1
            run.waits_at.waited.add(run.row.run_id)
            if chosen[0] is not None:
                self.world.tally.runs_handed_off += 1
                self._lease(run, chosen[0])
                return
            key = (run.row.queue, run.row.workflow)
            cell.ready.setdefault(key, deque()).append(run)
            self.matcher.left_ready((NAMESPACE, run.row.queue), run.row.workflow)
            self.bell.run_ready((NAMESPACE, *key))

        self.writers[cell.name].submit(decide, committed)

    def _lease(self, run: SimulatedRun, session_id: str) -> None:
        run.epoch += 1
        self.world.tally.lease_waits.append(self.world.clockwork.now - run.ready_at)
        self.matcher.handed_over(RunLeased(session_id, run.row, run.epoch, 1, [], None))

    def closed(self, run: SimulatedRun, session_id: str) -> None:
        """A run closed here."""
        self.world.tally.runs_closed += 1
        self.world.cells[cell_of(run.row.run_id)].closes.append(self.world.clockwork.now)
        del self.world.runs[run.row.run_id]
        self.waited.discard(run.row.run_id)
        self.bell.closed(run.row.run_id)
        self.matcher.returned(LeaseReturned(session_id, run.row.run_id, run.epoch))

    # Claims, as engine/claims.py makes them

    def _claim_soon(self, key: QueueKey) -> None:
        if key in self._claiming:
            self._claim_again.add(key)
            return
        self._claiming.add(key)
        self.world.clockwork.after(0.0, partial(self._claim, key))

    def _claim(self, key: QueueKey) -> None:
        self._claim_again.discard(key)
        workflows, steps = self.matcher.take_backlog(key)
        if not workflows and not steps:
            self._end_claim(key, again=False)
            return
        room = self.matcher.room(key)
        left: set[str] = set()
        unanswered = [len(self.writers)]

        def answered() -> None:
            unanswered[0] -= 1
            if not unanswered[0]:
                self.matcher.end_claim(key, left, ())
                self._end_claim(key, again=bool(left) and self.matcher.room(key) != room)

        for cell in self.world.cells.values():
            self._claim_in(cell, key, workflows, left, answered)

    def _claim_in(
        self, cell: CellRows, key: QueueKey, workflows: tuple[str, ...], left: set[str], answered: Done
    ) -> None:
        limit = min(self.matcher.room(key)[0], CLAIMED_MAX)
        taken: list[tuple[SimulatedRun, str]] = []

        def decide() -> None:
            self.world.tally.claims += 1
            self.matcher.begin()
            for workflow in workflows:
                ready = cell.ready.get((key[1], workflow))
                while ready and len(taken) < limit:
                    session_id = self.matcher.run(ready[0].row, claimed=True)
                    if session_id is None:
                        break
                    taken.append((ready.popleft(), session_id))
                if ready:
                    left.add(workflow)

        def committed() -> None:
            self.world.tally.runs_claimed += len(taken)
            for run, session_id in taken:
                self._lease(run, session_id)
            answered()

        self.writers[cell.name].submit(decide, committed)

    def _end_claim(self, key: QueueKey, *, again: bool) -> None:
        self._claiming.discard(key)
        if again or key in self._claim_again:
            self._claim_soon(key)


def _fire(cell: CellRows, number: int) -> None:
    cell.alarms_fired = max(cell.alarms_fired, number + 1)
