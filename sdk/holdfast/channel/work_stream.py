"""The worker's end of one Work stream: sends polls and reports, gives each its answer.

One task writes, one reads and resolves what waits. It never repeats or reopens anything: with the first error it has
ended, and all that waits gets that error.
A message costs more than what is in it, so a poll goes with a report where both are there.
"""

import asyncio
from collections import deque
from typing import Any

import grpc

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.channel.refusals import error_of_call, unreadable_answer
from holdfast.errors import CoordinatorUnavailable, HoldfastError

WRITE_FAILED = "Internal error from Core"
"""What gRPC makes of a message that it could not send because the stream is gone; the other side never said it."""
JOINED_BYTES_MAX = 4 * 1024 * 1024
"""The largest report that takes a poll with it, in bytes: it must not become larger than a message may be."""
JOINING_TURNS = 6
"""Turns of the loop for which a poll waits for a report: what a poll brought is mostly followed by one that soon."""


class WorkStream:
    """See the module. `error` is why it has ended; None while it lasts."""

    def __init__(self, call: Any, *, address: str) -> None:
        self.error: HoldfastError | None = None
        self._call = call
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._requests: deque[pb.WorkRequest] = deque()
        self._request_waits = asyncio.Event()
        self._polls: dict[int, asyncio.Future[pb.PollResponse]] = {}
        self._report: asyncio.Future[pb.ReportResponse] | None = None
        self._reader = self._loop.create_task(self._read())
        self._writer = self._loop.create_task(self._write())

    async def poll(self, request: pb.WorkRequest, *, seconds: float) -> pb.PollResponse:
        """The answer to this poll, whatever else is open. seconds: the stream ends when an answer takes longer."""
        msg_no = request.poll.msg_no
        answer: asyncio.Future[pb.PollResponse] = self._loop.create_future()
        self._polls[msg_no] = answer
        limit = self._send(request, seconds)
        try:
            return await answer
        finally:
            limit.cancel()
            del self._polls[msg_no]

    async def report(self, request: pb.WorkRequest, *, seconds: float) -> pb.ReportResponse:
        """The answer to this report, the only one that is open."""
        assert self._report is None, "a report is open, and answers do not say which report they are for"
        answer: asyncio.Future[pb.ReportResponse] = self._loop.create_future()
        self._report = answer
        limit = self._send(request, seconds)
        try:
            return await answer
        except asyncio.CancelledError:
            self.close("a report was given up")  # its answer would be taken for that of the next one
            raise
        finally:
            limit.cancel()
            self._report = None

    def close(self, reason: str) -> None:
        """Ends it from this side."""
        self._end(CoordinatorUnavailable(self._address, reason))
        self._call.cancel()

    # Writing

    def _send(self, request: pb.WorkRequest, seconds: float) -> asyncio.TimerHandle:
        """Puts a request into the line; returns the limit for its answer. Raises why the stream has ended."""
        if self.error is not None:
            raise self.error
        self._requests.append(request)
        self._request_waits.set()
        return self._loop.call_later(seconds, self.close, f"no answer for {seconds:g} s")

    async def _write(self) -> None:
        """Writes until the stream ends. Why it has, the reader learns."""
        try:
            while True:
                await self._request_waits.wait()
                self._request_waits.clear()
                await self._wait_for_company()
                while self._requests:
                    await self._call.write(self._next_message())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass

    async def _wait_for_company(self) -> None:
        """While no poll is open, or no report, the other waits for it, for some turns of the loop."""
        for _ in range(JOINING_TURNS):
            if len(self._requests) != 1 or (self._polls and self._report is not None):
                return
            await asyncio.sleep(0)

    def _next_message(self) -> pb.WorkRequest:
        request = self._requests.popleft()
        if self._requests and request.HasField("poll") != self._requests[0].HasField("poll"):
            report = request if request.HasField("report") else self._requests[0]
            if report.ByteSize() <= JOINED_BYTES_MAX:
                request.MergeFrom(self._requests.popleft())
        return request

    # Reading

    async def _read(self) -> None:
        error: HoldfastError
        try:
            async for response in self._call:
                if response is None:
                    error = unreadable_answer()
                    break
                self._take(response)
            else:
                error = CoordinatorUnavailable(self._address, "it ended the stream")
        except grpc.aio.AioRpcError as failed:
            if failed.code() is grpc.StatusCode.INTERNAL and failed.details() == WRITE_FAILED:
                error = CoordinatorUnavailable(self._address, "the stream broke")
            else:
                error = error_of_call(failed, address=self._address)
        except asyncio.CancelledError:
            error = CoordinatorUnavailable(self._address, "the connection was closed on this side")
        self._end(error)

    def _take(self, response: pb.WorkResponse) -> None:
        if response.HasField("report") and (report := self._report) is not None and not report.done():
            report.set_result(response.report)
        if response.HasField("poll"):
            poll = self._polls.get(response.poll.msg_no)
            if poll is not None and not poll.done():
                poll.set_result(response.poll)

    def _end(self, error: HoldfastError) -> None:
        if self.error is not None:
            return
        self.error = error
        # gRPC lets a first message wait for ever where the call is cancelled before it has a connection.
        self._writer.cancel()
        for answer in (*self._polls.values(), self._report):
            if answer is not None and not answer.done():
                answer.set_exception(error)
                # It counts as retrieved: whoever is cancelled meanwhile never looks at it.
                answer.exception()
