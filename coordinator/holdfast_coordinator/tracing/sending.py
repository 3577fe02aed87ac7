"""Sends spans of whole runs from their journals, page by page: for the relay, and for whoever asks for one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from holdfast_coordinator.domain.rows import RunRecord
from holdfast_coordinator.store.port import CellStore
from holdfast_coordinator.telemetry.collecting import SpanSink
from holdfast_coordinator.telemetry.identity import trace_of
from holdfast_coordinator.telemetry.otlp import export_request
from holdfast_coordinator.telemetry.spans import Span, SpanRules
from holdfast_coordinator.wire.journals import journal_message

PAGE_BYTES = 1024 * 1024
ROWS_PER_TURN = 50
"""So many rows are made into spans before others have their turn on the loop."""

REQUEST_SPANS = 256


@dataclass(slots=True)
class Sent:
    """What was sent of a run. seq: up to which entry. rejected: how many spans the collector threw away."""

    spans: int = 0
    rejected: int = 0
    seq: int = 0
    is_closed: bool = False


async def send_run(sink: SpanSink, store: CellStore, record: RunRecord, rules: SpanRules, *, after: int = 0) -> Sent:
    """Sends the spans that ended after entry `after`. Raises CollectorUnreachable, ExportRefused, StoreError."""
    sent = Sent()
    waiting: list[Span] = []
    async for spans, sent.seq, sent.is_closed in _built(store, record, rules):
        if sent.seq > after:
            waiting += spans
        while len(waiting) >= REQUEST_SPANS:
            await _send(sink, waiting[:REQUEST_SPANS], sent)
            del waiting[:REQUEST_SPANS]
    if waiting:
        await _send(sink, waiting, sent)
    return sent


async def _built(store: CellStore, record: RunRecord, rules: SpanRules) -> AsyncIterator[tuple[list[Span], int, bool]]:
    """The spans of each row, its number, and whether it closes the run."""
    trace, more = trace_of(record, rules), True
    while more:
        rows, more = await store.journal(record.run_id, trace.seq, PAGE_BYTES)
        for place, row in enumerate(rows, start=1):
            yield trace.feed(journal_message(row)), row.seq, trace.is_closed
            if place % ROWS_PER_TURN == 0:
                await asyncio.sleep(0)


async def _send(sink: SpanSink, spans: Sequence[Span], sent: Sent) -> None:
    accepted = await sink.export_traces(export_request(spans))
    sent.spans += len(spans)
    sent.rejected += accepted.rejected
