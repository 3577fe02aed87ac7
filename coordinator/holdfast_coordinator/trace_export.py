"""Switches the tracing of a replica on: the identities of new runs, and all that exports their spans."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from holdfast.durations import parse_duration

from .config import Config
from .export.exporter import QUEUE_FULL
from .export.relay import RelayLimits
from .export.span_export import SpanExport, say_failure
from .rpc.collector_client import Collector
from .rpc.server_spans import ServerSpans
from .store.port import CellStore
from .telemetry.identity import IdentityRules, Origins
from .telemetry.otel_variables import Endpoint, ExportSettings
from .telemetry.spans import SpanRules


@dataclass(slots=True, frozen=True)
class TraceExport:
    """What traces the runs of a replica, and when asked for, the calls of clients: then there are server_spans."""

    origins: Origins
    tracing: SpanExport
    collector: Collector
    server_spans: ServerSpans | None = None

    def says_away(self, endpoint: Endpoint | None) -> bool:
        """Whether it has warned that the collector there cannot be reached."""
        is_there = endpoint is not None and endpoint.address == self.collector.address
        return is_there and not self.tracing.exporter.is_reachable

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Exports for as long as the block runs, and then what is left."""
        calls = None
        if self.server_spans is not None:
            calls = asyncio.create_task(self.server_spans.run(self.collector), name="server spans")
            calls.add_done_callback(say_failure)
        try:
            async with self.tracing.running():
                yield
        finally:
            if calls is not None:
                calls.cancel()
                await asyncio.gather(calls, return_exceptions=True)


@asynccontextmanager
async def exporting(
    config: Config,
    settings: ExportSettings,
    stores: Mapping[str, CellStore],
    *,
    replica_id: str,
    clock: Callable[[], datetime],
    dropped: Callable[[int, str], None],
    taken: Callable[[int], None] | None,
) -> AsyncIterator[TraceExport | None]:
    """The tracing of a replica for as long as the block runs; None, and no cost, when no collector was named.

    dropped, taken: count spans that were not exported, with the reason, and those that the collector took.
    Raises CertificateUnusable.
    """
    if settings.traces is None:
        yield None
        return
    collector = Collector(settings.traces)
    tracing = SpanExport(
        stores,
        collector,
        span_rules(config),
        clock=clock,
        collector=_shown(settings.traces),
        limits=RelayLimits(parse_duration(config.trace_relay_age), config.trace_relay_runs),
        dropped=dropped,
        taken=taken,
    )
    origins = Origins(identity_rules(config, settings), lambda: secrets.token_bytes(16))
    calls = ServerSpans(replica_id, on_drop=lambda spans: dropped(spans, QUEUE_FULL)) if config.rpc_spans else None
    try:
        yield TraceExport(origins, tracing, collector, calls)
    finally:
        await collector.close()


def span_rules(config: Config) -> SpanRules:
    """How spans are built, whether they are exported or only shown."""
    return SpanRules(
        spans_max=config.trace_spans_max,
        segment=parse_duration(config.trace_segment),
        shows_messages=config.trace_messages,
    )


def identity_rules(config: Config, settings: ExportSettings) -> IdentityRules:
    """How new runs get their traces."""
    ratio = config.trace_ratio if config.trace_ratio is not None else settings.sample_ratio
    return IdentityRules(
        ratio=1.0 if ratio is None else ratio,
        ratios=config.trace_ratios,
        on_failure=config.trace_export_on == "failure",
        segment=parse_duration(config.trace_segment),
        baggage=frozenset(config.trace_baggage),
    )


def _shown(endpoint: Endpoint) -> str:
    return f"{'https' if endpoint.is_secure else 'http'}://{endpoint.address}"
