"""The gRPC server: both services, standard health and reflection, on one port."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from holdfast.api.v1 import run_service_pb2, run_service_pb2_grpc, worker_service_pb2, worker_service_pb2_grpc
from holdfast.errors import HoldfastError
from holdfast.limits import Limits
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.telemetry.run_spans import DEFAULT_RULES
from holdfast_coordinator.telemetry.spans import SpanRules

from .readable_requests import readable
from .run_service import RunService
from .run_traces import TraceExports
from .server_spans import ServerSpans
from .unread_answers import UnreadAnswers
from .worker_service import WorkerService

_RUNS = run_service_pb2.DESCRIPTOR.services_by_name["RunService"].full_name
_WORKERS = worker_service_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name
SERVICES = (_RUNS, _WORKERS)


class AddressInUse(HoldfastError):
    """Something else listens on the address."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"cannot listen on {address}: another program does, or it is not an address of this machine; "
            "choose another with --port or --host, or stop the other program"
        )
        self.address = address


class _ByName:
    """Takes services for a server as gRPC's generated code gives them, to be found by the name of the call.

    Their handlers are wrapped: `readable`, and `watched` by unread answers.

    Registered, as that code would have it, each method has a future of its own, and the server waits for all of them
    anew for each call that comes: 0.6 us of CPU per call and method, of which there are twenty here.
    """

    def __init__(self, server: grpc.aio.Server, unread: UnreadAnswers) -> None:
        self._server = server
        self._unread = unread

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        pass  # they stand in the call below too, by name

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        wrapped = {
            name: readable(self._unread.watched(name, handler), translates=service in SERVICES)
            for name, handler in handlers.items()
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))


CALL_MAX = timedelta(seconds=90)
"""No call but a stream takes longer."""
HANDSHAKE_SECONDS = 10
"""After that a connection is ended on which nobody spoke HTTP/2."""
SILENCE_SECONDS, ANSWER_SECONDS = 30, 20
"""Seconds after the last bytes of a peer until it is pinged, and seconds that it has for the answer: else
what has vanished without a word, or is half open, would keep its connection and its calls for minutes."""
PENDING_CALLS_MAX = 100_000
"""Calls that have come and that the event loop has not taken yet. Of more than 1,000 gRPC by itself cancels some at
random: whoever sent them does not learn why, and does not repeat them. What is too much is refused by load_limits."""
ANY_ADDRESS = frozenset({"0.0.0.0", "::", "*"})
"""Hosts that stand for every address of the machine: which of them workers can reach is not known."""


class Server:
    """See the module. `port` is the one that was given, or the free one that 0 asked for."""

    def __init__(
        self,
        engine: Engine,
        limits: Limits,
        *,
        host: str,
        port: int,
        connection_age: timedelta,
        connections_max: int | None = None,
        advertise: str | None = None,
        exports: TraceExports | None = None,
        span_rules: SpanRules = DEFAULT_RULES,
        server_spans: ServerSpans | None = None,
    ) -> None:
        """advertise: host:port at which workers reach this replica; None for where it listens, if that is one address.

        connection_age: about the age at which a connection is ended, so that its other side looks for replicas anew.
        connections_max: what connects beyond it is hung up on at once; None for any number.
        exports: None while tracing is off. server_spans: makes spans of single rpcs too.
        """
        options = [
            ("grpc.max_receive_message_length", limits.message_bytes),
            ("grpc.max_send_message_length", limits.message_bytes),
            # Two servers on one port would each get half of the calls, and each of them half of the sessions.
            ("grpc.so_reuseport", 0),
            ("grpc.server.max_pending_requests", PENDING_CALLS_MAX),
            ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS_MAX),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_SECONDS * 1_000),
            ("grpc.keepalive_time_ms", SILENCE_SECONDS * 1_000),
            ("grpc.keepalive_timeout_ms", ANSWER_SECONDS * 1_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            # gRPC spreads the age by a tenth. Calls under way go on: the longest are streams of workers, which end
            # by themselves before they are as old as a connection, and whatever a client waits for.
            ("grpc.max_connection_age_ms", int(connection_age.total_seconds() * 1_000)),
            ("grpc.max_connection_age_grace_ms", int((connection_age + CALL_MAX).total_seconds() * 1_000)),
        ]
        if connections_max is not None:
            options.append(("grpc.max_allowed_incoming_connections", connections_max))
        interceptors = None if server_spans is None else [server_spans]
        self._server = grpc.aio.server(options=options, interceptors=interceptors)
        unread = UnreadAnswers()
        services = _ByName(self._server, unread)
        self._engine = engine
        self._workers = WorkerService(engine, limits, connection_age=connection_age, unread=unread)
        run_service_pb2_grpc.add_RunServiceServicer_to_server(  # type: ignore[no-untyped-call]
            RunService(engine, limits, exports=exports, rules=span_rules), services
        )
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(  # type: ignore[no-untyped-call]
            self._workers, services
        )
        self._serving: bool | None = None
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, services)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        # Not `enable_server_reflection`, which takes nothing but a server.
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(names), services)
        shown = f"[{host}]" if ":" in host else host
        address = f"{shown}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise AddressInUse(address) from error
        if self.port == 0:
            raise AddressInUse(address)
        self._workers.address = advertise or ("" if host in ANY_ADDRESS else f"{shown}:{self.port}")

    async def start(self) -> None:
        """Begins to serve; health says so once `set_serving` was called."""
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What the standard health service answers for the whole server and for each service."""
        if serving == self._serving:
            return
        self._serving = serving
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self._health.set(service, status)

    async def withdraw(self) -> None:
        """Says NOT_SERVING for good, so that whoever finds replicas by their health finds others; serves on."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, sends workers to other replicas, lets calls under way end, and stops."""
        await self.withdraw()
        # First this: it closes the port and says on every connection that it takes no more. Who is sent away then
        # does not come back here.
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        await asyncio.sleep(0)
        self._workers.end_streams()
        self._engine.end_waits()
        await stopping
