"""What a span costs the coordinator: rows of the journal are read, become spans, and these the bytes of a request.

In memory and without a coordinator; the rows are those that ten-step runs leave behind.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from holdfast.api.v1 import journal_pb2, worker_service_pb2
from holdfast.ids import run_id
from holdfast.traces import SpanContext
from holdfast_coordinator.telemetry.otlp_spans import encode_span, request_of
from holdfast_coordinator.telemetry.run_spans import RunSpanBuilder
from holdfast_coordinator.telemetry.spans import RunFacts

from . import flows
from .replay import recorded_pages

_NAMESPACE = "default"
_SPANS_PER_REQUEST = 512
_CREATED_AT = datetime(2030, 1, 1, tzinfo=UTC)


def recorded_rows(steps: int) -> list[bytes]:
    """The journal of a run with `steps` steps, as it is stored. Must not be called inside a task."""
    pages = recorded_pages(steps)
    read = worker_service_pb2.ReadJournalResponse.FromString
    return [row.SerializeToString() for page in pages for row in read(page).rows]


def us_per_span(rows: Sequence[bytes], runs: int) -> float:
    """Microseconds of CPU per span, over `runs` runs with this journal."""
    facts = [_facts(number) for number in range(1, runs + 1)]
    encoded: list[tuple[str, bytes]] = []
    spans = 0
    started = time.thread_time()
    for one in facts:
        trace = RunSpanBuilder(one)
        for row in rows:
            finished = trace.feed(journal_pb2.JournalRow.FromString(row))
            encoded += [(_NAMESPACE, encode_span(span)) for span in finished]
        if len(encoded) >= _SPANS_PER_REQUEST or one is facts[-1]:
            request_of(encoded)
            spans += len(encoded)
            encoded.clear()
    seconds = time.thread_time() - started
    return seconds / spans * 1e6


def _facts(number: int) -> RunFacts:
    return RunFacts(
        run_id=run_id("00", f"{number:026d}"),
        namespace=_NAMESPACE,
        workflow=flows.steps_in_turn.name,
        created_at=_CREATED_AT,
        trace=SpanContext(number.to_bytes(16), number.to_bytes(8)),
        queue="default",
        input_bytes=len(flows.PAYLOAD),
    )
