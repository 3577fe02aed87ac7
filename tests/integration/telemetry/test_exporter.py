"""The exporter of spans against a real collector that is slow, gone, full or wrong."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from holdfast.backoff import Exponential
from holdfast.traces import SpanContext
from holdfast_coordinator.export.exporter import (
    QUEUE_FULL,
    REFUSED,
    REQUEST_SPANS_MAX,
    Batchable,
    Exported,
    SpanExporter,
)
from holdfast_coordinator.rpc.collector_client import Collector
from holdfast_coordinator.telemetry.otel_variables import Endpoint
from holdfast_coordinator.telemetry.otlp_spans import export_request
from holdfast_coordinator.telemetry.sinks import Accepted, CollectorUnreachable
from holdfast_coordinator.telemetry.spans import RunFacts, Span, SpanKind, SpanStatus
from tests.support.otlp_sink import OtlpSink, otlp_sink

Code = grpc.StatusCode
T0 = datetime(2026, 3, 1, tzinfo=UTC)
QUICK = Exponential(base=2, max=timedelta(seconds=0.1), first_exponent=-6)


def facts(run_id: str = "run_1", namespace: str = "shop") -> RunFacts:
    return RunFacts(run_id, namespace, "order", T0, SpanContext(b"\1" * 16, b"\2" * 8))


def item(*numbers: int, run: RunFacts | None = None, closed: bool = False, message: str = "") -> Batchable:
    """One span per number, named for it; seq is the last number."""
    run = run or facts()
    own = (("holdfast.step.number", 1), ("error.type", "CardDeclined"), ("holdfast.error.message", message))
    spans = [
        Span(run, run.trace.trace_id, number.to_bytes(8), b"", str(number), SpanKind.INTERNAL, 1, 2, SpanStatus.OK,
             own if message else own[:1], ())
        for number in numbers
    ]  # fmt: skip
    return Batchable(spans, run.run_id, numbers[-1], closed)


@dataclass
class Heard:
    """What an exporter told, and how its requests went; `until` waits for more of it."""

    exported: list[Exported] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    dropped: list[tuple[int, str]] = field(default_factory=list)
    failures: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def on_exported(self, exported: list[Exported]) -> None:
        self.exported += exported
        self.tell()

    def on_left_behind(self, run_ids: list[str]) -> None:
        self.left_behind += run_ids
        self.tell()

    def on_dropped(self, spans: int, reason: str) -> None:
        self.dropped.append((spans, reason))
        self.tell()

    async def until(self, predicate: Callable[["Heard"], object], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not predicate(self):
                await self.changed.wait()


class Watched:
    """A collector whose failures are counted."""

    def __init__(self, collector: Collector, heard: Heard) -> None:
        self._collector = collector
        self._heard = heard

    async def export_traces(self, request: bytes) -> Accepted:
        try:
            return await self._collector.export_traces(request)
        except CollectorUnreachable:
            self._heard.failures += 1
            asyncio.get_running_loop().call_soon(self._heard.tell)
            raise


@asynccontextmanager
async def idle_exporter(
    address: str, *, timeout_seconds: float = 10.0, watched: type[Watched] = Watched, **options: Any
) -> AsyncIterator[tuple[SpanExporter, Heard]]:
    heard = Heard()
    collector = Collector(Endpoint(address, timeout_seconds=timeout_seconds))
    yield (
        SpanExporter(
            watched(collector, heard),
            on_exported=heard.on_exported,
            on_left_behind=heard.on_left_behind,
            dropped=heard.on_dropped,
            **{"backoff": QUICK, "flush_seconds": 0.01, **options},
        ),
        heard,
    )
    await collector.close()


@asynccontextmanager
async def running(exporter: SpanExporter) -> AsyncIterator[None]:
    task = asyncio.create_task(exporter.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def exporting(address: str, **options: Any) -> AsyncIterator[tuple[SpanExporter, Heard]]:
    async with idle_exporter(address, **options) as (exporter, heard), running(exporter):
        yield exporter, heard


@pytest.fixture
async def sink() -> AsyncIterator[OtlpSink]:
    async with otlp_sink() as sink:
        yield sink


async def test_spans_arrive_as_their_bytes_and_are_told_when_they_are_there(sink: OtlpSink) -> None:
    made = item(1, 2, closed=True)
    async with exporting(sink.address, spans_max=1) as (exporter, heard):
        assert exporter.submit(made)
        await heard.until(lambda heard: heard.exported)
    assert heard.exported == [("run_1", 2, True)]
    assert sink.requests == [export_request(made.spans)]
    assert exporter.has_room


async def test_spans_arrive_in_order_in_requests_of_bounded_size(sink: OtlpSink) -> None:
    runs = [facts(f"run_{number}", namespace=f"space_{number % 2}") for number in range(5)]
    async with exporting(sink.address) as (exporter, heard):
        for number in range(2_000):
            assert exporter.submit(item(number, run=runs[number // 400]))
        await heard.until(lambda heard: len(heard.exported) == 2_000)
    assert [span.name for span in sink.spans] == [str(number) for number in range(2_000)]
    assert [seq for _, seq, _ in heard.exported] == list(range(2_000))
    assert sink.counts.requests == -(-2_000 // REQUEST_SPANS_MAX)


async def test_a_span_has_the_same_bytes_whatever_it_is_sent_with(sink: OtlpSink) -> None:
    async with exporting(sink.address) as (exporter, heard):
        exporter.submit(item(*range(300)))
        await heard.until(lambda heard: len(heard.exported) == 1)
        exporter.submit(item(7))
        await heard.until(lambda heard: len(heard.exported) == 2)
    first, second = sink.named("7")
    assert first.raw == second.raw


async def test_a_run_with_more_spans_than_a_request_holds_is_exported_once_it_is_there_as_a_whole(
    sink: OtlpSink,
) -> None:
    async with exporting(sink.address) as (exporter, heard):
        assert exporter.submit(item(*range(2 * REQUEST_SPANS_MAX + 1), closed=True))
        await heard.until(lambda heard: heard.exported)
    assert heard.exported == [("run_1", 2 * REQUEST_SPANS_MAX, True)]
    assert (sink.counts.requests, sink.counts.spans) == (3, 2 * REQUEST_SPANS_MAX + 1)


async def test_requests_stay_below_what_collectors_take(sink: OtlpSink) -> None:
    async with exporting(sink.address) as (exporter, heard):
        assert exporter.submit(item(*range(1, 2_000), message="x" * 1_024))
        await heard.until(lambda heard: heard.exported)
    assert all(len(request) < 1_200_000 for request in sink.requests)
    assert sink.counts.spans == 1_999


async def test_entries_without_spans_are_told_in_their_turn(sink: OtlpSink) -> None:
    async with exporting(sink.address) as (exporter, heard):
        exporter.submit(item(1))
        exporter.submit(Batchable([], "run_1", 2, closed=True))
        await heard.until(lambda heard: len(heard.exported) == 2)
    assert heard.exported == [("run_1", 1, False), ("run_1", 2, True)]
    assert sink.counts.requests == 1


async def test_one_warning_while_the_collector_is_gone_and_one_word_when_it_is_back(sink: OtlpSink) -> None:
    await sink.stop()
    with capture_logs() as logs:
        async with exporting(sink.address, spans_max=10) as (exporter, heard):
            taken = [exporter.submit(item(number)) for number in range(25)]
            await heard.until(lambda heard: heard.failures >= 4)
            assert not exporter.is_reachable
            taken += [exporter.submit(item(99))]
            await sink.start()
            await heard.until(lambda heard: len(heard.exported) == 10)
            assert exporter.is_reachable
            exporter.submit(item(100))
            await heard.until(lambda heard: len(heard.exported) == 11)
    assert taken == [True] * 10 + [False] * 16
    assert heard.dropped == [(1, QUEUE_FULL)] * 16
    assert [span.name for span in sink.spans] == [*map(str, range(10)), "100"]
    gone, back = logs
    assert (gone["event"], gone["log_level"], gone["address"]) == ("collector_unreachable", "warning", sink.address)
    assert (gone["spans_waiting"], gone["spans_turned_away"]) == (10, 15)
    assert "refused" in gone["why"]
    assert (back["event"], back["log_level"], back["spans_turned_away"]) == ("collector_reachable", "info", 16)


async def test_a_black_hole_holds_back_no_one_who_submits_and_loses_nothing_that_was_taken(sink: OtlpSink) -> None:
    sink.hang()
    with capture_logs() as logs:
        async with exporting(sink.address, timeout_seconds=0.2, spans_max=1_000) as (exporter, heard):
            taken = sum(exporter.submit(item(number)) for number in range(5_000))
            await heard.until(lambda heard: heard.failures >= 3)
            sink.accept()
            await heard.until(lambda heard: len(heard.exported) == taken)
    assert taken == 1_000
    assert [span.name for span in sink.spans] == [str(number) for number in range(1_000)]
    assert [entry["event"] for entry in logs] == ["collector_unreachable", "collector_reachable"]
    assert logs[0]["why"] == "it did not answer within 0.2 s"


async def test_memory_is_bounded_by_spans_and_by_bytes(sink: OtlpSink) -> None:
    await sink.stop()
    async with exporting(sink.address, spans_max=20_000, bytes_max=1_000_000) as (exporter, heard):
        await asyncio.sleep(0)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        taken = sum(exporter.submit(item(number, message=f"{number:>1000}")) for number in range(5_000))
        kept = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert 500 < taken < 1_000
    assert sum(spans for spans, reason in heard.dropped if reason == QUEUE_FULL) == 5_000 - taken
    assert kept < 2_500_000


async def test_a_run_larger_than_the_queue_is_exported_all_the_same(sink: OtlpSink) -> None:
    async with exporting(sink.address, spans_max=10) as (exporter, heard):
        assert exporter.submit(item(*range(100)))
        assert not exporter.submit(item(100))
        await heard.until(lambda heard: heard.exported)
    assert sink.counts.spans == 100


async def test_spans_that_are_refused_are_dropped_and_the_next_ones_exported(sink: OtlpSink) -> None:
    sink.refuse(Code.INVALID_ARGUMENT, "no such tenant", times=1)
    with capture_logs() as logs:
        async with exporting(sink.address) as (exporter, heard):
            exporter.submit(item(1))
            exporter.submit(item(2, run=facts("run_2")))
            await heard.until(lambda heard: heard.left_behind)
            exporter.submit(item(3, run=facts("run_3")))
            await heard.until(lambda heard: heard.exported)
    assert heard.dropped == [(2, REFUSED)]
    assert heard.left_behind == ["run_1", "run_2"]
    assert heard.exported == [("run_3", 3, False)]
    (warning,) = logs
    assert (warning["event"], warning["spans"]) == ("spans_refused", 2)
    assert "INVALID_ARGUMENT: no such tenant" in warning["why"]


async def test_a_collector_that_refuses_everything_is_warned_of_once(sink: OtlpSink) -> None:
    sink.refuse(Code.UNAUTHENTICATED, "who are you")
    with capture_logs() as logs:
        async with exporting(sink.address) as (exporter, heard):
            for number in range(1, 6):
                exporter.submit(item(number))
                await heard.until(lambda heard, count=number: len(heard.left_behind) == count)
    assert [entry["event"] for entry in logs] == ["spans_refused"]


async def test_a_run_of_which_a_part_was_refused_does_not_count_as_exported(sink: OtlpSink) -> None:
    sink.refuse(Code.INTERNAL, times=1)
    async with exporting(sink.address) as (exporter, heard):
        exporter.submit(item(*range(2 * REQUEST_SPANS_MAX)))
        exporter.submit(item(5_000, run=facts("run_2")))
        await heard.until(lambda heard: heard.exported)
    assert heard.exported == [("run_2", 5_000, False)]
    assert heard.dropped == [(2 * REQUEST_SPANS_MAX, REFUSED)]


async def test_a_run_is_not_exported_when_only_its_later_spans_were_taken(sink: OtlpSink) -> None:
    sink.refuse(Code.INTERNAL, times=1)
    async with exporting(sink.address) as (exporter, heard):
        exporter.submit(item(*range(REQUEST_SPANS_MAX)))
        exporter.submit(item(1_000, closed=True))
        exporter.submit(item(1_001, run=facts("run_2"), closed=True))
        await heard.until(lambda heard: heard.exported)
    assert heard.left_behind == ["run_1"]
    assert heard.exported == [("run_2", 1_001, True)]
    assert len(sink.spans) == 2


async def test_what_a_collector_threw_away_is_counted_and_not_sent_again(sink: OtlpSink) -> None:
    sink.reject_some(2, "too old")
    with capture_logs() as logs:
        async with exporting(sink.address) as (exporter, heard):
            exporter.submit(item(1, 2, 3))
            await heard.until(lambda heard: heard.exported)
    assert heard.dropped == [(2, REFUSED)]
    assert sink.counts.requests == 1
    assert [(entry["event"], entry["spans"], entry["why"]) for entry in logs] == [("spans_refused", 2, "too old")]


async def test_a_collector_that_asks_for_a_pause_is_given_one(sink: OtlpSink) -> None:
    sink.refuse(Code.RESOURCE_EXHAUSTED, "busy", retry_after_seconds=0.5, times=1)
    loop = asyncio.get_running_loop()
    async with exporting(sink.address) as (exporter, heard):
        exporter.submit(item(1))
        await heard.until(lambda heard: heard.failures == 1)
        refused_at = loop.time()
        await heard.until(lambda heard: heard.exported)
    assert loop.time() - refused_at > 0.4


async def test_spans_that_cannot_be_encoded_do_not_end_the_export(sink: OtlpSink) -> None:
    broken = item(1)
    broken.spans[0].start_ns = -1
    with capture_logs() as logs:
        async with exporting(sink.address) as (exporter, heard):
            exporter.submit(broken)
            await heard.until(lambda heard: heard.left_behind)
            exporter.submit(item(2))
            await heard.until(lambda heard: heard.exported)
    assert heard.dropped == [(1, REFUSED)]
    assert [entry["event"] for entry in logs] == ["export_failed"]


async def test_a_drain_exports_what_is_left_and_takes_no_more(sink: OtlpSink) -> None:
    async with idle_exporter(sink.address, flush_seconds=3_600) as (exporter, heard):
        async with running(exporter):
            for number in range(600):
                exporter.submit(item(number))
        await exporter.drain(10)
        assert not exporter.submit(item(601))
    assert {span.name for span in sink.spans} == set(map(str, range(600)))
    assert (len(heard.exported), heard.left_behind) == (600, [])


async def test_a_request_that_was_cut_off_is_sent_again_by_the_drain(sink: OtlpSink) -> None:
    sink.hang()
    async with idle_exporter(sink.address) as (exporter, heard):
        async with running(exporter):
            exporter.submit(item(1))
            await sink.until(lambda sink: sink.counts.refused)
        sink.accept()
        await exporter.drain(10)
    assert [span.name for span in sink.spans] == ["1"]
    assert heard.exported == [("run_1", 1, False)]


async def test_a_drain_does_not_wait_for_a_collector_that_is_gone(sink: OtlpSink) -> None:
    await sink.stop()
    async with idle_exporter(sink.address) as (exporter, heard):
        exporter.submit(item(1))
        async with asyncio.timeout(5):
            await exporter.drain(60)
    assert (heard.exported, heard.left_behind) == ([], ["run_1"])


async def test_a_drain_into_a_black_hole_ends_in_time(sink: OtlpSink) -> None:
    sink.hang()
    async with idle_exporter(sink.address) as (exporter, heard):
        exporter.submit(item(1))
        async with asyncio.timeout(5):
            await exporter.drain(0.2)
    assert heard.left_behind == ["run_1"]
