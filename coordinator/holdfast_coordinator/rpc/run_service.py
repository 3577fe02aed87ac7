"""RunService: what clients use. See proto/holdfast/api/v1/run_service.proto for effects and refusals."""

from collections.abc import Sequence
from itertools import takewhile

from grpc.aio import ServicerContext as Context

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1 import run_service_pb2_grpc
from holdfast.errors import HoldfastError, InvalidRequest, PayloadTooLarge, RunNotFound, RunNotRetryable
from holdfast.limits import STARTS_PER_CALL_MAX, WAITED_RUNS_MAX, Limits
from holdfast_coordinator.domain.commands import RequestCancel, ResumeRun, SendSignal, StartRun, TerminateRun
from holdfast_coordinator.domain.rows import SignalMail
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.store.port import RunView
from holdfast_coordinator.wire.journals import open_steps

from .refusals import refusal_message, translated
from .run_wire import (
    DEFAULT,
    closed_run,
    cursor_after,
    description,
    name,
    run_filter,
    span,
    start_command,
    status_of,
    storable,
)
from .worker_wire import Room, journal_message

WAIT_SECONDS = 30.0
WAIT_SECONDS_MAX = 60.0


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """See the module."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits

    @translated
    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        (outcome,) = await self._start(request.namespace, [request.start])
        if isinstance(outcome, HoldfastError):
            raise outcome
        return pb.StartRunResponse(run=_started(outcome, request.start.id))

    @translated
    async def StartRuns(self, request: pb.StartRunsRequest, context: Context) -> pb.StartRunsResponse:
        if len(request.starts) > STARTS_PER_CALL_MAX:
            raise InvalidRequest("starts", f"{len(request.starts)} runs; at most {STARTS_PER_CALL_MAX} in one call")
        outcomes = await self._start(request.namespace, request.starts)
        return pb.StartRunsResponse(
            outcomes=[
                pb.StartOutcome(refusal=refusal_message(outcome))
                if isinstance(outcome, HoldfastError)
                else pb.StartOutcome(run=_started(outcome, spec.id))
                for spec, outcome in zip(request.starts, outcomes, strict=True)
            ]
        )

    @translated
    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        view = await self._view(request.namespace, request.run)
        message = description(view, whole=True)
        if view.open is not None:
            message.current_step = await self._current_step(view)
        return pb.GetRunResponse(run=message)

    @translated
    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        wanted = run_filter(request)
        await self._engine.check_namespace(wanted.namespace)
        views = await self._engine.list_runs(wanted)
        runs = [description(view, whole=False) for view in views]
        full = len(views) == wanted.limit
        return pb.ListRunsResponse(runs=runs, next_cursor=cursor_after(views[-1].record) if full else "")

    @translated
    async def WaitRuns(self, request: pb.WaitRunsRequest, context: Context) -> pb.WaitRunsResponse:
        if not 1 <= len(request.run_ids) <= WAITED_RUNS_MAX:
            raise InvalidRequest("run_ids", f"{len(request.run_ids)} runs; give 1 to {WAITED_RUNS_MAX}")
        namespace = request.namespace or DEFAULT
        await self._engine.check_namespace(namespace)
        seconds = span("wait", request.wait).total_seconds() if request.HasField("wait") else WAIT_SECONDS
        closed = await self._engine.wait_for(namespace, request.run_ids, min(seconds, WAIT_SECONDS_MAX))
        # What has no room is still waited for, and comes with the answer to the next call.
        room = Room(self._limits.message_bytes // 2)
        messages = list(takewhile(room.takes, map(closed_run, closed)))
        return pb.WaitRunsResponse(closed=messages)

    @translated
    async def GetHistory(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        view = await self._view(request.namespace, request.run)
        run_id = view.record.run_id
        store = self._engine.cells.of_run(run_id).store
        rows, more = await store.journal(run_id, request.after, self._limits.journal_page_bytes)
        response = pb.GetHistoryResponse(rows=[journal_message(row) for row in rows], more=more)
        if not request.after:
            response.arguments.MergeFromString(view.record.arguments)
        return response

    @translated
    async def SignalRun(self, request: pb.SignalRunRequest, context: Context) -> pb.SignalRunResponse:
        run_id = await self._find(request.namespace, request.run)
        size = request.signal.ByteSize()
        if size > self._limits.payload_bytes:
            raise PayloadTooLarge("the signal", size_bytes=size, limit_bytes=self._limits.payload_bytes)
        signal = request.signal
        payload = signal.payload.SerializeToString() if signal.HasField("payload") else b""
        mail = SignalMail(name("signal.name", signal.name), payload)
        trace = request.trace.SerializeToString() if request.HasField("trace") else b""
        accepted = await self._engine.steer(
            run_id, SendSignal(run_id, _request_id(request.request_id), mail, request.once, trace)
        )
        return pb.SignalRunResponse(accepted=accepted)

    @translated
    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        run_id = await self._find(request.namespace, request.run)
        command = RequestCancel(run_id, _request_id(request.request_id), _reason(request.reason))
        return pb.CancelRunResponse(accepted=await self._engine.steer(run_id, command))

    @translated
    async def TerminateRun(self, request: pb.TerminateRunRequest, context: Context) -> pb.TerminateRunResponse:
        run_id = await self._find(request.namespace, request.run)
        command = TerminateRun(run_id, _request_id(request.request_id), _reason(request.reason))
        return pb.TerminateRunResponse(accepted=await self._engine.steer(run_id, command))

    @translated
    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> pb.RetryRunResponse:
        view = await self._view(request.namespace, request.run)
        if view.result is None:
            raise RunNotRetryable(view.record.run_id, status_of(view))
        started = await self._engine.retry(view.record.run_id, request.start_id)
        return pb.RetryRunResponse(run=_started(started, view.record.id or ""))

    @translated
    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Context) -> pb.ResumeRunResponse:
        run_id = await self._find(request.namespace, request.run)
        await self._engine.steer(run_id, ResumeRun(run_id, _request_id(request.request_id)))
        return pb.ResumeRunResponse()

    # Details

    async def _start(self, namespace: str, specs: Sequence[pb.StartSpec]) -> list[Started | HoldfastError]:
        """Checks and starts; what does not fit is refused by itself."""
        namespace = namespace or DEFAULT
        await self._engine.check_namespace(namespace)
        outcomes: list[Started | HoldfastError | None] = []
        starts: list[StartRun] = []
        for spec in specs:
            try:
                workflow = name("workflow", spec.workflow)
                signature = await self._engine.registry.signature(namespace, spec.queue or DEFAULT, workflow)
                starts.append(start_command(namespace, spec, signature, self._engine.cells, self._limits))
                outcomes.append(None)
            except HoldfastError as error:
                outcomes.append(error)
        started = iter(await self._engine.start_runs(starts))
        return [outcome if outcome is not None else next(started) for outcome in outcomes]

    async def _find(self, namespace: str, run: str) -> str:
        namespace = namespace or DEFAULT
        await self._engine.check_namespace(namespace)
        if not run:
            raise InvalidRequest("run", "is empty; give a run id or a business id")
        return await self._engine.cells.find_run(namespace, storable("run", run))

    async def _view(self, namespace: str, run: str) -> RunView:
        run_id = await self._find(namespace, run)
        view = await self._engine.cells.of_run(run_id).store.view(namespace or DEFAULT, run_id)
        if view is None:
            raise RunNotFound(run, namespace=namespace or DEFAULT)
        return view

    async def _current_step(self, view: RunView) -> str:
        """The step that was scheduled last of those without a result."""
        store = self._engine.cells.of_run(view.record.run_id).store
        steps: dict[int, str] = {}
        after, more = 0, True
        while more:
            rows, more = await store.journal(view.record.run_id, after, self._limits.journal_page_bytes)
            steps = open_steps(rows, steps)
            after = rows[-1].seq if rows else after
        return next(reversed(steps.values()), "")


def _started(outcome: Started, business_id: str) -> pb.StartedRun:
    return pb.StartedRun(run_id=outcome.run_id, id=business_id, attached=outcome.attached)


def _request_id(text: str) -> str:
    return name("request_id", text) if text else ""


def _reason(text: str) -> str:
    if len(text) > 1_000:
        raise InvalidRequest("reason", f"has {len(text)} characters, the limit is 1,000")
    return text
