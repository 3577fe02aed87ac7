"""The spans of one run for GetTrace and ExportTrace: built anew from its journal each time, never kept.

What is shown does not depend on sampling, on a collector, or on what was exported before.
"""

from typing import Protocol

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.traces import format_traceparent
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.engine.journal_spans import spans_from_journal
from holdfast_coordinator.store.port import CellQueries
from holdfast_coordinator.telemetry.identity import trace_of
from holdfast_coordinator.telemetry.spans import Span, SpanRules

from .work_messages import Room


class TraceExports(Protocol):
    """Exports the traces of runs on request. collector: where to, as the operator wrote it."""

    collector: str

    async def export(self, record: RunRow) -> int:
        """Exports all finished spans of a run; how many. Raises CollectorUnavailable, CollectorRefused,
        StoreError."""


async def span_page(
    store: CellQueries, record: RunRow, rules: SpanRules, *, after: int, page_bytes: int
) -> tuple[list[pb.TraceSpan], bool]:
    """Finished spans of a run, without the first `after`; True when there are more. Raises StoreError."""
    trace, room = trace_of(record, rules), Room(page_bytes)
    spans: list[pb.TraceSpan] = []
    made = 0
    async for _, finished in spans_from_journal(trace, lambda seq: store.journal(record.run_id, seq, page_bytes)):
        for span in finished:
            made += 1
            if made <= after:
                continue
            message = span_message(span)
            if not room.takes(message):
                return spans, True
            spans.append(message)
    return spans, False


def span_message(span: Span) -> pb.TraceSpan:
    """A span as its message."""
    message = pb.TraceSpan(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        name=span.name,
        kind=span.kind.value,  # type: ignore[arg-type]  # the same numbers
        status=span.status.value,  # type: ignore[arg-type]  # the same numbers
    )
    message.started_at.FromNanoseconds(span.start_ns)
    message.ended_at.FromNanoseconds(span.end_ns)
    for key, value in span.attributes:
        if isinstance(value, str):
            message.attributes.add(key=key, text=value)
        else:
            message.attributes.add(key=key, number=value)
    for link in span.links:
        added = message.links.add(relation=link.relation)
        added.context.traceparent = format_traceparent(link.context)
        added.context.tracestate = link.context.tracestate
    return message
