"""The endpoint: what Prometheus is answered, and that it goes away."""

import socket
import urllib.error
import urllib.request

import pytest

from holdfast_coordinator.metrics.endpoint import MetricsAddressInUse, MetricsEndpoint
from holdfast_coordinator.metrics.metrics import Metrics


def get(address: str, accept: str = "*/*") -> tuple[str, str]:
    """The content type and the text of an answer."""
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.headers["Content-Type"], response.read().decode()


def test_who_accepts_openmetrics_gets_it_with_exemplars_and_others_get_the_older_text() -> None:
    metrics = Metrics()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metrics.attempt_ended("default", "order", "charge", outcome="completed", seconds=0.3, trace_id=trace_id)
    endpoint = MetricsEndpoint(metrics, host="127.0.0.1", port=0)
    try:
        kind, text = get(endpoint.address, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert trace_id in text
        assert text.endswith("# EOF\n")
        kind, text = get(endpoint.address)
        assert kind.startswith("text/plain")
        assert trace_id not in text
        assert 'holdfast_step_duration_seconds_count{namespace="default",outcome="completed"' in text
    finally:
        endpoint.close()


def test_after_it_is_closed_its_port_is_free() -> None:
    endpoint = MetricsEndpoint(Metrics(), host="127.0.0.1", port=0)
    endpoint.close()
    with pytest.raises(urllib.error.URLError):
        get(endpoint.address)
    MetricsEndpoint(Metrics(), host="127.0.0.1", port=int(endpoint.address.rpartition(":")[2])).close()


def test_an_address_in_use_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(MetricsAddressInUse, match="--metrics-port") as refused:
            MetricsEndpoint(Metrics(), host="127.0.0.1", port=port)
    assert refused.value.address == f"127.0.0.1:{port}"


def test_it_listens_on_ipv6_too() -> None:
    endpoint = MetricsEndpoint(Metrics(), host="::1", port=0)
    try:
        assert endpoint.address.startswith("[::1]:")
        assert "holdfast_spans_exported_total 0.0" in get(endpoint.address)[1]
    finally:
        endpoint.close()
