"""What a replica counts: bounded in the number of names, and read as it was observed."""

import subprocess
import sys

from prometheus_client.openmetrics.exposition import generate_latest

from holdfast_coordinator.metrics import table
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.metrics.series import Series
from holdfast_coordinator.metrics.table import LABEL_LENGTH_MAX, OTHER, SERIES_MAX


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of one sample."""
    return metrics.registry.get_sample_value(name, labels)


def test_names_beyond_the_limit_count_together_and_keep_what_is_not_a_name() -> None:
    metrics = Metrics()
    for number in range(SERIES_MAX + 50):
        metrics.run_closed("default", f"workflow-{number}", "completed")
    metrics.run_closed("default", "one more", "failed")
    name = "holdfast_runs_closed_total"
    assert value(metrics, name, namespace="default", workflow="workflow-7", status="completed") == 1
    assert value(metrics, name, namespace=OTHER, workflow=OTHER, status="completed") == 50
    assert value(metrics, name, namespace=OTHER, workflow=OTHER, status="failed") == 1
    samples = [one for family in metrics.registry.collect() for one in family.samples if one.name == name]
    assert len(samples) == SERIES_MAX + 2


def test_names_without_end_do_not_fill_the_memory() -> None:
    series = Series(("step",), lambda values: list(values))
    for number in range(SERIES_MAX * 5):
        series.of(f"step-{number}")
    assert len(series._children) == SERIES_MAX
    assert len(series._made) == SERIES_MAX + 1


def test_a_known_label_set_gets_the_same_child_without_another_being_made() -> None:
    made: list[tuple[str, ...]] = []
    series = Series(("step",), lambda values: made.append(values) or object())
    assert series.of("charge") is series.of("charge")
    assert made == [("charge",)]


def test_a_long_name_is_cut() -> None:
    metrics = Metrics()
    metrics.run_started("default", "w" * 200)
    assert value(metrics, "holdfast_runs_started_total", namespace="default", workflow="w" * LABEL_LENGTH_MAX) == 1


def test_a_sampled_run_leaves_its_trace_id_as_an_exemplar() -> None:
    metrics = Metrics()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metrics.attempt_ended("default", "order", "charge", outcome="completed", seconds=0.3, trace_id=trace_id)
    metrics.attempt_ended("default", "order", "charge", outcome="completed", seconds=4.0)
    text = generate_latest(metrics.registry).decode()
    (line,) = [line for line in text.splitlines() if trace_id in line]
    assert line.startswith("holdfast_step_duration_seconds_bucket{")
    assert 'le="0.5"' in line


def test_times_that_clocks_turned_around_count_as_none() -> None:
    metrics = Metrics()
    metrics.alarm_fired("timer", lateness_seconds=-0.2)
    assert value(metrics, "holdfast_alarm_lateness_seconds_sum", alarm="timer") == 0


def test_a_queue_that_is_empty_now_is_zero_and_not_what_it_was() -> None:
    metrics = Metrics()
    metrics.set_gauge(table.QUEUE_DEPTH, {("default", "a", "run"): 5.0, ("default", "b", "run"): 2.0})
    metrics.set_gauge(table.QUEUE_DEPTH, {("default", "b", "run"): 3.0})
    assert value(metrics, "holdfast_queue_depth", namespace="default", queue="a", work="run") == 0
    assert value(metrics, "holdfast_queue_depth", namespace="default", queue="b", work="run") == 3


def test_queues_beyond_the_limit_show_the_largest_of_them() -> None:
    metrics = Metrics()
    depths = {("default", f"queue-{number}", "run"): float(number) for number in range(SERIES_MAX + 10)}
    for _ in range(2):
        metrics.set_gauge(table.QUEUE_DEPTH, depths)
        assert value(metrics, "holdfast_queue_depth", namespace=OTHER, queue=OTHER, work="run") == SERIES_MAX + 9


def test_a_gauge_that_is_read_is_read_anew_each_time() -> None:
    metrics = Metrics()
    sessions = {("default", "q"): 1.0}
    metrics.read_gauge(table.SESSIONS, lambda: dict(sessions))
    assert value(metrics, "holdfast_sessions", namespace="default", queue="q") == 1
    sessions.clear()
    assert value(metrics, "holdfast_sessions", namespace="default", queue="q") == 0


def test_every_reason_for_dropped_spans_begins_at_zero() -> None:
    metrics = Metrics()
    for reason in table.SpansDropped:
        assert value(metrics, "holdfast_spans_dropped_total", reason=reason) == 0
    metrics.spans_dropped(3, "too_old")
    assert value(metrics, "holdfast_spans_dropped_total", reason="too_old") == 3


def test_a_replica_without_metrics_does_not_even_import_prometheus() -> None:
    code = (
        "import sys, holdfast_coordinator.app, holdfast_coordinator.server_commands, holdfast_coordinator.cli;"
        "sys.exit(any(name.startswith('prometheus_client') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
