"""What lies in memory because its caller does not read it: how much, of whom, and when that is too much.

An answer stays here until its caller gives gRPC a window for it. One that asks for much and reads nothing would take
all memory there is, and no deadline of ours ends that. So reads of one connection wait for each other, and where
unread answers are too many together, the connection with the most of them is ended.
"""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import grpc
import structlog
from grpc.aio import ServicerContext

from holdfast.errors import CoordinatorOverloaded

from .deadlines import seconds_for_the_database
from .refusals import refuse

log = structlog.get_logger(__name__)

UNREAD_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of answers that lie here unread, of all connections together. Each is there up to three times: as the message
that it was, as bytes, and as what gRPC sends."""
CALL_BYTES = 4 * 1024
"""Bytes that a call takes whatever its answer is, about."""
READS_MAX = 16
"""Reads of one connection that are under way or unread. More wait, and take no memory but for what they ask."""
READS_AT_ONCE = 4
"""Calls of one such rpc that make their answers: no more get past the limit together, or hold up the loop. The database
has as many connections for them."""
READS = frozenset({"GetRun", "GetHistory", "GetTrace", "ReadJournal"})
"""The rpcs whose answers are as large as what is stored. Not listings, which are small, and slow where they look far:
reads of single runs must not wait for them."""

_NO_ROOM = "answers that are not read yet leave no room for this one"
_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})

HangUp = Callable[[str], bool]


class _Connection:
    __slots__ = ("calls", "reads", "unread_bytes")

    def __init__(self) -> None:
        self.calls = 0
        self.unread_bytes = 0
        self.reads = asyncio.Semaphore(READS_MAX)


class UnreadAnswers:
    """See the module. hang_up: ends the connection of a peer."""

    def __init__(self, *, bytes_max: int = UNREAD_BYTES_MAX, hang_up: HangUp | None = None) -> None:
        self._bytes_max = bytes_max
        self._hang_up = hang_up or end_connection
        self._connections: dict[str, _Connection] = {}
        self._bytes = 0
        self._ending: _Connection | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()

    def watched(self, name: str, handler: Any) -> Any:
        """The handler of an rpc that answers once, whose answers count until they are read."""
        behavior = handler.unary_unary
        if behavior is None:
            return handler
        at_once = asyncio.Semaphore(READS_AT_ONCE)

        async def call(request: Any, context: ServicerContext) -> Any:
            peer = context.peer()
            connection = self._entered(peer)
            counted = [0]
            # gRPC calls it when the task of the call has ended: the answer has gone, or its caller has.
            context.add_done_callback(lambda _: self._left(peer, connection, counted[0]))
            response = await behavior(request, context)
            counted[0] = self._taken(connection, response)
            return response

        async def read(request: Any, context: ServicerContext) -> Any:
            peer = context.peer()
            connection = self._entered(peer)
            counted = [0]
            context.add_done_callback(lambda _: self._left(peer, connection, counted[0]))
            try:
                async with asyncio.timeout(seconds_for_the_database(context)) as waiting:
                    await connection.reads.acquire()
                    context.add_done_callback(lambda _: connection.reads.release())
                    async with at_once:
                        await self._has_room.wait()
                        waiting.reschedule(None)  # from here on the call has its own limit
                        response = await behavior(request, context)
                        counted[0] = self._taken(connection, response)
                    return response
            except TimeoutError:
                if not waiting.expired():
                    raise
                await refuse(context, CoordinatorOverloaded(retry_after_seconds=1.0, detail=_NO_ROOM))

        return grpc.unary_unary_rpc_method_handler(
            read if name in READS else call, handler.request_deserializer, handler.response_serializer
        )

    async def written(self, peer: str, response: Any, context: ServicerContext) -> None:
        """Writes an answer of a stream, which counts until it is read."""
        connection = self._entered(peer)
        size = self._taken(connection, response)
        try:
            await context.write(response)
        finally:
            self._left(peer, connection, size)

    def _entered(self, peer: str) -> _Connection:
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = _Connection()
        connection.calls += 1
        return connection

    def _taken(self, connection: _Connection, response: Any) -> int:
        """Counts an answer; its bytes."""
        size: int = response.ByteSize() + CALL_BYTES
        connection.unread_bytes += size
        self._bytes += size
        if self._bytes > self._bytes_max:
            self._relieve()
        return size

    def _left(self, peer: str, connection: _Connection, size: int) -> None:
        connection.calls -= 1
        connection.unread_bytes -= size
        self._bytes -= size
        if not connection.calls:
            self._connections.pop(peer, None)
            if connection is self._ending:
                self._ending = None
        if self._bytes > self._bytes_max:
            self._relieve()
        else:
            self._has_room.set()

    def _relieve(self) -> None:
        """Ends the connection that reads the least of what it asked for; one at a time, which frees what it has."""
        self._has_room.clear()
        if self._ending is not None:
            return
        peer, worst = max(self._connections.items(), key=lambda one: one[1].unread_bytes)
        is_ended = self._hang_up(peer)
        if is_ended:
            self._ending = worst
        log.warning("slow_reader_left", peer=peer, unread_bytes=worst.unread_bytes, is_ended=is_ended)


def end_connection(peer: str) -> bool:
    """Ends the connection with a peer, as gRPC names it ("ipv4:10.0.0.7:40312"); False when it is not found.

    gRPC for Python has nothing for this. A shutdown of the socket is for it as if the peer had gone.
    """
    wanted = unquote(peer).partition(":")[2].translate({ord(bracket): None for bracket in "[]"})
    wanted = wanted.removeprefix("::ffff:")
    try:
        descriptors = os.listdir("/dev/fd")
    except OSError:
        return False
    for descriptor in descriptors:
        with suppress(OSError):  # it is no socket, is not connected, or was closed meanwhile
            # A copy: whatever becomes of the number in the meantime, it is shut down only if it is this connection's.
            copy = os.dup(int(descriptor))
            try:
                with socket.socket(fileno=copy) as found:
                    copy = -1  # it is closed with the socket
                    if found.family in _FAMILIES and _is_at(found, wanted):
                        found.shutdown(socket.SHUT_RDWR)
                        return True
            finally:
                if copy != -1:
                    os.close(copy)
    return False


def _is_at(found: socket.socket, wanted: str) -> bool:
    host, port, *_ = found.getpeername()
    return f"{host.removeprefix('::ffff:')}:{port}" == wanted
