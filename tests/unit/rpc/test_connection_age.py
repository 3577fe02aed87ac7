"""A connection to a replica is ended when it is old, and no call fails by it: so new replicas get their share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from holdfast.channel.connection import Connection, parse_address
from holdfast.limits import DEFAULT_LIMITS
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.sessions import SessionPolicy
from holdfast_coordinator.rpc.server import Server
from holdfast_coordinator.wire.children import child_start, mail_to_child
from holdfast_coordinator.wire.continuations import continuation
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.memory_control_store import MemoryControlStore

AGE = timedelta(milliseconds=300)
SECOND = timedelta(seconds=1)
POLICY = SessionPolicy(10 * SECOND, 2 * SECOND, 30 * SECOND)


class Codec:
    """What the engine must look into, as the app wires it."""

    child_start = staticmethod(child_start)
    mail_to_child = staticmethod(mail_to_child)
    continuation = staticmethod(continuation)


async def test_old_connections_are_replaced_and_no_call_fails() -> None:
    cells = [("00", MemoryCellStore())]
    engine = Engine(MemoryControlStore(), cells, replica_id="r1", policy=POLICY, codec=Codec())
    server = Server(engine, DEFAULT_LIMITS, host="127.0.0.1", port=0, connection_age=AGE)
    await server.start()
    try:
        async with _passage(server.port) as (port, accepted), Connection(parse_address(f"127.0.0.1:{port}")) as made:
            stub = HealthStub(made.channel)
            async with asyncio.timeout(20):
                while len(accepted) < 3:
                    await stub.Check(HealthCheckRequest(), timeout=5)
    finally:
        await server.stop(0)
        await engine.close()


@asynccontextmanager
async def _passage(to: int) -> AsyncIterator[tuple[int, list[str]]]:
    """A port that leads to another one, and who has connected."""
    accepted: list[str] = []
    ways: set[asyncio.Task[None]] = set()

    async def way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(str(writer.get_extra_info("peername")))
        reader_there, writer_there = await asyncio.open_connection("127.0.0.1", to)
        ways.update((asyncio.create_task(way(reader, writer_there)), asyncio.create_task(way(reader_there, writer))))

    listening = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], accepted
    finally:
        listening.close()
        for one in ways:
            one.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
