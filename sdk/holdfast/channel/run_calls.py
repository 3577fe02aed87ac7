"""The rpcs of RunService as typed functions over plain records, repeated while the coordinator is away.

Decides nothing: batching and waiting are the client's.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1.run_service_pb2_grpc import RunServiceStub
from holdfast.channel import run_messages, trace_messages
from holdfast.channel.connection import Connection
from holdfast.channel.repeatable_calls import RETRY_FOR_SECONDS, UnaryMethod, call
from holdfast.channel.run_records import (
    ClosedRun,
    ExportedTrace,
    HistoryPage,
    RunFilter,
    RunRecord,
    RunRecordPage,
    StartedRun,
    StartOutcome,
    StartSpec,
    TraceSpan,
)
from holdfast.journal import Payload, TraceContext
from holdfast.wire.values import payload_from_message

Request = TypeVar("Request")
Response = TypeVar("Response")

WAIT_SECONDS = 30
_WAIT_SLACK_SECONDS = 10.0
EXPORT_SECONDS = 60.0
"""A long run is many batches, and its collector may be slow."""


class RunCalls:
    """RunService for one namespace. `retry_for`: how long a call is repeated, in seconds."""

    def __init__(self, connection: Connection, namespace: str, *, retry_for: float | None = RETRY_FOR_SECONDS) -> None:
        self._namespace = namespace
        self._connection = connection
        self._retry_for = retry_for
        self._stub = RunServiceStub(connection.channel)  # type: ignore[no-untyped-call]

    async def start_runs(self, starts: Sequence[StartSpec]) -> list[StartOutcome]:
        """Starts runs; a run or a typed error for each, in order."""
        request = run_messages.start_runs_request(self._namespace, starts)
        response: pb.StartRunsResponse = await self._call(self._stub.StartRuns, request)
        return run_messages.start_outcomes(response)

    async def get_run(self, run: str) -> RunRecord:
        """What is known of a run. Raises RunNotFound."""
        request = pb.GetRunRequest(namespace=self._namespace, run=run)
        response: pb.GetRunResponse = await self._call(self._stub.GetRun, request)
        return run_messages.run_record(response.run)

    async def list_runs(self, which: RunFilter, *, page_size: int, cursor: str = "") -> RunRecordPage:
        """A page of runs, newest first, without arguments and results."""
        request = run_messages.list_runs_request(self._namespace, which, page_size=page_size, cursor=cursor)
        response: pb.ListRunsResponse = await self._call(self._stub.ListRuns, request)
        return run_messages.run_record_page(response)

    async def wait_runs(self, run_ids: Collection[str]) -> list[ClosedRun]:
        """Those of the runs that are closed, once there are any; empty when the wait has passed.

        Repeated without end while the coordinator is away: who waits for days outlives its restarts.
        Raises RunNotFound, naming one of the runs.
        """
        self._connection.check_loop()
        request = run_messages.wait_runs_request(self._namespace, run_ids, wait_seconds=WAIT_SECONDS)
        response: pb.WaitRunsResponse = await call(
            self._stub.WaitRuns,
            request,
            address=self._connection.address,
            attempt_seconds=WAIT_SECONDS + _WAIT_SLACK_SECONDS,
            retry_for=None,
        )
        return run_messages.closed_runs(response)

    async def closed_runs(self, run_ids: Collection[str]) -> list[ClosedRun]:
        """Those of the runs that are closed now. Raises RunNotFound, naming one of the runs."""
        request = run_messages.wait_runs_request(self._namespace, run_ids, wait_seconds=0)
        response: pb.WaitRunsResponse = await self._call(self._stub.WaitRuns, request)
        return run_messages.closed_runs(response)

    async def get_history(self, run: str, *, after: int = 0) -> HistoryPage:
        """A page of a journal: the entries after number `after`. Raises RunNotFound."""
        request = pb.GetHistoryRequest(namespace=self._namespace, run=run, after=after)
        response: pb.GetHistoryResponse = await self._call(self._stub.GetHistory, request)
        return run_messages.journal_page(response)

    async def get_published(self, run: str, key: str) -> Payload:
        """What the run has published last under the key. Raises RunNotFound, KeyNotPublished."""
        request = pb.GetPublishedRequest(namespace=self._namespace, run=run, key=key)
        response: pb.GetPublishedResponse = await self._call(self._stub.GetPublished, request)
        return payload_from_message(response.value)

    async def signal(
        self,
        run: str,
        name: str,
        payload: Payload | None,
        *,
        request_id: str,
        once: bool,
        trace: TraceContext | None = None,
    ) -> bool:
        """True when the signal was recorded, False when `once` was asked and it was not the first."""
        request = run_messages.signal_run_request(
            self._namespace, run, name, payload, request_id=request_id, once=once, trace=trace
        )
        response: pb.SignalRunResponse = await self._call(self._stub.SignalRun, request)
        return response.accepted

    async def deliver(
        self, token: str, payload: Payload | None, *, request_id: str, trace: TraceContext | None = None
    ) -> None:
        """Delivers to the hook of this token."""
        request = run_messages.deliver_hook_request(token, payload, request_id=request_id, trace=trace)
        await self._call(self._stub.DeliverHook, request)

    async def cancel(self, run: str, reason: str, *, request_id: str) -> bool:
        """False when the run was already closed."""
        request = pb.CancelRunRequest(namespace=self._namespace, run=run, reason=reason, request_id=request_id)
        response: pb.CancelRunResponse = await self._call(self._stub.CancelRun, request)
        return response.accepted

    async def terminate(self, run: str, reason: str, *, request_id: str) -> bool:
        """False when the run was already closed."""
        request = pb.TerminateRunRequest(namespace=self._namespace, run=run, reason=reason, request_id=request_id)
        response: pb.TerminateRunResponse = await self._call(self._stub.TerminateRun, request)
        return response.accepted

    async def retry(self, run: str, *, start_id: str, again: Iterable[str] = ()) -> StartedRun:
        """The new run that continues this one. again: step ids of steps that run again. Raises RunNotRetryable."""
        request = pb.RetryRunRequest(namespace=self._namespace, run=run, start_id=start_id, again=again)
        response: pb.RetryRunResponse = await self._call(self._stub.RetryRun, request)
        return run_messages.started_run(response.run)

    async def resume(self, run: str, *, request_id: str) -> None:
        """Offers a stalled run to workers again. Raises RunNotStalled."""
        request = pb.ResumeRunRequest(namespace=self._namespace, run=run, request_id=request_id)
        await self._call(self._stub.ResumeRun, request)

    async def get_trace(self, run: str) -> list[TraceSpan]:
        """All spans of a run that have ended, in the order in which they did. Raises RunNotFound."""
        spans: list[TraceSpan] = []
        more = True
        while more:
            request = pb.GetTraceRequest(namespace=self._namespace, run=run, after=len(spans))
            response: pb.GetTraceResponse = await self._call(self._stub.GetTrace, request)
            spans += map(trace_messages.trace_span, response.spans)
            more = response.more and bool(response.spans)
        return spans

    async def export_trace(self, run: str) -> ExportedTrace:
        """Has the coordinator export all spans of a run. Raises RunNotFound, TracingOff, CollectorUnavailable,
        CollectorRefused."""
        self._connection.check_loop()
        response: pb.ExportTraceResponse = await call(
            self._stub.ExportTrace,
            pb.ExportTraceRequest(namespace=self._namespace, run=run),
            address=self._connection.address,
            attempt_seconds=EXPORT_SECONDS,
            retry_for=EXPORT_SECONDS,
        )
        return ExportedTrace(response.spans, response.collector)

    async def _call(self, method: UnaryMethod[Request, Response], request: Request) -> Response:
        self._connection.check_loop()
        return await call(method, request, address=self._connection.address, retry_for=self._retry_for)
