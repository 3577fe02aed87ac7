"""The rpcs of WorkerService as typed functions over plain records, each tried once.

Whoever calls decides what to repeat: an unanswered report must be repeated as it was, a poll must not.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, TypeVar

import grpc

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.channel import worker_messages as wire
from holdfast.channel.cancellation import answer_of, is_task_cancelled
from holdfast.channel.channel_options import channel_options
from holdfast.channel.connection import Address, Connection, parse_address
from holdfast.channel.leases import (
    AttemptReport,
    Held,
    Introduction,
    JournalBeginning,
    JournalPage,
    Lease,
    OpenedSession,
    ProgressReport,
    ProgressResult,
    Pulse,
    ReportAnswer,
    SignalRegistration,
    Transition,
    Work,
)
from holdfast.channel.refusals import error_of_call, readable
from holdfast.channel.work_stream import WorkStream
from holdfast.errors import CoordinatorUnavailable, HoldfastError, InvalidRequest, Refused
from holdfast.session_refusals import ReattachRequired, SessionExpired

log = logging.getLogger("holdfast.worker")

CALL_SECONDS = 10.0
POLL_SLACK_SECONDS = 10.0
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED.name
"""Answered by a coordinator, or something before it, that has no streams: unary calls do the same."""

Response = TypeVar("Response")


class WorkerCalls:
    """The calls of one worker, on its event loop. Polls and reports go over one stream for each attachment.

    All calls go to one replica, until `move`. Takes over the connection, and closes it with `close`.

    Raises CoordinatorUnavailable when there is no answer, ReattachRequired and SessionExpired as they come.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._address = str(connection.address)
        self._stub = WorkerServiceStub(connection.channel)  # type: ignore[no-untyped-call]
        self._under_way: Counter[Connection] = Counter()
        self._leaving: dict[Connection, asyncio.Event] = {}
        self._departures: set[asyncio.Task[None]] = set()
        self._stream: WorkStream | None = None
        self._stream_of = ("", 0)
        self._is_streamed = True

    def move(self) -> None:
        """Goes on over a new connection: it asks for the address anew and takes a replica by chance.

        Calls that are under way end on the old one.
        """
        left, self._connection = self._connection, self._connection.another()
        self._stub = WorkerServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]
        if self._stream is not None:
            self._stream.close("its replica is left")
        departure = asyncio.get_running_loop().create_task(self._leave(left))
        self._departures.add(departure)
        departure.add_done_callback(self._departures.discard)

    async def _leave(self, connection: Connection) -> None:
        """Closes a connection when its last call has ended or has had its time, or when all are closed."""
        # gRPC's own grace would be simpler, but it closes a channel once: what it has granted cannot be cut short.
        if connection in self._under_way:
            may_go = self._leaving[connection] = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(may_go.wait(), CALL_SECONDS)
            del self._leaving[connection]
        await connection.close()

    async def close(self) -> None:
        """Closes all connections, also those that were left and still have calls under way."""
        for may_go in self._leaving.values():
            may_go.set()
        await asyncio.gather(self._connection.close(), *self._departures)

    async def open_session(
        self, introduction: Introduction, *, session_id: str = "", held: Iterable[Held] = ()
    ) -> OpenedSession:
        """Opens a session, or attaches the given one again with all that it holds."""
        request = wire.open_session_request(introduction, session_id, held)
        response = await self._answer(self._stub.OpenSession, request, CALL_SECONDS)
        return wire.opened_session(response)

    async def poll(
        self,
        session_id: str,
        attach_no: int,
        msg_no: int,
        *,
        free_slots: int,
        free_runs: int,
        received: Iterable[Held],
        wait: timedelta,
    ) -> Work:
        """Waits for work. wait: how long the coordinator holds the call."""
        request = wire.poll_request(
            session_id, attach_no, msg_no, free_slots=free_slots, free_runs=free_runs, received=received
        )
        seconds = wait.total_seconds() + POLL_SLACK_SECONDS
        if self._is_streamed:
            try:
                return wire.work(await self._stream_for(session_id, attach_no).poll(request, seconds=seconds))
            except Refused as error:
                self._is_streamed = error.reason != UNIMPLEMENTED
                if self._is_streamed:
                    raise
        return wire.work(await self._answer(self._stub.Poll, request.poll, seconds))

    async def report(
        self,
        session_id: str,
        attach_no: int,
        transitions: Iterable[Transition],
        attempts: Iterable[AttemptReport],
    ) -> ReportAnswer:
        """Records what came of leased work."""
        request = wire.report_request(session_id, attach_no, transitions, attempts)
        if self._is_streamed:
            try:
                stream = self._stream_for(session_id, attach_no)
                return wire.report_answer(await stream.report(request, seconds=CALL_SECONDS))
            except (CoordinatorUnavailable, ReattachRequired, SessionExpired):
                raise
            except HoldfastError:
                # The stream does not say which of its messages was refused. A call of its own does; and what was
                # recorded before is recorded once.
                pass
        return wire.report_answer(await self._answer(self._stub.Report, request.report, CALL_SECONDS))

    async def save_progress(
        self, session_id: str, attach_no: int, progress: Iterable[ProgressReport]
    ) -> tuple[ProgressResult, ...]:
        """Keeps what running attempts have saved; one result for each, in order."""
        request = wire.progress_request(session_id, attach_no, progress)
        return wire.progress_results(await self._answer(self._stub.SaveProgress, request, CALL_SECONDS))

    async def register_signals(self, session_id: str, attach_no: int, signals: Iterable[SignalRegistration]) -> None:
        """Says as what the code here takes signals. Raises Refused where the coordinator has no such call."""
        request = pb.RegisterSignalsRequest(session_id=session_id, attach_no=attach_no)
        for one in signals:
            request.signals.add(workflow=one.workflow, name=one.name, type=one.type)
        await self._answer(self._stub.RegisterSignals, request, CALL_SECONDS)

    async def read_journal(
        self, session_id: str, attach_no: int, run_id: str, epoch: int, *, after: int
    ) -> JournalPage:
        """A page of the journal of a leased run: the entries after number `after`."""
        request = pb.ReadJournalRequest(
            session_id=session_id, attach_no=attach_no, run_id=run_id, epoch=epoch, after=after
        )
        return wire.journal_page(await self._answer(self._stub.ReadJournal, request, CALL_SECONDS))

    async def read_journals(
        self, session_id: str, attach_no: int, leases: Iterable[Lease]
    ) -> tuple[JournalBeginning, ...]:
        """How the journals of leased runs begin, in order, as many as one answer has room for, at least one.

        Raises Refused also where the coordinator has no such call: it is older than this worker.
        """
        request = wire.read_journals_request(session_id, attach_no, leases)
        return wire.journal_beginnings(await self._answer(self._stub.ReadJournals, request, CALL_SECONDS))

    async def close_session(self, session_id: str, attach_no: int, *, lost: Iterable[Held] = ()) -> None:
        """Ends the session; what it still holds is offered to others at once. lost: what ended the worker."""
        if self._stream is not None:
            self._stream.close("the session is closed")
        request = wire.close_session_request(session_id, attach_no, lost)
        await self._answer(self._stub.CloseSession, request, CALL_SECONDS)

    def _stream_for(self, session_id: str, attach_no: int) -> WorkStream:
        """The stream of this attachment; opens one when there is none or it has ended."""
        stream, attachment = self._stream, (session_id, attach_no)
        if stream is None or stream.error is not None or self._stream_of != attachment:
            if stream is not None:
                stream.close("its attachment has ended")
            try:
                call = self._stub.Work()
            except grpc.aio.UsageError:
                raise self._closed_here() from None
            stream = self._stream = WorkStream(call, address=self._address)
            self._stream_of = attachment
        return stream

    async def _answer(self, method: Any, request: Any, seconds: float) -> Any:
        connection = self._connection
        self._under_way[connection] += 1
        try:
            return readable(await answer_of(method(request, timeout=seconds)))
        except grpc.aio.AioRpcError as failed:
            raise error_of_call(failed, address=self._address) from None
        except asyncio.CancelledError:
            if is_task_cancelled():
                raise
            raise self._closed_here() from None
        except grpc.aio.UsageError:
            raise self._closed_here() from None
        finally:
            self._ended(connection)

    def _ended(self, connection: Connection) -> None:
        self._under_way[connection] -= 1
        if not self._under_way[connection]:
            del self._under_way[connection]
            if connection in self._leaving:
                self._leaving[connection].set()

    def _closed_here(self) -> CoordinatorUnavailable:
        return CoordinatorUnavailable(self._address, "the connection was closed on this side")


