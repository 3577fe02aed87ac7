"""HTTP/2 as far as a proxy must see it: frames, the names of gRPC's calls, where its messages begin. Pure.

Of a frame only the header is read, unless somebody asks for more. Nothing here changes a byte or decides anything.
"""

import struct
from typing import Final, NamedTuple

from hpack import Decoder, HPACKError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9
PREFIX_BYTES: Final = 5
"""What stands before each gRPC message: one byte that says whether it is compressed, four of length."""

OPENING: Final = -1
"""The kind of the preface, which is no frame but passes like one."""
DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

_HEADER_FIELDS = struct.Struct(">HBBBL")
_STREAM_ID_MASK = 0x7FFF_FFFF
_PRIORITY_BYTES = 5

Headers = list[tuple[bytes, bytes]]


class NotHttp2(ValueError):
    """The bytes are not those of an HTTP/2 connection, or not to be read."""


class Frame(NamedTuple):
    """One frame as it came. raw: all of it, header included."""

    kind: int
    flags: int
    stream_id: int
    raw: bytes

    @property
    def ends_stream(self) -> bool:
        """True when its sender sends no more on this stream."""
        return bool(self.flags & END_STREAM) and self.kind in (DATA, HEADERS)

    @property
    def content(self) -> bytes:
        """What it carries, without padding and priority."""
        begin, end = HEADER_BYTES, len(self.raw)
        if self.kind not in (DATA, HEADERS):
            return self.raw[begin:]
        if self.flags & PADDED:
            end -= self.raw[begin]
            begin += 1
        if self.flags & PRIORITY and self.kind == HEADERS:
            begin += _PRIORITY_BYTES
        return self.raw[begin:end]


class FrameReader:
    """Cuts the bytes of one direction into whole frames, whatever pieces they come in."""

    def __init__(self, *, expects_preface: bool) -> None:
        """expects_preface: True for what clients send."""
        self._expects_preface = expects_preface
        self._pieces: list[bytes] = []
        self._missing_bytes = 0

    @property
    def rest(self) -> bytes:
        """The bytes of the frame that is not whole yet."""
        return b"".join(self._pieces)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now; their raw bytes are all that came, in its order, but for `rest`.

        Raises NotHttp2 where a client begins with something else than the preface; `rest` has then all that came.
        """
        if self._pieces:
            self._pieces.append(data)
            self._missing_bytes -= len(data)
            if self._missing_bytes > 0:
                return []
            data = self.rest
        at, end, frames = 0, len(data), list[Frame]()
        if self._expects_preface:
            self._keep(data, 0)
            if not data.startswith(PREFACE[:end]):
                raise NotHttp2(f"a client began with {data[: len(PREFACE)]!r}")
            if end < len(PREFACE):
                return frames
            self._expects_preface = False
            at = len(PREFACE)
            frames.append(Frame(OPENING, 0, 0, PREFACE))
        missing_bytes = 0
        while end - at >= HEADER_BYTES:
            high, low, kind, flags, stream_id = _HEADER_FIELDS.unpack_from(data, at)
            after = at + HEADER_BYTES + (high << 8 | low)
            if after > end:
                missing_bytes = after - end
                break
            frames.append(Frame(kind, flags, stream_id & _STREAM_ID_MASK, data[at:after]))
            at = after
        self._keep(data[at:], missing_bytes)
        return frames

    def _keep(self, rest: bytes, missing_bytes: int) -> None:
        """missing_bytes: before so many more have come there is nothing to see; 0 when that is not known."""
        self._pieces = [rest] if rest else []
        self._missing_bytes = missing_bytes


class HeadersReader:
    """Reads the headers of one direction, from every HEADERS and CONTINUATION frame: each builds on those before."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=1 << 24)
        # The receiver sets the limit, in a frame of the other direction; whether a sender keeps it is not our matter.
        self._decoder.max_allowed_table_size = 1 << 32
        self._block = b""

    def feed(self, frame: Frame) -> Headers | None:
        """The headers that are whole with this frame; None when more of them follows. Raises NotHttp2."""
        self._block += frame.content
        if not frame.flags & END_HEADERS:
            return None
        block, self._block = self._block, b""
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as unreadable:
            raise NotHttp2(f"headers of stream {frame.stream_id} cannot be read") from unreadable


def method_of(headers: Headers) -> str:
    """The name of the call, "StartRuns" of /holdfast.api.v1.RunService/StartRuns; empty when there is none."""
    for name, value in headers:
        if name == b":path":
            return value.rpartition(b"/")[2].decode(errors="replace")
    return ""


class MessageReader:
    """Finds where the gRPC messages of one stream begin, in one direction, in the contents of its DATA frames."""

    def __init__(self) -> None:
        self._prefix = b""
        self._left_bytes = 0
        self._is_fresh = False

    def feed(self, content: bytes) -> list[int]:
        """The first field number of each message whose first byte is in this content; 0 for an empty message.

        Of a message that is one `oneof` that says which of them it is. Right for numbers up to 15 and messages
        that are not compressed.
        """
        begun = list[int]()
        at, end = 0, len(content)
        while at < end:
            if self._left_bytes:
                if self._is_fresh:
                    begun.append(content[at] >> 3)
                    self._is_fresh = False
                step = min(self._left_bytes, end - at)
                self._left_bytes -= step
                at += step
                continue
            taken = content[at : at + PREFIX_BYTES - len(self._prefix)]
            self._prefix += taken
            at += len(taken)
            if len(self._prefix) == PREFIX_BYTES:
                self._left_bytes = int.from_bytes(self._prefix[1:], "big")
                self._is_fresh, self._prefix = self._left_bytes > 0, b""
                if not self._is_fresh:
                    begun.append(0)
        return begun
