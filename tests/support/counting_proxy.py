"""A gRPC proxy that passes every call and message on and counts what comes; it can lose some, to break streams."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import grpc

from holdfast.api.v1 import worker_service_pb2 as pb

STREAM = "Work"

Loses = Callable[[str], bool]
"""Whether a message of a stream is lost and the stream breaks: "Poll", "Report", "Poll answer", "Report answer"."""


class CountingProxy(grpc.GenericRpcHandler):
    """Answers every call with what the coordinator answers.

    counts: calls so far, by the rpc's name, and what streams brought, by the rpc that it stands for. joined: how many
    messages had both a poll and a report, or the answers to both.
    """

    def __init__(self, channel: grpc.aio.Channel, *, loses: Loses, lacks: Collection[str]) -> None:
        self.counts: Counter[str] = Counter()
        self.joined = 0
        self.address = ""
        self._channel = channel
        self._loses = loses
        self._lacks = lacks

    def service(self, handler_call_details: Any) -> Any:
        """The handler of one rpc, as grpc asks for it."""
        method = handler_call_details.method
        name = method.rpartition("/")[2]

        async def pass_on(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.counts[name] += 1
            answer: bytes = await self._channel.unary_unary(method)(request)
            return answer

        async def pass_stream_on(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
            self.counts[name] += 1
            stream = self._channel.stream_stream(method)()
            back = asyncio.create_task(self._pass_back(stream, context))
            forth = asyncio.create_task(self._pass_forth(requests, stream))
            try:
                await asyncio.wait((back, forth), return_when=asyncio.FIRST_COMPLETED)
                if forth.done() and forth.result():
                    await back  # the worker has closed its side; what is still to come goes back
            finally:
                forth.cancel()
                back.cancel()
                stream.cancel()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was broken")

        if name in self._lacks:
            return None
        if name != STREAM:
            return grpc.unary_unary_rpc_method_handler(pass_on)
        return grpc.stream_stream_rpc_method_handler(pass_stream_on)

    async def _pass_forth(self, requests: AsyncIterator[bytes], stream: Any) -> bool:
        """True when it has come to the end."""
        async for request in requests:
            kinds = self._kinds(pb.WorkRequest.FromString(request))
            self.counts.update(kinds)
            if any(self._loses(kind) for kind in kinds):
                return False
            await stream.write(request)
        await stream.done_writing()
        return True

    async def _pass_back(self, stream: Any, context: grpc.aio.ServicerContext) -> None:
        async for answer in stream:
            kinds = self._kinds(pb.WorkResponse.FromString(answer))
            if any(self._loses(f"{kind} answer") for kind in kinds):
                return
            await context.write(answer)

    def _kinds(self, message: Any) -> list[str]:
        kinds = [field.name.capitalize() for field, _ in message.ListFields()]
        self.joined += len(kinds) > 1
        return kinds


@asynccontextmanager
async def counting_proxy(
    address: str, *, loses: Loses = lambda _: False, lacks: Collection[str] = ()
) -> AsyncIterator[CountingProxy]:
    """A proxy before the coordinator at this address. lacks: rpcs that it does not know."""
    async with grpc.aio.insecure_channel(address) as channel:
        proxy = CountingProxy(channel, loses=loses, lacks=lacks)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((proxy,))
        proxy.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield proxy
        finally:
            await server.stop(None)
