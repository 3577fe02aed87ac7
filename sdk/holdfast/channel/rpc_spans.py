"""Spans of single rpcs, for those who look into the transport. Off unless asked for.

A call that is repeated makes one span per attempt. Polls, heartbeats and waits make none: they are held open on
purpose, and their number says nothing. All that is left is unary, so there is no interceptor for streams.
Conventions: OpenTelemetry's for RPC after version 1.37, in which several attributes were renamed.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from holdfast.channel.cancellation import give_up
from holdfast.tracer import tracer

RPC_SPANS_VARIABLE = "HOLDFAST_RPC_SPANS"
SILENT = frozenset({"Poll", "Report", "Work", "Heartbeat", "WaitRuns"})
"""The methods that make no spans."""

_ON = frozenset({"1", "true", "yes", "on"})
_propagator = TraceContextTextMapPropagator()


def rpc_spans_or_default(asked: bool | None = None) -> bool:
    """What was asked for, else what HOLDFAST_RPC_SPANS says, else False."""
    return os.environ.get(RPC_SPANS_VARIABLE, "").strip().lower() in _ON if asked is None else asked


class RpcSpans(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Makes a CLIENT span of each unary call that is not silent, and sends its position in the call's metadata.

    host, port: of the coordinator; port 0 stands for a socket, whose path is the host.
    """

    def __init__(self, host: str, port: int) -> None:
        self._attributes: dict[str, str | int] = {"rpc.system.name": "grpc", "server.address": host}
        if port:
            self._attributes["server.port"] = port

    async def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """See grpc.aio."""
        method = client_call_details.method
        name = (method.decode() if isinstance(method, bytes) else method).lstrip("/")
        used = None if name.rpartition("/")[2] in SILENT else tracer()
        if used is None:
            return await continuation(client_call_details, request)
        attributes = {**self._attributes, "rpc.method": name}
        span = used.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
        if not span.is_recording():
            return await continuation(client_call_details, request)
        metadata = _with_position(client_call_details.metadata, span)
        call = None
        try:
            call = await continuation(client_call_details._replace(metadata=metadata), request)
            code = await call.code()
        except BaseException:
            # Cancelled, or the channel is closed. Whoever cancels reaches only this wait: the call would go on.
            if call is not None:
                give_up(call)
            _end(span, grpc.StatusCode.CANCELLED)
            raise
        _end(span, code)
        return call


def _with_position(metadata: grpc.aio.Metadata | None, span: trace.Span) -> grpc.aio.Metadata:
    # No baggage: its 8 KiB are all the metadata that a gRPC server takes, and the messages that need it carry it.
    headers: dict[str, str] = {}
    _propagator.inject(headers, trace.set_span_in_context(span))
    return grpc.aio.Metadata(*(metadata or ()), *headers.items())


def _end(span: trace.Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        span.set_attribute("error.type", code.name)
        span.set_status(trace.StatusCode.ERROR)
    span.end()
