"""How a client finds coordinators: names that move to other addresses, and proxies that are meant for other traffic."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from holdfast import workflow
from holdfast.channel.connection import parse_address
from holdfast.channel.health import NoHealthAnswer, ask_health
from holdfast.client import Client
from tests.support.dns_stub import dns_stub
from tests.support.listening_service import listening

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")
EXCEPTIONS = ("no_proxy", "no_grpc_proxy", "NO_PROXY")


@workflow(name="finds-its-coordinator")
async def order(number: int) -> int:
    return number


async def test_a_client_follows_its_coordinator_to_another_address_within_two_seconds() -> None:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        moved, address = await enter(listening(host="127.0.0.3"))
        port = parse_address(address).port
        names = await enter(dns_stub(["127.0.0.2"]))
        async with listening(host="127.0.0.2", port=port):
            client = await enter(Client.connect(names.address_of("coordinator.test", port)))
            await client.start(order.with_options(id="o-1"), 1)
            names.set(["127.0.0.3"])
        began = time.monotonic()
        await client.start(order.with_options(id="o-2"), 2)
        assert time.monotonic() - began < 2
        assert [start.id for start in moved.starts] == ["o-2"]


async def test_proxies_of_the_environment_do_not_cut_a_client_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXCEPTIONS:
        monkeypatch.delenv(name, raising=False)
    async with _proxy() as (proxy, asked), listening() as (service, address):
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, proxy)
        async with Client.connect(address, timeout=5) as client:
            await client.start(order.with_options(id="o-1"), 1)
        assert len(service.starts) == 1
        assert asked == []


async def test_a_proxy_that_is_asked_for_is_used_also_by_the_health_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*EXCEPTIONS, *PROXY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    async with _proxy() as (proxy, asked), listening() as (service, address):
        monkeypatch.setenv("HOLDFAST_PROXY", proxy)
        async with Client.connect(address, timeout=5) as client:
            await client.start(order.with_options(id="o-1"), 1)
        assert len(service.starts) == 1
        with pytest.raises(NoHealthAnswer, match="UNIMPLEMENTED"):
            await ask_health(parse_address(address), timeout=5)
        assert asked == [f"CONNECT {address} HTTP/1.1"] * 2


@asynccontextmanager
async def _proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTP proxy for CONNECT: its URL, and the request lines that it got."""
    asked: list[str] = []
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.splitlines()[0])
        host, _, port = asked[-1].split()[1].rpartition(":")
        there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for source, sink in ((reader, there[1]), (there[0], writer)):
            task = asyncio.get_running_loop().create_task(pump(source, sink))
            pumps.add(task)
            task.add_done_callback(pumps.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for task in list(pumps):
            task.cancel()
