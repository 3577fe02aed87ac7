"""The client of a collector: sends OTLP requests, already bytes, over gRPC. Never retries: who calls decides that."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode as Code
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from holdfast_coordinator.telemetry.otel_variables import OTLP_PORT, Endpoint
from holdfast_coordinator.telemetry.sinks import Accepted, CertificateUnusable, CollectorUnreachable, ExportRefused

from .refusals import DETAILS_KEY

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

RETRYABLE = frozenset(
    {
        Code.CANCELLED,
        Code.DEADLINE_EXCEEDED,
        Code.ABORTED,
        Code.OUT_OF_RANGE,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)
"""After these OTLP allows to send the same request again; after RESOURCE_EXHAUSTED only when a delay comes with it."""

REASON_CHARACTERS_MAX = 300
"""The longest reason that is kept, in characters."""

_HINTS = (
    ("WRONG_VERSION_NUMBER", "it does not speak TLS on this port; use an http:// URL"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted; name who signed it in OTEL_EXPORTER_OTLP_CERTIFICATE",
    ),
    ("http1.x server", f"it speaks HTTP on this port, not gRPC; OTLP/gRPC is usually on port {OTLP_PORT}"),
    ("Failed parsing HTTP/2", f"it does not speak gRPC on this port; OTLP/gRPC is usually on port {OTLP_PORT}"),
)
"""What an operator should do about texts that gRPC gives as reasons."""


class Collector:
    """A connection to one collector, made when it is first needed and again whenever it broke.

    To be made in a running event loop. Raises CertificateUnusable.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.address = endpoint.address
        self._headers = endpoint.headers
        self._timeout_seconds = endpoint.timeout_seconds
        compression = grpc.Compression.Gzip if endpoint.is_compressed else grpc.Compression.NoCompression
        if endpoint.is_secure:
            self._channel = grpc.aio.secure_channel(
                endpoint.address, _credentials(endpoint), options=_OPTIONS, compression=compression
            )
        else:
            self._channel = grpc.aio.insecure_channel(endpoint.address, options=_OPTIONS, compression=compression)
        # Without serializers requests and answers are bytes.
        self._traces = self._channel.unary_unary(TRACES)
        self._metrics = self._channel.unary_unary(METRICS)

    async def export_traces(self, request: bytes) -> Accepted:
        """Sends an ExportTraceServiceRequest once. Raises CollectorUnreachable, ExportRefused."""
        answer = await self._call(self._traces, request)
        try:
            partial = trace_service_pb2.ExportTraceServiceResponse.FromString(answer).partial_success
        except DecodeError as error:
            raise self._not_otlp() from error
        return Accepted(partial.rejected_spans, partial.error_message)

    async def export_metrics(self, request: bytes) -> Accepted:
        """Sends an ExportMetricsServiceRequest once. Raises CollectorUnreachable, ExportRefused."""
        answer = await self._call(self._metrics, request)
        try:
            partial = metrics_service_pb2.ExportMetricsServiceResponse.FromString(answer).partial_success
        except DecodeError as error:
            raise self._not_otlp() from error
        return Accepted(partial.rejected_data_points, partial.error_message)

    async def close(self) -> None:
        """Ends the connection, and with it requests that are under way."""
        await self._channel.close()

    async def _call(self, export: Any, request: bytes) -> bytes:
        try:
            answer: bytes = await export(request, timeout=self._timeout_seconds, metadata=self._headers)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        return answer

    def _translated(self, error: grpc.aio.AioRpcError) -> CollectorUnreachable | ExportRefused:
        code, why = error.code(), _why(error)
        delay = _retry_after_seconds(error)
        if code in RETRYABLE or (code is Code.RESOURCE_EXHAUSTED and delay is not None):
            if code is Code.DEADLINE_EXCEEDED:
                why = f"it did not answer within {self._timeout_seconds:g} s"
            return CollectorUnreachable(self.address, why, retry_after_seconds=delay)
        return ExportRefused(self.address, code.name, why)

    def _not_otlp(self) -> ExportRefused:
        return ExportRefused(self.address, Code.INTERNAL.name, "its answer is not one of OTLP")


_OPTIONS: Sequence[tuple[str, Any]] = (
    ("grpc.primary_user_agent", "holdfast"),
    # gRPC's own pause between attempts to connect grows to two minutes; a collector that is back must be found sooner.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A peer that vanished without a word. Collectors hang up on clients that ping more often than every five minutes;
    # that pings are on at all makes the kernel give up a connection on which nothing was acknowledged for 20 s.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


def _why(error: grpc.aio.AioRpcError) -> str:
    text = " ".join((error.details() or error.code().name.lower()).split())
    hint = next((hint for found, hint in _HINTS if found in text), "")
    if len(text) > REASON_CHARACTERS_MAX:
        text = f"{text[:REASON_CHARACTERS_MAX]}..."
    return f"{hint} ({text})" if hint else text


def _retry_after_seconds(error: grpc.aio.AioRpcError) -> float | None:
    """How long the collector asks to be left alone, from google.rpc.RetryInfo; None when it does not say."""
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_KEY:
            continue
        try:
            details = status_pb2.Status.FromString(value).details
            info = error_details_pb2.RetryInfo()
            if any(detail.Unpack(info) for detail in details):
                seconds: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                return max(0.0, seconds)
        except DecodeError:
            return None
    return None


def _credentials(endpoint: Endpoint) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_pem(endpoint.certificate),
        private_key=_pem(endpoint.client_key),
        certificate_chain=_pem(endpoint.client_certificate),
    )


def _pem(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CertificateUnusable(path, f"cannot be read: {error.strerror}") from error
    if b"-----BEGIN" not in text:
        raise CertificateUnusable(path, "is not a PEM file")
    return text
