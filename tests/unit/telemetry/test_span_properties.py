"""What holds for the spans of any journal."""

from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.api.v1 import journal_pb2
from holdfast_coordinator.telemetry.catalogue import ATTRIBUTES
from holdfast_coordinator.telemetry.otlp_spans import export_request
from holdfast_coordinator.telemetry.run_spans import RunSpanBuilder
from holdfast_coordinator.telemetry.spans import TEXT_BYTES_MAX, Span, SpanRules, SpanStatus
from tests.support.otlp_wire_format import sent_spans
from tests.support.random_journals import broken_journals, closed_journals
from tests.support.written_journals import facts, spans_of

Rows = list[journal_pb2.JournalRow]

RULES = st.sampled_from(
    [SpanRules(), SpanRules(spans_max=3), SpanRules(segment=timedelta(seconds=1)), SpanRules(spans_max=0)]
)
MANY = settings(max_examples=150, deadline=None)


def by_id(spans: list[Span]) -> dict[tuple[bytes, bytes], Span]:
    return {(span.trace_id, span.span_id): span for span in spans}


@MANY
@given(rows=closed_journals(), rules=RULES)
def test_every_parent_exists_and_encloses_its_children(rows: Rows, rules: SpanRules) -> None:
    spans = spans_of(facts(), rows, rules)
    known = by_id(spans)
    assert len(known) == len(spans), "ids are unique"
    for span in spans:
        assert span.start_ns <= span.end_ns, span
        if span.name == "run order":
            assert span.parent_id == b""
            continue
        parent = known[span.trace_id, span.parent_id]
        assert parent.start_ns <= span.start_ns, (parent, span)
        assert span.end_ns <= parent.end_ns, (parent, span)


@MANY
@given(rows=broken_journals(), rules=RULES)
def test_whatever_a_broken_worker_writes_can_be_exported(rows: Rows, rules: SpanRules) -> None:
    spans = spans_of(facts(), rows, rules)
    assert len(sent_spans(export_request(spans))) == len(spans)
    assert all(span.start_ns <= span.end_ns for span in spans)
    texts = [str(value) for span in spans for value in (span.name, *dict(span.attributes).values())]
    assert max(len(text) for text in texts) <= TEXT_BYTES_MAX + len("wait signal ")


@MANY
@given(rows=closed_journals(), rules=RULES)
def test_attempts_and_waits_of_a_step_do_not_overlap(rows: Rows, rules: SpanRules) -> None:
    below: dict[bytes, list[Span]] = defaultdict(list)
    for span in spans_of(facts(), rows, rules):
        if span.name.startswith(("attempt ", "retry wait", "queue wait")):
            below[span.parent_id].append(span)
    for spans in below.values():
        for before, after in pairwise(spans):
            assert before.end_ns <= after.start_ns, (before, after)


@MANY
@given(rows=closed_journals(), rules=RULES)
def test_no_span_is_without_length_but_what_a_worker_says_of_an_attempt(rows: Rows, rules: SpanRules) -> None:
    for span in spans_of(facts(), rows, rules):
        assert span.start_ns < span.end_ns or span.name.startswith(("attempt ", "retry wait", "queue wait")), span


@MANY
@given(rows=closed_journals(), rules=RULES, lost_after=st.integers(0, 40))
def test_a_rebuilt_trace_goes_on_with_the_spans_that_the_lost_one_would_have_made(
    rows: Rows, rules: SpanRules, lost_after: int
) -> None:
    first, rebuilt = RunSpanBuilder(facts(), rules), RunSpanBuilder(facts(), rules)
    spans = [span for row in rows[:lost_after] for span in first.feed(row)]
    for row in rows[:lost_after]:
        rebuilt.feed(row)
    spans += [span for row in rows[lost_after:] for span in rebuilt.feed(row)]

    assert spans == spans_of(facts(), rows, rules)
    assert export_request(spans) == export_request(spans_of(facts(), rows, rules))


@MANY
@given(rows=closed_journals())
def test_attributes_are_known_once_each_and_in_their_fixed_order(rows: Rows) -> None:
    order = list(ATTRIBUTES)
    for span in spans_of(facts(id="order-1"), rows):
        places = [order.index(name) for name, _ in span.attributes]
        assert places == sorted(set(places)), span


@MANY
@given(rows=closed_journals(), spans_max=st.integers(0, 20))
def test_beyond_the_budget_failures_are_still_there_and_what_is_left_out_is_counted(rows: Rows, spans_max: int) -> None:
    everything = spans_of(facts(), rows)
    within = spans_of(facts(), rows, SpanRules(spans_max=spans_max))
    left_out = [span for span in everything if (span.trace_id, span.span_id) not in by_id(within)]

    assert all(span.status is not SpanStatus.ERROR and not span.name.startswith("child ") for span in left_out)
    omitted = sum(dict(span.own).get("holdfast.spans.omitted", 0) for span in within)  # type: ignore[misc]
    assert omitted == len(left_out)


@MANY
@given(rows=closed_journals())
def test_a_trace_has_one_run_span_and_a_step_has_one_span(rows: Rows) -> None:
    spans = spans_of(facts(), rows)
    scheduled = sum(entry.HasField("step_scheduled") for row in rows for entry in row.entries)
    assert sum(span.name.startswith("step ") for span in spans) == scheduled
    assert sum(span.name == "run order" for span in spans) == len({span.trace_id for span in spans})


@MANY
@given(rows=closed_journals())
def test_only_the_last_run_span_says_how_the_run_ended(rows: Rows) -> None:
    runs = [dict(span.own)["holdfast.run.status"] for span in spans_of(facts(), rows) if span.name == "run order"]
    assert runs[:-1] == ["running"] * (len(runs) - 1)
    assert runs[-1] != "running"
