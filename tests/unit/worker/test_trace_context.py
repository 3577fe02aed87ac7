"""What OpenTelemetry has as current while attempts and workflow code run, and what that costs."""

import asyncio
import contextvars
import multiprocessing
import tracemalloc
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry.propagate import inject
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from holdfast import traces
from holdfast.authoring.apps import App
from holdfast.channel.leases import Lease, QueuedAttempt, Work
from holdfast.codec import Codec
from holdfast.journal import Arguments, RunTrace, StepCompleted, TimerFired, TimerSet, TraceContext
from holdfast.worker import trace_context
from holdfast.worker.attempts import Attempt, AttemptCall, AttemptRunner
from holdfast.worker.retries import Ended, Returned
from holdfast.worker.running_attempts import call_of_step
from holdfast.worker.threads import DaemonThreads
from holdfast.worker.trace_context import RunPosition, attempt_at, context_of, headers_of
from tests.support import pool_steps
from tests.support.worker_desk import Desk, Run

CREATED = datetime(2030, 1, 1, tzinfo=UTC)
RUN_ID = "run_aa01hzzzzzzzzzzzzzzzzzzzzzzz"
ROOT = traces.SpanContext(bytes.fromhex("ab" * 16), bytes.fromhex("cd" * 8), True, "vendor=1")

exported = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exported))
tracer = provider.get_tracer("user")
app = App("traced")


@pytest.fixture(autouse=True)
def _no_spans_left() -> None:
    exported.clear()


def run_trace(root: traces.SpanContext = ROOT, *, baggage: str = "", segment: timedelta = traces.SEGMENT) -> RunTrace:
    return RunTrace(TraceContext(traces.format_traceparent(root), root.tracestate, baggage), segment)


def position_of(given: RunTrace | None) -> RunPosition | None:
    return RunPosition.of(given, RUN_ID, CREATED)


def named(name: str) -> ReadableSpan:
    (found,) = [span for span in exported.get_finished_spans() if span.name == name]
    return found


@app.step(retries=0)
async def headers() -> dict[str, str]:
    given: dict[str, str] = {}
    inject(given)
    with tracer.start_as_current_span("user span"):
        await asyncio.sleep(0)
    return given


@app.step(retries=0)
def plain_headers() -> dict[str, str]:
    given: dict[str, str] = {}
    inject(given)
    with tracer.start_as_current_span("user span"):
        pass
    return given


@app.step(retries=0)
async def customer() -> Any:
    return baggage.get_baggage("customer")


@app.workflow
async def calls_both() -> list[dict[str, str]]:
    return [await headers(), await plain_headers()]


@app.workflow
async def asks_baggage() -> Any:
    return [baggage.get_baggage("customer"), await customer()]


@app.workflow
async def wakes_often() -> str:
    for x in range(3):
        with tracer.start_as_current_span(f"turn {x}"):
            given: dict[str, str] = {}
            inject(given)
            await trace_sleep()
    with tracer.start_as_current_span("the end"):
        return given["traceparent"]


async def trace_sleep() -> None:
    await asyncio.sleep(3600)


# Where attempts are


@pytest.mark.parametrize("is_sampled", [True, False])
def test_an_attempt_is_where_the_coordinator_will_put_its_span(is_sampled: bool) -> None:
    root = traces.SpanContext(ROOT.trace_id, ROOT.span_id, is_sampled, "vendor=1")
    position = position_of(run_trace(root))
    assert position is not None
    given = headers_of(position.attempt(4, 2, CREATED))
    assert given["traceparent"] == traces.format_traceparent(traces.attempt_context(root, RUN_ID, 4, 2))
    assert given["tracestate"] == "vendor=1"


def test_an_attempt_belongs_to_the_segment_in_which_its_step_was_scheduled() -> None:
    position = position_of(run_trace(segment=timedelta(hours=1)))
    assert position is not None
    for number, hours in ((1, 0), (2, 5), (3, 0), (4, 1)):
        given = headers_of(position.attempt(number, 1, CREATED + timedelta(hours=hours, minutes=59)))
        root = traces.segment_root(ROOT, RUN_ID, hours)
        expected = traces.attempt_context(root, RUN_ID, number, 1)
        assert given["traceparent"] == traces.format_traceparent(expected)


