"""The figures of one replica, in a registry of its own. Observing never waits and never fails.

Called from the event loop only; read from the thread of the endpoint.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily

from . import table
from .histograms import HistogramChild, HistogramFamily
from .series import Series
from .table import TABLE, GaugeValues, Instrument, Kind, SpansDropped


class Metrics:
    """See the module. `registry` is what is scraped and exported, `began_at` the Unix time from which it counts."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.registry = CollectorRegistry()
        self.began_at = now()
        self._gauges = {one.name: _Gauge(one) for one in TABLE if one.kind is Kind.GAUGE}
        for gauge in self._gauges.values():
            self.registry.register(gauge)
        self._step_duration = self._histogram(table.STEP_DURATION)
        self._schedule_to_start = self._histogram(table.SCHEDULE_TO_START)
        self._retries = self._counter(table.RETRIES)
        self._runs_started = self._counter(table.RUNS_STARTED)
        self._runs_closed = self._counter(table.RUNS_CLOSED)
        self._late_results = self._counter(table.LATE_RESULTS)
        self._leases_lost = self._counter(table.LEASES_LOST)
        self._alarm_lateness = self._histogram(table.ALARM_LATENESS)
        self._commit_seconds = self._histogram(table.COMMIT_SECONDS)
        self._commit_batch_size = self._histogram(table.COMMIT_BATCH_SIZE)
        self._commits_failed = self._counter(table.COMMITS_FAILED)
        self._deliveries_failed = self._counter(table.DELIVERIES_FAILED)
        self._pool_wait = self._histogram(table.POOL_WAIT)
        self._spans_exported = self._counter(table.SPANS_EXPORTED)
        self._spans_dropped = self._counter(table.SPANS_DROPPED)
        # What is rare and matters needs a zero to begin at: from nothing to one Prometheus sees no increase.
        for reason in SpansDropped:
            self._spans_dropped.of(reason)
        for held, lost in product(table.HELD, table.LOST):
            self._leases_lost.of(held, lost)
        self._spans_exported.of()
        self._commits_failed.of()

    # Steps and runs

    def attempt_ended(
        self, namespace: str, workflow: str, step: str, *, outcome: str, seconds: float, trace_id: str = ""
    ) -> None:
        """An attempt of a step has ended. trace_id: 32 hex digits, of a sampled run; becomes an exemplar."""
        self._step_duration.of(namespace, workflow, step, outcome).observe(max(seconds, 0.0), trace_id)

    def attempt_started(
        self, namespace: str, queue: str, placement: str, *, waited_seconds: float, trace_id: str = ""
    ) -> None:
        """An attempt has started that could have started `waited_seconds` before."""
        waited = max(waited_seconds, 0.0)
        self._schedule_to_start.of(namespace, queue, placement).observe(waited, trace_id)

    def retried(self, namespace: str, workflow: str, step: str) -> None:
        """An attempt has failed and is to be repeated."""
        self._retries.of(namespace, workflow, step).inc()

    def run_started(self, namespace: str, workflow: str) -> None:
        """A run was created."""
        self._runs_started.of(namespace, workflow).inc()

    def run_closed(self, namespace: str, workflow: str, status: str) -> None:
        """A run has ended."""
        self._runs_closed.of(namespace, workflow, status).inc()

    def late_result(self, namespace: str, placement: str, count: int = 1) -> None:
        """Results of superseded attempts were refused."""
        self._late_results.of(namespace, placement).inc(count)

    def delivery_failed(self, alarm: str) -> None:
        """An alarm, or a delivery to another run, could not be made; it is tried again later."""
        self._deliveries_failed.of(alarm).inc()

    def lease_lost(self, held: str, reason: str) -> None:
        """A lease of a run ("run") or a claim of an attempt ("attempt") was taken from its session."""
        self._leases_lost.of(held, reason).inc()

    # The replica itself

    def alarm_fired(self, alarm: str, *, lateness_seconds: float) -> None:
        """An alarm was recorded `lateness_seconds` after its time."""
        self._alarm_lateness.of(alarm).observe(max(lateness_seconds, 0.0))

    def committed(self, path: str, *, seconds: float, commands: int) -> None:
        """A batch was committed."""
        self._commit_seconds.of(path).observe(seconds)
        self._commit_batch_size.of(path).observe(commands)

    def commit_failed(self) -> None:
        """A batch was not committed, or its outcome is unknown."""
        self._commits_failed.of().inc()

    def waited_for_connection(self, pool: str, seconds: float) -> None:
        """A statement had to wait `seconds` for a connection."""
        self._pool_wait.of(pool).observe(seconds)

    # The export of spans

    def spans_exported(self, count: int) -> None:
        """The collector has taken `count` spans."""
        self._spans_exported.of().inc(count)

    def spans_dropped(self, count: int, reason: str) -> None:
        """`count` spans, or runs, were not exported. reason: one of SpansDropped."""
        self._spans_dropped.of(reason).inc(count)

    # Gauges

    def set_gauge(self, of: Instrument, values: GaugeValues) -> None:
        """Replaces the values of a gauge; label sets that it had before and that are missing now become 0."""
        self._gauges[of.name].replace(values)

    def read_gauge(self, of: Instrument, read: Callable[[], GaugeValues]) -> None:
        """Reads a gauge when it is scraped, in another thread: `read` must take a snapshot in one step."""
        self._gauges[of.name].read = read

    def _counter(self, of: Instrument) -> Series[Counter]:
        counter = Counter(of.name, of.help, of.labels, registry=self.registry)
        return Series(of.labels, lambda values: counter.labels(*values) if values else counter)

    def _histogram(self, of: Instrument) -> Series[HistogramChild]:
        family = HistogramFamily(of)
        self.registry.register(family)
        return Series(of.labels, family.child)


class _Gauge:
    """A gauge whose values come from elsewhere, all at once."""

    def __init__(self, of: Instrument) -> None:
        self._of = of
        self._values: GaugeValues = {}
        self._series = Series(of.labels, lambda values: values)
        self.read: Callable[[], GaugeValues] | None = None

    def replace(self, values: GaugeValues) -> None:
        merged = dict.fromkeys(self._values, 0.0)
        merged.update(self._within_bounds(values))
        self._values = merged

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [self._family({})]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self.read is not None:
            self.replace(self.read())
        yield self._family(self._values)

    def _within_bounds(self, values: GaugeValues) -> GaugeValues:
        """The largest of what is counted together: neither ages nor depths of different queues can be added up."""
        bounded: dict[tuple[str, ...], float] = {}
        for labels, value in values.items():
            kept = self._series.of(*labels)
            bounded[kept] = max(value, bounded.get(kept, value))
        return bounded

    def _family(self, values: GaugeValues) -> GaugeMetricFamily:
        family = GaugeMetricFamily(self._of.name, self._of.help, labels=self._of.labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family
