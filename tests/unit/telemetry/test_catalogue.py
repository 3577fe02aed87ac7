"""The tables of spans, attributes and links say what the builders do."""

import pytest

from holdfast.traces import SpanOf
from holdfast_coordinator.telemetry.catalogue import ATTRIBUTES, LATE_RESULT, LINKS, SPANS, SpanType
from holdfast_coordinator.telemetry.spans import Span, SpanRules
from tests.support.golden_journals import SCENARIOS, Scenario, retry_with_back_off
from tests.support.written_journals import spans_of

WRITTEN = [scenario() for scenario in SCENARIOS]
NAMES = [scenario.__name__ for scenario in SCENARIOS]


def row_of(span: Span) -> SpanType:
    """The row of the table that a span looks like; user spans have names of their own."""
    return max((row for row in SPANS if span.name.startswith(row.prefix)), key=lambda row: len(row.prefix))


@pytest.mark.parametrize("scenario", WRITTEN, ids=NAMES)
def test_every_span_is_in_the_table_with_its_name_and_kind(scenario: Scenario) -> None:
    for span in spans_of(*scenario):
        row = row_of(span)
        assert span.kind is row.kind, span
        assert span.name == row.name or "{" in row.name


def test_every_span_attribute_and_link_of_the_tables_occurs() -> None:
    spans = [span for scenario in WRITTEN for span in spans_of(*scenario)]
    spans += spans_of(*retry_with_back_off(), rules=SpanRules(spans_max=0))
    assert {row_of(span).name for span in spans} | {LATE_RESULT.name} == {row.name for row in SPANS}
    assert {row.of for row in SPANS} == {*SpanOf, None}
    assert {name for span in spans for name, _ in span.attributes} == set(ATTRIBUTES)
    # The builder is told of parents of detached children; it never makes such a link itself.
    assert {link.relation for span in spans for link in span.links} | {"parent"} == set(LINKS)