def test_a_queued_attempt_is_where_the_coordinator_says() -> None:
    given = headers_of(attempt_at(TraceContext(traces.format_traceparent(ROOT), "vendor=1", "customer=c-1")))
    assert given == {
        "traceparent": traces.format_traceparent(ROOT),
        "tracestate": "vendor=1",
        "baggage": "customer=c-1",
    }
    assert headers_of(context_of(given)) == given


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "ff" * 40])
def test_a_trace_that_cannot_be_read_is_as_good_as_none(traceparent: str) -> None:
    assert position_of(RunTrace(TraceContext(traceparent), timedelta(hours=1))) is None
    assert attempt_at(TraceContext(traceparent)) is None


@pytest.mark.parametrize("text", ["=", "a=b,a=c", "\x00", "x" * 400])
def test_a_tracestate_or_baggage_that_cannot_be_read_costs_only_itself(text: str) -> None:
    context = TraceContext(traces.format_traceparent(ROOT), text, text)
    position = position_of(RunTrace(context, timedelta(0)))
    assert position is not None
    assert ROOT.trace_id.hex() in headers_of(position.attempt(1, 1, CREATED))["traceparent"]


# What steps see


@pytest.mark.feature("F123")
async def test_headers_that_a_step_sends_and_its_spans_name_its_attempt() -> None:
    desk = Desk(app)
    run = desk.start("calls_both", trace=run_trace())
    await desk.until(lambda: run.close is not None)
    results = [Codec().decode(one.result, Any, what="") for one in run.entries if isinstance(one, StepCompleted)]
    for number, given in enumerate(results, 1):
        expected = traces.attempt_context(ROOT, run.run_id, number, 1)
        assert given == {"traceparent": traces.format_traceparent(expected), "tracestate": "vendor=1"}
    parents = [span.parent for span in exported.get_finished_spans()]
    for number, parent in enumerate(parents, 1):
        expected = traces.attempt_context(ROOT, run.run_id, number, 1)
        assert parent is not None
        assert parent.is_remote
        assert (parent.trace_id, parent.span_id) == (
            int.from_bytes(expected.trace_id, "big"),
            int.from_bytes(expected.span_id, "big"),
        )
    assert len(parents) == 2


async def test_what_is_not_sampled_stays_so_in_steps() -> None:
    desk = Desk(app)
    run = desk.start("calls_both", trace=run_trace(traces.SpanContext(ROOT.trace_id, ROOT.span_id, False)))
    await desk.until(lambda: run.close is not None)
    assert exported.get_finished_spans() == ()


async def test_the_baggage_of_a_run_reaches_its_code_and_its_steps() -> None:
    desk = Desk(app)
    run = desk.start("asks_baggage", trace=run_trace(baggage="customer=c-1"))
    await desk.until(lambda: run.close is not None)
    assert Codec().decode(run.close.result, Any, what="") == ["c-1", "c-1"]


async def test_a_queued_attempt_sees_its_position() -> None:
    desk = Desk(app)
    given = TraceContext(traces.format_traceparent(ROOT))
    claim = QueuedAttempt("run_q", 3, 1, 7, "headers", Arguments(), "flow", *[datetime.now(UTC)] * 3, trace=given)
    desk.crew.work_arrived(Work(attempts=(claim,)))
    await desk.until(lambda: any(report.attempts for report in desk.reports))
    (report,) = [one for report in desk.reports for one in report.attempts]
    assert Codec().decode(report.result, Any, what="") == {"traceparent": given.traceparent}
    assert report.record.epoch == 7


