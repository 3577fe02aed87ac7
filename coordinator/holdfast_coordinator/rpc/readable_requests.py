"""Requests that cannot be read are refused like all that is misshapen: bytes that are no message of the rpc's type.

Left to gRPC the call fails with UNKNOWN and the name of an exception, as if it were the server's fault. Every handler
is wrapped here, also those of health and reflection; none of them sees such a request.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import ServicerContext

from holdfast.errors import InvalidRequest

from .refusals import refuse

Behavior = Callable[[Any, ServicerContext], Any]


def readable(handler: Any) -> grpc.RpcMethodHandler:
    """The handler of an rpc, which refuses what it cannot read with INVALID_ARGUMENT, INVALID_REQUEST."""
    read = handler.request_deserializer
    if not handler.request_streaming:
        make = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        behavior = _with_one_request(handler.unary_stream if handler.response_streaming else handler.unary_unary)
    else:
        make, behavior = grpc.stream_stream_rpc_method_handler, _with_requests(handler.stream_stream)
    return make(behavior, request_deserializer=_or_refusal(read), response_serializer=handler.response_serializer)


def _or_refusal(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Reads a request; what is no message becomes the refusal, for gRPC lets no reader choose a status."""
    # `FromString` of a class of messages.
    kind = getattr(getattr(read, "__self__", None), "DESCRIPTOR", None)
    problem = f"cannot be read as {'a message of its type' if kind is None else kind.full_name}"

    def reading(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _Unreadable(f"{problem}, {len(data)} bytes")

    return reading


class _Unreadable:
    __slots__ = ("error",)

    def __init__(self, problem: str) -> None:
        self.error = InvalidRequest("request", problem)


def _with_one_request(behavior: Behavior) -> Behavior:
    async def call(request: Any, context: ServicerContext) -> Any:
        if type(request) is _Unreadable:
            await refuse(context, request.error)
        return await behavior(request, context)

    return call


def _with_requests(behavior: Behavior) -> Behavior:
    async def readable_ones(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if type(request) is _Unreadable:
                raise request.error
            yield request

    if inspect.isasyncgenfunction(behavior):

        async def answers(requests: AsyncIterator[Any], context: ServicerContext) -> AsyncIterator[Any]:
            try:
                async for answer in behavior(readable_ones(requests), context):
                    yield answer
            except InvalidRequest as error:
                await refuse(context, error)

        return answers

    async def call(requests: AsyncIterator[Any], context: ServicerContext) -> None:
        try:
            await behavior(readable_ones(requests), context)
        except InvalidRequest as error:
            await refuse(context, error)

    return call
