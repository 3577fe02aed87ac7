"""Why a call is refused, for a program that has no code generated for google.rpc.Status."""

import grpc
import pytest

from holdfast.api.v1 import run_service_pb2, worker_service_pb2
from holdfast_coordinator.app import coordinator
from holdfast_coordinator.config import Config
from tests.support.raw_worker import RawWorker


async def test_the_reason_of_a_refusal_stands_in_plain_text_in_the_trailing_metadata(database: str) -> None:
    async with coordinator(Config(database_url=database, port=0)) as replica:
        worker = RawWorker(replica.address)
        assert await _reason(worker.runs.GetRun(run_service_pb2.GetRunRequest(run="order-1"))) == "RUN_NOT_FOUND"
        unknown = worker_service_pb2.PollRequest(session_id="ses_unknown", attach_no=1, msg_no=1)
        assert await _reason(worker.workers.Poll(unknown)) == "REATTACH"
        returning = worker.introduction()
        returning.session_id = "ses_unknown"
        assert await _reason(worker.workers.OpenSession(returning)) == "SESSION_EXPIRED"
        await worker.close()


async def _reason(call: grpc.aio.UnaryUnaryCall) -> object:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return dict(refused.value.trailing_metadata()).get("holdfast-reason")
