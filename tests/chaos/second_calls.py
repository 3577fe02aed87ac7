"""Sends a unary call that was seen once more, over a connection of its own, and says how it was answered."""

import asyncio
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from .frames import Headers

ANSWER_SECONDS = 30.0
WINDOW_BYTES = 1 << 30
"""What the server may send on the connection without asking: answers are only counted."""
READ_BYTES_MAX = 1 << 16


@dataclass(slots=True)
class SecondAnswer:
    """status: gRPC's number, as text; empty while there is none."""

    status: str = ""
    has_ended: bool = False


async def call_again(host: str, port: int, headers: Headers, body: bytes) -> SecondAnswer:
    """The answer to the same call, metadata and deadline included. Raises OSError, TimeoutError: there is none."""
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            return await _call(reader, writer, headers, body)
        finally:
            writer.transport.abort()


async def _call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: Headers, body: bytes
) -> SecondAnswer:
    # The headers are those that a client has sent: to check or to polish them would change the call.
    connection = H2Connection(H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False))
    connection.initiate_connection()
    connection.increment_flow_control_window(WINDOW_BYTES)
    stream_id = connection.get_next_available_stream_id()
    connection.send_headers(stream_id, headers)
    answer, sent_bytes, is_sent = SecondAnswer(), 0, False
    while not answer.has_ended:
        while not is_sent:
            room = min(connection.local_flow_control_window(stream_id), connection.max_outbound_frame_size)
            piece = body[sent_bytes : sent_bytes + room]
            if not piece and body:
                break  # the server makes room first
            sent_bytes += len(piece)
            is_sent = sent_bytes == len(body)
            connection.send_data(stream_id, piece, end_stream=is_sent)
        writer.write(connection.data_to_send())
        await writer.drain()
        data = await reader.read(READ_BYTES_MAX)
        if not data:
            raise ConnectionResetError("the server closed the connection before it answered")
        for event in connection.receive_data(data):
            _take(connection, event, answer)
    return answer


def _take(connection: H2Connection, event: Event, answer: SecondAnswer) -> None:
    match event:
        case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
            answer.status = next((value.decode() for name, value in headers if name == b"grpc-status"), answer.status)
        case DataReceived(flow_controlled_length=length, stream_id=stream_id):
            connection.acknowledge_received_data(length, stream_id)
        case StreamEnded():
            answer.has_ended = True
        case StreamReset() | ConnectionTerminated():
            if not answer.status:
                raise ConnectionResetError("the server gave the call up")
            answer.has_ended = True
