"""One client's connection and the one behind it: reads their frames, follows their calls, applies faults of calls.

The header tables of HTTP/2 and its windows belong to a connection. So HEADERS frames pass in their order, whatever is
held; what is held goes on at last; and where something is lost, the connection ends.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

from .faults import CallFault, ConnectionFacts, Direction, DropAnswer, Duplicate, Fault, HoldBack
from .frames import (
    CONTINUATION,
    DATA,
    HEADERS,
    RST_STREAM,
    Frame,
    FrameReader,
    Headers,
    HeadersReader,
    MessageReader,
    NotHttp2,
    method_of,
)
from .pipes import Pipe

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: what closes the socket sends RST."""

CallAgain = Callable[[ConnectionFacts, Duplicate, str, Headers, bytes], None]


@dataclass(slots=True, eq=False)
class PassingCall:
    """A call that is open.

    held: frames of it that `hold` keeps. has_passed: calls that were held when it sent something, until it is answered.
    body: what it sent, when `duplicate` needs it.
    """

    method: str
    headers: Headers
    answer: MessageReader = field(default_factory=MessageReader)
    hold: HoldBack | None = None
    overtakers: int = 0
    has_passed: list["PassingCall"] = field(default_factory=list)
    held: list[bytes] = field(default_factory=list)
    release_at: asyncio.TimerHandle | None = None
    duplicate: Duplicate | None = None
    body: list[bytes] = field(default_factory=list)


class _Side(asyncio.Protocol):
    """One of the two TCP connections. `pipe` takes what comes; `back` is what is written to it."""

    def __init__(self, connection: "ProxiedConnection", pipe: Pipe, back: Pipe, take: Callable[[bytes], None]) -> None:
        self._connection = connection
        self._pipe = pipe
        self._back = back
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports are asyncio's by what they do, not by their class.
        self._pipe.source = self._back.sink = cast(asyncio.Transport, transport)
        self._connection.side_made(self)

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def eof_received(self) -> bool:
        self._pipe.put_end()
        return True  # stays open: what is on its way to it may still pass, and the end may not be seen yet

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.side_lost(self._pipe, was_reset=exc is not None)

    def pause_writing(self) -> None:
        self._back.pause("the reader is slow")

    def resume_writing(self) -> None:
        self._back.resume("the reader is slow")


