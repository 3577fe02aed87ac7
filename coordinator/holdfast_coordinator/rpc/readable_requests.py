"""Requests that cannot be read are refused like all that is misshapen: bytes that are no message of the rpc's type.

Left to gRPC the call fails with UNKNOWN and the name of an exception, as if it were the server's fault. So what takes
the place of such a request raises the refusal when anything of it is read. Our own handlers answer with a refusal by
themselves (`translated`), at no cost to requests that can be read; those of health and reflection are wrapped.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc.aio import ServicerContext

from holdfast.errors import InvalidRequest

from .refusals import refuse

Behavior = Callable[[Any, ServicerContext], Any]


def readable(handler: Any, *, translates: bool) -> grpc.RpcMethodHandler:
    """The handler of an rpc, which refuses what it cannot read with INVALID_ARGUMENT, INVALID_REQUEST.

    translates: it ends its calls with the refusals that are raised in it.
    """
    if handler.request_streaming:
        make, behavior, wrapped = grpc.stream_stream_rpc_method_handler, handler.stream_stream, _with_requests
    elif handler.response_streaming:
        make, behavior, wrapped = grpc.unary_stream_rpc_method_handler, handler.unary_stream, _with_one_request
    else:
        make, behavior, wrapped = grpc.unary_unary_rpc_method_handler, handler.unary_unary, _with_one_request
    return make(
        behavior if translates else wrapped(behavior),
        request_deserializer=_or_refusal(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )


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

    def __getattr__(self, name: str) -> Any:
        """Called for whatever it does not have, which is every field and method of a message."""
        if name == "error":  # of a copy that is being made
            raise AttributeError(name)
        raise self.error


def _with_one_request(behavior: Behavior) -> Behavior:
    async def call(request: Any, context: ServicerContext) -> Any:
        if type(request) is _Unreadable:
            await refuse(context, request.error)
        return await behavior(request, context)

    return call


def _with_requests(behavior: Behavior) -> Behavior:
    async def answers(requests: AsyncIterator[Any], context: ServicerContext) -> AsyncIterator[Any]:
        try:
            async for answer in behavior(requests, context):
                yield answer
        except InvalidRequest as error:
            await refuse(context, error)

    return answers
