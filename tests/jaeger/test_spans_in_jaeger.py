"""What a real backend makes of our spans, after two processes have exported all of them."""

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from holdfast_coordinator.rpc.collector_client import Collector
from holdfast_coordinator.telemetry.otel_variables import Endpoint
from holdfast_coordinator.telemetry.spans import Span
from tests.support.written_journals import spans_of

from .query import ShownSpan
from .scenarios import CALLER, NAMES, T0, callers_request, scenario_of
from .server import Jaeger

ROOT = Path(__file__).resolve().parents[2]
TWICE = ("at-once", "one-by-one")


@pytest.fixture(scope="module")
def filled(jaeger: Jaeger) -> Jaeger:
    """Jaeger with the spans of every scenario, sent by two processes one after the other, in other batches."""
    asyncio.run(_export(jaeger, callers_request()))
    for how in TWICE:
        command = [sys.executable, "-m", "tests.jaeger.replica", jaeger.otlp, how]
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    # Asked for as they are stored before anything else asks, which removes duplicates.
    for name in NAMES:
        for trace_id, spans in _by_trace(name).items():
            stored = jaeger.query.trace(trace_id, raw=True)
            times_stored = Counter(span.span_id for span in stored if span.service != CALLER)
            assert times_stored == {span.span_id.hex(): len(TWICE) for span in spans}
    return jaeger


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_found_by_its_service_and_its_id(name: str, filled: Jaeger) -> None:
    facts, _ = scenario_of(name)
    assert "holdfast" in filled.query.services()
    found = filled.query.find("holdfast", since=T0, holdfast__run__id=facts.run_id)
    assert found == set(_by_trace(name))


@pytest.mark.parametrize("name", NAMES)
def test_what_two_replicas_exported_is_shown_once_and_without_a_warning(name: str, filled: Jaeger) -> None:
    for trace_id, spans in _by_trace(name).items():
        shown = filled.query.trace(trace_id)
        above = [span.span_id for span in shown if span.service == CALLER]
        once = dict.fromkeys([*above, *(span.span_id.hex() for span in spans)], 1)
        assert Counter(span.span_id for span in shown) == once
        assert [span.warnings for span in shown if span.warnings] == []
        on_the_page = filled.query.web_page(trace_id)
        assert Counter(span_id for span_id, _ in on_the_page) == once
        assert [warnings for _, warnings in on_the_page if warnings] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_span_is_shown_as_it_was_built(name: str, filled: Jaeger) -> None:
    for trace_id, spans in _by_trace(name).items():
        shown = {span.span_id: span for span in filled.query.trace(trace_id)}
        for span in spans:
            assert shown[span.span_id.hex()] == _as_shown(span)


async def _export(jaeger: Jaeger, request: bytes) -> None:
    collector = Collector(Endpoint(jaeger.otlp))
    try:
        await collector.export_traces(request)
    finally:
        await collector.close()


def _by_trace(name: str) -> dict[str, list[Span]]:
    """The spans of a scenario by the id of their trace; long runs have several."""
    traces: dict[str, list[Span]] = {}
    for span in spans_of(*scenario_of(name)):
        traces.setdefault(span.trace_id.hex(), []).append(span)
    return traces


def _as_shown(span: Span) -> ShownSpan:
    return ShownSpan(
        service="holdfast",
        namespace=span.run.namespace,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_id.hex(),
        name=span.name,
        kind=span.kind,
        status=span.status,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        tracestate=span.run.trace.tracestate,
        attributes=dict(span.attributes),
        links=tuple(
            (link.context.trace_id.hex(), link.context.span_id.hex(), (("holdfast.link.relation", link.relation),))
            for link in span.links
        ),
        warnings=(),
    )
