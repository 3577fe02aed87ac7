"""One HTTP/2 connection of bare frames, for tests whose peer does what no gRPC library would.

It sends what it is told, whether that makes sense or not, and keeps what comes back by stream. It answers pings and
settings, since a peer that does not is found in another way, but gives no window that a test does not give.
"""

import asyncio
import struct
from collections import defaultdict
from typing import Final, Self

import hpack

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
HEADER_BYTES: Final = 9


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """A frame, as it is sent."""
    return struct.pack(">I", len(content))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + content


def message(content: bytes, *, compressed: int = 0, size: int | None = None) -> bytes:
    """A gRPC message with its prefix. size: what the prefix says, if that is not true."""
    return struct.pack(">BI", compressed, len(content) if size is None else size) + content


class RawConnection:
    """See the module. `async with await RawConnection.open(address) as connection`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._next_stream = 1
        self._answers = True
        self._news = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None
        self.headers: dict[int, dict[str, str]] = defaultdict(dict)
        self.received: dict[int, bytes] = defaultdict(bytes)
        self.ended: set[int] = set()
        self.is_closed = False

    @classmethod
    async def open(
        cls, address: str, *, window_bytes: int = 65_535, preface: bytes | None = None, answers: bool = True
    ) -> Self:
        """Connects and says hello. window_bytes: how much may come to each stream. preface: what it says instead.

        answers: False for one that acknowledges neither settings nor pings.
        """
        host, _, port = address.rpartition(":")
        connection = cls(*await asyncio.open_connection(host, int(port)))
        connection._answers = answers
        settings = struct.pack(">HI", SETTINGS_INITIAL_WINDOW_SIZE, window_bytes)
        connection.send(PREFACE + frame(SETTINGS, 0, 0, settings) if preface is None else preface)
        connection._reading = asyncio.create_task(connection._read())
        return connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._writer.write(data)

    def begin(self, method: str, *, path: str = "", **headers: str) -> int:
        """Sends the headers of a call, "RunService/GetRun", and answers its stream. headers: others, `_` for `-`."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        names = {":method": "POST", ":scheme": "http", ":path": path or f"/holdfast.api.v1.{method}",
                 ":authority": "here", "te": "trailers", "content-type": "application/grpc"}  # fmt: skip
        names |= {name.replace("_", "-"): value for name, value in headers.items()}
        block = self._encoder.encode(list(names.items()))
        self.send(frame(HEADERS, END_HEADERS, stream, block))
        return stream

    def data(self, stream: int, content: bytes, *, ends: bool = False) -> None:
        """Sends a DATA frame."""
        self.send(frame(DATA, END_STREAM if ends else 0, stream, content))

    def call(self, method: str, content: bytes, **headers: str) -> int:
        """A whole unary call."""
        stream = self.begin(method, **headers)
        self.data(stream, message(content), ends=True)
        return stream

    async def status(self, stream: int, *, seconds: float = 20) -> int | None:
        """The status of a call: a number of gRPC, or None when its stream or the connection was ended without one."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: stream in self.ended or self.is_closed)
        status = self.headers[stream].get("grpc-status")
        return None if status is None else int(status)

    async def closed(self, *, seconds: float) -> None:
        """Waits until the other side has ended the connection."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: self.is_closed)

    async def close(self) -> None:
        """Ends the connection."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        self._writer.transport.abort()

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(HEADER_BYTES)
                size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream = int.from_bytes(head[5:], "big")
                content = await self._reader.readexactly(size)
                async with self._news:
                    self._take(kind, flags, stream, content)
                    self._news.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            async with self._news:
                self.is_closed = True
                self._news.notify_all()

    def _take(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == HEADERS:
            self.headers[stream] |= {str(name): str(value) for name, value in self._decoder.decode(content)}
        elif kind == DATA:
            self.received[stream] += content
        elif kind in (SETTINGS, PING) and not flags & ACK and self._answers:
            self.send(frame(kind, ACK, 0, content if kind == PING else b""))
        if (kind in (HEADERS, DATA) and flags & END_STREAM) or kind == RST_STREAM:
            self.ended.add(stream)
