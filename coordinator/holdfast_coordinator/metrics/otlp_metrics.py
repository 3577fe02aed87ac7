"""The families of a registry as the bytes of an OTLP ExportMetricsServiceRequest. Pure.

Names are those of the endpoint, so that one dashboard fits both ways; temporality is cumulative, as in the registry.
"""

from collections.abc import Iterable, Mapping

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Exemplar,
    HistogramDataPoint,
    ScopeMetrics,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as MetricMessage
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from .table import TABLE

SERVICE_NAME = "holdfast"
_UNITS = {one.name.removesuffix("_total"): one.unit for one in TABLE}
_NANOS = 1_000_000_000


def export_request(families: Iterable[Metric], *, replica_id: str, began_at: float, now: float) -> bytes:
    """The request that exports these families as they are at `now`, counted since `began_at` (Unix seconds)."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.extend(
        _attributes({"service.name": SERVICE_NAME, "service.instance.id": replica_id}),
    )
    scope = group.scope_metrics.add()
    scope.scope.name = SERVICE_NAME
    for family in families:
        _add_family(scope, family, int(began_at * _NANOS), int(now * _NANOS))
    return request.SerializeToString()


def _add_family(scope: ScopeMetrics, family: Metric, start: int, now: int) -> None:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    message = MetricMessage(name=name, description=family.documentation, unit=_UNITS.get(family.name, ""))
    match family.type:
        case "counter":
            message.sum.is_monotonic = True
            message.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
            for sample in family.samples:
                if sample.name == name:
                    point = message.sum.data_points.add(
                        start_time_unix_nano=start, time_unix_nano=now, as_double=sample.value
                    )
                    point.attributes.extend(_attributes(sample.labels))
        case "gauge":
            for sample in family.samples:
                point = message.gauge.data_points.add(time_unix_nano=now, as_double=sample.value)
                point.attributes.extend(_attributes(sample.labels))
        case "histogram":
            message.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
            message.histogram.data_points.extend(_histogram_points(family, start, now))
        case _:
            raise ValueError(f"no metric of the table is a {family.type}: {family.name}")
    if any(sample.name != f"{family.name}_created" for sample in family.samples):
        scope.metrics.append(message)


def _histogram_points(family: Metric, start: int, now: int) -> Iterable[HistogramDataPoint]:
    """One point per label set. Buckets of the registry count all that is smaller too, those of OTLP do not."""
    points: dict[tuple[tuple[str, str], ...], HistogramDataPoint] = {}
    below: dict[tuple[tuple[str, str], ...], int] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        key = tuple(sorted(labels.items()))
        point = points.get(key)
        if point is None:
            point = points[key] = HistogramDataPoint(start_time_unix_nano=start, time_unix_nano=now)
            point.attributes.extend(_attributes(labels))
        match sample.name.removeprefix(family.name):
            case "_bucket":
                point.bucket_counts.append(int(sample.value) - below.get(key, 0))
                below[key] = int(sample.value)
                if sample.labels["le"] != "+Inf":
                    point.explicit_bounds.append(float(sample.labels["le"]))
                _add_exemplar(point, sample)
            case "_sum":
                point.sum = sample.value
            case "_count":
                point.count = int(sample.value)
    for key, point in points.items():
        point.count = below.get(key, point.count)  # a scrape may fall between two of the registry's additions
    return points.values()


def _add_exemplar(point: HistogramDataPoint, sample: Sample) -> None:
    if (given := sample.exemplar) is None:
        return
    at = float(given.timestamp) if given.timestamp is not None else 0.0
    trace_id = bytes.fromhex(given.labels.get("trace_id", ""))
    point.exemplars.append(Exemplar(time_unix_nano=int(at * _NANOS), as_double=given.value, trace_id=trace_id))


def _attributes(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]
