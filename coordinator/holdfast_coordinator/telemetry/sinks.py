"""What a collector of OpenTelemetry can be asked, and how it may answer. Pure: who speaks to one is handed in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.errors import HoldfastError


@dataclass(slots=True, frozen=True)
class Accepted:
    """The collector took a request. rejected: how many spans or data points of it it threw away. message: its words."""

    rejected: int = 0
    message: str = ""


class CertificateUnusable(HoldfastError):
    """A certificate or key for the collector cannot be used. path: where it was looked for; why: one line."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}, a certificate or key for the collector, {why}; see OTEL_EXPORTER_OTLP_CERTIFICATE and the like"
        )
        self.path = path
        self.why = why


class CollectorUnreachable(HoldfastError):
    """The collector did not take a request now. The same request may be sent again.

    why: one line. retry_after_seconds: how long the collector asks to be left alone, where it says so.
    """

    def __init__(self, address: str, why: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"the collector at {address} cannot be reached: {why}")
        self.address = address
        self.why = why
        self.retry_after_seconds = retry_after_seconds


class ExportRefused(HoldfastError):
    """The collector will never take this request. code: the name of the gRPC status, UNIMPLEMENTED for example."""

    def __init__(self, address: str, code: str, why: str) -> None:
        super().__init__(f"the collector at {address} refused what it was sent: {code}: {why}")
        self.address = address
        self.code = code
        self.why = why


class SpanSink(Protocol):
    """Takes spans."""

    async def export_traces(self, request: bytes) -> Accepted:
        """Sends an ExportTraceServiceRequest once. Raises CollectorUnreachable, ExportRefused."""


class MetricSink(Protocol):
    """Takes measurements."""

    async def export_metrics(self, request: bytes) -> Accepted:
        """Sends an ExportMetricsServiceRequest once. Raises CollectorUnreachable, ExportRefused."""
