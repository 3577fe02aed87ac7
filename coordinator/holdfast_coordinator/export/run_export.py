"""Sends spans of whole runs from their journals, page by page: for the relay, and for single requests."""

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.engine.journal_spans import spans_from_journal
from holdfast_coordinator.store.port import CellStore
from holdfast_coordinator.telemetry.identity import trace_of
from holdfast_coordinator.telemetry.otlp_spans import export_request
from holdfast_coordinator.telemetry.sinks import SpanSink
from holdfast_coordinator.telemetry.spans import Span, SpanRules

PAGE_BYTES = 1024 * 1024
REQUEST_SPANS = 256


@dataclass(slots=True)
class Sent:
    """What was sent of a run. seq: up to which entry. rejected: how many spans the collector threw away."""

    spans: int = 0
    rejected: int = 0
    seq: int = 0
    is_closed: bool = False


async def send_run(sink: SpanSink, store: CellStore, record: RunRow, rules: SpanRules, *, after: int = 0) -> Sent:
    """Sends the spans that ended after entry `after`. Raises CollectorUnreachable, ExportRefused, StoreError."""
    sent = Sent()
    trace, waiting = trace_of(record, rules), list[Span]()
    async for sent.seq, spans in spans_from_journal(trace, lambda seq: store.journal(record.run_id, seq, PAGE_BYTES)):
        if sent.seq > after:
            waiting += spans
        while len(waiting) >= REQUEST_SPANS:
            await _send(sink, waiting[:REQUEST_SPANS], sent)
            del waiting[:REQUEST_SPANS]
    if waiting:
        await _send(sink, waiting, sent)
    sent.is_closed = trace.is_closed
    return sent


async def _send(sink: SpanSink, spans: Sequence[Span], sent: Sent) -> None:
    accepted = await sink.export_traces(export_request(spans))
    sent.spans += len(spans)
    sent.rejected += accepted.rejected
