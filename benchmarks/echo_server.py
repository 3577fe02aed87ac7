"""A gRPC server that returns what it is sent, in a process of its own: what gRPC itself costs on this machine.

Prints its port. Ends when its stdin is closed.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import grpc

from holdfast.client.loops import run

SERVICE = "bench.Echo"
UNARY = f"/{SERVICE}/Unary"
STREAM = f"/{SERVICE}/Stream"


async def _unary(request: bytes, context: Any) -> bytes:
    return request


async def _stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def serve() -> None:
    """Serves until stdin is closed."""
    server = grpc.aio.server()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary),
        "Stream": grpc.stream_stream_rpc_method_handler(_stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    while await asyncio.to_thread(os.read, 0, 4096):
        pass
    await server.stop(None)


if __name__ == "__main__":
    run(serve())
