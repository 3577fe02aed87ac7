"""A gRPC proxy that passes every call on and counts what is asked. It looks at nothing else.

Polls and reports count alike, whether they come as calls of their own or over a Work stream.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from holdfast.api.v1 import worker_service_pb2


class CountingProxy(grpc.GenericRpcHandler):
    """Answers every call with what the coordinator answers. `counts`: requests so far: "Poll", "Report", ..."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.counts: Counter[str] = Counter()
        self.address = ""
        self._channel = channel

    def service(self, handler_call_details: Any) -> Any:
        """The handler of one rpc, as grpc asks for it."""
        method = handler_call_details.method
        rpc = method.rpartition("/")[2]

        async def pass_on(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.counts[rpc] += 1
            answer: bytes = await self._channel.unary_unary(method)(request)
            return answer

        async def pass_stream_on(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
        ) -> AsyncIterator[bytes]:
            async for response in self._channel.stream_stream(method)(self._counted(requests)):
                yield response

        if rpc == "Work":
            return grpc.stream_stream_rpc_method_handler(pass_stream_on)
        return grpc.unary_unary_rpc_method_handler(pass_on)

    async def _counted(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for request in requests:
            kind = worker_service_pb2.WorkRequest.FromString(request).WhichOneof("body") or "nothing"
            self.counts[kind.capitalize()] += 1
            yield request


@asynccontextmanager
async def counting_proxy(address: str) -> AsyncIterator[CountingProxy]:
    """A proxy before the coordinator at this address."""
    async with grpc.aio.insecure_channel(address) as channel:
        proxy = CountingProxy(channel)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((proxy,))
        proxy.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield proxy
        finally:
            await server.stop(None)
