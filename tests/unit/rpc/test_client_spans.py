"""What a client says of its calls in the caller's trace, and what the coordinator hears of that trace."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState

from holdfast import blocking
from holdfast.client import Client, by_name
from holdfast.errors import HoldfastError, RunAlreadyStarted
from holdfast.traces import parse_traceparent
from tests.support.listening_service import ListeningService, listening

REMOTE = SpanContext(
    0x0AF7651916CD43DD8448EB211C80319C,
    0xB7AD6B7169203331,
    is_remote=True,
    trace_flags=TraceFlags(1),
    trace_state=TraceState([("vendor", "x")]),
)
REMOTE_HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

order = by_name("order")


@pytest_asyncio.fixture
async def service() -> AsyncIterator[tuple[ListeningService, Client]]:
    async with listening() as (service, address), Client.connect(address, "shop") as client:
        yield service, client


def remote_caller() -> context.Context:
    return trace.set_span_in_context(NonRecordingSpan(REMOTE))


def header_of(position: SpanContext | None) -> str:
    assert position is not None
    return f"00-{position.trace_id:032x}-{position.span_id:016x}-{position.trace_flags:02x}"


@pytest.mark.feature("F123")
async def test_a_start_is_a_client_span_below_the_caller_and_sends_its_position(
    service: tuple[ListeningService, Client], user_spans: InMemorySpanExporter
) -> None:
    listener, client = service
    with trace.get_tracer("shop").start_as_current_span("checkout") as checkout:
        await client.start(order.with_options(id="o-1"), 1)
    span, _ = user_spans.get_finished_spans()
    assert (span.name, span.kind, span.status.status_code) == ("start run", SpanKind.CLIENT, StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "holdfast.namespace": "shop",
        "holdfast.workflow.name": "order",
        "holdfast.run.id": "run_00o-1",
        "holdfast.workflow.id": "o-1",
    }
    assert span.parent == checkout.get_span_context()
    assert listener.starts[0].trace.traceparent == header_of(span.context)
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "holdfast"


async def test_a_refused_start_is_an_error_with_its_type(
    service: tuple[ListeningService, Client], user_spans: InMemorySpanExporter
) -> None:
    with pytest.raises(RunAlreadyStarted):
        await service[1].start(order.with_options(id="taken"))
    (span,) = user_spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "RunAlreadyStarted"
    assert not span.events


async def test_a_start_that_its_caller_gave_up_is_no_error(
    service: tuple[ListeningService, Client], user_spans: InMemorySpanExporter
) -> None:
    starting = asyncio.ensure_future(service[1].start(order))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    (span,) = user_spans.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET


async def test_concurrent_starts_share_a_call_and_each_sends_its_own_position(
    service: tuple[ListeningService, Client], user_spans: InMemorySpanExporter
) -> None:
    listener, client = service
    tracer = trace.get_tracer("shop")

    async def start(number: int) -> str:
        with tracer.start_as_current_span(f"request {number}"):
            await client.start(order.with_options(id=f"o-{number}"))
        return f"o-{number}"

    await asyncio.gather(*(start(number) for number in range(50)))
    assert max(listener.calls) > 1
    sent = {spec.id: spec.trace.traceparent for spec in listener.starts}
    made = {
        str((span.attributes or {})["holdfast.workflow.id"]): header_of(span.context)
        for span in user_spans.get_finished_spans()
        if span.name == "start run"
    }
    assert sent == made
    assert len({header.split("-")[1] for header in sent.values()}) == 50


async def test_many_starts_at_once_are_one_span_that_all_of_them_name(
    service: tuple[ListeningService, Client], user_spans: InMemorySpanExporter
) -> None:
    listener, client = service
    await client.start_many("order", range(5))
    (span,) = user_spans.get_finished_spans()
    assert span.name == "start runs"
    assert {spec.trace.traceparent for spec in listener.starts} == {header_of(span.context)}


async def test_steering_calls_are_spans_and_end_with_the_call(
    service: tuple[ListeningService, Client], user_spans: InMemorySpanExporter
) -> None:
    listener, client = service
    run = client.get("o-1")
    await run.signal("approval", {"by": "ann"})
    await run.cancel("no stock")
    await run.terminate()
    await run.retry()
    with pytest.raises(HoldfastError):
        await run.resume()
    spans = user_spans.get_finished_spans()
    assert [span.name for span in spans] == ["signal", "cancel", "terminate", "retry", "resume"]
    assert {span.kind for span in spans} == {SpanKind.CLIENT}
    assert {(span.attributes or {})["holdfast.workflow.id"] for span in spans} == {"o-1"}
    assert [span.status.status_code for span in spans] == [StatusCode.UNSET] * 4 + [StatusCode.ERROR]
    assert listener.signals[0].trace.traceparent == header_of(spans[0].context)


async def test_the_trace_of_the_caller_goes_on_where_no_sdk_is_set_up(
    service: tuple[ListeningService, Client],
) -> None:
    listener, client = service
    token = context.attach(baggage.set_baggage("tenant", "a b", remote_caller()))
    try:
        await client.start(order)
        await client.get("o-1").signal("approval")
    finally:
        context.detach(token)
    for sent in (listener.starts[0].trace, listener.signals[0].trace):
        assert (sent.traceparent, sent.tracestate, sent.baggage) == (REMOTE_HEADER, "vendor=x", "tenant=a+b")
    assert "traceparent" not in listener.headers["StartRuns"]


async def test_baggage_that_cannot_be_sent_costs_only_itself(service: tuple[ListeningService, Client]) -> None:
    listener, client = service
    token = context.attach(baggage.set_baggage("tenant", "lone \udcff", remote_caller()))
    try:
        await client.start(order)
    finally:
        context.detach(token)
    sent = listener.starts[0].trace
    assert (sent.traceparent, sent.baggage) == (REMOTE_HEADER, "")


async def test_a_caller_without_a_trace_sends_none(service: tuple[ListeningService, Client]) -> None:
    listener, client = service
    await client.start(order)
    await client.get("o-1").signal("approval")
    assert not listener.starts[0].HasField("trace")
    assert not listener.signals[0].HasField("trace")


async def test_a_span_that_is_not_recorded_is_not_named_when_the_caller_is_in_a_trace(
    service: tuple[ListeningService, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, client = service
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(sampler=ALWAYS_OFF))
    token = context.attach(remote_caller())
    try:
        await client.start(order)
    finally:
        context.detach(token)
    await client.start(order)
    assert listener.starts[0].trace.traceparent == REMOTE_HEADER
    # Alone it is what says that this program chose not to record: a run that joins does the same.
    alone = parse_traceparent(listener.starts[1].trace.traceparent)
    assert alone is not None
    assert not alone.is_sampled


async def test_options_about_the_trace_reach_the_coordinator(service: tuple[ListeningService, Client]) -> None:
    listener, client = service
    await client.start(order.with_options(trace="join", sampled=False))
    await client.start(order.with_options(sampled=True))
    await client.start(order)
    seen = [(spec.join_trace, spec.sampled if spec.HasField("sampled") else None) for spec in listener.starts]
    assert seen == [(True, False), (False, True), (False, None)]


async def test_a_blocking_client_sends_the_trace_of_the_thread_that_calls(
    user_spans: InMemorySpanExporter,
) -> None:
    def call(address: str) -> SpanContext:
        with (
            blocking.Client.connect(address) as client,
            trace.get_tracer("shop").start_as_current_span("request") as request,
        ):
            client.start(order)
            client.get("o-1").signal("approval")
            return request.get_span_context()

    async with listening() as (listener, address):
        request = await asyncio.to_thread(call, address)
    spans = {span.name: span for span in user_spans.get_finished_spans()}
    assert spans["start run"].parent == spans["signal"].parent == request
    assert listener.starts[0].trace.traceparent == header_of(spans["start run"].context)
    assert listener.signals[0].trace.traceparent == header_of(spans["signal"].context)
