"""What a worker makes of a replica that refuses, falls silent or sends it away: its session lives on, maybe elsewhere.

A real worker against a WorkerService that says what the test wants.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from holdfast import workflow
from holdfast.api.v1 import journal_pb2, worker_service_pb2_grpc
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.value_pb2 import Arguments
from holdfast.client import Client
from holdfast.worker import Worker

TTL = timedelta(seconds=2)
RUN = "run_0001m8kbavc6m9skvbmcspjq5pdm"


@workflow(name="kept-session")
async def keeps() -> None:
    pass


class Replica(worker_service_pb2_grpc.WorkerServiceServicer):
    """Opens every session. heartbeats: "answers", "hangs" or "says dead once". sends_away: ends a stream, once."""

    def __init__(self) -> None:
        self.heartbeats = "answers"
        self.sends_away = asyncio.Event()
        self.address = ""
        self.opened: list[pb.OpenSessionRequest] = []
        self.peers: list[str] = []
        self.beats = 0
        self.held: list[str] = []
        self.lease: pb.Lease | None = None
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.reported: list[int] = []
        self.news = asyncio.Condition()

    async def OpenSession(self, request: pb.OpenSessionRequest, context: grpc.aio.ServicerContext) -> object:
        async with self.news:
            self.opened.append(request)
            self.peers.append(context.peer())
            self.news.notify_all()
        response = pb.OpenSessionResponse(
            session_id=request.session_id or "ses_1", attach_no=len(self.opened), address=self.address
        )
        response.ttl.FromTimedelta(TTL)
        response.heartbeat_interval.FromTimedelta(TTL / 10)
        response.poll_wait.FromTimedelta(timedelta(seconds=30))
        return response

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: grpc.aio.ServicerContext) -> object:
        if self.heartbeats == "hangs":
            await asyncio.Event().wait()
        if self.heartbeats == "says dead once":
            self.heartbeats = "answers"
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "SESSION_EXPIRED")
        async with self.news:
            self.beats += 1
            self.held = [held.run_id for held in request.held]
            self.news.notify_all()
        return pb.HeartbeatResponse()

    async def Work(self, requests: AsyncIterator[pb.WorkRequest], context: grpc.aio.ServicerContext) -> None:
        reading = asyncio.ensure_future(self._read(requests, context))
        away = asyncio.ensure_future(self.sends_away.wait())
        try:
            await asyncio.wait((reading, away), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            if away.done():
                self.sends_away.clear()
                await _abort(context, grpc.StatusCode.UNAVAILABLE, "REPLICA_AWAY")
        finally:
            reading.cancel()
            away.cancel()

    async def Report(self, request: pb.ReportRequest, context: grpc.aio.ServicerContext) -> object:
        async with self.news:
            self.reported += [transition.then for transition in request.transitions]
            self.news.notify_all()
        if self.refusal is not None and pb.THEN_STALL not in self.reported:
            await _abort(context, *self.refusal)
        return pb.ReportResponse(
            transitions=[
                pb.TransitionResult(run_id=one.run_id, status=pb.TRANSITION_STATUS_COMMITTED)
                for one in request.transitions
            ]
        )

    async def _read(self, requests: AsyncIterator[pb.WorkRequest], context: grpc.aio.ServicerContext) -> None:
        async for request in requests:
            if request.HasField("report"):
                await context.write(pb.WorkResponse(report=await self.Report(request.report, context)))
            elif self.lease is not None:
                lease, self.lease = self.lease, None
                await context.write(pb.WorkResponse(poll=pb.PollResponse(msg_no=request.poll.msg_no, leases=[lease])))

    async def CloseSession(self, request: pb.CloseSessionRequest, context: grpc.aio.ServicerContext) -> object:
        return pb.CloseSessionResponse()

    async def until_opened(self, times: int) -> None:
        """Waits until sessions were opened so many times."""
        async with self.news, asyncio.timeout(10):
            await self.news.wait_for(lambda: len(self.opened) >= times)

    async def until_beats(self, more: int) -> None:
        """Waits for more heartbeats."""
        async with self.news, asyncio.timeout(10):
            due = self.beats + more
            await self.news.wait_for(lambda: self.beats >= due)


async def _abort(context: grpc.aio.ServicerContext, code: grpc.StatusCode, reason: str) -> None:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="holdfast.dev"))
    status = status_pb2.Status(code=code.value[0], message=reason, details=[detail])
    await context.abort(code, reason, (("grpc-status-details-bin", status.SerializeToString()),))


@asynccontextmanager
async def working(service: Replica | None = None) -> AsyncIterator[Replica]:
    """A replica that a worker has its session with."""
    service, server = service or Replica(), grpc.aio.server()
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(service, server)
    service.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with Client.connect(service.address) as client:
        worker = Worker(client, workflows=[keeps], handle_signals=False)
        task = asyncio.create_task(worker.run())
        try:
            await worker.ready()
            yield service
        finally:
            worker.stop()
            await asyncio.wait_for(task, 10)
            await server.stop(None)


async def test_a_heartbeat_that_went_astray_does_not_end_a_session(caplog: pytest.LogCaptureFixture) -> None:
    async with working() as replica:
        await replica.until_beats(1)
        replica.heartbeats = "says dead once"
        await replica.until_opened(2)
        await replica.until_beats(2)
    assert [request.session_id for request in replica.opened] == ["", "ses_1"]
    assert "dead" not in caplog.text


async def test_a_worker_leaves_a_replica_that_acknowledges_no_heartbeats_while_its_session_lives() -> None:
    async with working() as replica:
        await replica.until_beats(1)
        replica.heartbeats = "hangs"
        began = asyncio.get_running_loop().time()
        await replica.until_opened(2)
        assert asyncio.get_running_loop().time() - began < TTL.total_seconds()
        replica.heartbeats = "answers"
    assert replica.opened[1].session_id == "ses_1"
    assert replica.peers[1] != replica.peers[0]  # over a new connection, which may lead elsewhere


@pytest.mark.alone
async def test_a_worker_that_is_sent_away_takes_its_session_to_a_new_connection_at_once() -> None:
    async with working() as replica:
        await replica.until_beats(1)
        replica.sends_away.set()
        began = asyncio.get_running_loop().time()
        await replica.until_opened(2)
        assert asyncio.get_running_loop().time() - began < 1
    assert replica.opened[1].session_id == "ses_1"
    assert replica.peers[1] != replica.peers[0]


def _lease_of_a_run() -> pb.Lease:
    started = journal_pb2.Entry(run_started=journal_pb2.RunStarted(workflow="kept-session"))
    started.at.GetCurrentTime()
    rows = [journal_pb2.JournalRow(seq=1, entries=[started])]
    return pb.Lease(
        run_id=RUN,
        epoch=1,
        workflow="kept-session",
        journal_length=1,
        queue="default",
        arguments=Arguments(),
        rows=rows,
    )


@pytest.mark.parametrize(
    ("refusal", "stalls"),
    [
        ((grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND"), False),
        ((grpc.StatusCode.FAILED_PRECONDITION, "RUN_ALREADY_CLOSED"), False),
        ((grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND"), False),
        ((grpc.StatusCode.FAILED_PRECONDITION, "OF_A_LATER_VERSION"), False),
        ((grpc.StatusCode.UNKNOWN, "UNFORESEEN"), False),
        ((grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"), True),
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE"), True),
    ],
    ids=lambda given: given[1] if isinstance(given, tuple) else "",
)
async def test_a_run_whose_lease_is_lost_is_dropped_and_only_what_it_made_itself_stalls_it(
    refusal: tuple[grpc.StatusCode, str], stalls: bool
) -> None:
    service = Replica()
    service.lease, service.refusal = _lease_of_a_run(), refusal
    async with working(service) as replica:
        async with replica.news, asyncio.timeout(10):
            await replica.news.wait_for(lambda: pb.THEN_CLOSE in replica.reported)
        async with replica.news, asyncio.timeout(10):
            await replica.news.wait_for(lambda: pb.THEN_STALL in replica.reported or len(replica.reported) > 1)
        await replica.until_beats(3)
        assert (pb.THEN_STALL in replica.reported) == stalls
        assert replica.held == []
        assert len(replica.opened) == 1
