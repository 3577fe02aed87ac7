"""The registry as an OTLP request, parsed back."""

from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric

from holdfast_coordinator.metrics import table
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.metrics.otlp_metrics import export_request
from holdfast_coordinator.metrics.table import STEP_DURATION, TABLE

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
BEGAN_AT, NOW = 1_000.0, 1_060.5


def exported(metrics: Metrics) -> tuple[dict[str, str], dict[str, Metric]]:
    """The attributes of the resource, and the metrics by name."""
    data = export_request(metrics.registry.collect(), replica_id="replica-7", began_at=metrics.began_at, now=NOW)
    (group,) = ExportMetricsServiceRequest.FromString(data).resource_metrics
    (scope,) = group.scope_metrics
    return attributes(group.resource), {metric.name: metric for metric in scope.metrics}


def attributes(of: Any) -> dict[str, str]:
    """The attributes of a resource or a point."""
    return {one.key: one.value.string_value for one in of.attributes}


def test_the_resource_names_the_service_and_the_replica() -> None:
    resource, _ = exported(Metrics())
    assert resource == {"service.name": "holdfast", "service.instance.id": "replica-7"}


def test_a_counter_is_a_cumulative_monotonic_sum_under_its_own_name() -> None:
    metrics = Metrics(now=lambda: BEGAN_AT)
    for _ in range(3):
        metrics.run_started("default", "order")
    metric = exported(metrics)[1]["holdfast_runs_started_total"]
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = metric.sum.data_points
    assert point.as_double == 3
    assert attributes(point) == {"namespace": "default", "workflow": "order"}
    assert (point.start_time_unix_nano, point.time_unix_nano) == (1_000_000_000_000, 1_060_500_000_000)


def test_a_gauge_has_no_beginning() -> None:
    metrics = Metrics()
    metrics.set_gauge(table.OPEN_RUNS, {("ready",): 4.0, ("stalled",): 0.0})
    points = exported(metrics)[1]["holdfast_open_runs"].gauge.data_points
    assert {attributes(point)["state"]: point.as_double for point in points} == {"ready": 4, "stalled": 0}
    assert {point.start_time_unix_nano for point in points} == {0}


def test_the_buckets_of_a_histogram_each_count_for_themselves() -> None:
    metrics = Metrics(now=lambda: BEGAN_AT)
    for seconds in (0.001, 0.3, 0.4, 100_000.0):
        metrics.attempt_ended("default", "order", "charge", outcome="completed", seconds=seconds)
    metrics.attempt_ended("default", "order", "charge", outcome="lost", seconds=3.0)
    metric = exported(metrics)[1]["holdfast_step_duration_seconds"]
    assert metric.unit == "s"
    assert metric.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    points = {attributes(point)["outcome"]: point for point in metric.histogram.data_points}
    done = points["completed"]
    assert tuple(done.explicit_bounds) == STEP_DURATION.buckets
    assert len(done.bucket_counts) == len(done.explicit_bounds) + 1
    assert (done.bucket_counts[0], done.bucket_counts[3], done.bucket_counts[-1]) == (1, 2, 1)
    assert done.count == sum(done.bucket_counts) == 4
    assert done.sum == 100_000.701
    assert points["lost"].count == 1


def test_an_exemplar_keeps_its_trace_id_and_value() -> None:
    metrics = Metrics()
    metrics.attempt_ended("default", "order", "charge", outcome="completed", seconds=0.3, trace_id=TRACE_ID)
    (point,) = exported(metrics)[1]["holdfast_step_duration_seconds"].histogram.data_points
    (exemplar,) = point.exemplars
    assert exemplar.trace_id.hex() == TRACE_ID
    assert exemplar.as_double == 0.3
    assert exemplar.time_unix_nano > 0


def test_a_metric_that_has_no_figure_yet_is_left_out_and_all_others_are_there() -> None:
    metrics = Metrics()
    assert "holdfast_step_duration_seconds" not in exported(metrics)[1]
    metrics.attempt_ended("default", "order", "charge", outcome="completed", seconds=0.3)
    metrics.attempt_started("default", "q", "inline", waited_seconds=0.1)
    metrics.retried("default", "order", "charge")
    metrics.run_started("default", "order")
    metrics.run_closed("default", "order", "completed")
    metrics.late_result("default", "inline")
    metrics.lease_lost("run", "lost")
    metrics.alarm_fired("timer", lateness_seconds=0.1)
    metrics.delivery_failed("outbox_child")
    metrics.committed("append", seconds=0.001, commands=3)
    metrics.waited_for_connection("cell", 0.0)
    for one in TABLE:
        if one.kind is table.Kind.GAUGE:
            metrics.set_gauge(one, {("x",) * len(one.labels): 1.0})
    assert set(exported(metrics)[1]) == {one.name for one in TABLE}
