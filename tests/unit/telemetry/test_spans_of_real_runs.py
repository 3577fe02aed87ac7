"""Journals that workflow code has really written, run in process on a virtual clock."""

import asyncio
from itertools import groupby, pairwise
from operator import attrgetter

import holdfast
from holdfast import App
from holdfast.testing import LocalRun, run_local
from holdfast.traces import SpanContext
from holdfast_coordinator.telemetry.spans import RunFacts, Span
from tests.support.wire_messages import message_of
from tests.support.written_journals import TRACE, rows, spans_of

app = App("real-runs")
calls: list[int] = []


@app.step(retries=3, backoff="10s")
async def flaky(x: int) -> int:
    calls.append(x)
    if len(calls) < 3:
        raise ValueError("not yet")
    return x


@app.workflow
async def ship(x: int) -> int:
    await holdfast.sleep("1h")
    return x


@app.workflow
async def order() -> int:
    charged = await flaky(1)
    again, shipped = await asyncio.gather(flaky(charged), ship(2))
    await holdfast.receive("approval")
    try:
        await holdfast.receive("gift", timeout="2h")
    except TimeoutError:
        await holdfast.sleep("5m", name="grace")
    return again + shipped


@app.workflow
async def ten_days() -> str:
    await flaky(0)
    for day in range(10):
        await holdfast.sleep("1d", name=f"day {day}")
        await flaky(day)
    return await holdfast.receive("enough", str)


def spans_of_run(run: LocalRun[object]) -> list[Span]:
    facts = RunFacts(run.run_id, "default", run.workflow, run.history[0].at, TRACE)
    # What the code does at one time is one transition.
    passes = [[message_of(entry) for entry in one] for _, one in groupby(run.history[1:], attrgetter("at"))]
    return spans_of(facts, rows((0, [message_of(run.history[0])]), *[(1, one) for one in passes]))


async def test_a_run_with_all_kinds_of_waits_is_told_in_full() -> None:
    calls.clear()
    run = await run_local(order, signals=[("approval", None, "3h")])
    assert run.value() == 3
    told = [(span.name, round((span.end_ns - span.start_ns) / 1e9)) for span in spans_of_run(run)]
    assert told == [
        ("run accepted", 0),
        ("attempt flaky", 0),
        ("retry wait", 10),
        ("attempt flaky", 0),
        ("retry wait", 10),
        ("attempt flaky", 0),
        ("step flaky", 20),
        ("attempt flaky", 0),
        ("step flaky", 0),
        ("child ship", 3600),
        ("signal approval", 0),
        ("wait signal approval", 2 * 3600 - 20),
        ("wait signal gift", 2 * 3600),
        ("timer", 300),
        ("run order", 5 * 3600 + 300),
    ]


async def test_a_run_of_ten_days_is_a_chain_of_traces_each_whole_in_itself() -> None:
    calls[:] = [0, 0, 0]
    run = await run_local(ten_days, signals=[("enough", "yes", "246h")])
    assert run.value() == "yes"
    spans = spans_of_run(run)
    runs = [span for span in spans if span.name == "run ten_days"]
    assert len(runs) == len({span.trace_id for span in spans}) == 11
    for before, after in pairwise(runs):
        assert (before.links[-1].relation, before.links[-1].context) == ("next", _place(after))
        assert (after.links[0].relation, after.links[0].context) == ("previous", _place(before))
    # Each day's sleep began in the segment before, and belongs there.
    names = [[span.name for span in spans if span.trace_id == root.trace_id] for root in runs]
    day = ["attempt flaky", "step flaky", "timer", "run ten_days"]
    assert [sorted(one) for one in names] == [
        sorted(["run accepted", *day]), *[sorted(day)] * 9,
        sorted(["attempt flaky", "step flaky", "wait signal enough", "signal enough", "run ten_days"]),
    ]  # fmt: skip
    assert [dict(root.own)["holdfast.trace.segment"] for root in runs] == list(range(11))
    known = {(span.trace_id, span.span_id): span for span in spans}
    assert len(known) == len(spans)
    for span in spans:
        if span not in runs:
            parent = known[span.trace_id, span.parent_id]
            assert parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns, (parent, span)


def _place(root: Span) -> SpanContext:
    return SpanContext(root.trace_id, root.span_id)
