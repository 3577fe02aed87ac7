"""What lies in memory because its caller does not read it: how much, of whom, and when that is too much.

An answer stays here until its caller gives gRPC a window for it. One that asks for much and reads nothing would take
all memory there is, and no deadline of ours ends that. So reads of one connection wait for each other, and where
unread answers are too many together, the connection with the most of them is ended.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
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
READS = frozenset({"GetRun", "GetHistory", "GetTrace", "ReadJournal", "ReadJournals"})
"""The rpcs whose answers are as large as what is stored. Not listings, which are small, and slow where they look far:
reads of single runs must not wait for them."""

_NO_ROOM = "answers that are not read yet leave no room for this one"
_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})

HangUp = Callable[[str], bool]
Behavior = Callable[[Any, ServicerContext], Awaitable[Any]]


class Reader:
    """Who has one connection. uses: calls, streams and answers that are counted on it; without any it is forgotten."""

    __slots__ = ("peer", "reads", "unread_bytes", "uses")

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.uses = 0
        self.unread_bytes = 0
        self.reads: asyncio.Semaphore | None = None


class UnreadAnswers:
    """See the module. hang_up: ends the connection of a peer."""

    def __init__(self, *, bytes_max: int = UNREAD_BYTES_MAX, hang_up: HangUp | None = None) -> None:
        self._bytes_max = bytes_max
        self._hang_up = hang_up or end_connection
        self._readers: dict[str, Reader] = {}
        self._bytes = 0
        self._ending: Reader | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()

    def watched(self, name: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """The handler of an rpc that answers once, whose answers count until they are read."""
        behavior = handler.unary_unary
        if behavior is None:
            return handler
        if name in READS:
            behavior = self._taking_turns(behavior)

        async def call(request: Any, context: ServicerContext) -> Any:
            response = await behavior(request, context)
            reader = self.enter(context.peer())
            size = self.count(reader, response)

            def ended(_: Any) -> None:
                self._bytes -= size
                reader.unread_bytes -= size
                self.leave(reader)

            # gRPC calls it when the task of the call has ended: the answer has gone, or its caller has.
            context.add_done_callback(ended)
            return response

        return grpc.unary_unary_rpc_method_handler(call, handler.request_deserializer, handler.response_serializer)

    def _taking_turns(self, behavior: Behavior) -> Behavior:
        """A read waits for those of its connection that are under way or unread, and for room."""
        at_once = asyncio.Semaphore(READS_AT_ONCE)

        async def read(request: Any, context: ServicerContext) -> Any:
            reader = self.enter(context.peer())
            context.add_done_callback(lambda _: self.leave(reader))
            reads = reader.reads = reader.reads or asyncio.Semaphore(READS_MAX)
            try:
                async with asyncio.timeout(seconds_for_the_database(context)) as waiting:
                    await reads.acquire()
                    context.add_done_callback(lambda _: reads.release())
                    async with at_once:
                        await self._has_room.wait()
                        waiting.reschedule(None)  # from here on the call has its own limit
                        return await behavior(request, context)
            except TimeoutError:
                if not waiting.expired():
                    raise
                await refuse(context, CoordinatorOverloaded(retry_after_seconds=1.0, detail=_NO_ROOM))

        return read

    async def written(self, reader: Reader, response: Any, context: ServicerContext) -> None:
        """Writes an answer of a stream, which counts until it is read."""
        reader.uses += 1  # its stream may leave while this answer is cut off
        size = self.count(reader, response)
        try:
            await context.write(response)
        finally:
            self._bytes -= size
            reader.unread_bytes -= size
            self.leave(reader)

    def enter(self, peer: str) -> Reader:
        """Who has the connection with a peer; `leave` must follow."""
        reader = self._readers.get(peer)
        if reader is None:
            reader = self._readers[peer] = Reader(peer)
        reader.uses += 1
        return reader

    def leave(self, reader: Reader) -> None:
        """A call, or an answer that was counted, has ended."""
        reader.uses -= 1
        if not reader.uses:
            self._readers.pop(reader.peer, None)
            if reader is self._ending:
                self._ending = None
        if self._bytes > self._bytes_max:
            self._relieve()
        elif not self._has_room.is_set():
            self._has_room.set()

    def count(self, reader: Reader, response: Any) -> int:
        """Counts an answer as unread; its bytes."""
        size: int = response.ByteSize() + CALL_BYTES
        reader.unread_bytes += size
        self._bytes += size
        if self._bytes > self._bytes_max:
            self._relieve()
        return size

    def _relieve(self) -> None:
        """Ends the connection that reads the least of what it asked for; one at a time, which frees what it has."""
        self._has_room.clear()
        if self._ending is not None:
            return
        peer, worst = max(self._readers.items(), key=lambda one: one[1].unread_bytes)
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
