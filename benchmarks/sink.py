"""A collector that takes spans and throws them away, in a process of its own: what export costs the others.

Prints its port, and when its stdin is closed how many requests and bytes it was sent, as JSON. With --silent it never
answers: a black hole.
"""

import asyncio
import json
import os
import sys
from typing import Any

import grpc

from holdfast.client.loops import run

SERVICES = (
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
)


class Sink:
    """Counts what it is sent. Nothing is parsed: an empty answer is that of a collector that took everything."""

    def __init__(self, *, is_silent: bool) -> None:
        self.requests = 0
        self.bytes = 0
        self._is_silent = is_silent

    async def export(self, request: bytes, context: Any) -> bytes:
        """Export of either service."""
        self.requests += 1
        self.bytes += len(request)
        if self._is_silent:
            await asyncio.Event().wait()
        return b""


async def serve(*, is_silent: bool) -> None:
    """Serves until stdin is closed."""
    sink = Sink(is_silent=is_silent)
    server = grpc.aio.server()
    handlers = {"Export": grpc.unary_unary_rpc_method_handler(sink.export)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers) for service in SERVICES])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    while await asyncio.to_thread(os.read, 0, 4096):
        pass
    await server.stop(None)
    print(json.dumps({"requests": sink.requests, "bytes": sink.bytes}), flush=True)


if __name__ == "__main__":
    run(serve(is_silent="--silent" in sys.argv))
