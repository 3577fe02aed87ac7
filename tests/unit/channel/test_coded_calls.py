"""What a worker with codecs sends: encrypted once, also when it has to be sent again."""

from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceServicer
from holdfast.api.v1.worker_service_pb2_grpc import add_WorkerServiceServicer_to_server as serve
from holdfast.channel.coded_calls import CodedWorkerCalls
from holdfast.channel.connection import Address, Connection
from holdfast.channel.leases import AttemptReport, Transition
from holdfast.codecs import AesGcm, CodecChain
from holdfast.errors import CoordinatorUnavailable
from holdfast.journal import AttemptRecord, Failure, Payload, RunClosed
from holdfast.statuses import AttemptOutcome, RunStatus, Then

AT = datetime(2026, 11, 30, tzinfo=UTC)


class LosesAnswers(WorkerServiceServicer):  # type: ignore[misc]  # generated, without types
    """Keeps what is reported, and never says that it has."""

    def __init__(self) -> None:
        self.reports: list[bytes] = []

    async def Report(self, request: pb.ReportRequest, context: Any) -> None:
        self.reports.append(request.SerializeToString(deterministic=True))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")


async def test_a_report_that_is_repeated_has_the_same_bytes() -> None:
    """The coordinator knows a repeat by what it says; encrypted anew it would be another report, and come too late."""
    server, service = grpc.aio.server(), LosesAnswers()
    serve(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    calls = CodedWorkerCalls(Connection(Address("127.0.0.1", port)), CodecChain([AesGcm({"k": b"1" * 32})]))
    closed = Transition("r", 1, 0, 1, (RunClosed(AT, RunStatus.COMPLETED, Payload(b'"told"')),), 0, Then.CLOSE)
    record = AttemptRecord(1, AttemptOutcome.FAILED_FINAL, AT, AT, AT, AT, failure=Failure("E", "told"))
    attempt = AttemptReport("r", 2, 1, 1, record)
    try:
        for transitions, attempts in (([closed], [attempt]), ([closed], [attempt]), ([closed], []), ([], [attempt])):
            with pytest.raises(CoordinatorUnavailable):
                await calls.report("ses_1", 1, transitions, attempts)
    finally:
        await calls.close()
        await server.stop(0)
    first, again, *parts = service.reports
    assert first == again
    assert len(parts[0]) < len(first), "the parts are sent alone"
    assert not any(b"told" in report for report in service.reports)
