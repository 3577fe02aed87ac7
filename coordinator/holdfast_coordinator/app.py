"""Builds a replica from its configuration and runs it: database, engine, loops, server. The only place that wires."""

import asyncio
import gc
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from holdfast.durations import parse_duration
from holdfast.errors import HoldfastError
from holdfast.limits import DEFAULT_LIMITS

from .config import Config
from .engine.engine import Engine
from .engine.sessions import SessionPolicy
from .loops.upkeep import OnReady, all_loops
from .postgres import ProvidedPostgres, provide
from .rpc.server import Server
from .store.cell import PostgresCellStore
from .store.control import PostgresControlStore
from .store.migrate import migrate
from .wire.children import child_start
from .wire.continuation import continuation

log = structlog.get_logger(__name__)

CELLS = ("00",)
STOP_SECONDS = 5.0


@dataclass(slots=True, frozen=True)
class Coordinator:
    """A replica that serves. address: host:port for clients on this machine."""

    address: str
    database: ProvidedPostgres
    failed: asyncio.Future[None]
    """Ends with an error when the replica cannot go on; never otherwise."""


class _Codec:
    """What the engine must look into, read by the wire modules."""

    child_start = staticmethod(child_start)
    continuation = staticmethod(continuation)


@asynccontextmanager
async def coordinator(config: Config) -> AsyncIterator[Coordinator]:
    """A replica for as long as the block runs; when it is entered, the replica serves.

    Raises typed errors for what keeps it from serving: no database, a newer schema, an address in use.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            provide(config.database_url, data_directory=config.data_directory, ephemeral=config.ephemeral)
        )
        await migrate(database.url, cells=CELLS)
        control = await stack.enter_async_context(PostgresControlStore.open(database.url))
        for namespace in config.namespaces:
            await control.create_namespace(namespace)
        cells = [(cell, await stack.enter_async_context(PostgresCellStore.open(database.url, cell))) for cell in CELLS]
        engine = Engine(
            control,
            cells,
            replica_id=f"{socket.gethostname()}-{secrets.token_hex(4)}",
            policy=SessionPolicy(
                ttl=parse_duration(config.session_ttl),
                heartbeat_interval=parse_duration(config.session_ttl) / 4,
                poll_wait=parse_duration(config.poll_wait),
            ),
            codec=_Codec(),
        )
        await engine.sessions.read_clock()
        limits = replace(DEFAULT_LIMITS, payload_bytes=config.payload_bytes_max)
        server = Server(engine, limits, host=config.host, port=config.port)
        failed = asyncio.get_running_loop().create_future()
        await stack.enter_async_context(_running(engine, database, failed, on_ready=server.set_serving))
        await server.start()
        await server.set_serving(True)
        gc.collect()
        gc.freeze()  # what exists now stays: the collector need not look at it again
        try:
            yield Coordinator(f"{config.host}:{server.port}", database, failed)
        finally:
            await server.stop(STOP_SECONDS)


@asynccontextmanager
async def _running(
    engine: Engine, database: ProvidedPostgres, failed: asyncio.Future[None], *, on_ready: OnReady
) -> AsyncIterator[None]:
    """Runs the writers and loops of a replica; a loop that ends by itself ends the replica."""
    writers = [asyncio.create_task(cell.writer.run(), name=f"writer {cell.name}") for cell in engine.cells]
    loops = [asyncio.create_task(loop, name=name) for name, loop in all_loops(engine, on_ready=on_ready)]
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
