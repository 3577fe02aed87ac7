"""The worker's end of one Work stream: sends polls and reports, gives each its answer.

One reader resolves what waits. It never repeats or reopens anything: with the first error it has ended, and all
that waits gets that error.
"""

import asyncio
from typing import Any

import grpc

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.channel.cancellation import is_task_cancelled
from holdfast.channel.refusals import error_of_call, unreadable_answer
from holdfast.errors import CoordinatorUnavailable, HoldfastError

WRITE_FAILED = "Internal error from Core"
"""What gRPC makes of a message that it could not send because the stream is gone; the other side never said it."""


class WorkStream:
    """See the module. `error` is why it has ended; None while it lasts."""

    def __init__(self, call: Any, *, address: str) -> None:
        self.error: HoldfastError | None = None
        self._call = call
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._writing = asyncio.Lock()
        self._polls: dict[int, asyncio.Future[pb.WorkResponse]] = {}
        self._report: asyncio.Future[pb.WorkResponse] | None = None
        self._has_begun = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._reader = self._loop.create_task(self._read())

    async def poll(self, request: pb.WorkRequest, *, seconds: float) -> pb.PollResponse:
        """The answer to this poll, whatever else is open. seconds: the stream ends when an answer takes longer."""
        msg_no = request.poll.msg_no
        answer = self._polls[msg_no] = self._loop.create_future()
        try:
            return (await self._answer(request, answer, seconds)).poll
        finally:
            del self._polls[msg_no]

    async def report(self, request: pb.WorkRequest, *, seconds: float) -> pb.ReportResponse:
        """The answer to this report, the only one that is open."""
        assert self._report is None, "a report is open, and answers do not say which report they are for"
        answer = self._report = self._loop.create_future()
        try:
            return (await self._answer(request, answer, seconds)).report
        except asyncio.CancelledError:
            self.close("a report was given up")  # its answer would be taken for that of the next one
            raise
        finally:
            self._report = None

    def close(self, reason: str) -> None:
        """Ends it from this side."""
        self._end(CoordinatorUnavailable(self._address, reason))
        self._call.cancel()

    async def _answer(
        self, request: pb.WorkRequest, answer: "asyncio.Future[pb.WorkResponse]", seconds: float
    ) -> pb.WorkResponse:
        if self.error is not None:
            raise self.error
        limit = self._loop.call_later(seconds, self.close, f"no answer for {seconds:g} s")
        try:
            try:
                async with self._writing:  # gRPC takes one message at a time
                    if self._has_begun:
                        await self._call.write(request)
                    else:
                        await self._write_first(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # the stream has ended; the reader learns why and says so in `answer`
            except asyncio.CancelledError:
                # So gRPC says that the call was cancelled: whoever closed the stream has said why in `answer`. Raised
                # on, it would end the task that reports, with no word, in a worker that goes on taking work.
                if is_task_cancelled():
                    raise
            return await answer
        finally:
            limit.cancel()

    async def _write_first(self, request: pb.WorkRequest) -> None:
        """Writes, or returns when the stream has ended.

        gRPC waits here for the call to begin: for ever where it is cancelled before it has a connection.
        """
        writing = asyncio.ensure_future(self._call.write(request))
        try:
            await asyncio.wait((writing, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                await writing
                self._has_begun = True
        finally:
            writing.cancel()

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
        is_poll = response.WhichOneof("body") == "poll"
        answer = self._polls.get(response.poll.msg_no) if is_poll else self._report
        if answer is not None and not answer.done():
            answer.set_result(response)

    def _end(self, error: HoldfastError) -> None:
        if self.error is not None:
            return
        self.error = error
        self._ended.set_result(None)
        for answer in (*self._polls.values(), self._report):
            if answer is not None and not answer.done():
                answer.set_exception(error)
                # It counts as retrieved: who is cancelled while its request is being written never looks at it.
                answer.exception()
