"""The bytes of spans are written by hand; protobuf itself would write the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.api.v1 import journal_pb2
from holdfast.traces import SpanContext
from holdfast_coordinator.telemetry.catalogue import ATTRIBUTES, LINKS
from holdfast_coordinator.telemetry.otlp_spans import encode_span, export_request, request_of
from holdfast_coordinator.telemetry.spans import TIME_NS_MAX, Link, RunFacts, Span, SpanKind, SpanStatus
from holdfast_coordinator.wire.protobuf_bytes import varint_field
from tests.support.otlp_wire_format import fields
from tests.support.protobuf_writer import written_by_protobuf
from tests.support.random_journals import broken_journals, closed_journals
from tests.support.written_journals import T0, facts, spans_of

TEXTS = st.text(max_size=300) | st.sampled_from(["", "x" * 127, "x" * 128, "漢" * 300])
INTS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 127, 128, 16_383, 16_384])
TIMES = st.integers(0, TIME_NS_MAX) | st.just(0)
SPAN_IDS = st.binary(min_size=8, max_size=8)
CONTEXTS = st.builds(SpanContext, st.binary(min_size=16, max_size=16), SPAN_IDS, st.booleans(), TEXTS)
RUNS = st.builds(RunFacts, TEXTS, st.sampled_from(["", "shop", "bank"]), TEXTS, st.just(T0), CONTEXTS, TEXTS)
SPANS = st.builds(
    Span,
    RUNS,
    st.binary(min_size=16, max_size=16),
    SPAN_IDS,
    SPAN_IDS | st.just(b""),
    TEXTS,
    st.sampled_from(SpanKind),
    TIMES,
    TIMES,
    st.sampled_from(SpanStatus),
    st.lists(st.tuples(st.sampled_from(list(ATTRIBUTES)), TEXTS | INTS), max_size=4).map(tuple),
    st.lists(st.builds(Link, CONTEXTS, st.sampled_from(list(LINKS))), max_size=2).map(tuple),
)
MANY = settings(max_examples=200, deadline=None)


@MANY
@given(st.lists(SPANS, max_size=5))
def test_any_spans_are_the_bytes_that_protobuf_writes(spans: list[Span]) -> None:
    assert export_request(spans) == written_by_protobuf(spans)


@MANY
@given(closed_journals() | broken_journals())
def test_the_spans_of_any_journal_are_the_bytes_that_protobuf_writes(rows: list[journal_pb2.JournalRow]) -> None:
    spans = spans_of(facts(id="order-1"), rows)
    assert export_request(spans) == written_by_protobuf(spans)


@MANY
@given(st.lists(SPANS, max_size=5))
def test_spans_encoded_one_by_one_make_the_same_request(spans: list[Span]) -> None:
    encoded = [(span.run.namespace, encode_span(span)) for span in spans]
    assert request_of(encoded) == export_request(spans)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63 - 1])
def test_whole_numbers_read_back(value: int) -> None:
    assert list(fields(varint_field(3, value))) == [(3, value)]
    assert list(fields(varint_field(3, -value))) == [(3, -value % 2**64)]
