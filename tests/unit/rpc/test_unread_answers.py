"""Whose connection is ended when too much lies unread: with calls that a test cuts off where it wants."""

import asyncio
from contextlib import suppress
from typing import cast

import pytest
from grpc.aio import ServicerContext

from holdfast.api.v1 import worker_service_pb2
from holdfast_coordinator.rpc.unread_answers import UnreadAnswers

BYTES_MAX = 100_000
LARGE = worker_service_pb2.WorkResponse(
    report=worker_service_pb2.ReportResponse(transitions=[worker_service_pb2.TransitionResult(refusal="x" * BYTES_MAX)])
)


class NobodyReads:
    """The context of a stream that gives no window: a write never ends by itself."""

    async def write(self, response: object) -> None:
        await asyncio.Event().wait()


async def written(unread: UnreadAnswers, peer: str) -> asyncio.Task[None]:
    """A stream of a peer that writes a large answer, and is waiting for its window."""

    async def stream() -> None:
        reader = unread.enter(peer)
        writing = asyncio.ensure_future(unread.written(reader, LARGE, cast(ServicerContext, NobodyReads())))
        try:
            await asyncio.Event().wait()
        finally:
            unread.leave(reader)  # while its answer is still being cut off
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing

    task = asyncio.ensure_future(stream())
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_a_stream_cut_off_in_the_middle_of_an_answer_costs_nobody_else_the_connection() -> None:
    ended: list[str] = []
    unread = UnreadAnswers(bytes_max=BYTES_MAX, hang_up=lambda peer: not ended.append(peer))
    innocent = unread.enter("innocent")
    stream = await written(unread, "slow")
    assert ended == ["slow"], "it owes more than may lie here"
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    unread.leave(innocent)
    assert ended == ["slow"]


async def test_the_last_stream_that_is_cut_off_in_the_middle_of_an_answer_ends_without_a_fault() -> None:
    unread = UnreadAnswers(bytes_max=BYTES_MAX, hang_up=lambda peer: True)
    stream = await written(unread, "slow")
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
