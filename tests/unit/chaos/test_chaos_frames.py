"""The frames of a real gRPC client and server, in whatever pieces they come, and those that gRPC does not make."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.frames import (
    CONTINUATION,
    DATA,
    HEADERS,
    OPENING,
    PREFACE,
    Frame,
    FrameReader,
    HeadersReader,
    MessageReader,
    NotHttp2,
    method_of,
)
from tests.support.echo_server import STREAM, echo, echo_channel, echo_server

LARGE_BYTES = 300_000
WIDE_BYTES = 100_000


class Wire:
    """The bytes of one connection, by direction."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.answered = bytearray()


@asynccontextmanager
async def wiretap(port: int) -> AsyncIterator[tuple[Wire, str]]:
    """Copies what a client and the server at this port say to each other; for one connection."""
    wire = Wire()

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, into: bytearray) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                into.extend(data)
                sink.write(data)
                await sink.drain()
        sink.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, server_writer, wire.sent), copy(server_reader, writer, wire.answered))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with server:
        yield wire, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(scope="module")
def wire() -> Wire:
    """Calls of two names, repeated, one of 300 kB, one with 100 kB of metadata, and a stream of twenty messages."""

    async def record() -> Wire:
        async with echo_server() as server, wiretap(server.port) as (wire, address), echo_channel(address) as channel:
            for _ in range(5):
                await echo(channel, "Say", b"\x0ahello")
                await echo(channel, "Ask", b"\x12why")
            await echo(channel, "Say", b"\x1a" * LARGE_BYTES)
            await echo(channel, "Ask", b"", metadata=(("wide", "w" * WIDE_BYTES),))
            await echo(channel, "Say", b"\x0alast")
            talk = channel.stream_stream(f"/echo.v1.Echo/{STREAM}")()
            for number in range(20):
                await talk.write(bytes([0x0A if number % 2 else 0x12]) * (number * 1_000 + 1))
                await talk.read()
            await talk.done_writing()
            assert await talk.code() is not None
        return wire

    return asyncio.run(record())


def pieces(data: bytes, size: int | None) -> Iterator[bytes]:
    """Cuts into pieces of this size; None for sizes at random."""
    sizes = random.Random(7)
    at = 0
    while at < len(data):
        step = size or sizes.choice((1, 2, 8, 9, 10, 100, 20_000))
        yield data[at : at + step]
        at += step


def frames_of(data: bytes, size: int | None, *, is_client: bool) -> list[Frame]:
    reader = FrameReader(expects_preface=is_client)
    frames = [frame for piece in pieces(data, size) for frame in reader.feed(piece)]
    assert reader.rest == b"", "nothing of it is left"
    return frames


@pytest.mark.parametrize("size", [1, 7, 1_000, 1 << 30, None])
def test_frames_are_the_same_whatever_pieces_their_bytes_come_in(wire: Wire, size: int | None) -> None:
    for data, is_client in ((bytes(wire.sent), True), (bytes(wire.answered), False)):
        frames = frames_of(data, size, is_client=is_client)
        assert b"".join(frame.raw for frame in frames) == data
        assert frames == frames_of(data, 1 << 30, is_client=is_client)
        assert len(frames) > 50
        assert (frames[0].kind == OPENING) is is_client


def test_every_call_has_its_name_though_headers_build_on_each_other(wire: Wire) -> None:
    frames, reader, names = frames_of(bytes(wire.sent), None, is_client=True), HeadersReader(), []
    for frame in frames:
        if frame.kind in (HEADERS, CONTINUATION) and (headers := reader.feed(frame)) is not None:
            names.append(method_of(headers))
            if names[-1] == "Ask" and len(names) == 12:
                assert (b"wide", b"w" * WIDE_BYTES) in headers
    assert names == ["Say", "Ask"] * 6 + ["Say", STREAM]


def test_messages_are_counted_and_named_by_their_first_field_in_both_directions(wire: Wire) -> None:
    for data, is_client in ((bytes(wire.sent), True), (bytes(wire.answered), False)):
        readers, seen = dict[int, MessageReader](), dict[int, list[int]]()
        for frame in frames_of(data, None, is_client=is_client):
            if frame.kind == DATA:
                reader = readers.setdefault(frame.stream_id, MessageReader())
                seen.setdefault(frame.stream_id, []).extend(reader.feed(frame.content))
        assert list(seen.values()) == [[1], [2]] * 5 + [[3], [0], [1], [2, 1] * 10]


@given(st.lists(st.binary(max_size=40)), st.integers(1, 20))
def test_messages_are_found_wherever_frames_cut_them(messages: list[bytes], size: int) -> None:
    reader, data = MessageReader(), b"".join(b"\0" + len(each).to_bytes(4, "big") + each for each in messages)
    found = [field for piece in pieces(data, size) for field in reader.feed(piece)]
    assert found == [each[0] >> 3 if each else 0 for each in messages]


def test_padding_and_priority_are_no_content_and_headers_go_over_many_frames() -> None:
    """Nothing that gRPC's core sends, but other clients may."""
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/echo.v1.Echo/Say")]
    client.send_headers(1, fields, priority_weight=7, priority_depends_on=0)
    client.send_data(1, b"content", pad_length=33, end_stream=True)
    client.send_headers(3, [*fields, ("wide", "w" * WIDE_BYTES)])
    frames = frames_of(client.data_to_send(), None, is_client=True)
    reader, opened = HeadersReader(), [frame for frame in frames if frame.kind in (HEADERS, CONTINUATION)]
    first, *pending, last = map(reader.feed, opened)
    assert pending
    assert set(pending) == {None}
    assert first is not None
    assert method_of(first) == "Say"
    assert last == [*first, (b"wide", b"w" * WIDE_BYTES)]
    assert not any(frame.ends_stream for frame in opened)
    (data,) = [frame for frame in frames if frame.kind == DATA]
    assert data.content == b"content"
    assert data.ends_stream


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", PREFACE[:20] + b"other"])
def test_what_does_not_begin_as_http2_is_said_to_be_something_else_and_kept(data: bytes) -> None:
    reader = FrameReader(expects_preface=True)
    with pytest.raises(NotHttp2):
        list(map(reader.feed, pieces(data, 1)))
    assert data.startswith(reader.rest)
    assert reader.rest


def test_headers_that_cannot_be_read_are_an_error_of_their_own() -> None:
    with pytest.raises(NotHttp2):
        HeadersReader().feed(Frame(HEADERS, 0x4, 1, b"\0" * 9 + b"\xff\xff\xff\xff\xff"))
