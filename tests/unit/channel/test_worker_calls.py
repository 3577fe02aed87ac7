"""What calls of a worker raise when their connection is closed on this side; the server never answers."""

import asyncio
from typing import Any

import grpc
import pytest

from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceServicer
from holdfast.api.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server as serve
from holdfast.channel.connection import Address, Connection
from holdfast.channel.worker_calls import WorkerCalls
from holdfast.errors import CoordinatorUnavailable


class NeverAnswers(WorkerServiceServicer):  # type: ignore[misc]  # generated, without types
    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def ReadJournal(self, request: Any, context: Any) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_a_journal_that_was_being_read_is_asked_for_again_after_its_connection_was_closed() -> None:
    server, service = grpc.aio.server(), NeverAnswers()
    serve(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        calls = WorkerCalls(Connection(Address("127.0.0.1", port)))
        reading = asyncio.create_task(calls.read_journal("ses_1", 1, "run", 1, after=0))
        await asyncio.wait_for(service.asked.wait(), 10)
        await calls.close()
        with pytest.raises(CoordinatorUnavailable, match="closed on this side"):
            await asyncio.wait_for(reading, 10)
    finally:
        await server.stop(0)


async def test_a_reading_that_is_cancelled_ends_as_cancelled() -> None:
    server, service = grpc.aio.server(), NeverAnswers()
    serve(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    calls = WorkerCalls(Connection(Address("127.0.0.1", port)))
    try:
        reading = asyncio.create_task(calls.read_journal("ses_1", 1, "run", 1, after=0))
        await asyncio.wait_for(service.asked.wait(), 10)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    finally:
        await calls.close()
        await server.stop(0)
