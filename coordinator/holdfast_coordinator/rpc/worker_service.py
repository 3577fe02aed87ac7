"""WorkerService: what workers use. See proto/holdfast/api/v1/worker_service.proto for effects and refusals."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from datetime import timedelta

from grpc.aio import ServicerContext as Context

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1 import worker_service_pb2_grpc
from holdfast.errors import HoldfastError, InvalidRequest, RunBusy
from holdfast.limits import Limits
from holdfast.session_refusals import ReattachRequired, ReplicaAway
from holdfast.wire import set_time
from holdfast_coordinator.domain.transitions import TransitionAnswer, answer_of_refusal
from holdfast_coordinator.engine.attachments import Attachment, Held
from holdfast_coordinator.engine.engine import Engine, Reported
from holdfast_coordinator.engine.polls import POLL_BYTES_MAX
from holdfast_coordinator.wire.journals import journal_message

from .fields import run_id, span, whole
from .refusals import translated
from .report_parts import ReportParts, parts_of, saves_of
from .session_messages import held_key, held_message, introduction, mail_seen, signal_registrations
from .unread_answers import UnreadAnswers
from .work_messages import Room, add_result, fill_poll_response
from .work_stream import WorkStreamServer

JOURNALS_MAX = 1_000
"""Leases whose journals one call asks for."""
STREAM_SHARE = (0.5, 0.8)
"""A stream lives for a random part of the age of connections: it is to end in good order before its connection does."""


class WorkerService(worker_service_pb2_grpc.WorkerServiceServicer):
    """See the module. address: where workers reach this replica, host:port; "" while that is not known."""

    def __init__(self, engine: Engine, limits: Limits, *, connection_age: timedelta, unread: UnreadAnswers) -> None:
        self.address = ""
        self._engine = engine
        self._limits = limits
        self._unread = unread
        self._streams: set[WorkStreamServer] = set()
        self._stream_seconds = connection_age.total_seconds()
        self._stops: ReplicaAway | None = None

    @translated
    async def OpenSession(self, request: pb.OpenSessionRequest, context: Context) -> pb.OpenSessionResponse:
        worker = introduction(request)
        await self._engine.check_namespace(worker.namespace)
        attachment, ended = await self._engine.open_session(worker)
        sessions, limits = self._engine.sessions, self._limits
        response = pb.OpenSessionResponse(
            session_id=attachment.session_id,
            attach_no=attachment.attach_no,
            limits=pb.Limits(
                payload_bytes=limits.payload_bytes,
                error_text_bytes=limits.error_text_bytes,
                transition_bytes=limits.transition_bytes,
                message_bytes=limits.message_bytes,
                journal_entries=limits.journal_entries,
                journal_entries_warn=limits.journal_entries_warn,
                journal_bytes=limits.journal_bytes,
                journal_bytes_warn=limits.journal_bytes_warn,
            ),
            ended=[held_message(key) for key in ended],
            address=self.address,
        )
        response.ttl.FromTimedelta(sessions.policy.ttl)
        response.heartbeat_interval.FromTimedelta(sessions.policy.heartbeat_interval)
        response.poll_wait.FromTimedelta(sessions.policy.poll_wait)
        set_time(response.database_time, sessions.database_time())
        return response

    @translated
    async def Poll(self, request: pb.PollRequest, context: Context) -> pb.PollResponse:
        response = pb.PollResponse()
        await self._poll(request, response)
        return response

    @translated
    async def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        response = pb.ReportResponse()
        await self._report(request, response)
        return response

    @translated
    async def Work(self, requests: AsyncIterator[pb.WorkRequest], context: Context) -> None:
        if self._stops is not None:
            raise self._stops
        stream = WorkStreamServer(context, self._unread, fill_poll=self._poll, fill_report=self._report)
        self._streams.add(stream)
        seconds = self._stream_seconds * random.uniform(*STREAM_SHARE)
        renewal = asyncio.get_running_loop().call_later(
            seconds,
            self._send_away,
            stream,
            ReplicaAway("it renews its connections, so that new replicas get a share"),
        )
        try:
            await stream.serve(requests)
        except asyncio.CancelledError:  # the worker's end of it is gone
            if (poll := stream.last_poll) is not None:
                self._engine.sessions.stream_broke(poll.session_id, poll.attach_no)
            raise
        finally:
            renewal.cancel()
            self._streams.discard(stream)

    def end_streams(self) -> None:
        """Ends all streams, so that their workers go on with another replica; for when this one stops."""
        self._stops = ReplicaAway("it stops")
        for stream in self._streams:
            self._send_away(stream, self._stops)

    def _send_away(self, stream: WorkStreamServer, why: ReplicaAway) -> None:
        """Ends a stream in good order; from now on its worker is granted nothing here, where it would not get it."""
        stream.leave(why)
        if stream.last_poll is not None:
            self._engine.sessions.leave(stream.last_poll.session_id, stream.last_poll.attach_no)

    async def _poll(self, request: pb.PollRequest, response: pb.PollResponse) -> None:
        delivery = await self._engine.polls.wait(
            request.session_id,
            request.attach_no,
            msg_no=request.msg_no,
            free_slots=whole("free_slots", request.free_slots),
            free_runs=whole("free_runs", request.free_runs),
            received=[held_key(held) for held in request.received],
            mail_seen=mail_seen(request.received),
        )
        response.msg_no = request.msg_no
        room = Room(min(self._limits.message_bytes // 2, POLL_BYTES_MAX))
        later = fill_poll_response(response, delivery, room, attach_no=request.attach_no)
        self._engine.polls.hand_later(request.session_id, request.attach_no, later)

    def _report(self, request: pb.ReportRequest, response: pb.ReportResponse) -> Coroutine[None, None, None]:
        """Takes a report, which is in the line of its writer then; returns what waits for the answers."""
        engine = self._engine
        parts = parts_of(request, engine.cells, self._limits, engine.sessions.policy.ttl)
        try:
            attachment = engine.sessions.attached(request.session_id, request.attach_no)
        except ReattachRequired:
            engine.late_results.unattached(parts.transitions, parts.attempts)
            raise
        reporting = engine.report(attachment, parts.transitions, parts.attempts)
        return self._answer_report(reporting, attachment, request, response, parts)

    async def _answer_report(
        self, reporting: Awaitable[Reported], attachment: Attachment, request: pb.ReportRequest,
        response: pb.ReportResponse, parts: ReportParts,
    ) -> None:  # fmt: skip
        taken, recorded = await reporting
        self._fill_report(attachment, request, response, parts, taken, recorded)

    def _fill_report(
        self, attachment: Attachment, request: pb.ReportRequest, response: pb.ReportResponse, parts: ReportParts,
        taken: Sequence[TransitionAnswer], recorded: Sequence[bool | None],
    ) -> None:  # fmt: skip
        """Answers every part in its place."""
        room = Room(self._limits.message_bytes // 2)
        answers, marks, refused = iter(taken), iter(recorded), parts.refused_transitions
        for place, asked in enumerate(request.transitions):
            refusal = refused.get(place) if refused else None
            answer = next(answers) if refusal is None else answer_of_refusal(refusal)
            if not add_result(response, asked.run_id, answer, room):
                attachment.mail_waits(asked.run_id, asked.epoch)
        for place, ended in enumerate(request.attempts):
            refusal = parts.refused_attempts.get(place)
            was_recorded = next(marks) if refusal is None else False
            response.attempts.add(
                run_id=ended.run_id,
                step=ended.step,
                recorded=bool(was_recorded),
                refusal="" if refusal is None else str(refusal),
                busy=was_recorded is None,
            )

    @translated
    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:
        came_at = self._engine.database_time()
        response = pb.HeartbeatResponse(ended=[held_message(key) for key in await self._beat(request)])
        # It was written with others, and waited for them: the worker takes this for the time in the middle of its call.
        set_time(response.database_time, came_at + (self._engine.database_time() - came_at) / 2)
        return response

    async def _beat(self, request: pb.HeartbeatRequest) -> list[Held]:
        sessions, session_id, attach_no = self._engine.sessions, request.session_id, request.attach_no
        if request.vouched:
            return await sessions.vouched(session_id, attach_no, msg_no=request.msg_no)
        if request.given_up:
            given_up, lost = ([held_key(held) for held in some] for some in (request.given_up, request.lost))
            sessions.give_up_soon(session_id, attach_no, held=given_up, lost=lost)
        return await sessions.heartbeat(
            session_id,
            attach_no,
            msg_no=request.msg_no,
            held=frozenset(held_key(held) for held in request.held),
            mail_seen=mail_seen(request.held),
            lag=span("loop_lag", request.loop_lag),
            draining=request.draining,
        )

    @translated
    async def SaveProgress(self, request: pb.SaveProgressRequest, context: Context) -> pb.SaveProgressResponse:
        engine = self._engine
        saves, refused = saves_of(request, engine.cells, self._limits)
        engine.sessions.attached(request.session_id, request.attach_no)
        answers = iter(await engine.save_progress(saves))
        response = pb.SaveProgressResponse()
        for place, asked in enumerate(request.progress):
            answer = refused[place] if place in refused else next(answers)
            is_busy = isinstance(answer, RunBusy)
            refusal = str(answer) if isinstance(answer, HoldfastError) and not is_busy else ""
            response.results.add(
                run_id=asked.run_id, step=asked.step, saved=answer is True, refusal=refusal, busy=is_busy
            )
        return response

    @translated
    async def RegisterSignals(self, request: pb.RegisterSignalsRequest, context: Context) -> pb.RegisterSignalsResponse:
        attachment = self._engine.sessions.attached(request.session_id, request.attach_no)
        await self._engine.signal_checks.types.register(attachment.namespace, signal_registrations(request))
        return pb.RegisterSignalsResponse()

    @translated
    async def ReadJournal(self, request: pb.ReadJournalRequest, context: Context) -> pb.ReadJournalResponse:
        attachment = self._engine.sessions.attached(request.session_id, request.attach_no)
        rows, more, record = await self._engine.read_journal(
            attachment, run_id("run_id", request.run_id), request.epoch, request.after, self._limits.journal_page_bytes
        )
        response = pb.ReadJournalResponse(rows=[journal_message(row) for row in rows], more=more)
        if not request.after:
            response.arguments.MergeFromString(record.arguments)
        return response

    @translated
    async def ReadJournals(self, request: pb.ReadJournalsRequest, context: Context) -> pb.ReadJournalsResponse:
        attachment = self._engine.sessions.attached(request.session_id, request.attach_no)
        if len(request.leases) > JOURNALS_MAX:
            raise InvalidRequest("leases", f"more than {JOURNALS_MAX:,}")
        leases = [(run_id("leases.run_id", lease.run_id), lease.epoch) for lease in request.leases]
        found = await self._engine.read_journals(attachment, leases, self._limits.journal_page_bytes)
        response = pb.ReadJournalsResponse()
        for (of_run_id, epoch), (rows, more) in zip(leases, found, strict=False):
            response.journals.add(run_id=of_run_id, epoch=epoch, rows=map(journal_message, rows), more=more)
        return response

    @translated
    async def CloseSession(self, request: pb.CloseSessionRequest, context: Context) -> pb.CloseSessionResponse:
        lost = [held_key(held) for held in request.lost]
        await self._engine.sessions.close(request.session_id, request.attach_no, lost=lost)
        return pb.CloseSessionResponse()
