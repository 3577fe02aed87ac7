"""The worker's health as gRPC says it (grpc.health.v1): SERVING while work of the coordinator reaches it.

Needs grpcio-health-checking, which comes with the extra `server`; imported only when a port is asked for.
"""

from typing import Any

from holdfast.errors import HoldfastError


class HealthUnavailable(HoldfastError):
    """A health port was asked for and what serves it is not installed."""


class HealthServer:
    """Serves on all interfaces at `port`; 0 takes a free one, which `port` then says."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._server: Any = None
        self._servicer: Any = None
        self._is_serving = False

    async def start(self) -> None:
        """Begins to answer, with NOT_SERVING. Raises HealthUnavailable, or OSError when the port is taken."""
        try:
            import grpc
            from grpc_health.v1 import health_pb2_grpc
            from grpc_health.v1._async import HealthServicer
        except ImportError as error:
            raise HealthUnavailable(
                "health_port needs grpcio-health-checking; install holdfast[server], or leave health_port out"
            ) from error
        self._servicer = HealthServicer()
        self._server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_insecure_port(f"[::]:{self.port}")
        except RuntimeError as error:
            raise OSError(f"health port {self.port} cannot be opened: {error}") from error
        await self._server.start()
        await self.say(self._is_serving)

    async def say(self, is_serving: bool) -> None:
        """Changes the answer, for the server as a whole."""
        self._is_serving = is_serving
        if self._servicer is not None:
            from grpc_health.v1.health_pb2 import HealthCheckResponse

            status = HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
            await self._servicer.set("", status)

    async def stop(self) -> None:
        """Stops answering."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
