"""What goes to a collector, read by a parser that shares no code with what wrote it."""

import pytest

from holdfast.traces import SpanContext
from holdfast_coordinator.telemetry.otlp_spans import export_request
from holdfast_coordinator.telemetry.spans import RunFacts, Span
from tests.support.golden_journals import SCENARIOS, Scenario, failed_run, retry_with_back_off
from tests.support.otlp_wire_format import sent_spans
from tests.support.written_journals import TRACE, spans_of

WRITTEN = [scenario() for scenario in SCENARIOS]
NAMES = [scenario.__name__ for scenario in SCENARIOS]


@pytest.mark.parametrize("scenario", WRITTEN, ids=NAMES)
def test_a_backend_reads_exactly_the_spans(scenario: Scenario) -> None:
    spans = spans_of(*scenario)
    sent = sent_spans(export_request(spans))
    assert len(sent) == len(spans) > 0
    for was, span in zip(sent, spans, strict=True):
        assert (was.trace_id, was.span_id, was.parent_id) == (span.trace_id, span.span_id, span.parent_id)
        assert (was.name, was.kind, was.status) == (span.name, span.kind, span.status)
        assert (was.start_ns, was.end_ns) == (span.start_ns, span.end_ns)
        assert was.attributes == span.attributes
        assert was.links == tuple((link.context.trace_id, link.context.span_id, link.relation) for link in span.links)
        assert was.tracestate == span.run.trace.tracestate


@pytest.mark.parametrize("scenario", WRITTEN, ids=NAMES)
def test_two_replicas_send_the_same_bytes(scenario: Scenario) -> None:
    facts, rows = scenario
    again = type(rows[0])
    other_rows = [again.FromString(row.SerializeToString()) for row in rows]
    assert export_request(spans_of(facts, rows)) == export_request(spans_of(facts, other_rows))


def test_the_bytes_of_a_span_do_not_depend_on_the_batch_it_is_sent_in() -> None:
    spans = spans_of(*retry_with_back_off())
    alone = [sent for span in spans for sent in sent_spans(export_request([span]))]
    assert alone == sent_spans(export_request(spans))


def test_the_resource_is_fixed_and_says_the_namespace() -> None:
    spans = [_in_namespace(name) for name in ("shop", "bank", "shop")]
    assert [(sent.resource, sent.scope) for sent in sent_spans(export_request(spans))] == [
        ((("service.name", "holdfast"), ("service.namespace", name)), "holdfast") for name in ("shop", "shop", "bank")
    ]


def test_the_sampling_decision_travels_as_a_flag() -> None:
    facts, rows = failed_run()
    sampled = sent_spans(export_request(spans_of(facts, rows)))
    assert {span.flags for span in sampled} == {1}
    unsampled = SpanContext(TRACE.trace_id, TRACE.span_id, is_sampled=False)
    changed = RunFacts(facts.run_id, facts.namespace, facts.workflow, facts.created_at, unsampled)
    assert {span.flags for span in sent_spans(export_request(spans_of(changed, rows)))} == {0}


def test_nothing_to_export_is_an_empty_request() -> None:
    assert export_request([]) == b""


def _in_namespace(namespace: str) -> Span:
    facts, rows = failed_run()
    changed = RunFacts(facts.run_id, namespace, facts.workflow, facts.created_at, facts.trace)
    return spans_of(changed, rows)[0]
