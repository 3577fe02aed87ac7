"""Sends spans to a collector, in batches and in order, from a bounded queue in memory. Never blocks who submits them.

A collector that is slow or gone costs no more than the queue: what does not fit is counted, and left to be exported
from the journal.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

import structlog

from holdfast.backoff import Exponential, retry_delay
from holdfast_coordinator.telemetry.otlp_spans import encode_span, request_of
from holdfast_coordinator.telemetry.sinks import Accepted, CollectorUnreachable, ExportRefused, SpanSink
from holdfast_coordinator.telemetry.spans import Span

log = structlog.get_logger(__name__)

SPANS_WAITING_MAX = 20_000
REQUEST_SPANS_MAX = 512
REQUEST_BYTES_MAX = 1_000_000
"""About what a request holds at most. Collectors refuse requests above 4 MB unless they are configured otherwise."""

BACKOFF = Exponential(max=timedelta(seconds=10), jitter=0.5, first_exponent=-1)
"""0.5, 1, 2, ... 10 seconds, up to half of it random: replicas must not come back to a collector all at once."""

RETRY_AFTER_SECONDS_MAX = 60.0
"""The longest that a collector can ask to be left alone."""

COMPLAINT_SECONDS = 60.0
"""Seconds between warnings of a collector that goes on refusing spans."""

QUEUE_FULL = "queue_full"
REFUSED = "refused"
REASONS = (QUEUE_FULL, REFUSED)
"""Why spans are not exported from memory."""

Exported = tuple[str, int, bool]
"""(run id, seq, closed): the entries of a run up to seq are with the collector; closed, when these were the last."""


@dataclass(slots=True, frozen=True)
class Batchable:
    """Finished spans of one run, those of its entries up to seq; none is allowed. closed: the run has no more.

    seq: 0 for spans that are of no entry, and so cannot be exported from the journal when they are dropped.
    """

    spans: Sequence[Span]
    run_id: str
    seq: int
    closed: bool = False


@dataclass(slots=True)
class _Parcel:
    """A Batchable as it is sent, or a part of one that is too large for a request. Only the last part ends it.

    spans: encoded, with their namespaces; nothing else of a span is kept.
    """

    completes: Exported
    spans: Sequence[tuple[str, bytes]]
    bytes: int
    ends: bool

    @property
    def weight(self) -> int:
        """What it takes of the room for spans. One without spans takes some too, or there could be any number."""
        return len(self.spans) or 1


class SpanExporter:
    """See the module.

    spans_max, bytes_max: the room for spans that wait, those of the request that is under way included. Bytes are those
    of requests.
    on_exported: called with what a request that was taken completes, in the order of submission.
    on_left_behind: called with the runs of which spans were dropped after they had been taken in.
    dropped: counts spans with one of REASONS. taken: counts spans that the collector took.
    None of the four may raise or block.
    """

    def __init__(
        self,
        sink: SpanSink,
        *,
        spans_max: int = SPANS_WAITING_MAX,
        bytes_max: int = 32 * 1024 * 1024,
        flush_seconds: float = 0.1,
        backoff: Exponential = BACKOFF,
        on_exported: Callable[[list[Exported]], None] = lambda exported: None,
        on_left_behind: Callable[[list[str]], None] = lambda run_ids: None,
        dropped: Callable[[int, str], None] = lambda spans, reason: None,
        taken: Callable[[int], None] = lambda spans: None,
    ) -> None:
        self._sink = sink
        self._spans_max = spans_max
        self._bytes_max = bytes_max
        self._flush_seconds = flush_seconds
        self._backoff = backoff
        self._on_exported = on_exported
        self._on_left_behind = on_left_behind
        self._dropped = dropped
        self._taken = taken
        self._queue: deque[_Parcel] = deque()
        self._under_way: list[_Parcel] = []
        self._spans = 0
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._due = asyncio.Event()
        self._is_closed = False
        self._unreachable_since: float | None = None
        self._turned_away = 0
        self._said_at: dict[str, float] = {}

    @property
    def has_room(self) -> bool:
        """False while spans that are submitted would be turned away."""
        return self._spans < self._spans_max and self._bytes < self._bytes_max and not self._is_closed

    @property
    def is_reachable(self) -> bool:
        """False from the first request that the collector did not take until one that it takes."""
        return self._unreachable_since is None

    def submit(self, item: Batchable) -> bool:
        """Takes spans to be exported; False when there is no room: they are counted, and not kept."""
        try:
            parcels = _parcels(item)
        except Exception:
            # Spans that cannot be encoded: a fault of ours. It must not end the export of all others.
            log.exception("export_failed", run_id=item.run_id, spans=len(item.spans))
            self._dropped(len(item.spans), REFUSED)
            self._on_left_behind([item.run_id])
            return True
        spans, size = sum(parcel.weight for parcel in parcels), sum(parcel.bytes for parcel in parcels)
        # Something always fits into an empty queue, or a run whose spans are larger than it would never be exported.
        is_full = self._spans and (self._spans + spans > self._spans_max or self._bytes + size > self._bytes_max)
        if is_full or self._is_closed:
            self._turned_away += len(item.spans)
            self._dropped(len(item.spans), QUEUE_FULL)
            return False
        self._queue.extend(parcels)
        self._spans += spans
        self._bytes += size
        self._arrived.set()
        if self._spans >= REQUEST_SPANS_MAX or self._bytes >= REQUEST_BYTES_MAX:
            self._due.set()
        return True

    async def run(self) -> None:
        """Exports until it is cancelled; what is left then is kept for `drain`."""
        while True:
            await self._arrived.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._flush_seconds):
                    await self._due.wait()
            await self._send_next()

    async def drain(self, seconds: float) -> None:
        """Exports what is left, for at most `seconds`, and takes nothing more. Only when `run` has ended.

        A collector that cannot be reached is not waited for. What remains goes to on_left_behind.
        """
        self._is_closed = True
        with suppress(TimeoutError, CollectorUnreachable):
            async with asyncio.timeout(seconds):
                while (self._queue or self._under_way) and self.is_reachable:
                    await self._send_next()
        left = [*self._under_way, *self._queue]
        if left:
            self._queue.clear()
            self._release(left)
            log.warning("spans_left_behind", spans=_spans_of(left), why="not taken by the collector before the end")
            self._on_left_behind(_runs_of(left))

    async def _send_next(self) -> None:
        """Exports the next request, however long that takes, or drops it; what was cut off before goes first."""
        parcels = self._under_way or self._take()
        try:
            accepted = await self._delivered(request_of(span for parcel in parcels for span in parcel.spans))
        except CollectorUnreachable:
            raise
        except ExportRefused as error:
            self._took_answer()
            self._drop(parcels, str(error))
        except Exception:
            # A fault of ours. It must not end the export of all others.
            log.exception("export_failed", spans=_spans_of(parcels))
            self._drop(parcels, "")
        else:
            self._took_answer()
            self._release(parcels)
            self._taken(max(_spans_of(parcels) - accepted.rejected, 0))
            if accepted.rejected > 0:
                self._dropped(accepted.rejected, REFUSED)
                self._complain("spans_refused", spans=accepted.rejected, why=accepted.message)
            completed = [parcel.completes for parcel in parcels if parcel.ends]
            if completed:
                self._on_exported(completed)

    def _take(self) -> list[_Parcel]:
        """Moves the beginning of the queue to the request that is under way."""
        parcels: list[_Parcel] = []
        spans = size = 0
        while self._queue:
            parcel = self._queue[0]
            spans, size = spans + len(parcel.spans), size + parcel.bytes
            if parcels and (spans > REQUEST_SPANS_MAX or size > REQUEST_BYTES_MAX):
                break
            parcels.append(self._queue.popleft())
        self._under_way = parcels
        return parcels

    def _release(self, parcels: list[_Parcel]) -> None:
        """Gives the room of parcels back, and decides whether the next request is already due."""
        self._under_way = []
        self._spans -= sum(parcel.weight for parcel in parcels)
        self._bytes -= sum(parcel.bytes for parcel in parcels)
        if not self._queue:
            self._arrived.clear()
        if self._spans < REQUEST_SPANS_MAX and self._bytes < REQUEST_BYTES_MAX:
            self._due.clear()

    def _drop(self, parcels: list[_Parcel], why: str) -> None:
        # The rest of an item would complete it, and with it what was refused would count as exported.
        while self._queue and self._queue[0].completes is parcels[-1].completes:
            parcels.append(self._queue.popleft())
        spans, runs = _spans_of(parcels), _runs_of(parcels)
        broken = set(runs)
        for parcel in self._queue:
            if parcel.completes[0] in broken:
                parcel.ends = False  # what follows is sent, but the run is not exported up to there
        self._release(parcels)
        self._dropped(spans, REFUSED)
        if why:
            self._complain("spans_refused", spans=spans, why=why)
        self._on_left_behind(runs)

    async def _delivered(self, request: bytes) -> Accepted:
        """Sends a request until the collector takes it; one without spans is not sent.

        Raises ExportRefused, and CollectorUnreachable only when there is no time left to try again.
        """
        if not request:
            return Accepted()
        failures = 0
        while True:
            try:
                return await self._sink.export_traces(request)
            except CollectorUnreachable as error:
                self._missed_answer(error)
                if self._is_closed:
                    raise
                failures += 1
                delay = retry_delay(self._backoff, failures, jitter=random.random()).total_seconds()
                asked = min(error.retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX)
            await asyncio.sleep(max(delay, asked))

    def _missed_answer(self, error: CollectorUnreachable) -> None:
        if self._unreachable_since is not None:
            return
        self._unreachable_since = asyncio.get_running_loop().time()
        log.warning(
            "collector_unreachable",
            address=error.address,
            why=error.why,
            spans_waiting=self._spans,
            spans_turned_away=self._turned_away,
            then=f"up to {self._spans_max} spans wait in memory; further ones are left to the journal",
        )

    def _took_answer(self) -> None:
        """The collector is there; says what its absence, or its slowness, has cost."""
        turned_away, now = self._turned_away, asyncio.get_running_loop().time()
        if self._unreachable_since is not None:
            seconds = round(now - self._unreachable_since, 1)
            log.info("collector_reachable", after_seconds=seconds, spans_turned_away=turned_away)
            self._unreachable_since = None
            self._turned_away = 0
        elif turned_away and self._complain("collector_slow", spans_turned_away=turned_away):
            self._turned_away = 0

    def _complain(self, event: str, **facts: object) -> bool:
        """Logs a warning, each event at most once in COMPLAINT_SECONDS; whether it did."""
        now = asyncio.get_running_loop().time()
        if now - self._said_at.get(event, -COMPLAINT_SECONDS) < COMPLAINT_SECONDS:
            return False
        self._said_at[event] = now
        log.warning(event, **facts)
        return True


def _parcels(item: Batchable) -> list[_Parcel]:
    """An item in parts that fit into requests; nearly always it is one."""
    encoded = [(span.run.namespace, encode_span(span)) for span in item.spans]
    completes = (item.run_id, item.seq, item.closed)
    sizes = [len(span) for _, span in encoded]
    if len(sizes) <= REQUEST_SPANS_MAX and sum(sizes) <= REQUEST_BYTES_MAX:
        return [_Parcel(completes, encoded, sum(sizes), ends=True)]
    parcels: list[_Parcel] = []
    start = taken = 0
    for number, size in enumerate(sizes):
        if number > start and (number - start >= REQUEST_SPANS_MAX or taken + size > REQUEST_BYTES_MAX):
            parcels.append(_Parcel(completes, encoded[start:number], taken, ends=False))
            start, taken = number, 0
        taken += size
    return [*parcels, _Parcel(completes, encoded[start:], taken, ends=True)]


def _spans_of(parcels: list[_Parcel]) -> int:
    return sum(len(parcel.spans) for parcel in parcels)


def _runs_of(parcels: list[_Parcel]) -> list[str]:
    return list(dict.fromkeys(parcel.completes[0] for parcel in parcels if parcel.completes[1]))
