"""One worker's stream of polls and reports: reads them, answers each when its answer is there.

What a poll or a report does is not its matter: `fill_poll` and `fill_report` are the unary rpcs. It must never
write two answers at a time, which gRPC forbids, and never cut off a report: what was read is committed.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import structlog
from grpc.aio import ServicerContext

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import HoldfastError, InvalidRequest
from holdfast_coordinator.store.port import StoreError

from .unread_answers import Reader, UnreadAnswers

log = structlog.get_logger(__name__)

POLLS_OPEN_MAX = 4
"""Polls of one stream without an answer; nothing more is read of it until one is answered."""

FillPoll = Callable[[pb.PollRequest, pb.PollResponse], Awaitable[None]]
FillReport = Callable[[pb.ReportRequest, pb.ReportResponse], Coroutine[None, None, None]]
"""Takes a report when it is called, and returns what answers it."""


class WorkStreamServer:
    """See the module. Ends with the first refusal; `serve` raises it. last_poll: names the attachment."""

    def __init__(
        self, context: ServicerContext, unread: UnreadAnswers, *, fill_poll: FillPoll, fill_report: FillReport
    ) -> None:
        self._context = context
        self._unread = unread
        self._fill_poll = fill_poll
        self._fill_report = fill_report
        self._writing = asyncio.Lock()
        self._polls: set[asyncio.Task[None]] = set()
        self._reports: set[asyncio.Task[None]] = set()
        self._report_is_open = False
        self._error: BaseException | None = None
        self._leaves = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader: Reader
        self._has_ended = False
        self.last_poll: pb.PollRequest | None = None

    async def serve(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        """Answers until the worker has closed its side and its report is answered, or something is refused."""
        self._reader = self._unread.enter(self._context.peer())
        reading = asyncio.ensure_future(self._read(requests))
        reading.add_done_callback(self._settled)
        try:
            await asyncio.wait((reading, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if self._reports and (self._error is None or self._leaves):
                await asyncio.wait(self._reports)
            async with self._writing:
                # Behind the answer that is being written: the status goes out after it.
                self._has_ended = True
            if self._error is not None:
                raise self._error
        finally:
            self._has_ended = True
            reading.cancel()
            for poll in self._polls:
                poll.cancel()
            self._unread.leave(self._reader)

    def end(self, error: BaseException) -> None:
        """Ends the stream from this side; the first error counts."""
        if self._error is None:
            self._error = error
            if not self._failed.done():  # else the stream has been cut off
                self._failed.set_result(None)

    def leave(self, error: BaseException) -> None:
        """Ends the stream with this status once the open report is answered; reads nothing more."""
        self._leaves = self._error is None
        self.end(error)

    async def _read(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        async for request in requests:
            match request.WhichOneof("body"):
                case "report":
                    self._take_report(request.report)
                case "poll":
                    self.last_poll = request.poll
                    self._begin(self._answer_poll(request.poll), self._polls)
                    if len(self._polls) >= POLLS_OPEN_MAX:
                        # A newer poll answers the older ones: these are as many only when nobody reads the answers.
                        await asyncio.wait(self._polls, return_when=asyncio.FIRST_COMPLETED)
                case _:
                    raise InvalidRequest("body", "is neither a poll nor a report")

    def _take_report(self, request: pb.ReportRequest) -> None:
        if self._report_is_open:
            raise InvalidRequest("report", "one is open; send the next when it is answered")
        self._report_is_open = True
        response = pb.WorkResponse()
        response.report.SetInParent()  # an answer without results is one too
        # Taken here and not by its task, which begins a turn of the loop later: this is on the path of every step.
        filling = self._fill_report(request, response.report)
        self._begin(self._answer_report(filling, response), self._reports)

    def _begin(self, answering: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(answering)
        tasks.add(task)
        task.add_done_callback(self._settled)

    async def _answer_poll(self, request: pb.PollRequest) -> None:
        response = pb.WorkResponse()
        await self._fill_poll(request, response.poll)
        await self._write(response)

    async def _answer_report(self, filling: Coroutine[None, None, None], response: pb.WorkResponse) -> None:
        await filling
        # Not after the write: the worker may have read the answer, and sent the next report, before it returns.
        self._report_is_open = False
        await self._write(response)

    async def _write(self, response: pb.WorkResponse) -> None:
        async with self._writing:
            if self._has_ended:
                return
            try:
                await self._unread.written(self._reader, response, self._context)
            except Exception as error:  # noqa: BLE001 - gRPC raises this and that when a stream is gone
                if not self._has_ended:
                    log.info("stream_broken", error=repr(error))
                # The worker asks again on another stream, and repeats the report that it got no answer to.
                self._has_ended = True
                if not self._failed.done():
                    self._failed.set_result(None)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._polls.discard(task)
        self._reports.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not self._has_ended:
            self.end(error)
        elif not isinstance(error, HoldfastError | StoreError):
            # Refusals that come too late come again with the repeat; this is none.
            log.error("stream_task_failed", error=repr(error), exc_info=error)
