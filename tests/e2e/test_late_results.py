"""Results that come too late: refused, and seen in the log and in the trace below the attempt that was taken away.

The workers that are too late speak the protocol by hand, so that they report when the test wants it.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio

from holdfast import App
from holdfast.api.v1 import journal_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.api.v1.status_pb2 import ATTEMPT_OUTCOME_COMPLETED
from holdfast.api.v1.worker_service_pb2_grpc import WorkerServiceStub
from holdfast.client import Client, RunHandle
from tests.support.otlp_sink import OtlpSink, ReceivedSpan, otlp_sink

from .conftest import Coordinator, WorkerFactory, replicas

pytestmark = pytest.mark.asyncio(loop_scope="module")

app = App("late")


@app.step(recoveries=1)
async def charge() -> str:
    return "by the second worker"


@app.workflow
async def order() -> str:
    return await charge()


@dataclass(slots=True)
class Traced:
    """A coordinator that exports to the sink, whose log is JSON."""

    coordinator: Coordinator
    sink: OtlpSink
    stub: Any

    async def late_result_of(self, run: RunHandle[Any]) -> tuple[ReceivedSpan, ReceivedSpan, dict[str, Any]]:
        """The late result of a run, the span that it is below, and what the log says of it."""
        sink = await self.sink.until(lambda sink: {"late result", "run order"} <= names(sink, run), timeout=20)
        (late,) = [span for span in sink.of_run(run.run_id) if span.name == "late result"]
        (above,) = [span for span in sink.of_run(run.run_id) if span.span_id == late.parent_id]
        line = await self.coordinator.process.wait_for_line(
            rf'"{run.run_id}".*"late_result"|"late_result".*{run.run_id}'
        )
        return late, above, json.loads(line.string)


def names(sink: OtlpSink, run: RunHandle[Any]) -> set[str]:
    return {span.name for span in sink.of_run(run.run_id)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink() -> AsyncIterator[OtlpSink]:
    async with otlp_sink() as receiving:
        yield receiving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def coordinator(module_database: str, sink: OtlpSink) -> AsyncIterator[Coordinator]:
    """Every replica exports: the spans of a run come from the ones that commit its entries."""
    async with replicas(module_database, "--otlp", sink.url, "--log-json") as serving:
        yield serving


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced(coordinator: Coordinator, sink: OtlpSink) -> AsyncIterator[Traced]:
    async with grpc.aio.insecure_channel(coordinator.address) as channel:
        stub = WorkerServiceStub(channel)  # type: ignore[no-untyped-call]
        yield Traced(coordinator, sink, stub)


class ByHand:
    """A worker that has started the first attempt of the step of a run, and does nothing by itself."""

    def __init__(self, stub: Any, session: pb.OpenSessionResponse, lease: pb.Lease) -> None:
        self._stub = stub
        self.session = session
        self._lease = lease
        self._transitions = 0
        self._length = lease.journal_length
        self._scheduled_at = journal_pb2.Entry()
        self._scheduled_at.at.GetCurrentTime()

    @classmethod
    async def starting(cls, stub: Any, client: Client, queue: str) -> tuple["ByHand", RunHandle[Any]]:
        """Takes a new run, and commits that the attempt has started."""
        known = pb.WorkflowRegistration(name=order.name)
        session = await stub.OpenSession(pb.OpenSessionRequest(queue=queue, workflows=[known], slots=1, runs_max=1))
        run = await client.start(order.with_options(queue=queue))
        poll = pb.PollRequest(session_id=session.session_id, attach_no=session.attach_no, msg_no=1, free_runs=1)
        (lease,) = (await stub.Poll(poll)).leases
        worker = cls(stub, session, lease)
        step = journal_pb2.StepScheduled(number=1, name=charge.name, started=True)
        assert await worker.report(journal_pb2.Entry(step_scheduled=step)) == pb.TRANSITION_STATUS_COMMITTED
        return worker, run

    async def report(self, entry: journal_pb2.Entry) -> pb.TransitionStatus:
        """Reports an entry, as the next one after those that it knows."""
        entry.at.CopyFrom(self._scheduled_at.at)
        self._transitions += 1
        transition = pb.Transition(
            run_id=self._lease.run_id, epoch=self._lease.epoch, expected_seq=self._length,
            transition_id=self._transitions, entries=[entry], then=pb.THEN_CONTINUE,
        )  # fmt: skip
        self._length += 1
        request = pb.ReportRequest(
            session_id=self.session.session_id, attach_no=self.session.attach_no, transitions=[transition]
        )
        (result,) = (await self._stub.Report(request)).transitions
        status: pb.TransitionStatus = result.status
        return status

    async def report_the_result(self) -> pb.TransitionStatus:
        """Reports that the attempt has completed."""
        record = journal_pb2.AttemptRecord(
            attempt=1, outcome=ATTEMPT_OUTCOME_COMPLETED, session_id=self.session.session_id
        )
        for at in (record.scheduled_at, record.eligible_at, record.started_at, record.ended_at):
            at.CopyFrom(self._scheduled_at.at)
        return await self.report(journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=1, attempt=record)))


async def test_a_worker_that_paused_beyond_its_lease_leaves_a_late_result_below_its_lost_attempt(
    traced: Traced, client: Client, worker: WorkerFactory, queue: str
) -> None:
    paused, run = await ByHand.starting(traced.stub, client, queue)
    async with worker(workflows=[order]):
        assert await run.result(timeout=20) == "by the second worker"
    with pytest.raises(grpc.aio.AioRpcError, match="FAILED_PRECONDITION"):
        await paused.report_the_result()
    late, attempt, logged = await traced.late_result_of(run)
    assert (attempt.name, attempt.attributes["holdfast.attempt"]) == (f"attempt {charge.name}", 1)
    assert attempt.attributes["holdfast.attempt.outcome"] == "lost"
    assert (late.trace_id, late.kind, late.end_ns - late.start_ns) == (attempt.trace_id, "INTERNAL", 1)
    assert late.attributes["holdfast.attempt.outcome"] == "completed"
    assert late.attributes["holdfast.worker.id"] == logged["session_id"] == paused.session.session_id
    assert (logged["step"], logged["attempt"], logged["outcome"]) == (1, 1, "completed")
    assert (logged["trace_id"], logged["span_id"]) == (attempt.trace_id, attempt.span_id)


async def test_the_result_of_a_terminated_run_is_late(traced: Traced, client: Client, queue: str) -> None:
    worker, run = await ByHand.starting(traced.stub, client, queue)
    await run.terminate()
    assert await worker.report_the_result() == pb.TRANSITION_STATUS_SUPERSEDED
    late, attempt, logged = await traced.late_result_of(run)
    assert attempt.attributes["holdfast.attempt.outcome"] == "cancelled"
    assert late.start_ns >= attempt.end_ns
    assert logged["epoch"] == late.attributes["holdfast.lease.epoch"]
    close = pb.CloseSessionRequest(session_id=worker.session.session_id, attach_no=worker.session.attach_no)
    await traced.stub.CloseSession(close)
