"""The trace of a run, decided when it is created: sampled or not, whose child, what it keeps of its caller."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.api.v1 import value_pb2
from holdfast.ids import child_run_id
from holdfast.limits import BAGGAGE_BYTES_MAX
from holdfast.statuses import AttemptOutcome, ClosePolicy, RunStatus
from holdfast.traces import (
    TRACESTATE_MAX,
    SpanContext,
    SpanOf,
    child_context,
    format_traceparent,
    parse_traceparent,
    segment_root,
    span_id,
)
from holdfast_coordinator.domain.rows import RunRow, Side
from holdfast_coordinator.telemetry.identity import (
    Identity,
    IdentityRules,
    Origins,
    attempt_position,
    facts_of,
    of_child,
    of_retry,
    of_start,
    trace_of,
)
from holdfast_coordinator.telemetry.spans import Link, Span, SpanRules
from tests.support import written_journals as write
from tests.support.written_journals import RUN, T0

DRAWN = bytes(range(1, 17))
CALLER = SpanContext(b"\xaa" * 16, b"\xbb" * 8, is_sampled=True)
MINUTE = timedelta(minutes=1)


def asked(rules: IdentityRules | None = None, **more: Any) -> Identity:
    """The trace of a start, without a caller unless one is given."""
    return of_start(rules or IdentityRules(), RUN, "shop", "order", drawn=DRAWN, **more)


def caller(context: SpanContext = CALLER, baggage: str = "") -> value_pb2.TraceContext:
    return value_pb2.TraceContext(
        traceparent=format_traceparent(context), tracestate=context.tracestate, baggage=baggage
    )


def record(identity: Identity | None = None, run_id: str = RUN, **changed: Any) -> RunRow:
    """A run that was created with this trace; None while tracing was off."""
    made = RunRow(run_id, "shop", "order", "default", T0, b"", b"", **changed)
    made.trace = b"" if identity is None else identity.trace
    return made


def position(identity: Identity, run_id: str = RUN) -> SpanContext:
    return facts_of(record(identity, run_id)).trace


def stored(identity: Identity) -> value_pb2.RunTrace:
    return value_pb2.RunTrace.FromString(identity.trace)


# Starts


def test_a_run_has_the_trace_id_that_was_drawn_and_a_run_span_that_is_derived() -> None:
    identity = asked()
    assert position(identity) == SpanContext(DRAWN, span_id(DRAWN, RUN, SpanOf.RUN), is_sampled=True)
    facts = facts_of(record(identity))
    assert (facts.parent, facts.links) == (None, ())
    assert identity.side is Side.TRACE


def test_a_trace_id_of_zeros_is_replaced() -> None:
    identity = of_start(IdentityRules(), RUN, "shop", "order", drawn=bytes(16))
    assert any(position(identity).trace_id)


@pytest.mark.parametrize(
    ("ratio", "ratios", "sampled"),
    [
        (1.0, {}, True),
        (0.0, {}, False),
        (0.0, {"shop": 1.0}, True),
        (1.0, {"shop": 0.0}, False),
        (1.0, {"shop": 0.0, "shop/order": 1.0}, True),
        (1.0, {"shop/refund": 0.0, "other": 0.0, "other/order": 0.0}, True),
    ],
)
def test_the_ratio_of_a_workflow_beats_that_of_its_namespace_and_that_the_general_one(
    ratio: float, ratios: Mapping[str, float], sampled: bool
) -> None:
    identity = asked(IdentityRules(ratio=ratio, ratios=ratios))
    assert position(identity).is_sampled is sampled
    assert identity.side is (Side.TRACE if sampled else Side.TRACE_FAILURE)


def test_a_ratio_takes_its_share_of_all_traces() -> None:
    rules = IdentityRules(ratio=0.25)
    step = 2**56 // 1_024
    taken = [rules.samples("shop", "order", bytes(9) + (number * step).to_bytes(7)) for number in range(1_024)]
    assert sum(taken) == 256
    assert taken == sorted(taken, reverse=True)


@pytest.mark.parametrize(("ratio", "forced"), [(0.0, True), (1.0, False)])
def test_who_starts_a_run_may_decide_about_its_sampling(ratio: float, forced: bool) -> None:
    rules = IdentityRules(ratio=ratio)
    assert position(asked(rules, sampled=forced)).is_sampled is forced
    joined = asked(rules, sampled=forced, joins=True, caller=caller(SpanContext(*_ids(CALLER), not forced)))
    assert position(joined).is_sampled is forced


def test_failures_of_runs_that_are_not_sampled_are_left_out_when_the_operator_says_so() -> None:
    assert asked(IdentityRules(ratio=0.0, on_failure=False)).side is Side.NONE
    assert asked(IdentityRules(ratio=1.0, on_failure=False)).side is Side.TRACE


# Callers


def test_a_run_links_to_its_caller_and_has_a_trace_of_its_own() -> None:
    facts = facts_of(record(asked(caller=caller())))
    assert facts.trace.trace_id == DRAWN
    assert (facts.parent, facts.links) == (None, (Link(CALLER, "caller"),))


@pytest.mark.parametrize("sampled", [True, False])
def test_a_run_that_joins_is_a_child_of_its_caller_and_sampled_as_it_is(sampled: bool) -> None:
    context = SpanContext(*_ids(CALLER), sampled, "vendor=1")
    facts = facts_of(record(asked(IdentityRules(ratio=0.5), caller=caller(context), joins=True)))
    run_span = span_id(CALLER.trace_id, RUN, SpanOf.RUN)
    assert facts.trace == SpanContext(CALLER.trace_id, run_span, sampled, "vendor=1")
    assert (facts.parent, facts.links) == (context, ())


def test_a_run_that_joins_nobody_has_a_trace_of_its_own() -> None:
    assert position(asked(joins=True)).trace_id == DRAWN


@pytest.mark.parametrize(
    "traceparent",
    ["", "nonsense", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01", "x" * 10_000],
)
@pytest.mark.parametrize("joins", [True, False])
def test_a_caller_that_makes_no_sense_is_ignored(traceparent: str, joins: bool) -> None:
    sent = value_pb2.TraceContext(traceparent=traceparent, tracestate="vendor=1")
    assert asked(caller=sent, joins=joins) == asked()


@pytest.mark.parametrize("tracestate", ["v=" + "x" * TRACESTATE_MAX, "v=ü", "v=a\nb"])
def test_a_tracestate_that_cannot_be_carried_is_left_out(tracestate: str) -> None:
    sent = caller()
    sent.tracestate = tracestate
    assert asked(caller=sent, joins=True) == asked(caller=caller(), joins=True)


# Baggage

ALLOWED = IdentityRules(baggage=frozenset({"tenant", "plan"}))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("tenant=a,secret=b,plan=c", "tenant=a,plan=c"),
        (" tenant = a ; ttl=1 , plan=c", "tenant = a ; ttl=1,plan=c"),
        ("secret=b", ""),
        ("tenant", ""),
        ("tenant=" + "x" * BAGGAGE_BYTES_MAX, ""),
        ("tenant=ü", ""),
        ("tenant=a\nb", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("joins", [True, False])
def test_of_the_baggage_of_a_caller_a_run_keeps_what_the_operator_allows(sent: str, kept: str, joins: bool) -> None:
    assert stored(asked(ALLOWED, caller=caller(baggage=sent), joins=joins)).context.baggage == kept


def test_without_a_list_no_baggage_is_kept() -> None:
    assert stored(asked(caller=caller(baggage="tenant=a"))).context.baggage == ""


def test_baggage_reaches_children_retries_and_attempts() -> None:
    parent = record(asked(ALLOWED, caller=caller(baggage="tenant=a")))
    child = of_child(ALLOWED, child_run_id(RUN, 1), parent, 1, T0, ClosePolicy.CANCEL)
    detached = of_child(ALLOWED, child_run_id(RUN, 2), parent, 2, T0, ClosePolicy.ABANDON)
    again = of_retry(ALLOWED, "run_2", parent, drawn=b"\x07" * 16)
    assert [stored(one).context.baggage for one in (child, detached, again)] == ["tenant=a"] * 3
    assert attempt_position(parent, 1, 1, T0).baggage == "tenant=a"


# Children and retries


def test_an_awaited_child_is_in_the_trace_of_its_parent_below_the_span_of_its_request() -> None:
    parent = record(asked(caller=caller(SpanContext(*_ids(CALLER), True, "v=1")), joins=True))
    run_id = child_run_id(RUN, 3)
    facts = facts_of(record(of_child(IdentityRules(), run_id, parent, 3, T0 + MINUTE, ClosePolicy.CANCEL), run_id))
    root = facts_of(parent).trace
    assert facts.trace == SpanContext(root.trace_id, span_id(root.trace_id, run_id, SpanOf.RUN), True, "v=1")
    assert (facts.parent, facts.links) == (child_context(root, RUN, 3), ())


def test_a_child_that_may_outlive_its_parent_has_a_trace_of_its_own_and_a_link() -> None:
    parent, run_id = record(asked()), child_run_id(RUN, 3)
    facts = facts_of(record(of_child(IdentityRules(), run_id, parent, 3, T0 + MINUTE, ClosePolicy.ABANDON), run_id))
    root = facts_of(parent).trace
    assert facts.trace.trace_id != root.trace_id
    assert (facts.parent, facts.links) == (None, (Link(child_context(root, RUN, 3), "parent"),))


@pytest.mark.parametrize("policy", list(ClosePolicy))
@pytest.mark.parametrize("sampled", [True, False])
def test_a_child_is_sampled_as_its_parent_whatever_the_ratio(policy: ClosePolicy, sampled: bool) -> None:
    rules = IdentityRules(ratio=0.0 if sampled else 1.0)
    identity = of_child(rules, child_run_id(RUN, 1), record(asked(sampled=sampled)), 1, T0, policy)
    assert identity.side is (Side.TRACE if sampled else Side.TRACE_FAILURE)


def test_a_child_that_is_asked_for_on_the_second_day_is_in_the_second_trace_of_its_parent() -> None:
    parent, run_id = record(asked()), child_run_id(RUN, 3)
    later = T0 + timedelta(hours=25)
    facts = facts_of(record(of_child(IdentityRules(), run_id, parent, 3, later, ClosePolicy.CANCEL), run_id))
    second = segment_root(facts_of(parent).trace, RUN, 1)
    assert facts.trace.trace_id == second.trace_id != facts_of(parent).trace.trace_id
    assert facts.parent == child_context(second, RUN, 3)


def test_children_and_attempts_are_cut_as_their_run_was_stored_and_not_as_is_configured_now() -> None:
    parent = record(asked(IdentityRules(segment=MINUTE)))
    later, now = T0 + 3 * MINUTE, IdentityRules(segment=timedelta(hours=1))
    third = segment_root(facts_of(parent).trace, RUN, 3)
    child = of_child(now, "run_2", parent, 1, later, ClosePolicy.CANCEL)
    assert position(child, "run_2").trace_id == third.trace_id
    assert stored(child).segment.ToTimedelta() == MINUTE
    assert _parsed(attempt_position(parent, 1, 1, later)).trace_id == third.trace_id


def test_a_retry_has_a_trace_of_its_own_and_a_link_to_its_origin() -> None:
    origin, drawn = record(asked(sampled=False)), b"\x07" * 16
    facts = facts_of(record(of_retry(IdentityRules(), "run_2", origin, drawn=drawn), "run_2"))
    assert facts.trace == SpanContext(drawn, span_id(drawn, "run_2", SpanOf.RUN), is_sampled=False)
    assert (facts.parent, facts.links) == (None, (Link(facts_of(origin).trace, "origin"),))


def test_each_run_is_given_new_random_bytes() -> None:
    draws = iter([b"\x01" * 16, b"\x02" * 16, b"\x03" * 16])
    origins = Origins(IdentityRules(), lambda: next(draws))
    first, second = (origins.of_start(run_id, "shop", "order") for run_id in ("run_1", "run_2"))
    third = origins.of_retry("run_3", record(first, "run_1"))
    assert [position(one).trace_id[0] for one in (first, second, third)] == [1, 2, 3]


# Runs without a stored trace


def test_a_run_that_was_created_while_tracing_was_off_has_the_same_trace_each_time() -> None:
    facts = facts_of(record())
    assert facts == facts_of(record())
    assert facts.trace.trace_id != facts_of(record(run_id="run_2")).trace.trace_id
    assert not facts.trace.is_sampled
    assert facts.trace.span_id == span_id(facts.trace.trace_id, RUN, SpanOf.RUN)


def test_the_child_of_a_run_without_a_trace_hangs_below_the_one_that_is_derived() -> None:
    identity = of_child(IdentityRules(), "run_2", record(), 1, T0, ClosePolicy.CANCEL)
    assert position(identity, "run_2").trace_id == facts_of(record()).trace.trace_id
    assert identity.side is Side.TRACE_FAILURE


# What is handed out is what the journal makes


@settings(max_examples=150, deadline=None)
@given(
    times=st.lists(st.floats(0, 400, allow_nan=False), min_size=1, max_size=12).map(sorted),
    kinds=st.lists(st.sampled_from(["queued", *ClosePolicy]), min_size=12, max_size=12),
    seconds=st.sampled_from([60, 77, 86_400]),
    has_trace=st.booleans(),
)
def test_spans_hang_where_children_and_attempts_were_told_that_they_would(
    times: list[float], kinds: list[Any], seconds: int, has_trace: bool
) -> None:
    rules = IdentityRules(segment=timedelta(seconds=seconds))
    run = record(asked(rules) if has_trace else None)
    entries, told = [], {}
    for number, (second, kind) in enumerate(zip(times, kinds, strict=False), start=1):
        if kind == "queued":
            entries.append(write.scheduled(second, number, "charge", queued=True))
            told[number] = _parsed(attempt_position(run, number, 1, _time(second)))
        else:
            run_id = child_run_id(RUN, number)
            entries.append(write.child(second, number, "order", run_id, policy=kind))
            facts = facts_of(record(of_child(rules, run_id, run, number, _time(second), kind), run_id))
            told[number] = facts.parent or facts.links[0].context
            if kind is ClosePolicy.ABANDON:
                told[-number] = facts.trace
    queued = [number for number, kind in enumerate(kinds[: len(times)], start=1) if kind == "queued"]
    spans = _spans(run, times[-1], entries, queued)
    found = {(span.trace_id, span.span_id): span for span in spans}
    for number, context in told.items():
        if number > 0:
            wanted = "attempt charge" if kinds[number - 1] == "queued" else "child order"
            assert found[context.trace_id, context.span_id].name == wanted
        else:
            links = {link.context.span_id for span in spans for link in span.links if link.relation == "child"}
            assert context.span_id in links


def _spans(run: RunRow, second: float, entries: list[write.Entry], queued: list[int]) -> list[Span]:
    """The spans of a run that does this and then ends; its queued steps have an attempt each."""
    ended = [_attempt(second)]
    ends = [
        write.mail(second + 1, place, step_result={"number": number, "attempts": ended, "result": write.value("1")})
        for place, number in enumerate(queued, start=1)
    ]
    closing = write.closed(second + 2, RunStatus.COMPLETED)
    trace = trace_of(run, SpanRules())
    return [span for row in write.rows(write.started(), (1, [*entries, *ends, closing])) for span in trace.feed(row)]


def _attempt(second: float) -> write.Record:
    return write.attempt(1, AttemptOutcome.COMPLETED, second, second + 1)


def _time(second: float) -> datetime:
    return write.moment(second).ToDatetime(tzinfo=T0.tzinfo)


def _ids(context: SpanContext) -> tuple[bytes, bytes]:
    return context.trace_id, context.span_id


def _parsed(message: value_pb2.TraceContext) -> SpanContext:
    context = parse_traceparent(message.traceparent, message.tracestate)
    assert context is not None
    return context