class ProxiedConnection:
    """See the module. `is_over`: both sides are ended, or being ended."""

    def __init__(
        self,
        facts: ConnectionFacts,
        call_faults: Sequence[CallFault],
        *,
        chance: random.Random,
        call_again: CallAgain,
        on_come: Callable[["ProxiedConnection"], None],
        on_gone: Callable[["ProxiedConnection"], None],
    ) -> None:
        """call_faults: those of the proxy, the very list. on_come: a client is there. on_gone: nobody is."""
        self.facts = facts
        self.is_over = False
        self.calls: dict[int, PassingCall] = {}
        self.to_server = Pipe(facts, Direction.TO_SERVER, chance=chance, on_end=self._end)
        self.to_client = Pipe(facts, Direction.TO_CLIENT, chance=chance, on_end=self._end)
        self.client_side = _Side(self, self.to_server, self.to_client, self._from_client)
        self.server_side = _Side(self, self.to_client, self.to_server, self._from_server)
        self._call_faults = call_faults
        self._call_again = call_again
        self._on_come = on_come
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._requests = FrameReader(expects_preface=True)
        self._answers = FrameReader(expects_preface=False)
        self._headers = HeadersReader()
        self._held: list[PassingCall] = []
        self._is_chosen: dict[Fault, bool] = {}
        self._is_readable = True
        self._has_begun = False
        self._was_reset = False
        self._sides = 0

    def obey(self, faults: Iterable[Fault]) -> None:
        """These faults of connections stand now, and no others. Before it begins they have nothing to do with it."""
        if not self._has_begun:
            return
        chosen = self._is_chosen
        self._is_chosen = {fault: chosen[fault] if fault in chosen else fault.only(self.facts) for fault in faults}
        meant = [fault for fault, is_chosen in self._is_chosen.items() if is_chosen]
        self.to_server.obey(meant)
        self.to_client.obey(meant)

    def begin(self, faults: Iterable[Fault]) -> None:
        """The server is reached: what has come goes on, as far as these faults let it."""
        self._has_begun = True
        self.obey(faults)
        self.to_server.begin()
        self.to_client.begin()

    def reset(self) -> None:
        """Ends both sides with RST, now."""
        for transport in (self.to_server.source, self.to_client.source):
            if transport is not None:
                if not transport.is_closing():
                    sock: socket.socket = transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                transport.abort()
        self._over()

    def side_made(self, side: _Side) -> None:
        """One of the two is connected."""
        self._sides += 1
        if side is self.client_side:
            assert self.to_server.source is not None
            self.facts.client = self.to_server.source.get_extra_info("peername")[:2]
            self._on_come(self)

    def side_lost(self, pipe: Pipe, *, was_reset: bool) -> None:
        """One of the two is gone; pipe: that which it fed."""
        self._sides -= 1
        if not self.is_over and was_reset:
            self._was_reset = True
            pipe.put_end()
        if not self._sides:
            self._over()
            self._on_gone(self)

    def release(self, fault: HoldBack) -> None:
        """Lets go what this fault holds."""
        for call in list(self._held):
            if call.hold is fault:
                self._release(call)

    def _end(self) -> None:
        """An end has come through."""
        if self._was_reset:
            self.reset()
            return
        for transport in (self.to_server.source, self.to_client.source):
            if transport is not None:
                transport.close()
        self._over()

    def _over(self) -> None:
        self.is_over = True
        for call in list(self._held):
            self._let_go(call)
        self.to_server.close()
        self.to_client.close()

    def _from_client(self, data: bytes) -> None:
        if not self._is_readable:
            self.to_server.put(data)
            return
        passing = list[bytes]()
        try:
            frames = self._requests.feed(data)
        except NotHttp2:
            frames = []
            self._stop_reading()
        for frame in frames:
            if frame.kind == DATA and (call := self.calls.get(frame.stream_id)):
                self._pass_request(frame, call, passing)
                continue
            if frame.kind in (HEADERS, CONTINUATION):
                self._open(frame)
            elif frame.kind == RST_STREAM and (call := self.calls.pop(frame.stream_id, None)):
                passing += self._let_go(call)  # before the end of the stream, as they were sent
            passing.append(frame.raw)
        if not self._is_readable:
            passing.append(self._requests.rest)
        self.to_server.put(b"".join(passing))

    def _stop_reading(self) -> None:
        """From now on bytes pass, and only faults of connections apply. What is wrong with them, the server says."""
        self._is_readable = False
        self.to_client.put(self._answers.rest)

    def _open(self, frame: Frame) -> None:
        try:
            headers = self._headers.feed(frame) if self._is_readable else None
        except NotHttp2:
            self._stop_reading()
            return
        if headers is None or frame.stream_id in self.calls:
            return
        method = method_of(headers)
        self.facts.methods[method] += 1
        call = self.calls[frame.stream_id] = PassingCall(method, headers)
        for fault in self._call_faults:
            if isinstance(fault, Duplicate) and fault.is_meant(self.facts, method):
                fault.begin_one()
                call.duplicate = fault
                break

    def _pass_request(self, frame: Frame, call: PassingCall, passing: list[bytes]) -> None:
        """Adds this frame to `passing`, unless it is held."""
        if call.duplicate is not None:
            call.body.append(frame.content)
            if frame.ends_stream:
                self._call_again(self.facts, call.duplicate, call.method, call.headers, b"".join(call.body))
                call.duplicate = None
        if call.hold is None and self._call_faults:
            self._begin_hold(call)
        if call.hold is not None:
            call.held.append(frame.raw)
            return
        passing.append(frame.raw)
        if self._held:
            call.has_passed = list(self._held)

    def _begin_hold(self, call: PassingCall) -> None:
        for fault in self._call_faults:
            if isinstance(fault, HoldBack) and fault.is_meant(self.facts, call.method):
                fault.begin_one()
                call.hold, call.overtakers = fault, 0
                call.release_at = self._loop.call_later(fault.seconds_max, self._release, call)
                self._held.append(call)
                return

    def _has_overtaken(self, call: PassingCall) -> None:
        """This call is answered, and what it passed is still held: the server has them in another order."""
        for other in call.has_passed:
            if (fault := other.hold) is not None:
                if not other.overtakers:
                    fault.hit(self.facts, bytes_hit=sum(map(len, other.held)), call=other.method)
                other.overtakers += 1
                fault.overtaken_by[call.method] += 1
                if other.overtakers >= fault.overtakers:
                    self._release(other)
        call.has_passed = []

    def _let_go(self, call: PassingCall) -> list[bytes]:
        """What was held of this call; it is held no more."""
        held, fault, timer = call.held, call.hold, call.release_at
        call.held, call.hold, call.release_at = [], None, None
        if fault is not None and timer is not None:
            self._held.remove(call)
            timer.cancel()
            fault.finish_one()
        return held

    def _release(self, call: PassingCall) -> None:
        self.to_server.put(b"".join(self._let_go(call)))

    def _from_server(self, data: bytes) -> None:
        if not self._is_readable:
            self.to_client.put(data)
            return
        passing = list[bytes]()
        for frame in self._answers.feed(data):
            call = self.calls.get(frame.stream_id)
            if call is not None:
                begun = call.answer.feed(frame.content) if frame.kind == DATA else ()
                if begun and self._call_faults and (fault := self._drop_of(call, begun)):
                    self.to_client.put(b"".join(passing))
                    fault.begin_one()
                    fault.hit(self.facts, bytes_hit=len(frame.raw), call=call.method)
                    fault.finish_one()
                    self.reset()
                    return
                if begun and call.has_passed:
                    self._has_overtaken(call)
                if frame.ends_stream or frame.kind == RST_STREAM:
                    del self.calls[frame.stream_id]
                    self._release(call)
            passing.append(frame.raw)
        self.to_client.put(b"".join(passing))

    def _drop_of(self, call: PassingCall, begun: Sequence[int]) -> DropAnswer | None:
        """The fault that takes this answer. begun: first fields of the messages of it that begin now."""
        for fault in self._call_faults:
            if isinstance(fault, DropAnswer) and fault.takes(begun) and fault.is_meant(self.facts, call.method):
                return fault
        return None
