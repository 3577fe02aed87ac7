"""Exports from the journal what was not exported from memory: after a crash or an outage, and failures unsampled.

A closed run leaves a mark with the time from which any replica may take it; whoever claims it has it alone for a while.
Open runs are looked through a while after the replica started, spans were dropped, or a collector has come back.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from holdfast.errors import CollectorRefused, CollectorUnavailable
from holdfast_coordinator.domain.rows import RunRow, TraceMark
from holdfast_coordinator.store.port import CellStore, StoreError
from holdfast_coordinator.telemetry.sinks import CollectorUnreachable, ExportRefused, SpanSink
from holdfast_coordinator.telemetry.spans import SpanRules

from .run_export import send_run

log = structlog.get_logger(__name__)

CLAIM_FOR = timedelta(seconds=60)
"""How long a claimed mark is left alone by others. A run that takes longer is exported twice, which does no harm."""

IDLE_FOR = timedelta(minutes=2)
"""How long an open run is idle before it is looked at: until then its mark may be on its way."""

SWEEP_AFTER = IDLE_FOR + timedelta(seconds=30)
"""Runs that moved while spans were dropped are looked at when they can be idle, and not before."""

SWEEP_EVERY = timedelta(hours=1)
"""How often open runs are looked through in any case: a replica that will never come back may have left them."""

COUNT_EVERY = timedelta(seconds=30)
EXCESS_MAX = 10_000
MARKS_CLAIMED_MAX = 50
OPEN_RUNS_PAGE = 500
PAUSE_SECONDS = 1.0

WARNING_EVERY = timedelta(seconds=60)
"""A collector that refuses one run refuses most likely all: this is the time between warnings for one reason."""

TOO_OLD = "too_old"
TOO_MANY = "too_many"
REFUSED_RUN = "refused_run"
REASONS = (TOO_OLD, TOO_MANY, REFUSED_RUN)
"""Why the relay gives a run up."""


@dataclass(slots=True, frozen=True)
class RelayLimits:
    """Bounds of what is left to the relay: older runs, and the oldest of more runs, are given up and counted."""

    age: timedelta = timedelta(hours=24)
    runs: int = 100_000


class Relay:
    """See the module. `run` is its one task.

    stores: by the name of their cell. is_open: False while the exporter waits for a collector to come back.
    given_up: counts runs with one of REASONS.
    """

    def __init__(
        self,
        stores: Mapping[str, CellStore],
        sink: SpanSink,
        rules: SpanRules,
        *,
        clock: Callable[[], datetime],
        is_open: Callable[[], bool] = lambda: True,
        limits: RelayLimits = RelayLimits(),
        given_up: Callable[[int, str], None] = lambda runs, reason: None,
    ) -> None:
        self._stores = stores
        self._sink = sink
        self._rules = rules
        self._clock = clock
        self._is_open = is_open
        self._limits = limits
        self._given_up = given_up
        self._sweep_at: datetime | None = None
        self._count_at: datetime | None = None
        self._unsaid: Counter[str] = Counter()
        self._silent_until: dict[str, datetime] = {}

    async def run(self) -> None:
        """Relays until it is cancelled."""
        failing = False
        while True:
            try:
                is_done = not await self.run_once()
                failing = False
            except CollectorUnreachable:
                is_done = True  # marks come again when their claim is over
            except StoreError as error:
                if not failing:
                    log.warning("relay_failed", error=str(error))
                failing = is_done = True
            except Exception:
                log.exception("relay_failed")
                is_done = True
            if is_done:
                await asyncio.sleep(PAUSE_SECONDS)

    async def run_once(self) -> bool:
        """Exports a page of marks of each cell; True when there may be more.

        Raises CollectorUnreachable, StoreError.
        """
        await self._keep_bound()
        if self._sweep_at is None:
            self._sweep_at = self._clock() + SWEEP_AFTER
        if not self._is_open():
            self._sweep_at = self._clock() + SWEEP_AFTER
            return False
        more = False
        for store in self._stores.values():
            now = self._clock()
            marks = await store.claim_marks(now, now + CLAIM_FOR, MARKS_CLAIMED_MAX)
            await self._export(store, marks, now)
            more = more or len(marks) == MARKS_CLAIMED_MAX
        if not more and self._clock() >= self._sweep_at:
            # First the time: what is dropped during the sweep needs another one.
            due_at, self._sweep_at = self._sweep_at, self._clock() + SWEEP_EVERY
            try:
                await self.sweep()
            except BaseException:
                self._sweep_at = due_at
                raise
        return more

    def sweep_soon(self) -> None:
        """Spans of open runs were dropped: they are looked for when these runs are idle."""
        if self._sweep_at is not None:
            self._sweep_at = min(self._sweep_at, self._clock() + SWEEP_AFTER)

    async def sweep(self) -> None:
        """Exports what idle open runs have left unexported. Raises CollectorUnreachable, StoreError."""
        for store in self._stores.values():
            after: str | None = ""
            while after is not None:
                behind, after = await store.open_traces(after, self._clock() - IDLE_FOR, OPEN_RUNS_PAGE)
                records = await store.records(list(behind)) if behind else {}
                for run_id, record in records.items():
                    await self._export_open(store, record, behind[run_id])

    async def _export_open(self, store: CellStore, record: RunRow, exported: int) -> None:
        try:
            sent = await send_run(self._sink, store, record, self._rules, after=exported)
        except ExportRefused as error:
            self._give_up(1, REFUSED_RUN, error)
        except (CollectorUnreachable, StoreError):
            raise
        except Exception:
            # See _export_closed. It is given up when it closes.
            log.exception("run_not_relayed", run_id=record.run_id)
        else:
            if sent.seq > exported and not sent.is_closed:
                await store.mark_exported({record.run_id: sent.seq})

    async def _keep_bound(self) -> None:
        """Gives up the oldest of too many, now and then, for to count them costs something; also in an outage."""
        now = self._clock()
        if self._count_at is not None and now < self._count_at:
            return
        self._count_at = now + COUNT_EVERY
        for store in self._stores.values():
            excess = await store.marks_waiting(now, self._limits.runs + EXCESS_MAX) - self._limits.runs
            if excess > 0:
                marks = await store.claim_marks(now, now + CLAIM_FOR, excess)
                if marks:
                    self._give_up(await store.delete_marks([mark.run_id for mark in marks]), TOO_MANY)
            if excess == EXCESS_MAX:
                self._count_at = now  # there may be far more

    async def _export(self, store: CellStore, marks: Sequence[TraceMark], now: datetime) -> None:
        old = [mark.run_id for mark in marks if mark.closed_at is not None and now - mark.closed_at > self._limits.age]
        if old:
            self._give_up(await store.delete_marks(old), TOO_OLD)
        due = {mark.run_id: mark for mark in marks if mark.run_id not in old}
        if not due:
            return
        records = await store.records(list(due))
        done = [run_id for run_id in due if run_id not in records]
        try:
            for run_id, record in records.items():
                await self._export_closed(store, record, due[run_id])
                done.append(run_id)
        finally:
            if done:
                await store.delete_marks(done)

    async def _export_closed(self, store: CellStore, record: RunRow, mark: TraceMark) -> None:
        try:
            sent = await send_run(self._sink, store, record, self._rules, after=mark.exported_seq)
        except ExportRefused as error:
            self._give_up(1, REFUSED_RUN, error)
        except (CollectorUnreachable, StoreError):
            raise
        except Exception:
            # What a worker wrote may make no spans at all. It must not end the spans of all others.
            log.exception("run_not_relayed", run_id=record.run_id)
            self._given_up(1, REFUSED_RUN)
        else:
            log.debug("run_relayed", run_id=record.run_id, spans=sent.spans)

    def _give_up(self, runs: int, reason: str, error: ExportRefused | None = None) -> None:
        self._given_up(runs, reason)
        self._unsaid[reason] += runs
        now = self._clock()
        if reason not in self._silent_until or now >= self._silent_until[reason]:
            self._silent_until[reason] = now + WARNING_EVERY
            unsaid = self._unsaid.pop(reason)
            log.warning("traces_given_up", runs=unsaid, reason=reason, error="" if error is None else str(error))


class Exports:
    """Exports the trace of a run on request; implements rpc.run_traces.TraceExports."""

    def __init__(self, store_of: Callable[[str], CellStore], sink: SpanSink, rules: SpanRules, collector: str) -> None:
        self._store_of = store_of
        self._sink = sink
        self._rules = rules
        self.collector = collector

    async def export(self, record: RunRow) -> int:
        """Exports all finished spans of a run; how many. Raises CollectorUnavailable, CollectorRefused,
        StoreError."""
        try:
            sent = await send_run(self._sink, self._store_of(record.run_id), record, self._rules)
        except CollectorUnreachable as error:
            raise CollectorUnavailable(self.collector, error.why) from error
        except ExportRefused as error:
            raise CollectorRefused(self.collector, f"{error.code}: {error.why}") from error
        return sent.spans - sent.rejected
