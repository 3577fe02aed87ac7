"""SERVER spans of RunService's rpcs, below the spans of clients that asked for them. Off unless switched on.

They are no part of a run's skeleton: each is made once, from this replica's clock, under a resource of its own, and is
lost with the replica. Calls that are not traced, or held open on purpose, make none.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from holdfast.traces import SAMPLED, SpanContext, parse_traceparent
from holdfast_coordinator.telemetry.sinks import CollectorUnreachable, ExportRefused, SpanSink

SERVICE_NAME = "holdfast-coordinator"
SILENT = frozenset({"WaitRuns"})
SPANS_WAITING_MAX = 2_048
BATCH_SPANS_MAX = 512
EXPORT_SECONDS = 1.0

_SERVICE = "/holdfast.api.v1.RunService/"
# A context gives the code of an aborted call as a number or as a StatusCode, which depends on the version of grpcio.
_NAMES: dict[Any, str] = {key: code.name for code in grpc.StatusCode for key in (code, code.value[0])}
_FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""What is the server's fault; OpenTelemetry's conventions count the other codes as the caller's."""

Handler = Callable[[Any, Any], Awaitable[Any]]


class ServerSpans(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Makes the spans and exports them with `run`. replica_id: distinguishes this process from the other replicas.

    on_drop: called with how many spans found no room or no collector.
    """

    def __init__(self, replica_id: str, *, on_drop: Callable[[int], None]) -> None:
        self._resource = [_pair("service.name", SERVICE_NAME), _pair("service.instance.id", replica_id)]
        self._waiting: deque[Span] = deque()
        self._on_drop = on_drop

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """See grpc.aio."""
        handler = await continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or not method.startswith(_SERVICE) or method.removeprefix(_SERVICE) in SILENT:
            return handler
        headers = dict(handler_call_details.invocation_metadata or ())
        caller = parse_traceparent(headers.get("traceparent", ""), headers.get("tracestate", ""))
        if caller is None or not caller.is_sampled:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            self._measured(handler.unary_unary, method.lstrip("/"), caller),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    async def run(self, sink: SpanSink) -> None:
        """Exports once a second until it is cancelled. What the collector does not take is dropped."""
        while True:
            await asyncio.sleep(EXPORT_SECONDS)
            while self._waiting:
                await self._export(sink)

    async def _export(self, sink: SpanSink) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_SPANS_MAX))]
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.extend(self._resource)
        scope = group.scope_spans.add()
        scope.scope.name = "holdfast"
        scope.spans.extend(batch)
        try:
            await sink.export_traces(request.SerializeToString())
        except (CollectorUnreachable, ExportRefused):
            self._on_drop(len(batch))

    def _measured(self, handler: Handler, method: str, caller: SpanContext) -> Handler:
        async def measured(request: Any, context: grpc.aio.ServicerContext) -> Any:
            began_ns, code = time.time_ns(), "UNKNOWN"
            try:
                response = await handler(request, context)
                code = "OK"
                return response
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                code = _NAMES.get(context.code(), "UNKNOWN")
                raise
            finally:
                self._add(_span(method, caller, code, began_ns))

        return measured

    def _add(self, span: Span) -> None:
        if len(self._waiting) >= SPANS_WAITING_MAX:
            self._on_drop(1)
        else:
            self._waiting.append(span)


def _span(method: str, caller: SpanContext, code: str, began_ns: int) -> Span:
    span = Span(
        trace_id=caller.trace_id,
        span_id=os.urandom(8),
        parent_span_id=caller.span_id,
        trace_state=caller.tracestate,
        flags=SAMPLED,
        name=method,
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=began_ns,
        end_time_unix_nano=time.time_ns(),
        attributes=[
            _pair("rpc.system.name", "grpc"),
            _pair("rpc.method", method),
            _pair("rpc.response.status_code", code),
        ],
    )
    if code in _FAILURES:
        span.attributes.append(_pair("error.type", code))
        span.status.code = Status.STATUS_CODE_ERROR
    return span


def _pair(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))
