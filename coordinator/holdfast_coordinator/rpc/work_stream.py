"""One worker's stream of polls and reports: reads them, answers each when its answer is there.

What a poll or a report does is not its matter: `fill_poll` and `fill_report` are the unary rpcs. It must never
write two answers at a time, which gRPC forbids, and never cut off a report: what was read is committed.
A message costs more than what is in it, so the answer to a poll goes with that to a report where both are there.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import structlog
from grpc.aio import ServicerContext

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.errors import HoldfastError, InvalidRequest
from holdfast_coordinator.store.port import StoreError

from .unread_answers import Reader, UnreadAnswers

log = structlog.get_logger(__name__)

UNANSWERED_MAX = 5
"""Messages of one stream without a written answer, a report and four polls; nothing more is read of it until one has
its answer. A newer poll answers the older ones: these are as many only when nobody reads the answers."""
JOINED_BYTES_MAX = 4 * 1024 * 1024
"""The largest message that answers a poll and a report, in bytes: whatever is larger gains nothing by company."""
JOINING_TURNS = 2
"""Turns of the loop for which the first of two answers waits for the other: one commit brings both, and what they pass
through differs by so many."""

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
        self._room = asyncio.Semaphore(UNANSWERED_MAX)
        self._answers: deque[pb.WorkResponse] = deque()
        self._answer_waits = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()
        self._report: asyncio.Task[None] | None = None
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
        writing = asyncio.ensure_future(self._write())
        writing.add_done_callback(self._settled)
        try:
            await asyncio.wait((reading, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if self._error is None or self._leaves:
                if self._report is not None:
                    await asyncio.wait((self._report,))
            else:
                self._answers.clear()
            self._has_ended = True
            self._answer_waits.set()
            await asyncio.wait((writing,))  # the status goes out after the last answer
            if self._error is not None:
                raise self._error
        finally:
            self._has_ended = True
            for task in (reading, writing, *self._answering):
                task.cancel()
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

    # Reading

    async def _read(self, requests: AsyncIterator[pb.WorkRequest]) -> None:
        async for request in requests:
            has_poll, has_report = request.HasField("poll"), request.HasField("report")
            if not has_poll and not has_report:
                raise InvalidRequest("poll, report", "are both missing")
            if has_report:
                await self._room.acquire()
                self._take_report(request.report)
            if has_poll:
                self.last_poll = request.poll
                await self._room.acquire()
                self._begin(self._answer_poll(request.poll))

    def _take_report(self, request: pb.ReportRequest) -> None:
        if self._report is not None:
            raise InvalidRequest("report", "one is open; send the next when it is answered")
        response = pb.WorkResponse()
        response.report.SetInParent()  # an answer without results is one too
        # Taken here and not by its task, which begins a turn of the loop later: this is on the path of every step.
        filling = self._fill_report(request, response.report)
        self._report = self._begin(self._answer_report(filling, response))

    def _begin(self, answering: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(answering)
        self._answering.add(task)
        task.add_done_callback(self._settled)
        return task

    async def _answer_poll(self, request: pb.PollRequest) -> None:
        response = pb.WorkResponse()
        await self._fill_poll(request, response.poll)
        self._send(response)

    async def _answer_report(self, filling: Coroutine[None, None, None], response: pb.WorkResponse) -> None:
        await filling
        # Before the write: the worker may have read the answer, and sent the next report, before that returns.
        self._report = None
        self._send(response)

    # Writing

    def _send(self, response: pb.WorkResponse) -> None:
        if not self._has_ended:
            self._answers.append(response)
            self._answer_waits.set()

    async def _write(self) -> None:
        """Writes answers as they come, until the stream has ended and none is left."""
        while not self._has_ended:
            await self._answer_waits.wait()
            self._answer_waits.clear()
            await self._wait_for_company()
            while self._answers:
                response, answers = self._next_message()
                try:
                    await self._unread.written(self._reader, response, self._context)
                except Exception as error:  # noqa: BLE001 - gRPC raises this and that when a stream is gone
                    if not self._has_ended:
                        log.info("stream_broken", error=repr(error))
                    # The worker asks again on another stream, and repeats the report that it got no answer to.
                    self._has_ended = True
                    if not self._failed.done():
                        self._failed.set_result(None)
                    return
                for _ in range(answers):
                    self._room.release()

    async def _wait_for_company(self) -> None:
        """A lone answer to a poll waits for that to the report which is being answered, for some turns of the loop."""
        for _ in range(JOINING_TURNS):
            if len(self._answers) != 1 or self._report is None:
                return
            await asyncio.sleep(0)

    def _next_message(self) -> tuple[pb.WorkResponse, int]:
        """What is written next, and how many answers that is."""
        response = self._answers.popleft()
        if not self._answers:
            return response, 1
        company = self._answers[0]
        fits = company.HasField("report" if response.HasField("poll") else "poll")
        if not fits or response.ByteSize() + company.ByteSize() > JOINED_BYTES_MAX:
            return response, 1
        response.MergeFrom(self._answers.popleft())
        return response, 2

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._answering.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not self._has_ended:
            self.end(error)
        elif not isinstance(error, HoldfastError | StoreError):
            # Refusals that come too late come again with the repeat; this is none.
            log.error("stream_task_failed", error=repr(error), exc_info=error)
