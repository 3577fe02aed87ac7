"""`holdfast health` against real health servers, and what it makes of no answer."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from holdfast.cli import make_app

from .containers import free_port

runner = CliRunner()
Answer = health_pb2.HealthCheckResponse


@pytest.fixture
def servicer() -> health.HealthServicer:
    """Answers of the standard implementation."""
    return health.HealthServicer()


@pytest.fixture
def address(servicer: health.HealthServicer) -> Iterator[str]:
    """Where a server with nothing but the health service listens."""
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.feature("F137")
@pytest.mark.parametrize(
    ("status", "arguments", "code"),
    [
        (Answer.SERVING, [], 0),
        (Answer.SERVING, ["--alive"], 0),
        (Answer.NOT_SERVING, [], 1),
        (Answer.NOT_SERVING, ["--alive"], 0),
        (Answer.UNKNOWN, [], 1),
    ],
)
def test_only_what_serves_is_healthy_and_what_answers_is_alive(
    status: int, arguments: list[str], code: int, address: str, servicer: health.HealthServicer
) -> None:
    servicer.set("", status)
    result = runner.invoke(make_app(), ["health", address, *arguments])
    assert result.exit_code == code
    assert Answer.ServingStatus.Name(status) in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_the_address_may_come_from_the_environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ADDRESS", address)
    assert runner.invoke(make_app(), ["health"]).exit_code == 0


def test_a_proxy_of_the_environment_is_not_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert runner.invoke(make_app(), ["health", address]).exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["--alive"]])
def test_nobody_there_is_neither_healthy_nor_alive(arguments: list[str]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    result = runner.invoke(make_app(), ["health", nobody, *arguments])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"holdfast: no health answer from {nobody}: UNAVAILABLE")


def test_a_server_that_hangs_is_given_up_after_the_timeout() -> None:
    busy = grpc.server(ThreadPoolExecutor(1))
    port = busy.add_insecure_port("127.0.0.1:0")
    try:
        # It listens and was never started, so no call is ever answered.
        result = runner.invoke(make_app(), ["health", f"127.0.0.1:{port}", "--alive", "--timeout", "300ms"])
        assert result.exit_code == 1
        assert "no health answer" in result.stderr
    finally:
        busy.stop(None)


@pytest.mark.parametrize("arguments", [["http://localhost:1"], ["localhost:x"], ["localhost", "--timeout", "soon"]])
def test_wrong_usage_is_said_and_asks_nobody(arguments: list[str]) -> None:
    result = runner.invoke(make_app(), ["health", *arguments])
    assert result.exit_code in (1, 2)
    assert "localhost" in result.stderr or "soon" in result.stderr
