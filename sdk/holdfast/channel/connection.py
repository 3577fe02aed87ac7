"""Where the coordinator is and one channel to it: addresses and transport options, no rpcs.

A connection belongs to the event loop that opened it and must not be used from another one.
"""

import asyncio
import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Self
from weakref import WeakSet

import grpc

from holdfast.channel.channel_options import Balancing, channel_options
from holdfast.channel.rpc_spans import RpcSpans
from holdfast.errors import CoordinatorUnavailable, HoldfastError, InvalidRequest
from holdfast.limits import DEFAULT_PORT

ADDRESS_VARIABLE = "HOLDFAST_ADDRESS"
DEFAULT_HOST = "localhost"
CONNECT_SECONDS = 5.0

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?")
_FORMS = "write host:port, for example localhost:7410, [::1]:7410 or unix:/run/holdfast.sock"
_DNS = "dns://"
_DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Address:
    """Where a coordinator listens: a host and a port, or the path of a Unix socket.

    name_server: host:port of the DNS server to ask for the host; empty for those of the system.
    """

    host: str
    port: int = DEFAULT_PORT
    socket_path: str = ""
    name_server: str = ""

    @property
    def target(self) -> str:
        """The address as grpc writes it."""
        return str(self) if self.socket_path or self.name_server else f"dns:///{self}"

    def __str__(self) -> str:
        if self.socket_path:
            return f"unix:{self.socket_path}"
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        return f"{_DNS}{self.name_server}/{place}" if self.name_server else place


def parse_address(text: str) -> Address:
    """Reads "host", "host:port", "[v6]:port" or "unix:/path"; the port is 7410 when absent.

    "dns://10.0.0.2:8600/host:port" asks the DNS server at 10.0.0.2:8600 for the host, as service registries need it.
    Raises InvalidRequest that says what is wrong and how an address is written.
    """
    trimmed = text.strip()
    if not trimmed:
        raise _malformed(text, "is empty")
    if trimmed.startswith(_DNS):
        server, _, place = trimmed.removeprefix(_DNS).partition("/")
        known = parse_address(place)
        if known.socket_path or known.name_server:
            raise _malformed(text, "names no host after the DNS server")
        return Address(known.host, known.port, name_server=_name_server(text, server) if server else "")
    if "://" in trimmed:
        raise _malformed(text, f"begins with {trimmed.split('://')[0]}://, which is no part of it")
    if trimmed.startswith("unix:"):
        path = trimmed.removeprefix("unix:")
        if not path.startswith("/"):
            raise _malformed(text, "names a socket without an absolute path")
        return Address("", socket_path=path)
    if trimmed.startswith("["):
        host, closed, rest = trimmed[1:].partition("]")
        if not closed or ":" not in host or (rest and not rest.startswith(":")):
            raise _malformed(text, "is not an IPv6 address in brackets")
        return Address(host, _port(text, rest[1:] if rest else None))
    if trimmed.count(":") > 1:
        raise _malformed(text, "has more than one colon; an IPv6 address stands in brackets")
    host, colon, port = trimmed.partition(":")
    if not _HOST.fullmatch(host):
        raise _malformed(text, "has no host" if not host else f"has the host {host!r}, which is not a host name")
    return Address(host, _port(text, port if colon else None))


def address_or_default(address: str | None = None) -> Address:
    """The given address, else the one in HOLDFAST_ADDRESS, else localhost:7410."""
    if address is not None:
        return parse_address(address)
    from_environment = os.environ.get(ADDRESS_VARIABLE, "")
    return parse_address(from_environment) if from_environment else Address(DEFAULT_HOST)


def _port(text: str, port: str | None) -> int:
    if port is None:
        return DEFAULT_PORT
    if not (port.isascii() and port.isdecimal()):
        raise _malformed(text, f"has the port {port!r}, which is not a number")
    if not 1 <= int(port) <= 65535:
        raise _malformed(text, f"has the port {port}, which is not between 1 and 65535")
    return int(port)


