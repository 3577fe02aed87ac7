"""The position of a caller, from its message or the headers of its call: what is bad is left out, never refused."""

import pytest

from holdfast.api.v1.value_pb2 import TraceContext
from holdfast_coordinator.rpc.trace_metadata import checked_trace, trace_in_metadata

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_w3c_headers_of_a_call_name_its_caller() -> None:
    metadata = [("user-agent", "x"), ("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "tenant=7")]
    assert trace_in_metadata(metadata) == TraceContext(traceparent=PARENT, tracestate="a=1", baggage="tenant=7")


@pytest.mark.parametrize("metadata", [None, [], [("user-agent", "x")], [("tracestate", "a=1"), ("baggage", "b=1")]])
def test_a_call_without_a_traceparent_has_no_trace(metadata: list[tuple[str, str]] | None) -> None:
    assert trace_in_metadata(metadata) is None


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        PARENT[:-1],
        PARENT.upper(),
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        "x" * 10_000,
    ],
)
def test_a_malformed_traceparent_is_no_trace(traceparent: str) -> None:
    assert trace_in_metadata([("traceparent", traceparent)]) is None
    assert checked_trace(TraceContext(traceparent=traceparent, tracestate="a=1", baggage="b=1")) is None


def test_two_traceparents_are_none_and_a_header_in_parts_is_one_list() -> None:
    assert trace_in_metadata([("traceparent", PARENT), ("traceparent", PARENT)]) is None
    found = trace_in_metadata([("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")])
    assert found is not None
    assert found.tracestate == "a=1,b=2"


@pytest.mark.parametrize(
    "baggage",
    ["k=" + "v" * 8_191, ",".join(f"k{number}=v" for number in range(65)), "k=\N{SNOWMAN}", "k=v\r\nx: y", "k=\0"],
)
def test_baggage_that_is_too_large_or_no_header_is_left_out(baggage: str) -> None:
    assert checked_trace(TraceContext(traceparent=PARENT, baggage=baggage)) == TraceContext(traceparent=PARENT)


@pytest.mark.parametrize("baggage", ["k=" + "v" * 8_190, ",".join(f"k{number}=v" for number in range(64))])
def test_baggage_within_the_limits_is_kept(baggage: str) -> None:
    given = TraceContext(traceparent=PARENT, baggage=baggage)
    assert checked_trace(given) == given


def test_a_tracestate_that_is_too_long_is_left_out_and_the_rest_kept() -> None:
    given = TraceContext(traceparent=PARENT, tracestate="a=" + "x" * 600, baggage="k=v")
    assert checked_trace(given) == TraceContext(traceparent=PARENT, baggage="k=v")


def test_binary_headers_are_passed_over() -> None:
    assert trace_in_metadata([("traceparent", PARENT.encode())]) is None
