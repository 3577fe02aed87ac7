"""Spans from a journal that is read a page at a time: for the relay, for replicas that take a run over, for people."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.telemetry.run_spans import RunSpanBuilder
from holdfast_coordinator.telemetry.spans import Span
from holdfast_coordinator.wire.journals import journal_message

SLICE_SECONDS = 0.001
"""Seconds in which spans are made before others have their turn on the loop."""

ReadPage = Callable[[int], Awaitable[tuple[list[JournalRow], bool]]]
"""The rows after an entry, at least one where there are any, and whether there are more. Raises StoreError."""


async def spans_from_journal(trace: RunSpanBuilder, read: ReadPage) -> AsyncIterator[tuple[int, list[Span]]]:
    """Feeds a trace the rows that it has not had: for each its seq and the spans that end in it. Raises StoreError."""
    more = True
    while more:
        rows, more = await read(trace.seq)
        ends_at = time.monotonic() + SLICE_SECONDS
        for row in rows:
            yield row.seq, trace.feed(journal_message(row))
            if time.monotonic() > ends_at:
                await asyncio.sleep(0)
                ends_at = time.monotonic() + SLICE_SECONDS
