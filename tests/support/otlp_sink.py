"""A collector for tests: a real OTLP/gRPC server that keeps what it is sent and can misbehave in the ways of real ones.

As a program of its own, `python -m tests.support.otlp_sink --port 0`, it prints its port, and then the counts as JSON
for each line that it reads and when it ends; it ends with its standard input.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReceivedLink:
    """A link of a span; ids as hex."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as a backend reads it; ids as hex, `parent_id` empty for a root.

    kind: INTERNAL, SERVER, ... status: UNSET, OK, ERROR. attributes, resource: in the order in which they came.
    raw: the bytes of resource, scope and span; a backend recognises a span that is sent twice when they are equal.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_message: str
    attributes: Attributes
    links: tuple[ReceivedLink, ...]
    resource: Attributes
    scope: str
    tracestate: str
    flags: int
    raw: bytes = field(repr=False)

    @property
    def service(self) -> str:
        """The `service.name` of its resource."""
        return str(self.resource.get("service.name", ""))


@dataclass(slots=True)
class Counts:
    """What came so far, also what was refused."""

    requests: int = 0
    bytes: int = 0
    spans: int = 0
    refused: int = 0
    names: Counter[str] = field(default_factory=Counter)


class OtlpSink:
    """A collector that listens on 127.0.0.1.

    requests: the bytes of each trace request that it accepted. metadata: that of every request, refused ones as well.
    spans: everything accepted, in order. metrics: the accepted metric requests, parsed.
    credentials: it then speaks TLS. keeps: False counts and forgets, for long measurements.
    """

    def __init__(
        self, *, port: int = 0, host: str = "127.0.0.1", credentials: grpc.ServerCredentials | None = None,
        keeps: bool = True, counts_names: bool = False,
    ) -> None:  # fmt: skip
        self.host = host
        self.port = port
        self.counts = Counts()
        self.spans: list[ReceivedSpan] = []
        self.requests: list[bytes] = []
        self.metrics: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self._credentials = credentials
        self._keeps = keeps
        self._counts_names = counts_names
        self._server: grpc.aio.Server | None = None
        self._changed = asyncio.Event()
        self._behaviour: Callable[[grpc.aio.ServicerContext], Any] | None = None
        self._rejected = (0, "")

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """What to give to `--otlp`."""
        return f"{'https' if self._credentials else 'http'}://{self.address}"

    async def start(self) -> Self:
        """Listens; again on the same port after a stop."""
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 * 1024 * 1024)]
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers((_Handlers(self),))
        if self._credentials is None:
            self.port = self._server.add_insecure_port(self.address)
        else:
            self.port = self._server.add_secure_port(self.address, self._credentials)
        await self._server.start()
        return self

    async def stop(self) -> None:
        """Goes away at once, and breaks the requests that it holds."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)

    def accept(self) -> None:
        """Takes everything, as at the beginning. Requests that hang are not let go."""
        self._behaviour = None
        self._rejected = (0, "")

    def refuse(
        self, code: grpc.StatusCode, details: str = "refused by the test", *, retry_after_seconds: float | None = None,
        times: int | None = None,
    ) -> None:  # fmt: skip
        """Answers requests with this code: the next `times`, or all until `accept`."""
        left = times

        async def refused(context: grpc.aio.ServicerContext) -> None:
            nonlocal left
            if left is not None:
                left -= 1
                if left == 0:
                    self._behaviour = None
            await context.abort(code, details, _retry_info(code, retry_after_seconds))

        self._behaviour = refused

    def hang(self) -> None:
        """Takes requests and never answers them: a black hole."""

        async def hanging(context: grpc.aio.ServicerContext) -> None:
            await asyncio.Event().wait()

        self._behaviour = hanging

    def reject_some(self, rejected: int, message: str = "rejected by the test") -> None:
        """Takes requests and says that it threw away so many of the spans or points of each."""
        self._rejected = (rejected, message)

    async def until(self, predicate: Callable[["OtlpSink"], object], timeout: float = 10) -> Self:
        """Waits until something that came makes the predicate true. Raises AssertionError with what did come."""
        try:
            async with asyncio.timeout(timeout):
                while not predicate(self):
                    await self._changed.wait()
        except TimeoutError:
            names = dict(Counter(span.name for span in self.spans))
            raise AssertionError(f"not so within {timeout} s; came: {self.counts}, spans {names}") from None
        return self

    def named(self, name: str) -> list[ReceivedSpan]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]

    def of_run(self, run_id: str) -> list[ReceivedSpan]:
        """The skeleton spans of a run."""
        return [span for span in self.spans if span.attributes.get("holdfast.run.id") == run_id]

    async def took_traces(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """The rpc TraceService.Export."""
        await self._met(request, context)
        message = trace_service_pb2.ExportTraceServiceRequest.FromString(request)
        self.counts.spans += sum(len(scope.spans) for group in message.resource_spans for scope in group.scope_spans)
        if self._keeps:
            self.requests.append(request)
            self.spans.extend(received_spans(message))
        if self._counts_names:
            self.counts.names.update(
                span.name for group in message.resource_spans for scope in group.scope_spans for span in scope.spans
            )
        self._tell()
        answer = trace_service_pb2.ExportTraceServiceResponse()
        if any(self._rejected):
            answer.partial_success.rejected_spans, answer.partial_success.error_message = self._rejected
        return answer.SerializeToString()

    async def took_metrics(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        """The rpc MetricsService.Export."""
        await self._met(request, context)
        if self._keeps:
            self.metrics.append(metrics_service_pb2.ExportMetricsServiceRequest.FromString(request))
        self._tell()
        answer = metrics_service_pb2.ExportMetricsServiceResponse()
        if any(self._rejected):
            answer.partial_success.rejected_data_points, answer.partial_success.error_message = self._rejected
        return answer.SerializeToString()

    async def _met(self, request: bytes, context: grpc.aio.ServicerContext) -> None:
        self.counts.requests += 1
        self.counts.bytes += len(request)
        if self._keeps:
            self.metadata.append(dict(context.invocation_metadata() or ()))
        if self._behaviour is not None:
            self.counts.refused += 1
            self._tell()
            await self._behaviour(context)

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class _Handlers(grpc.GenericRpcHandler):
    """Both services, with requests and answers as bytes."""

    def __init__(self, sink: OtlpSink) -> None:
        self._handlers: Mapping[str, Any] = {
            TRACES: grpc.unary_unary_rpc_method_handler(sink.took_traces),
            METRICS: grpc.unary_unary_rpc_method_handler(sink.took_metrics),
        }

    def service(self, handler_call_details: Any) -> Any:
        """The handler of one rpc, as grpc asks for it."""
        return self._handlers.get(handler_call_details.method)


@asynccontextmanager
async def otlp_sink(**options: Any) -> AsyncIterator[OtlpSink]:
    """A collector for as long as the block runs."""
    sink = await OtlpSink(**options).start()
    try:
        yield sink
    finally:
        await sink.stop()


def received_spans(message: trace_service_pb2.ExportTraceServiceRequest) -> list[ReceivedSpan]:
    """The spans of a request, in their order."""
    found = []
    for group in message.resource_spans:
        resource, resource_bytes = _attributes(group.resource.attributes), group.resource.SerializeToString()
        for scope in group.scope_spans:
            context = resource_bytes + scope.scope.SerializeToString()
            found += [_received(span, resource, scope.scope.name, context) for span in scope.spans]
    return found


def _received(span: trace_pb2.Span, resource: Attributes, scope: str, context: bytes) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        links=tuple(
            ReceivedLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links
        ),
        resource=resource,
        scope=scope,
        tracestate=span.trace_state,
        flags=span.flags,
        raw=context + span.SerializeToString(),
    )


def _attributes(pairs: Any) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case None:
            return None
        case kind:
            return getattr(value, kind)


def _retry_info(code: grpc.StatusCode, retry_after_seconds: float | None) -> tuple[tuple[str, bytes], ...]:
    if retry_after_seconds is None:
        return ()
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(retry_after_seconds * 1e9))
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=code.value[0], details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)


async def _serve(port: int, *, counts_names: bool) -> None:
    """Until standard input ends, or SIGTERM."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    loop.add_signal_handler(signal.SIGTERM, lines.feed_eof)
    async with otlp_sink(port=port, keeps=False, counts_names=counts_names) as sink:
        print(sink.port, flush=True)
        while await lines.readline():
            print(json.dumps(asdict(sink.counts)), flush=True)
        print(json.dumps(asdict(sink.counts)), flush=True)


def main() -> None:
    """Runs a collector that only counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="the port to listen on; 0 takes a free one")
    parser.add_argument("--names", action="store_true", help="also count the spans of each name")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, counts_names=options.names))


if __name__ == "__main__":
    main()
