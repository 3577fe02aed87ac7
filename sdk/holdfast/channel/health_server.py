"""The worker's health as gRPC says it (grpc.health.v1): SERVING while work of the coordinator reaches it."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from holdfast.errors import HoldfastError


class HealthPortUnavailable(HoldfastError):
    """The port of the health service is in use, or may not be opened by this user."""

    def __init__(self, port: int) -> None:
        super().__init__(f"health port {port} cannot be opened: it is in use, or not for this user; choose another")
        self.port = port


class HealthServer:
    """Serves on all interfaces at `port`; 0 takes a free one, which `port` then says."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._server: grpc.aio.Server | None = None
        self._servicer = HealthServicer()
        self._is_serving = False
        self._saying: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begins to answer, with NOT_SERVING. Raises HealthPortUnavailable."""
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        try:
            self.port = server.add_insecure_port(f"[::]:{self.port}")
        except RuntimeError as error:
            raise HealthPortUnavailable(self.port) from error
        await server.start()
        self._server = server
        await self.say(self._is_serving)

    async def say(self, is_serving: bool) -> None:
        """Changes the answer, for the server as a whole."""
        self._is_serving = is_serving
        status = HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
        await self._servicer.set("", status)

    def say_soon(self, is_serving: bool) -> None:
        """The same from code that cannot wait for it."""
        saying = asyncio.get_running_loop().create_task(self.say(is_serving))
        self._saying.add(saying)
        saying.add_done_callback(self._saying.discard)

    async def stop(self) -> None:
        """Stops answering."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
