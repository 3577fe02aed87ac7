"""Builds a replica from its configuration and runs it: database, engine, loops, server. The only place that wires."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from holdfast.durations import parse_duration
from holdfast.errors import HoldfastError
from holdfast.garbage import settle_garbage_collector
from holdfast.limits import DEFAULT_LIMITS

from .config import Config
from .engine.database_clock import DatabaseClock
from .engine.engine import Engine
from .engine.sessions import SessionPolicy
from .loops.upkeep import OnReady, all_loops
from .metrics_export import metering, pushing
from .open_files import room_for_connections
from .postgres import ProvidedPostgres, provide
from .rpc.server import Server
from .store.cell import PostgresCellStore
from .store.control import PostgresControlStore
from .store.doorbell import PostgresDoorbell
from .store.migrate import migrate
from .store.pool import OnWait
from .telemetry.otel_variables import ExportSettings
from .trace_export import TraceExport, exporting, span_rules
from .wire.children import child_start, mail_to_child
from .wire.continuations import continuation

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from .metrics.metrics import Metrics

log = structlog.get_logger(__name__)

CELLS: tuple[str, ...] = ("00",)
STOP_SECONDS = 5.0


@dataclass(slots=True, frozen=True)
class Coordinator:
    """A replica that serves. address: host:port for clients on this machine; metrics_address: for Prometheus."""

    address: str
    database: ProvidedPostgres
    failed: asyncio.Future[None]
    """Ends with an error when the replica cannot go on; never otherwise."""
    withdraw: Callable[[], Awaitable[None]]
    """Says NOT_SERVING to those who ask for its health; it serves on."""
    metrics_address: str | None = None


class _Codec:
    """What the engine must look into, read by the wire modules."""

    child_start = staticmethod(child_start)
    mail_to_child = staticmethod(mail_to_child)
    continuation = staticmethod(continuation)


@asynccontextmanager
async def coordinator(config: Config, *, alone: bool = False) -> AsyncIterator[Coordinator]:
    """A replica for as long as the block runs; when it is entered, the replica serves.

    alone: nothing else uses the database, now or before it is stopped: workers of former processes are dead.
    Raises typed errors for what keeps it from serving: no database, a newer schema, an address in use.
    """
    settings = export_settings(config)
    replica_id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    policy = _session_policy(config)
    clock = DatabaseClock(policy.ttl)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(
            provide(config.database_url, data_directory=config.data_directory, ephemeral=config.ephemeral)
        )
        await migrate(database.url, cells=CELLS)
        metered = await enter(metering(host=config.host, port=config.metrics_port, collector=settings.metrics))
        metrics = metered.metrics if metered is not None else None
        control = await enter(PostgresControlStore.open(database.url, on_wait=_waits(metrics, "control")))
        for namespace in config.namespaces:
            await control.create_namespace(namespace)
        on_wait = _waits(metrics, "cell")
        cells = [(cell, await enter(PostgresCellStore.open(database.url, cell, on_wait=on_wait))) for cell in CELLS]
        exported = await enter(
            exporting(
                config, settings, dict(cells), replica_id=replica_id, clock=clock.now, dropped=_drops(metrics),
                taken=metrics.spans_exported if metrics is not None else None,
            )
        )  # fmt: skip
        if metrics is not None and settings.metrics is not None:
            is_known_away = partial(exported.says_away, settings.metrics) if exported is not None else None
            await enter(pushing(metrics, settings.metrics, replica_id=replica_id, is_known_away=is_known_away))
        engine = _engine(config, policy, clock, control, cells, exported, metrics, replica_id)
        await engine.sessions.read_clock()
        if exported is not None:
            await enter(exported.running())
        server = _server(config, engine, exported)
        failed = asyncio.get_running_loop().create_future()
        doorbell = PostgresDoorbell(database.url) if config.doorbell else None
        await enter(_running(engine, database, failed, on_ready=server.set_serving, doorbell=doorbell))
        if alone:
            await engine.sessions.burials.bury_all()
        await server.start()
        await server.set_serving(True)
        settle_garbage_collector()
        try:
            metrics_address = metered.address if metered is not None else None
            yield Coordinator(f"{config.host}:{server.port}", database, failed, server.withdraw, metrics_address)
        finally:
            await server.stop(STOP_SECONDS)


def _session_policy(config: Config) -> SessionPolicy:
    ttl = parse_duration(config.session_ttl)
    return SessionPolicy(ttl=ttl, heartbeat_interval=ttl / 4, poll_wait=parse_duration(config.poll_wait))


def _engine(
    config: Config,
    policy: SessionPolicy,
    clock: DatabaseClock,
    control: PostgresControlStore,
    cells: Sequence[tuple[str, PostgresCellStore]],
    exported: TraceExport | None,
    metrics: "Metrics | None",
    replica_id: str,
) -> Engine:
    return Engine(
        control,
        cells,
        replica_id=replica_id,
        policy=policy,
        clock=clock,
        codec=_Codec(),
        origins=exported.origins if exported is not None else None,
        on_journal=exported.tracing.tracer.committed if exported is not None else None,
        emit=exported.tracing.emit if exported is not None else None,
        span_rules=span_rules(config),
        metrics=metrics,
        nesting_max=config.nesting_max,
    )


def _server(config: Config, engine: Engine, exported: TraceExport | None) -> Server:
    return Server(
        engine,
        replace(
            DEFAULT_LIMITS,
            payload_bytes=config.payload_bytes_max,
            journal_entries=config.journal_entries_max,
            journal_entries_warn=config.journal_entries_warn,
            journal_bytes=config.journal_bytes_max,
            journal_bytes_warn=config.journal_bytes_warn,
        ),
        host=config.host,
        port=config.port,
        connection_age=parse_duration(config.connection_age),
        connections_max=room_for_connections(config.connections_max),
        advertise=config.advertise,
        exports=exported.tracing.exports if exported is not None else None,
        span_rules=span_rules(config),
        server_spans=exported.server_spans if exported is not None else None,
    )


def export_settings(config: Config) -> ExportSettings:
    """Where telemetry goes. Raises HoldfastError, a sentence that names the variable."""
    try:
        return ExportSettings.from_variables(os.environ, config.otlp)
    except ValueError as error:
        raise HoldfastError(str(error)) from error


def _drops(metrics: "Metrics | None") -> Callable[[int, str], None]:
    """What is called with how many spans were not exported, and why."""
    return (lambda count, reason: None) if metrics is None else metrics.spans_dropped


def _waits(metrics: "Metrics | None", pool: str) -> OnWait | None:
    """What a pool of connections calls with how long it was waited for; None where that is not measured."""
    return None if metrics is None else partial(metrics.waited_for_connection, pool)


@asynccontextmanager
async def _running(
    engine: Engine, database: ProvidedPostgres, failed: asyncio.Future[None], *, on_ready: OnReady,
    doorbell: PostgresDoorbell | None,
) -> AsyncIterator[None]:  # fmt: skip
    """Runs the writers and loops of a replica; a loop that ends by itself ends the replica."""
    writers = [asyncio.create_task(cell.writer.run(), name=f"writer {cell.name}") for cell in engine.cells]
    every_loop = all_loops(engine, on_ready=on_ready, doorbell=doorbell)
    loops = [asyncio.create_task(loop, name=name) for name, loop in every_loop]
    loops.append(asyncio.create_task(_watch_database(database), name="database watch"))
    report = _failure_reporter(failed)
    for task in (*writers, *loops):
        task.add_done_callback(report)
    try:
        yield
    finally:
        for task in loops:
            task.cancel()
        for cell in engine.cells:
            cell.writer.close()
        await asyncio.gather(*loops, *writers, return_exceptions=True)
        await engine.close()
        if not failed.done():
            failed.cancel()


def _failure_reporter(failed: asyncio.Future[None]) -> Callable[[asyncio.Task[None]], None]:
    def report(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not failed.done() and (error := task.exception()) is not None:
            log.error("task_failed", task=task.get_name(), error=repr(error))
            failed.set_exception(error)

    return report


async def _watch_database(database: ProvidedPostgres) -> None:
    """Ends the replica when the embedded Postgres ended unasked: nothing would bring it back."""
    while database.server is not None:
        failure: HoldfastError | None = database.server.failure()
        if failure is not None:
            raise failure
        await asyncio.sleep(1.0)
