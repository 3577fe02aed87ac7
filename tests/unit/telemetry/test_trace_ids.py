"""Ids of traces and spans, and the W3C headers: derived alike everywhere, and never an error."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.traces import (
    TRACESTATE_MAX,
    SpanContext,
    SpanOf,
    detached_root,
    format_traceparent,
    parse_traceparent,
    segment_number,
    segment_root,
    span_id,
    successor_root,
)
from tests.support.written_journals import RUN, T0, TRACE

TRACE_HEX, SPAN_HEX = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "is_sampled"),
    [
        (f"00-{TRACE_HEX}-{SPAN_HEX}-01", True),
        (f"00-{TRACE_HEX}-{SPAN_HEX}-00", False),
        (f"00-{TRACE_HEX}-{SPAN_HEX}-03", True),
        (f" 00-{TRACE_HEX}-{SPAN_HEX}-01\t", True),
        (f"cc-{TRACE_HEX}-{SPAN_HEX}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_traceparent_is_read(header: str, is_sampled: bool) -> None:
    expected = SpanContext(bytes.fromhex(TRACE_HEX), bytes.fromhex(SPAN_HEX), is_sampled)
    assert parse_traceparent(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "traceparent",
        f"00-{TRACE_HEX}-{SPAN_HEX}",
        f"00-{TRACE_HEX}-{SPAN_HEX}-1",
        f"00-{TRACE_HEX}-{SPAN_HEX}-01-more",
        f"00-{TRACE_HEX}-{SPAN_HEX}-01\n",
        f"ff-{TRACE_HEX}-{SPAN_HEX}-01",
        f"00-{TRACE_HEX.upper()}-{SPAN_HEX}-01",
        f"00-{'0' * 32}-{SPAN_HEX}-01",
        f"00-{TRACE_HEX}-{'0' * 16}-01",
        f"00-{TRACE_HEX[:-1]}g-{SPAN_HEX}-01",
        f"00-{TRACE_HEX}{SPAN_HEX}-01",
        "00-" + "٣" * 32 + f"-{SPAN_HEX}-01",
    ],
)
def test_a_malformed_traceparent_is_ignored(header: str) -> None:
    assert parse_traceparent(header) is None


@given(st.text())
def test_no_text_makes_an_error(header: str) -> None:
    parse_traceparent(header, header)


@given(st.binary(min_size=16, max_size=16).filter(any), st.binary(min_size=8, max_size=8).filter(any), st.booleans())
def test_a_written_traceparent_reads_back(trace_id: bytes, parent_id: bytes, is_sampled: bool) -> None:
    context = SpanContext(trace_id, parent_id, is_sampled)
    assert parse_traceparent(format_traceparent(context)) == context


@pytest.mark.parametrize(
    ("tracestate", "kept"),
    [("a=1,b=2", "a=1,b=2"), ("", ""), ("a=" + "x" * TRACESTATE_MAX, ""), ("a=ä", ""), ("a=1\n", "")],
)
def test_a_tracestate_that_nobody_has_to_carry_is_left_out(tracestate: str, kept: str) -> None:
    context = parse_traceparent(f"00-{TRACE_HEX}-{SPAN_HEX}-01", tracestate)
    assert context is not None
    assert context.tracestate == kept


def test_span_ids_are_the_ones_that_were_always_derived() -> None:
    """A change here gives the same span two ids while replicas of two versions run."""
    assert span_id(TRACE.trace_id, RUN, SpanOf.ATTEMPT, 4, 2).hex() == "616dd334730d9cfb"
    assert segment_root(TRACE, RUN, 2).trace_id.hex() == "d704f87268b5053d90b4ecae78378550"
    assert detached_root(TRACE, RUN).trace_id.hex() == "b4e43ce8734e5d36686b2988487fe53e"
    assert successor_root(TRACE, RUN).trace_id.hex() == "9a9dc9658a7fbbd9831fa6f70cf62706"
    assert [of.value for of in SpanOf] == [
        "run", "accepted", "step", "queue_wait", "attempt", "retry_wait", "timer", "signal_wait", "signal", "update",
        "child", "stalled", "paused", "user", "note",
    ]  # fmt: skip


def test_whatever_differs_makes_another_id() -> None:
    other = bytes(15) + b"\x01"
    ids = {
        span_id(trace_id, run_id, of, number, attempt)
        for trace_id in (TRACE.trace_id, other)
        for run_id in (RUN, RUN + "1")
        for of in SpanOf
        for number in (1, 11)
        for attempt in (1, 11)
    }
    assert len(ids) == 2 * 2 * len(SpanOf) * 2 * 2
    assert {len(one) for one in ids} == {8}


def test_the_first_segment_is_the_run_itself() -> None:
    assert segment_root(TRACE, RUN, 0) == TRACE
    assert len({segment_root(TRACE, RUN, number).trace_id for number in range(10)}) == 10


@pytest.mark.parametrize(
    ("after", "number"),
    [(timedelta(seconds=-1), 0), (timedelta(), 0), (timedelta(hours=24) - timedelta.resolution, 0),
     (timedelta(hours=24), 1), (timedelta(days=10), 10)],
)  # fmt: skip
def test_a_segment_begins_every_day(after: timedelta, number: int) -> None:
    assert segment_number(T0, T0 + after) == number
