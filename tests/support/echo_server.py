"""A gRPC server that answers every call with what it was sent, and keeps in which order it took what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

REFUSED = "Refuse"
STREAM = "Talk"
OPTIONS = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.max_metadata_size", 1 << 20))


class EchoServer(grpc.GenericRpcHandler):
    """`taken`: name and request of each call and message, as they came. "Refuse" fails, "Talk" is a stream."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.port = 0
        self._news = asyncio.Event()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def wait_for(self, *taken: tuple[str, bytes]) -> None:
        """Returns when it has taken all of these, in any order."""
        while set(taken) - set(self.taken):
            self._news.clear()
            await self._news.wait()

    def service(self, handler_call_details: Any) -> Any:
        """The handler of one rpc, as grpc asks for it."""
        name = handler_call_details.method.rpartition("/")[2]

        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self._take(name, request)
            if name == REFUSED:
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no")
            return request

        async def answer_each(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[bytes]:
            async for request in requests:
                self._take(name, request)
                yield request

        if name == STREAM:
            return grpc.stream_stream_rpc_method_handler(answer_each)
        return grpc.unary_unary_rpc_method_handler(answer)

    def _take(self, name: str, request: bytes) -> None:
        self.taken.append((name, request))
        self._news.set()


def echo_channel(address: str) -> grpc.aio.Channel:
    """A channel with one TCP connection."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)


async def echo(channel: grpc.aio.Channel, name: str, request: bytes, **options: Any) -> bytes:
    """The answer to one call; it fails after ten seconds unless it is given another `timeout`."""
    options.setdefault("timeout", 10)
    answer: bytes = await channel.unary_unary(f"/echo.v1.Echo/{name}")(request, **options)
    return answer


@asynccontextmanager
async def echo_server() -> AsyncIterator[EchoServer]:
    """A server on a free port."""
    handler, server = EchoServer(), grpc.aio.server(options=(("grpc.max_metadata_size", 1 << 20),))
    server.add_generic_rpc_handlers((handler,))
    handler.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield handler
    finally:
        await server.stop(None)
