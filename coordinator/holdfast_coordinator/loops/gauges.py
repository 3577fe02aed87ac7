"""Reads the gauges: what waits in the cells every so often, what is attached to this replica when it is scraped."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.metrics import table
from holdfast_coordinator.metrics.table import GaugeValues

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

GAUGES_SECONDS = 15.0
COUNT_MAX = 10_000
"""Rows that are counted of each kind at most; the gauges say so."""


class Gauges:
    """The gauges of one replica. What it reads of the cells every replica reads alike."""

    def __init__(self, engine: Engine, metrics: "Metrics") -> None:
        self._engine = engine
        self._metrics = metrics
        metrics.read_gauge(table.SESSIONS, self._sessions(lambda session: True))
        metrics.read_gauge(table.POLLS_WAITING, self._sessions(lambda session: session.polling))

    async def run_once(self) -> None:
        """Reads what waits in the cells. Raises StoreError."""
        depths: dict[tuple[str, ...], float] = {}
        ages: dict[tuple[str, ...], float] = {}
        states: Counter[str] = Counter()
        left_behind = dead_letters = 0
        now = self._engine.database_time()
        for cell in self._engine.cells:
            for ready in await cell.store.loops.ready_work(now, COUNT_MAX):
                labels = (ready.namespace, ready.queue, "step" if ready.is_steps else "run")
                depths[labels] = depths.get(labels, 0) + ready.count
                ages[labels] = max(ages.get(labels, 0.0), (now - ready.oldest_at).total_seconds())
            counted = await cell.store.loops.open_run_states(COUNT_MAX)
            states.update(ready=counted.ready, leased=counted.leased, stalled=counted.stalled, waiting=counted.waiting)
            dead_letters += await cell.store.loops.count_dead_letters(COUNT_MAX)
            left_behind += await cell.store.loops.marks_waiting(now, COUNT_MAX)
        self._metrics.set_gauge(table.QUEUE_DEPTH, depths)
        self._metrics.set_gauge(table.QUEUE_OLDEST_AGE, ages)
        self._metrics.set_gauge(table.OPEN_RUNS, {(state,): count for state, count in states.items()})
        self._metrics.set_gauge(table.DEAD_LETTERS, {(): dead_letters})
        self._metrics.set_gauge(table.RELAY_BACKLOG, {(): left_behind})

    def _sessions(self, counts: Callable[[Attachment], bool]) -> Callable[[], GaugeValues]:
        return lambda: _by_queue(session for session in self._engine.matcher.sessions() if counts(session))


def _by_queue(sessions: Iterable[Attachment]) -> GaugeValues:
    return Counter((session.namespace, session.queue) for session in sessions)