class Ears:
    """Hears the end of one attempt."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def attempt_ended(self, attempt: Attempt, how: Ended) -> None:
        self.ended.set_result(how)

    def slot_freed(self) -> None: ...


async def end_of(name: str, executor: Executor, *, of: App = app, position: Any = None) -> Any:
    loop, ears = asyncio.get_running_loop(), Ears()
    context = contextvars.copy_context()
    runner = AttemptRunner(loop, codec=Codec(), executor=executor, listener=ears, context=context)
    runner.start(AttemptCall(None, "run_1", "flow", 1, 1, of.steps[name], Arguments(), position=position))
    ended = await asyncio.wait_for(ears.ended, 30)
    assert isinstance(ended, Returned), ended
    return Codec().decode(ended.result, Any, what="")


async def test_the_position_reaches_the_processes_of_a_pool() -> None:
    position = attempt_at(TraceContext(traces.format_traceparent(ROOT), "", "customer=c-1"))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        given = await end_of("trace_headers", pool, of=pool_steps.app, position=position)
        assert given == {"traceparent": traces.format_traceparent(ROOT), "baggage": "customer=c-1"}
        assert await end_of("trace_headers", pool, of=pool_steps.app) == {}


async def test_an_attempt_leaves_nothing_behind_for_the_next_one() -> None:
    threads = DaemonThreads(1)
    position = attempt_at(TraceContext(traces.format_traceparent(ROOT)))
    for name in ("headers", "plain_headers"):
        assert "traceparent" in await end_of(name, threads, position=position)
        assert await end_of(name, threads) == {}
    assert not trace.get_current_span().get_span_context().is_valid


# Without tracing


async def test_a_run_without_a_trace_leaves_opentelemetry_alone() -> None:
    desk = Desk(app)
    run = desk.start("calls_both")
    await desk.until(lambda: run.close is not None)
    results = [Codec().decode(one.result, Any, what="") for one in run.entries if isinstance(one, StepCompleted)]
    assert results == [{}, {}]
    assert [span.parent for span in exported.get_finished_spans()] == [None, None]


async def test_a_run_without_a_trace_makes_no_object_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(app)
    run = desk.start("calls_both")
    holder = desk.crew._make_holder(run.lease(), run.arguments, desk.crew.worker, desk.crew.limits)
    holder.replay(run.entries)
    holder.advance()
    step = holder.progress.steps[1]
    call_of_step(holder, step)  # once, so that what is made once is made
    tracemalloc.start()
    try:
        calls = [call_of_step(holder, step) for _ in range(100)]
        taken = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    assert [call.position for call in calls] == [None] * 100
    assert not taken.filter_traces([tracemalloc.Filter(True, trace_context.__file__)]).traces
    assert not taken.filter_traces([tracemalloc.Filter(True, "*opentelemetry*")]).traces


# Workflow code


def wake(desk: Desk, run: Run) -> None:
    """Fires the timer that was set last, and lets the run be leased by a worker that has to replay it."""
    timer = [entry.number for entry in run.entries if isinstance(entry, TimerSet)][-1]
    run.post(TimerFired(timer))
    desk.crew.runs._cache.clear()
    desk.hand(run)


async def carried_through(desk: Desk, run: Run) -> str:
    for _ in range(3):
        await desk.until(lambda: run.state == "suspend")
        run.state = "waits"
        wake(desk, run)
    await desk.until(lambda: run.close is not None)
    found: str = Codec().decode(run.close.result, Any, what="")
    return found


async def test_replayed_workflow_code_records_no_span_again() -> None:
    desk = Desk(app)
    run = desk.start("wakes_often", trace=run_trace())
    traceparent = await carried_through(desk, run)
    # A span that is open when its code leaves memory ends there, and is not begun again.
    assert [span.name for span in exported.get_finished_spans()] == ["turn 0", "turn 1", "turn 2", "the end"]
    parent = named("the end").parent
    assert parent is not None
    assert parent.trace_id == int.from_bytes(ROOT.trace_id, "big")
    assert parent.span_id == int.from_bytes(ROOT.span_id, "big")
    assert ROOT.trace_id.hex() in traceparent


async def test_replays_are_silent_also_when_the_run_is_not_traced() -> None:
    desk = Desk(app)
    await carried_through(desk, desk.start("wakes_often"))
    assert [span.name for span in exported.get_finished_spans()] == ["turn 0", "turn 1", "turn 2", "the end"]
    assert named("the end").parent is None


async def test_a_hundred_replays_record_no_span() -> None:
    desk = Desk(app)
    run = desk.start("wakes_often", trace=run_trace())
    await carried_through(desk, run)
    exported.clear()
    rows = desk.runs[run.run_id].entries
    for _ in range(100):
        lease = Lease(run.run_id, 99, run.workflow, len(rows), trace=run.trace, created_at=rows[0].at)
        holder = desk.crew._make_holder(lease, run.arguments, desk.crew.worker, desk.crew.limits)
        holder.replay(rows)
        holder.drop()
    assert exported.get_finished_spans() == ()
