"""All that exports spans, as one thing that the app can run: fast path, exporter, marks and relay."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import structlog

from holdfast.ids import cell_of
from holdfast_coordinator.domain.rows import JournalRow, RunRow
from holdfast_coordinator.store.port import CellStore
from holdfast_coordinator.telemetry.sinks import SpanSink
from holdfast_coordinator.telemetry.spans import Span, SpanRules

from .counted_sink import CountedSink
from .exporter import SPANS_WAITING_MAX, Batchable, Exported, SpanExporter
from .marks import MARKS_PAGE, Marks
from .relay import Exports, Relay, RelayLimits
from .run_export import PAGE_BYTES
from .tracer import Tracer

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 3.0
"""How long a replica that stops waits for a collector; what is left is the relay's."""


class SpanExport:
    """See the module. Made before the engine, which gives it what is committed by `tracer.committed`.

    stores: by the name of their cell. clock: the database's time, asked for only while it runs. collector: its address,
    for people. dropped: counts spans and runs that were given up, each with its reason. taken: counts
    spans that the collector took. spans_max: see SpanExporter.
    """

    def __init__(
        self,
        stores: Mapping[str, CellStore],
        sink: SpanSink,
        rules: SpanRules,
        *,
        clock: Callable[[], datetime],
        collector: str,
        limits: RelayLimits,
        dropped: Callable[[int, str], None] = lambda count, reason: None,
        taken: Callable[[int], None] | None = None,
        spans_max: int = SPANS_WAITING_MAX,
    ) -> None:
        self._stores = stores
        self.exporter = SpanExporter(
            sink, spans_max=spans_max, on_exported=self._exported, on_left_behind=self._left_behind, dropped=dropped,
            taken=taken or (lambda spans: None),
        )  # fmt: skip
        if taken is not None:
            sink = CountedSink(sink, taken)
        self.tracer = Tracer(self.exporter, self, rules, on_gap=self._sweep_soon)
        self.marks = Marks(self._write_marks)
        self.relay = Relay(
            stores, sink, rules, clock=clock, is_open=self._is_reachable, limits=limits,
            given_up=dropped,
        )  # fmt: skip
        self.exports = Exports(self._store_of, sink, rules, collector)

    def _is_reachable(self) -> bool:
        return self.exporter.is_reachable

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Exports for as long as the block runs, and then what is left in memory."""
        parts = {
            "span builder": self.tracer.run,
            "span exporter": self.exporter.run,
            "trace marks": self.marks.run,
            "span relay": self.relay.run,
        }
        tasks = [asyncio.create_task(part(), name=name) for name, part in parts.items()]
        for task in tasks:
            task.add_done_callback(say_failure)
        try:
            yield
        finally:
            with suppress(TimeoutError):  # the relay builds what is left
                async with asyncio.timeout(DRAIN_SECONDS):
                    await self.tracer.drained()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.exporter.drain(DRAIN_SECONDS)
            await self.marks.write(open_too=True)

    def emit(self, span: Span) -> None:
        """Exports a span that is no part of a skeleton, once: it is lost when there is no room, or no collector."""
        self.exporter.submit(Batchable([span], span.run.run_id, seq=0))

    # What the tracer reads

    async def record(self, run_id: str) -> RunRow | None:
        """See tracer.Journals."""
        return (await self._store_of(run_id).records([run_id])).get(run_id)

    async def rows(self, run_id: str, after: int) -> tuple[list[JournalRow], bool]:
        """See tracer.Journals."""
        return await self._store_of(run_id).journal(run_id, after, PAGE_BYTES)

    async def exported_seq(self, run_id: str) -> int:
        """See tracer.Journals."""
        return await self._store_of(run_id).exported_seq(run_id)

    # What the exporter says

    def _exported(self, exported: list[Exported]) -> None:
        self.marks.exported(exported)

    def _left_behind(self, run_ids: list[str]) -> None:
        self.tracer.left_behind(run_ids)

    # Details

    def _sweep_soon(self) -> None:
        self.relay.sweep_soon()

    async def _write_marks(self, opened: dict[str, int], closed: list[str]) -> None:
        for name, store in self._stores.items():
            seqs = [(run_id, seq) for run_id, seq in opened.items() if cell_of(run_id) == name]
            for first in range(0, len(seqs), MARKS_PAGE):
                await store.mark_exported(dict(seqs[first : first + MARKS_PAGE]))
            ended = [run_id for run_id in closed if cell_of(run_id) == name]
            for first in range(0, len(ended), MARKS_PAGE):
                await store.delete_marks(ended[first : first + MARKS_PAGE])

    def _store_of(self, run_id: str) -> CellStore:
        return self._stores[cell_of(run_id)]


def say_failure(task: asyncio.Task[None]) -> None:
    """What a task says at its end: a replica goes on without its traces; that a defect ended them must be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("tracing_ended", part=task.get_name(), error=repr(error), exc_info=error)
