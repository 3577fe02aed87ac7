"""The push of metrics to a collector, over a real connection to one that is there, gone, or refuses."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
import structlog

from holdfast_coordinator.loops.metrics_push import MetricsPush, push_interval_seconds
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.metrics_export import metering, pushing
from holdfast_coordinator.rpc.collector_client import Collector
from holdfast_coordinator.telemetry.otel_variables import Endpoint
from tests.support.otlp_sink import OtlpSink


@pytest.fixture
async def sink() -> AsyncIterator[OtlpSink]:
    """A collector."""
    started = await OtlpSink().start()
    yield started
    await started.stop()


@pytest.fixture
async def push(sink: OtlpSink) -> AsyncIterator[MetricsPush]:
    """A push to the collector."""
    collector = Collector(Endpoint(sink.address, timeout_seconds=2.0))
    yield MetricsPush(Metrics(), collector, replica_id="replica-7")
    await collector.close()


def events(logs: list[dict[str, object]]) -> list[object]:
    """What was logged."""
    return [one["event"] for one in logs]


async def test_a_push_brings_the_registry(sink: OtlpSink, push: MetricsPush) -> None:
    await push.run_once()
    (request,) = sink.metrics
    names = {
        metric.name for group in request.resource_metrics for scope in group.scope_metrics for metric in scope.metrics
    }
    assert "holdfast_spans_exported_total" in names


async def test_that_a_collector_is_away_is_no_second_warning_but_that_it_refuses_is(sink: OtlpSink) -> None:
    collector = Collector(Endpoint(sink.address, timeout_seconds=2.0))
    said = []
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED):
        sink.refuse(code)
        push = MetricsPush(Metrics(), collector, replica_id="replica-7", is_known_away=lambda: True)
        with structlog.testing.capture_logs() as logs:
            await push.run_once()
        said += [(one["event"], one["log_level"]) for one in logs]
    await collector.close()
    assert said == [("metrics_not_exported", "info"), ("metrics_not_exported", "warning")]


async def test_a_collector_that_is_away_is_said_once_and_then_that_it_is_back(
    sink: OtlpSink, push: MetricsPush
) -> None:
    with structlog.testing.capture_logs() as logs:
        sink.refuse(grpc.StatusCode.UNAVAILABLE)
        for _ in range(3):
            await push.run_once()
        sink.accept()
        for _ in range(2):
            await push.run_once()
    assert events(logs) == ["metrics_not_exported", "metrics_exported_again"]
    assert len(sink.metrics) == 2


async def test_figures_that_the_collector_threw_away_are_said_once(sink: OtlpSink, push: MetricsPush) -> None:
    sink.reject_some(4, "too many labels")
    with structlog.testing.capture_logs() as logs:
        await push.run_once()
        await push.run_once()
    (said,) = logs
    assert "4 data points: too many labels" in said["why"]


async def test_a_collector_for_traces_only_is_asked_once_and_then_left_alone(sink: OtlpSink) -> None:
    sink.refuse(grpc.StatusCode.UNIMPLEMENTED, "unknown service MetricsService")
    collector = Collector(Endpoint(sink.address))
    push = MetricsPush(Metrics(), collector, replica_id="replica-7", every_seconds=0.01)
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(10):
            await push.run()
    await collector.close()
    assert [(one["event"], one["log_level"]) for one in logs] == [("metrics_push_stopped", "info")]
    assert sink.counts.requests == 1


async def test_a_replica_that_stops_pushes_once_more(sink: OtlpSink) -> None:
    collector = Endpoint(sink.address)
    async with metering(host="127.0.0.1", port=None, collector=collector) as metered:
        assert metered is not None
        assert metered.address is None
        async with pushing(metered.metrics, collector, replica_id="replica-7"):
            await asyncio.sleep(0)
            metered.metrics.run_started("default", "order")
            assert sink.metrics == []
    (request,) = sink.metrics
    assert b"holdfast_runs_started_total" in request.SerializeToString()


async def test_a_black_hole_does_not_keep_a_replica_from_stopping(sink: OtlpSink) -> None:
    sink.hang()
    async with asyncio.timeout(10):
        async with pushing(Metrics(), Endpoint(sink.address), replica_id="replica-7"):
            await asyncio.sleep(0)
    assert sink.metrics == []


async def test_without_port_and_collector_there_are_no_metrics() -> None:
    async with metering(host="127.0.0.1", port=None, collector=None) as metered:
        assert metered is None


@pytest.mark.parametrize(("text", "seconds"), [("", 60.0), ("5000", 5.0), (" 100 ", 0.1)])
def test_the_interval_is_that_of_the_standard_variable(text: str, seconds: float) -> None:
    assert push_interval_seconds({"OTEL_METRIC_EXPORT_INTERVAL": text}) == seconds


@pytest.mark.parametrize("text", ["60s", "99", "-1", "1.5"])
def test_an_interval_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"OTEL_METRIC_EXPORT_INTERVAL.*milliseconds"):
        push_interval_seconds({"OTEL_METRIC_EXPORT_INTERVAL": text})
