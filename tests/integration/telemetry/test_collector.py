"""The client of a collector against a real OTLP/gRPC server."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics, ScopeMetrics

from holdfast_coordinator.rpc.collector_client import RETRYABLE, Collector
from holdfast_coordinator.telemetry.otel_variables import Endpoint
from holdfast_coordinator.telemetry.sinks import Accepted, CertificateUnusable, CollectorUnreachable, ExportRefused
from tests.support.otlp_sink import OtlpSink, otlp_sink

Code = grpc.StatusCode
FINAL = sorted(set(Code) - RETRYABLE - {Code.OK}, key=lambda code: code.name)


@asynccontextmanager
async def collector_at(address: str, **options: object) -> AsyncIterator[Collector]:
    collector = Collector(Endpoint(address, **options))  # type: ignore[arg-type]
    try:
        yield collector
    finally:
        await collector.close()


@pytest.fixture
async def sink() -> AsyncIterator[OtlpSink]:
    async with otlp_sink() as sink:
        yield sink


def spans(count: int) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(count):
        scope.spans.add(name=f"span {number}")
    return request.SerializeToString()


async def test_a_request_arrives_byte_for_byte(sink: OtlpSink) -> None:
    async with collector_at(sink.address) as collector:
        assert await collector.export_traces(spans(3)) == Accepted()
    assert sink.requests == [spans(3)]
    assert [span.name for span in sink.spans] == ["span 0", "span 1", "span 2"]


async def test_metrics_go_to_their_own_service(sink: OtlpSink) -> None:
    request = ExportMetricsServiceRequest(resource_metrics=[ResourceMetrics(scope_metrics=[ScopeMetrics()])])
    async with collector_at(sink.address) as collector:
        assert await collector.export_metrics(request.SerializeToString()) == Accepted()
    assert sink.metrics == [request]


async def test_headers_are_really_sent(sink: OtlpSink) -> None:
    async with collector_at(sink.address, headers=(("api-key", "s3cret"),)) as collector:
        await collector.export_traces(spans(1))
        await collector.export_metrics(b"")
    assert [sent["api-key"] for sent in sink.metadata] == ["s3cret", "s3cret"]
    assert all(str(sent["user-agent"]).startswith("holdfast ") for sent in sink.metadata)


async def test_gzip_makes_what_is_sent_smaller() -> None:
    async def sent_bytes(*, is_compressed: bool) -> int:
        counted = 0

        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal counted
            onward, back = await asyncio.open_connection(sink.host, sink.port)

            async def answers() -> None:
                while data := await onward.read(65_536):
                    writer.write(data)

            returning = asyncio.create_task(answers())
            while data := await reader.read(65_536):
                counted += len(data)
                back.write(data)
            back.close()
            await returning
            writer.close()

        async with otlp_sink() as sink:
            server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with collector_at(f"127.0.0.1:{port}", is_compressed=is_compressed) as collector:
                await collector.export_traces(spans(2_000))
            assert sink.requests == [spans(2_000)]
            server.close()
        return counted

    assert await sent_bytes(is_compressed=True) < await sent_bytes(is_compressed=False) / 2


async def test_what_the_collector_threw_away_is_told(sink: OtlpSink) -> None:
    sink.reject_some(2, "too old")
    async with collector_at(sink.address) as collector:
        assert await collector.export_traces(spans(3)) == Accepted(2, "too old")
        assert await collector.export_metrics(b"") == Accepted(2, "too old")


@pytest.mark.parametrize("code", sorted(RETRYABLE, key=lambda code: code.name), ids=lambda code: code.name)
async def test_after_some_codes_the_request_may_be_sent_again(sink: OtlpSink, code: grpc.StatusCode) -> None:
    sink.refuse(code, "not now", times=1)
    async with collector_at(sink.address) as collector:
        with pytest.raises(CollectorUnreachable) as raised:
            await collector.export_traces(spans(1))
        assert raised.value.address == sink.address
        assert raised.value.retry_after_seconds is None
        assert await collector.export_traces(spans(1)) == Accepted()


@pytest.mark.parametrize("code", FINAL, ids=lambda code: code.name)
async def test_other_codes_are_final(sink: OtlpSink, code: grpc.StatusCode) -> None:
    sink.refuse(code, "never")
    async with collector_at(sink.address) as collector:
        with pytest.raises(ExportRefused) as raised:
            await collector.export_traces(spans(1))
    assert (raised.value.code, raised.value.why) == (code.name, "never")


@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE], ids=lambda code: code.name)
async def test_a_collector_can_say_when_to_come_back(sink: OtlpSink, code: grpc.StatusCode) -> None:
    sink.refuse(code, "busy", retry_after_seconds=1.5)
    async with collector_at(sink.address) as collector:
        with pytest.raises(CollectorUnreachable) as raised:
            await collector.export_traces(spans(1))
    assert (raised.value.why, raised.value.retry_after_seconds) == ("busy", 1.5)


async def test_a_black_hole_is_left_after_the_timeout(sink: OtlpSink) -> None:
    sink.hang()
    async with collector_at(sink.address, timeout_seconds=0.2) as collector:
        with pytest.raises(CollectorUnreachable, match=r"did not answer within 0\.2 s"):
            await collector.export_traces(spans(1))


async def test_nobody_listens() -> None:
    async with otlp_sink() as sink:
        address = sink.address
    async with collector_at(address) as collector:
        with pytest.raises(CollectorUnreachable, match=f"the collector at {address} cannot be reached: .*refused"):
            await collector.export_traces(spans(1))


async def test_the_collector_comes_back_on_its_port(sink: OtlpSink) -> None:
    async with collector_at(sink.address) as collector:
        await collector.export_traces(spans(1))
        await sink.stop()
        with pytest.raises(CollectorUnreachable):
            await collector.export_traces(spans(1))
        await sink.start()
        async with asyncio.timeout(10):
            while True:
                try:
                    await collector.export_traces(spans(1))
                    break
                except CollectorUnreachable:
                    await asyncio.sleep(0.05)  # gRPC waits before it connects again
    assert sink.counts.spans == 2


async def test_a_collector_without_tls_is_told_apart(sink: OtlpSink) -> None:
    async with collector_at(sink.address, is_secure=True) as collector:
        with pytest.raises(CollectorUnreachable, match="does not speak TLS on this port; use an http:// URL"):
            await collector.export_traces(spans(1))


async def test_a_port_that_speaks_http_is_told_apart() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with collector_at(f"127.0.0.1:{port}") as collector:
            with pytest.raises(CollectorUnreachable, match=r"speaks HTTP on this port, .*usually on port 4317"):
                await collector.export_traces(spans(1))


async def test_a_port_that_speaks_something_else_is_told_apart() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"<!DOCTYPE HTML>\n<html><body>Bad request</body></html>\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with collector_at(f"127.0.0.1:{port}") as collector:
            with pytest.raises(CollectorUnreachable, match=r"not speak gRPC on this port; .*usually on port 4317"):
                await collector.export_traces(spans(1))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@asynccontextmanager
async def secure_sink(certificate: tuple[Path, Path], *, asks_client: bool = False) -> AsyncIterator[OtlpSink]:
    chain, key = (path.read_bytes() for path in certificate)
    roots = chain if asks_client else None
    credentials = grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=asks_client)
    async with otlp_sink(credentials=credentials) as sink:
        yield sink


async def test_tls_with_a_named_authority(certificate: tuple[Path, Path]) -> None:
    async with (
        secure_sink(certificate) as sink,
        collector_at(sink.address, is_secure=True, certificate=certificate[0]) as collector,
    ):
        assert await collector.export_traces(spans(1)) == Accepted()


async def test_a_certificate_that_is_not_trusted_is_named_as_the_reason(certificate: tuple[Path, Path]) -> None:
    async with secure_sink(certificate) as sink, collector_at(sink.address, is_secure=True) as collector:
        with pytest.raises(CollectorUnreachable, match="not trusted; name who signed it in OTEL_EXPORTER_OTLP_CERTIF"):
            await collector.export_traces(spans(1))


async def test_the_client_shows_its_own_certificate(certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    async with secure_sink(certificate, asks_client=True) as sink:
        shown = {"client_certificate": chain, "client_key": key}
        async with collector_at(sink.address, is_secure=True, certificate=chain, **shown) as collector:
            assert await collector.export_traces(spans(1)) == Accepted()
        async with collector_at(sink.address, is_secure=True, certificate=chain) as collector:
            with pytest.raises(CollectorUnreachable):
                await collector.export_traces(spans(1))


async def test_a_certificate_that_cannot_be_read_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnusable, match=r"missing\.pem.* cannot be read: No such file"):
        Collector(Endpoint("collector:4317", is_secure=True, certificate=tmp_path / "missing.pem"))
    (tmp_path / "wrong.pem").write_text("no certificate")
    with pytest.raises(CertificateUnusable, match=r"wrong\.pem.* is not a PEM file"):
        Collector(Endpoint("collector:4317", is_secure=True, certificate=tmp_path / "wrong.pem"))
