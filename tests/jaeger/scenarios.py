"""The journals of the golden trees, each as a run with a trace of its own, so that one backend can hold them all."""

from dataclasses import replace

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from holdfast_coordinator.telemetry.spans import instant_ns
from tests.support.golden_journals import SCENARIOS, Scenario
from tests.support.written_journals import T0

__all__ = ["CALLER", "NAMES", "T0", "callers_request", "scenario_of"]

NAMES = tuple(scenario.__name__ for scenario in SCENARIOS)
CALLER = "shop-web"
"""The service whose spans the joined runs are below."""


def scenario_of(name: str) -> Scenario:
    """The facts and the journal of a scenario."""
    number = NAMES.index(name)
    facts, rows = SCENARIOS[number]()
    trace_id = bytes([0xA0 + number]) * 16
    return replace(
        facts,
        run_id=f"run_0001hv3k9m2q8w00000000000001{number:02}",
        trace=replace(facts.trace, trace_id=trace_id),
        parent=None if facts.parent is None else replace(facts.parent, trace_id=trace_id),
    ), rows


def callers_request() -> bytes:
    """The spans of those that the run spans are below, where they are: what the caller's own process exports."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value=CALLER))
    spans = group.scope_spans.add().spans
    for name in NAMES:
        above = scenario_of(name)[0].parent
        if above is not None:
            spans.add(
                trace_id=above.trace_id,
                span_id=above.span_id,
                name=f"calls {name}",
                kind=SpanMessage.SPAN_KIND_CLIENT,
                start_time_unix_nano=instant_ns(T0) - 1_000_000_000,
                end_time_unix_nano=instant_ns(T0) + 3_600_000_000_000,
            )
    return request.SerializeToString()
