"""Serves the registry over HTTP to Prometheus, from a thread of its own. What reaches the port may read it."""

from prometheus_client import start_http_server

from holdfast.errors import HoldfastError

from .metrics import Metrics


class MetricsAddressInUse(HoldfastError):
    """Something else listens on the address of the metrics."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"cannot serve metrics on {address}: another program listens there, or it is not an address of this "
            "machine; choose another with --metrics-port or --host, or stop the other program"
        )
        self.address = address


class MetricsEndpoint:
    """See the module. Serves from when it is made; who accepts OpenMetrics gets it, with exemplars.

    address: host:port, with the free port that port 0 asked for. Raises MetricsAddressInUse.
    """

    def __init__(self, metrics: Metrics, *, host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        try:
            self._server, self._thread = start_http_server(port, host, metrics.registry)
        except OSError as error:
            raise MetricsAddressInUse(f"{shown}:{port}") from error
        self.address = f"{shown}:{self._server.server_port}"

    def close(self) -> None:
        """Stops serving; waits for its thread, up to half a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
