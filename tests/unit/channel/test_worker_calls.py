"""What calls of a worker raise when their connection is closed on this side; the server never answers."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceServicer
from holdfast.api.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server as serve
from holdfast.channel.connection import Address, Connection
from holdfast.channel.worker_calls import HeartbeatCalls, WorkerCalls
from holdfast.errors import CoordinatorUnavailable, Refused


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


async def test_calls_on_a_connection_that_was_left_end_when_the_worker_leaves() -> None:
    server, service = grpc.aio.server(), NeverAnswers()
    serve(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        calls = WorkerCalls(Connection(Address("127.0.0.1", port)))
        reading = asyncio.create_task(calls.read_journal("ses_1", 1, "run", 1, after=0))
        await asyncio.wait_for(service.asked.wait(), 10)
        calls.move()
        await asyncio.sleep(0)  # the connection is being left
        await asyncio.wait_for(calls.close(), 5)
        with pytest.raises(CoordinatorUnavailable, match="closed on this side"):
            await asyncio.wait_for(reading, 5)
    finally:
        await server.stop(0)


async def closed(connection: Connection) -> None:
    """Returns when the channel has been closed."""
    while connection.channel.get_state() is not grpc.ChannelConnectivity.SHUTDOWN:  # noqa: ASYNC110 - gRPC has no event
        await asyncio.sleep(0.01)


async def test_a_connection_that_is_left_without_a_call_is_closed_at_once() -> None:
    """An outage of the database sends a worker from one replica to the next, once a second."""
    left = Connection(Address("127.0.0.1", 1))
    calls = WorkerCalls(left)
    calls.move()
    await asyncio.wait_for(closed(left), 2)
    await calls.close()


async def test_a_connection_that_is_left_is_closed_when_its_last_call_has_ended() -> None:
    server, service = grpc.aio.server(), NeverAnswers()
    serve(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    left = Connection(Address("127.0.0.1", port))
    calls = WorkerCalls(left)
    try:
        reading = asyncio.create_task(calls.read_journal("ses_1", 1, "run", 1, after=0))
        await asyncio.wait_for(service.asked.wait(), 10)
        calls.move()
        await asyncio.sleep(0)  # the connection is being left
        assert left.channel.get_state() is grpc.ChannelConnectivity.READY
        reading.cancel()
        await asyncio.wait_for(closed(left), 2)
    finally:
        await calls.close()
        await server.stop(0)


CALLS: dict[str, Callable[[WorkerCalls], Any]] = {
    "a journal": lambda calls: calls.read_journal("ses_1", 1, "run", 1, after=0),
    "a report": lambda calls: calls.report("ses_1", 1, (), ()),
    "a poll": lambda calls: calls.poll(
        "ses_1", 1, 1, free_slots=1, free_runs=1, received=(), wait=timedelta(seconds=1)
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_comes_after_the_connection_was_closed_has_no_answer(name: str) -> None:
    calls = WorkerCalls(Connection(Address("127.0.0.1", 1)))
    await calls.close()
    with pytest.raises(CoordinatorUnavailable, match="closed on this side"):
        await asyncio.wait_for(CALLS[name](calls), 5)


async def answers_what_makes_no_sense(request: Any, context: Any) -> bytes:
    return b"\xff\xff\xff"


async def test_an_answer_that_cannot_be_read_is_refused_with_a_sentence() -> None:
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answers_what_makes_no_sense)
    service = "holdfast.api.v1.WorkerService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ReadJournal": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    calls = WorkerCalls(Connection(Address("127.0.0.1", port)))
    try:
        with pytest.raises(Refused, match="cannot be read"):
            await asyncio.wait_for(CALLS["a journal"](calls), 5)
    finally:
        await calls.close()
        await server.stop(0)


class ClosesSlowly(WorkerServiceServicer):  # type: ignore[misc]  # generated, without types
    """Says that a session is closed when it is let; is away for heartbeats."""

    def __init__(self) -> None:
        self.asked, self.let = threading.Event(), threading.Event()

    def CloseSession(self, request: Any, context: Any) -> pb.CloseSessionResponse:
        self.asked.set()
        assert self.let.wait(10)
        return pb.CloseSessionResponse()

    def Heartbeat(self, request: Any, context: Any) -> None:
        context.abort(grpc.StatusCode.UNAVAILABLE, "away")


def test_the_last_words_of_a_worker_are_not_cut_off_by_a_heartbeat_that_fails() -> None:
    server, service = grpc.server(ThreadPoolExecutor(4)), ClosesSlowly()
    serve(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    calls = HeartbeatCalls(Address("127.0.0.1", port))

    def beat() -> None:
        calls.heartbeat("ses_1", 1, 1, (), loop_lag=timedelta(), draining=False, timeout=5)

    try:
        with ThreadPoolExecutor(1) as other:
            with pytest.raises(CoordinatorUnavailable):
                beat()
            last_words = other.submit(calls.close_session, "ses_1", 1, lost=(), timeout=10)
            assert service.asked.wait(10)
            with pytest.raises(CoordinatorUnavailable):
                beat()
            service.let.set()
            last_words.result(10)
    finally:
        calls.close()
        server.stop(None)