class HeartbeatCalls:
    """The heartbeat, for a thread without an event loop. It has a channel of its own, opened when it is needed.

    It goes to the replica that holds the attachment, where that is known and within reach; else to the address that
    the worker was given, where any replica takes it.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._attachment = ("", 0)
        self._replica: Address | None = None
        self._route = address
        self._found_replica = False
        self._channel: grpc.Channel | None = None
        self._stub: Any = None

    def heartbeat(
        self,
        session_id: str,
        attach_no: int,
        msg_no: int,
        held: Iterable[Held],
        *,
        loop_lag: timedelta,
        draining: bool,
        timeout: float,
        replica: str = "",
        given_up: Iterable[Held] = (),
        lost: Iterable[Held] = (),
    ) -> Pulse:
        """Says that the worker lives. timeout: in seconds. replica: where the attachment is, host:port, if known.

        Raises as WorkerCalls does. After a failure the next one goes the other way: the replica may be out of reach
        but for what comes by name, or it may be gone.
        """
        if (session_id, attach_no) != self._attachment:
            self._attachment = (session_id, attach_no)
            self._replica = _address_of(replica)
            self._go_by(self._replica or self._address)
        if self._route is self._replica and not self._found_replica:
            # Where addresses of replicas lead nowhere there must be time left for the other way.
            timeout /= 2
        request = wire.heartbeat_request(
            session_id, attach_no, msg_no, held, loop_lag=loop_lag, draining=draining, given_up=given_up, lost=lost
        )
        return wire.pulse(self._beat(request, timeout))

    def close_session(self, session_id: str, attach_no: int, *, lost: Iterable[Held], timeout: float) -> None:
        """Ends the session, for a worker whose loop cannot say it any more. From any thread.

        Over a channel of its own: that of the heartbeats is closed when one of them fails, with all that is on it.
        """
        route = self._route
        request = wire.close_session_request(session_id, attach_no, lost)
        with grpc.insecure_channel(route.target, options=channel_options("pick_first")) as channel:
            try:
                WorkerServiceStub(channel).CloseSession(request, timeout=timeout)  # type: ignore[no-untyped-call]
            except grpc.RpcError as failed:
                raise error_of_call(failed, address=str(route)) from None

    def vouching(self, session_id: str, attach_no: int, *, replica: str) -> dict[str, Any]:
        """What the process needs that says in place of this worker that it lives; see `voucher_process`."""
        direct = _address_of(replica)
        return {
            "targets": [address.target for address in (direct, self._address) if address is not None],
            "options": channel_options("pick_first"),
            "request": wire.vouching_request(session_id, attach_no).hex(),
            "msg_no_tag": wire.MSG_NO_TAG,
        }

    def _beat(self, request: Any, timeout: float) -> Any:
        if self._channel is None:
            self._channel = grpc.insecure_channel(self._route.target, options=channel_options("pick_first"))
            self._stub = WorkerServiceStub(self._channel)  # type: ignore[no-untyped-call]
        try:
            answer = self._stub.Heartbeat(request, timeout=timeout)
        except grpc.RpcError as failed:
            error = error_of_call(failed, address=str(self._route))
            is_direct = self._route is self._replica
            self._go_by(self._address if is_direct else self._replica or self._address)
            raise error from None
        self._found_replica |= self._route is self._replica
        return answer

    def close(self) -> None:
        """Closes the channel; the next heartbeat opens another one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _go_by(self, route: Address) -> None:
        # Also by the same way: another channel may find another replica there.
        self.close()
        self._route = route


def _address_of(replica: str) -> Address | None:
    try:
        return parse_address(replica) if replica else None
    except InvalidRequest as error:
        log.warning("the coordinator says that its replica is at %r, which is of no use: %s", replica, error)
        return None
