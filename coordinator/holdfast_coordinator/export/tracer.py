"""The fast path: the spans of committed entries, built from memory by the replica that committed them.

A commit costs one call that remembers its rows. A task of its own makes spans of them, a slice at a time, and gives
them to the exporter. Nothing here is needed for anything to be exported in the end: what is dropped, evicted or lost
with the process is left to the relay, by the trace mark of its run.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from holdfast_coordinator.domain.rows import JournalRow, ParsedRow, RunRow
from holdfast_coordinator.engine.journal_spans import SLICE_SECONDS, spans_from_journal
from holdfast_coordinator.store.port import StoreError
from holdfast_coordinator.telemetry.identity import trace_of
from holdfast_coordinator.telemetry.run_spans import RunSpanBuilder
from holdfast_coordinator.telemetry.spans import Span, SpanRules
from holdfast_coordinator.wire.journals import journal_message

from .exporter import Batchable

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.3
"""Seconds in which rows are gathered: what a run has committed meanwhile is exported as one. With 0.1 the steps per
second that tracing leaves were 75 % instead of 79 %; more than 0.3 gained nothing."""

ROWS_MAX = 50_000
"""Committed rows that wait to be made into spans; with more, the runs of the newest are left to the relay."""

RUNS_MAX = 10_000
"""Runs that are kept between their rows; one that was forgotten is built anew from its journal."""

SUBMITTED_MAX = 128
"""Spans of a journal that are submitted at once: encoding them holds the loop for half a millisecond."""

REBUILDS_MAX = 4
"""Journals that are read at once for runs that are not in memory."""


class Outlet(Protocol):
    """Where spans go."""

    @property
    def has_room(self) -> bool:
        """False while what is submitted would be dropped."""

    def submit(self, item: Batchable) -> bool:
        """Takes spans; False when there is no room."""


class Journals(Protocol):
    """Reads what is not in memory."""

    async def record(self, run_id: str) -> RunRow | None:
        """What a run was started with. Raises StoreError."""

    async def rows(self, run_id: str, after: int) -> tuple[list[JournalRow], bool]:
        """A page of its journal, and whether there is more. Raises StoreError."""

    async def exported_seq(self, run_id: str) -> int:
        """Up to which entry its spans are exported, by its mark. Raises StoreError."""


class _Live:
    """A run whose spans are built as it goes. trace: what it has been fed, and is submitted; None at first.

    rows: those that wait until its journal was read; None when it was.
    """

    __slots__ = ("rows", "trace")

    def __init__(self, trace: RunSpanBuilder | None) -> None:
        self.trace = trace
        self.rows: list[JournalRow] | None = None if trace is not None else []


class Tracer:
    """See the module. `committed` from the event loop only; `run` is its one task.

    on_gap: called when spans of a run are left to the relay. An open one has no mark that would lead the relay to it.
    """

    def __init__(
        self, outlet: Outlet, journals: Journals, rules: SpanRules, *, on_gap: Callable[[], None] = lambda: None
    ) -> None:
        self._outlet = outlet
        self._on_gap = on_gap
        self._journals = journals
        self._rules = rules
        self._rows: dict[str, list[JournalRow]] = {}
        self._rows_waiting = 0
        self._records: dict[str, RunRow] = {}
        self._new: dict[str, RunRow] = {}
        self._live: OrderedDict[str, _Live] = OrderedDict()
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._rebuilding: set[asyncio.Task[None]] = set()

    def committed(self, rows: Sequence[JournalRow], records: Sequence[RunRow]) -> None:
        """Remembers rows that were committed, of each run in order, and the records of new runs. Never waits."""
        if self._rows_waiting >= ROWS_MAX:
            for row in rows:
                self._forget(row.run_id)
            self._on_gap()
            return
        for record in records:
            self._records[record.run_id] = record
        for row in rows:
            self._rows.setdefault(row.run_id, []).append(row)
        self._rows_waiting += len(rows)
        self._idle.clear()
        self._news.set()

    async def run(self) -> None:
        """Makes spans for as long as it is not cancelled."""
        try:
            while True:
                await self._news.wait()
                await asyncio.sleep(GATHER_SECONDS)
                self._news.clear()
                await self._take_all()
                self._rest()
        finally:
            for task in self._rebuilding:
                task.cancel()

    async def drained(self) -> None:
        """Waits until all that was committed so far has been made into spans."""
        await self._idle.wait()

    def left_behind(self, run_ids: Sequence[str]) -> None:
        """Spans of these runs were dropped: whatever comes next is built anew, from their marks on."""
        for run_id in run_ids:
            self._forget(run_id)
        self._on_gap()

    def _forget(self, run_id: str) -> None:
        self._live.pop(run_id, None)

    async def _take_all(self) -> None:
        """Makes spans of what waits, in slices."""
        by_run, self._rows = self._rows, {}
        records, self._records = self._records, {}
        self._new = records
        ends_at = time.monotonic() + SLICE_SECONDS
        for rows in by_run.values():
            self._take_safely(rows)
            self._rows_waiting -= len(rows)
            if time.monotonic() > ends_at:
                await asyncio.sleep(0)
                ends_at = time.monotonic() + SLICE_SECONDS

    def _take_safely(self, rows: Sequence[JournalRow]) -> None:
        try:
            self._take(rows)
        except Exception:
            # What a worker wrote may make no spans at all. It must not end the spans of all others.
            log.exception("spans_not_built", run_id=rows[0].run_id, seq=rows[0].seq)
            self._forget(rows[0].run_id)

    def _take(self, rows: Sequence[JournalRow]) -> None:
        """Makes spans of rows of one run, in order. Each is fed by itself, as from the journal: it is a unit."""
        run_id = rows[0].run_id
        live = self._live.get(run_id) or self._begin(rows[0])
        if live is None:
            return
        if live.rows is not None:
            live.rows += rows
            return
        assert live.trace is not None, run_id
        trace, first = live.trace, live.trace.seq
        spans: list[Span] = []
        for place, row in enumerate(rows):
            if row.seq <= trace.seq:
                continue  # the journal that was read had it already
            if row.seq - row.count != trace.seq or row.has_stored_mail:
                # Another replica has advanced the run in between, or only the database has all of the row: what the
                # trace has not had is read from the journal.
                if trace.seq == first or self._export(run_id, trace, spans):
                    live.rows = list(rows[place:])
                    if not self._read_journal(run_id, live):
                        self._forget(run_id)
                return
            if type(row) is ParsedRow:
                spans += trace.feed_entries(row.parsed[:], row.seq, row.epoch)
            else:
                spans += trace.feed(journal_message(row))
        if trace.seq > first:
            self._export(run_id, trace, spans)

    def _begin(self, row: JournalRow) -> _Live | None:
        """Begins to follow a run, from its first row or from its journal; None when it is left to the relay."""
        if not self._outlet.has_room:
            self._on_gap()
            return None
        record = self._new.pop(row.run_id, None)
        if record is not None and row.seq == row.count:
            live = _Live(trace_of(record, self._rules))
        else:
            live = _Live(None)
            if not self._read_journal(row.run_id, live):
                return None
        self._live[row.run_id] = live
        if len(self._live) > RUNS_MAX:
            self._forget(next(iter(self._live)))
        return live

    def _read_journal(self, run_id: str, live: _Live) -> bool:
        """Reads what the trace of a run has not had, beside all others; False when too many do so already."""
        if len(self._rebuilding) >= REBUILDS_MAX:
            self._on_gap()
            return False
        task = asyncio.get_running_loop().create_task(self._rebuild(run_id, live))
        self._rebuilding.add(task)
        task.add_done_callback(self._rebuilt)
        return True

    def _rebuilt(self, task: asyncio.Task[None]) -> None:
        self._rebuilding.discard(task)
        self._rest()

    def _rest(self) -> None:
        if not self._rebuilding and not self._rows_waiting:
            self._idle.set()

    async def _rebuild(self, run_id: str, live: _Live) -> None:
        """Feeds a trace what is in the journal, then the rows that came meanwhile."""
        try:
            trace = await self._from_journal(run_id, live)
        except StoreError as error:
            log.warning("trace_not_rebuilt", run_id=run_id, error=str(error))
            self._on_gap()
            trace = None
        except Exception:
            # What a worker wrote may make no spans at all. The relay will meet it too, and give it up.
            log.exception("trace_not_rebuilt", run_id=run_id)
            trace = None
        if self._live.get(run_id) is not live:
            if trace is None or not trace.is_closed:
                self._on_gap()
            return
        rows, live.rows = live.rows or [], None
        if trace is None:
            self._forget(run_id)
            return
        live.trace = trace
        if rows:
            self._take_safely(rows)

    async def _from_journal(self, run_id: str, live: _Live) -> RunSpanBuilder | None:
        exported = await self._journals.exported_seq(run_id)
        trace, spans = live.trace, []
        if trace is None:
            record = await self._journals.record(run_id)
            if record is None:
                return None
            trace = trace_of(record, self._rules)
        async for seq, finished in spans_from_journal(trace, partial(self._journals.rows, run_id)):
            if seq > exported:
                spans += finished
            if len(spans) >= SUBMITTED_MAX:
                if not self._export_rebuilt(run_id, live, trace, spans):
                    return None
                spans = []
        return trace if self._export_rebuilt(run_id, live, trace, spans) else None

    def _export_rebuilt(self, run_id: str, live: _Live, trace: RunSpanBuilder, spans: list[Span]) -> bool:
        """The same as `_export`; False also when the run was forgotten meanwhile.

        Its first spans may have been dropped: once later ones are exported, they would count as exported too.
        """
        return self._live.get(run_id) is live and self._export(run_id, trace, spans)

    def _export(self, run_id: str, trace: RunSpanBuilder, spans: list[Span]) -> bool:
        """Gives what was built so far to the exporter; False when there is no room, and the run is forgotten."""
        closed = trace.is_closed
        if not self._outlet.submit(Batchable(spans, run_id, trace.seq, closed)):
            self._forget(run_id)
            self._on_gap()
            return False
        if closed:
            self._live.pop(run_id, None)
        elif run_id in self._live:
            self._live.move_to_end(run_id)
        return True