def _name_server(text: str, server: str) -> str:
    known = parse_address(server if ":" in server.rpartition("]")[2] else f"{server}:{_DNS_PORT}")
    try:
        ipaddress.ip_address(known.host)
    except ValueError:
        raise _malformed(text, f"has the DNS server {server!r}, which is not an IP address") from None
    return str(known)


def _malformed(text: str, problem: str) -> InvalidRequest:
    return InvalidRequest("address", f"{text!r} {problem}; {_FORMS}")


class OtherLoop(HoldfastError, RuntimeError):
    """A client is used in an event loop that is not its own."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"this client of {address} was connected in another event loop; connect one in each loop, for example "
            "inside the function that asyncio.run() is given"
        )
        self.address = address


class ForkedProcess(HoldfastError, RuntimeError):
    """The process was forked while connections were open. gRPC's threads are gone, and every call would hang."""

    def __init__(self) -> None:
        super().__init__(
            "this process was forked from one that had holdfast clients open, which gRPC does not survive: connect in "
            "each process after the fork (in a post_fork hook, not at import), or start processes with spawn"
        )


_open_connections: "WeakSet[Connection]" = WeakSet()
_was_forked_with_connections = False


def check_not_forked() -> None:
    """Raises ForkedProcess where connections were open when this process was forked."""
    if _was_forked_with_connections:
        raise ForkedProcess


def _after_fork() -> None:
    global _was_forked_with_connections
    _was_forked_with_connections |= len(_open_connections) > 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Connection:
    """One channel to the coordinator, which reconnects by itself. Made with `open`, in a running loop."""

    __slots__ = ("__weakref__", "_balancing", "_loop", "address", "channel", "rpc_spans")

    def __init__(self, address: Address, *, balancing: Balancing = "round_robin", rpc_spans: bool = False) -> None:
        """Connects at the first call. See `open`. Raises ForkedProcess."""
        check_not_forked()
        spans = [RpcSpans(address.socket_path or address.host, 0 if address.socket_path else address.port)]
        self.address = address
        self.channel = grpc.aio.insecure_channel(
            address.target, options=channel_options(balancing), interceptors=spans if rpc_spans else None
        )
        self.rpc_spans = rpc_spans
        self._balancing = balancing
        self._loop = asyncio.get_running_loop()
        _open_connections.add(self)

    @classmethod
    async def open(
        cls,
        address: Address,
        *,
        balancing: Balancing = "round_robin",
        timeout: float | None = CONNECT_SECONDS,
        rpc_spans: bool = False,
    ) -> Self:
        """Connects. Clients spread calls over all replicas, workers stay with one (pick_first, shuffled).

        timeout: in seconds; None returns at once without a check, the first call then connects.
        rpc_spans: makes a span of each rpc that is not held open on purpose. Raises CoordinatorUnavailable when
        nothing answers within `timeout`, ForkedProcess.
        """
        connection = cls(address, balancing=balancing, rpc_spans=rpc_spans)
        if timeout is not None:
            try:
                await asyncio.wait_for(connection.channel.channel_ready(), timeout)
            except TimeoutError:
                await connection.close()
                raise CoordinatorUnavailable(str(address), f"tried for {timeout:g} s") from None
            except BaseException:
                await connection.close()
                raise
        return connection

    def check_loop(self) -> None:
        """Raises OtherLoop outside the loop of this connection, where its calls would fail or never end."""
        if asyncio.get_running_loop() is not self._loop:
            raise OtherLoop(str(self.address))

    def another(self) -> "Connection":
        """A new connection to the same address: it asks for the name anew and may find another replica."""
        return Connection(self.address, balancing=self._balancing, rpc_spans=self.rpc_spans)

    async def close(self) -> None:
        """Closes the channel; calls that are in flight end with ConnectionClosed."""
        _open_connections.discard(self)
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
