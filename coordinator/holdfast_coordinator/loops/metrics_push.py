"""Pushes the metrics to an OTLP collector every so often. That a collector is away is logged once and harms nothing."""

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.metrics.otlp_metrics import export_request
from holdfast_coordinator.telemetry.sinks import CollectorUnreachable, ExportRefused, MetricSink

log = structlog.get_logger(__name__)

NO_SUCH_SERVICE = "UNIMPLEMENTED"
"""What a collector without a service for metrics answers; it will not get one while it runs."""

INTERVAL_VARIABLE = "OTEL_METRIC_EXPORT_INTERVAL"
INTERVAL_MS = 60_000
INTERVAL_MS_MIN = 100
LAST_SECONDS = 2.0
"""How long a replica that stops waits for its last figures to be taken."""


def push_interval_seconds(variables: Mapping[str, str]) -> float:
    """How often metrics are pushed, from the standard variable. Raises ValueError, a sentence that names it."""
    text = variables.get(INTERVAL_VARIABLE, "").strip() or str(INTERVAL_MS)
    if not text.isdecimal() or int(text) < INTERVAL_MS_MIN:
        raise ValueError(
            f"{INTERVAL_VARIABLE}={text!r} is not a number of milliseconds of at least {INTERVAL_MS_MIN}; "
            f"a minute is {INTERVAL_MS}"
        )
    return int(text) / 1_000


class MetricsPush:
    """See the module. sink: has a deadline of its own. is_known_away: whether others have warned of its absence."""

    def __init__(
        self, metrics: Metrics, sink: MetricSink, *, replica_id: str, every_seconds: float = INTERVAL_MS / 1_000,
        is_known_away: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        self._metrics = metrics
        self._sink = sink
        self._replica_id = replica_id
        self._every_seconds = every_seconds
        self._is_known_away = is_known_away
        self._failing = False
        self._has_no_service = False

    async def run(self) -> None:
        """Pushes until it is cancelled, and then once more: what happened last is often what matters.

        Ends by itself when the collector takes no metrics at all, as those do that are for traces only.
        """
        try:
            while not self._has_no_service:
                await asyncio.sleep(self._every_seconds)
                await self.run_once()
        finally:
            await self._push_the_last()

    async def _push_the_last(self) -> None:
        if not self._has_no_service:
            try:
                async with asyncio.timeout(LAST_SECONDS):
                    await self.run_once()
            except TimeoutError:
                log.warning("last_metrics_not_exported")

    async def run_once(self) -> None:
        """Pushes once; a failure is logged when it is the first after a success."""
        request = export_request(
            self._metrics.registry.collect(),
            replica_id=self._replica_id,
            began_at=self._metrics.began_at,
            now=time.time(),
        )
        try:
            accepted = await self._sink.export_metrics(request)
        except HoldfastError as error:
            if isinstance(error, ExportRefused) and error.code == NO_SUCH_SERVICE:
                self._has_no_service = True
                log.info("metrics_push_stopped", collector=error.address, why="it takes no metrics")
            else:
                is_known = isinstance(error, CollectorUnreachable) and self._says_away()
                self._failed(str(error), is_news=not is_known)
            return
        if accepted.rejected:
            self._failed(f"the collector threw away {accepted.rejected} data points: {accepted.message}", is_news=True)
            return
        if self._failing:
            log.info("metrics_exported_again")
        self._failing = False

    def _says_away(self) -> bool:
        return self._is_known_away is not None and self._is_known_away()

    def _failed(self, why: str, *, is_news: bool) -> None:
        if self._failing:
            return
        self._failing = True
        # Of one outage one warning is enough, and with metrics nothing is lost but time.
        if is_news:
            log.warning("metrics_not_exported", why=why)
        else:
            log.info("metrics_not_exported", why=why)
