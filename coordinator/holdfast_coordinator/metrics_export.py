"""Switches the metrics of a replica on: its registry, the endpoint that Prometheus reads, the push to a collector."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.telemetry.otel_variables import Endpoint

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from .metrics.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(slots=True, frozen=True)
class MetricsExport:
    """The metrics of a replica. address: host:port of their endpoint, None when it is off."""

    metrics: "Metrics"
    address: str | None


@asynccontextmanager
async def metering(*, host: str, port: int | None, collector: Endpoint | None) -> AsyncIterator[MetricsExport | None]:
    """Metrics for as long as the block runs; None, and no cost, when there is neither a port nor a collector.

    collector: for `pushing`, once what it needs is there. Raises MetricsAddressInUse.
    """
    if port is None and collector is None:
        yield None
        return
    from .metrics.endpoint import MetricsEndpoint
    from .metrics.metrics import Metrics

    metrics = Metrics()
    async with AsyncExitStack() as stack:
        address = None
        if port is not None:
            endpoint = MetricsEndpoint(metrics, host=host, port=port)
            stack.push_async_callback(asyncio.to_thread, endpoint.close)  # it waits for its thread
            address = endpoint.address
        yield MetricsExport(metrics, address)


@asynccontextmanager
async def pushing(
    metrics: "Metrics", endpoint: Endpoint, *, replica_id: str, is_known_away: Callable[[], bool] | None = None
) -> AsyncIterator[None]:
    """Sends metrics to a collector for as long as the block runs.

    is_known_away: whether it was warned already that the collector cannot be reached.
    Raises CertificateUnusable; HoldfastError for an interval that cannot be understood.
    """
    from .loops.metrics_push import MetricsPush, push_interval_seconds
    from .rpc.collector_client import Collector

    try:
        every_seconds = push_interval_seconds(os.environ)
    except ValueError as error:
        raise HoldfastError(str(error)) from error
    collector = Collector(endpoint)
    push = MetricsPush(
        metrics, collector, replica_id=replica_id, every_seconds=every_seconds, is_known_away=is_known_away
    )
    task = asyncio.create_task(push.run(), name="metrics push")
    task.add_done_callback(_say_failure)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await collector.close()


def _say_failure(task: asyncio.Task[None]) -> None:
    """A replica goes on without its metrics; that a defect ended them must be seen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("metrics_push_ended", error=repr(error), exc_info=error)
