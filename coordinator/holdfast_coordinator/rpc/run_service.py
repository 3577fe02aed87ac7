"""RunService: what clients use. See proto/holdfast/api/v1/run_service.proto for effects and refusals."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from grpc.aio import ServicerContext as Context

from holdfast.api.v1 import journal_pb2, run_service_pb2_grpc, value_pb2
from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.errors import (
    ArgumentsRejected,
    HoldfastError,
    InvalidRequest,
    KeyNotPublished,
    PayloadTooLarge,
    RunNotFound,
    TracingOff,
)
from holdfast.limits import AGAIN_MAX, REASON_MAX, STARTS_PER_CALL_MAX, WAITED_RUNS_MAX, Limits
from holdfast.statuses import RunStatus
from holdfast_coordinator.domain import commands
from holdfast_coordinator.domain.commands import RequestCancel, ResumeRun, SendSignal, StartRun, TerminateRun
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.domain.rows import JournalRow, OpenRun, RunState
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.wait_reasons import wait_reason
from holdfast_coordinator.store.port import RunView
from holdfast_coordinator.telemetry.run_spans import DEFAULT_RULES
from holdfast_coordinator.telemetry.spans import SpanRules
from holdfast_coordinator.wire.journals import StepsSeen, journal_message

from . import hook_calls
from .deadlines import seconds_left
from .fields import DEFAULT, INT64_MAX, name, shown, span, storable, whole
from .refusals import in_time, refusal_message, translated
from .run_messages import (
    closed_run,
    cursor_after,
    description,
    give_trace,
    is_failure_of_step,
    run_filter,
    set_progress,
    start_command,
    status_of,
    warnings_of,
)
from .run_traces import TraceExports, span_page
from .trace_metadata import checked_trace, trace_in_metadata
from .work_messages import Room

LOOKED_BACK_BYTES = 64 * 1024
"""How much of the end of a journal is read at once."""
LOOKED_BACK_PAGES = 16
"""How often it is read, at most, to find a step: what stands before that is not worth a database's time."""
WAIT_SECONDS = 30.0
WAIT_SECONDS_MAX = 60.0


class RunService(run_service_pb2_grpc.RunServiceServicer):
    """See the module. exports: None while tracing is off. rules: those by which spans are exported."""

    def __init__(
        self, engine: Engine, limits: Limits, *, exports: TraceExports | None = None, rules: SpanRules = DEFAULT_RULES
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._exports = exports
        self._rules = rules

    @translated
    @in_time
    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        (outcome,) = await self._start(request.namespace, [request.start], context)
        if isinstance(outcome, HoldfastError):
            raise outcome
        return pb.StartRunResponse(run=outcome)

    @translated
    @in_time
    async def StartRuns(self, request: pb.StartRunsRequest, context: Context) -> pb.StartRunsResponse:
        if len(request.starts) > STARTS_PER_CALL_MAX:
            raise InvalidRequest("starts", f"{len(request.starts)} runs; at most {STARTS_PER_CALL_MAX} in one call")
        outcomes = await self._start(request.namespace, request.starts, context)
        return pb.StartRunsResponse(
            outcomes=[
                pb.StartOutcome(refusal=refusal_message(outcome))
                if isinstance(outcome, HoldfastError)
                else pb.StartOutcome(run=outcome)
                for outcome in outcomes
            ]
        )

    @translated
    @in_time
    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        view = await self._view(request.namespace, request.run)
        message = description(view, whole=True)
        if not is_failure_of_step(message):
            steps = await self._steps_of(view)
            message.current_step = steps.open_step if view.open is not None else ""
            set_progress(message, steps.progress)
        if view.open is not None:
            message.reason = await self._reason(view.open)
            message.warnings.extend(warnings_of(view.open, self._limits))
        return pb.GetRunResponse(run=message)

    @translated
    @in_time
    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        wanted = run_filter(request)
        await self._engine.check_namespace(wanted.namespace)
        if wanted.chain is not None:
            run_id = await self._find(wanted.namespace, wanted.chain)
            wanted = replace(wanted, chain=await self._engine.chains.first_of(run_id))
        views = await self._engine.list_runs(wanted)
        runs = [description(view, whole=False) for view in views]
        steps = await self._steps_of_open([view.record.run_id for view in views if view.open is not None])
        for run in runs:
            seen = steps.get(run.run_id)
            if seen is not None:
                run.current_step = seen.open_step
                set_progress(run, seen.progress)
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
        went_on = [result.run_id for result in closed if result.status is RunStatus.CONTINUED_AS_NEW]
        newest = await self._engine.chains.newest_of(went_on) if went_on else {}
        messages = list(takewhile(room.takes, (closed_run(result, newest) for result in closed)))
        return pb.WaitRunsResponse(closed=messages)

    @translated
    @in_time
    async def GetHistory(self, request: pb.GetHistoryRequest, context: Context) -> pb.GetHistoryResponse:
        view = await self._view(request.namespace, request.run)
        run_id = view.record.run_id
        store = self._engine.cells.of_run(run_id).store.clients
        rows, more = await store.journal(
            run_id, whole("after", request.after, most=INT64_MAX), self._limits.journal_page_bytes
        )
        response = pb.GetHistoryResponse(rows=[journal_message(row) for row in rows], more=more)
        if not request.after:
            response.arguments.MergeFromString(view.record.arguments)
        return response

    @translated
    @in_time
    async def GetPublished(self, request: pb.GetPublishedRequest, context: Context) -> pb.GetPublishedResponse:
        run_id = await self._find(request.namespace, request.run)
        key = name("key", request.key)
        value = await self._engine.cells.of_run(run_id).store.clients.published_value(run_id, key)
        if value is None:
            raise KeyNotPublished(request.run, key)
        return pb.GetPublishedResponse(value=value_pb2.Payload.FromString(value))

    @translated
    @in_time
    async def SignalRun(self, request: pb.SignalRunRequest, context: Context) -> pb.SignalRunResponse:
        run_id = await self._find(request.namespace, request.run)
        size = request.signal.ByteSize()
        if size > self._limits.payload_bytes:
            raise PayloadTooLarge("the signal", size_bytes=size, limit_bytes=self._limits.payload_bytes)
        signal = request.signal
        payload = signal.payload.SerializeToString() if signal.HasField("payload") else b""
        mail = SignalMail(name("signal.name", signal.name), payload)
        request_id, sender = _request_id(request.request_id), _sender(request, context)
        problem = await self._problem(run_id, signal)
        accepted = await self._engine.steer(
            run_id,
            SendSignal(run_id, request_id, mail, request.once, sender, problem),
            seconds=seconds_left(context),
        )
        return pb.SignalRunResponse(accepted=accepted)

    @translated
    @in_time
    async def DeliverHook(self, request: pb.DeliverHookRequest, context: Context) -> pb.DeliverHookResponse:
        trace = _sender(request, context)
        await hook_calls.deliver(self._engine, request, trace, self._limits, seconds=seconds_left(context))
        return pb.DeliverHookResponse()

    @translated
    @in_time
    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        run_id = await self._find(request.namespace, request.run)
        command = RequestCancel(run_id, _request_id(request.request_id), _reason(request.reason))
        return pb.CancelRunResponse(accepted=await self._engine.steer(run_id, command, seconds=seconds_left(context)))

    @translated
    @in_time
    async def TerminateRun(self, request: pb.TerminateRunRequest, context: Context) -> pb.TerminateRunResponse:
        run_id = await self._find(request.namespace, request.run)
        command = TerminateRun(run_id, _request_id(request.request_id), _reason(request.reason))
        return pb.TerminateRunResponse(
            accepted=await self._engine.steer(run_id, command, seconds=seconds_left(context))
        )

    @translated
    @in_time
    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> pb.RetryRunResponse:
        view = await self._view(request.namespace, request.run)
        started = await self._engine.retry(
            view.record.run_id, request.start_id, by_id=request.run != view.record.run_id,
            seconds=seconds_left(context), status=status_of(view), again=_steps_again(request.again),
        )  # fmt: skip
        return pb.RetryRunResponse(run=_started(started, view.record.id or ""))

    @translated
    @in_time
    async def ResumeRun(self, request: pb.ResumeRunRequest, context: Context) -> pb.ResumeRunResponse:
        run_id = await self._find(request.namespace, request.run)
        await self._engine.steer(
            run_id, ResumeRun(run_id, _request_id(request.request_id)), seconds=seconds_left(context)
        )
        return pb.ResumeRunResponse()

    @translated
    @in_time
    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        record = (await self._view(request.namespace, request.run)).record
        store, page_bytes = self._engine.cells.of_run(record.run_id).store.clients, self._limits.journal_page_bytes
        spans, more = await span_page(
            store, record, self._rules, after=whole("after", request.after), page_bytes=page_bytes
        )
        return pb.GetTraceResponse(spans=spans, more=more)

    @translated
    async def ExportTrace(self, request: pb.ExportTraceRequest, context: Context) -> pb.ExportTraceResponse:
        record = (await self._view(request.namespace, request.run)).record
        if self._exports is None:
            raise TracingOff
        count = await self._exports.export(record)
        return pb.ExportTraceResponse(spans=count, collector=self._exports.collector)

    # Details

    async def _start(
        self, namespace: str, specs: Sequence[pb.StartSpec], context: Context
    ) -> list[pb.StartedRun | HoldfastError]:
        """Checks and starts; what does not fit is refused by itself."""
        namespace = namespace or DEFAULT
        await self._engine.check_namespace(namespace)
        outcomes: list[Started | HoldfastError | None] = []
        starts: list[StartRun] = []
        origins = self._engine.origins
        of_call = None if origins is None else trace_in_metadata(context.invocation_metadata())
        for spec in specs:
            try:
                workflow = name("workflow", spec.workflow)
                start = await self._checked_start(namespace, spec, workflow)
                if origins is not None:
                    caller = checked_trace(spec.trace) if spec.HasField("trace") else of_call
                    give_trace(start, spec, origins, caller)
                starts.append(start)
                outcomes.append(None)
            except HoldfastError as error:
                outcomes.append(error)
        started = iter(await self._engine.start_runs(starts, seconds=seconds_left(context)))
        settled = [outcome if outcome is not None else next(started) for outcome in outcomes]
        ids = {start.run_id: start.id or "" for start in starts}
        if joined := [one.run_id for one in settled if isinstance(one, Started) and one.attached]:
            # A key may lead to a run with another id than the start has.
            ids |= {run_id: record.id or "" for run_id, record in (await self._engine.records.of(joined)).items()}
        return [_started(one, ids.get(one.run_id, "")) if isinstance(one, Started) else one for one in settled]

    async def _checked_start(self, namespace: str, spec: pb.StartSpec, workflow: str) -> commands.StartRun:
        """The command of a start. Raises what `start_command` raises, also by what other replicas registered."""
        registry, queue = self._engine.registry, spec.queue or DEFAULT
        signatures = await registry.signatures(namespace, queue, workflow)
        try:
            return start_command(namespace, spec, signatures, self._engine.cells, self._limits)
        except ArgumentsRejected:
            await registry.refresh()
            if registry.known(namespace, workflow) == signatures:
                raise
            signatures = await registry.signatures(namespace, queue, workflow)
            return start_command(namespace, spec, signatures, self._engine.cells, self._limits)

    async def _problem(self, run_id: str, signal: journal_pb2.Signal) -> HoldfastError | None:
        """Why the run could not take this signal."""
        record = (await self._engine.records.of([run_id]))[run_id]
        data = signal.payload.data if signal.HasField("payload") else b"null"
        return await self._engine.signal_checks.problem(record, signal.name, data, shown(signal.payload.encoding))

    async def _find(self, namespace: str, run: str) -> str:
        namespace = namespace or DEFAULT
        await self._engine.check_namespace(namespace)
        if not run:
            raise InvalidRequest("run", "is empty; give a run id or a business id")
        return await self._engine.cells.find_run(namespace, storable("run", run))

    async def _view(self, namespace: str, run: str) -> RunView:
        run_id = await self._find(namespace, run)
        view = await self._engine.cells.of_run(run_id).store.clients.view(namespace or DEFAULT, run_id)
        if view is None:
            raise RunNotFound(run, namespace=namespace or DEFAULT)
        return view

    async def _reason(self, run: OpenRun) -> str:
        """Why the run does not move. Who could move it is asked only where that is the question."""
        if run.state not in (RunState.READY, RunState.SUSPENDED):
            return wait_reason(run, (), None)
        step = await self._engine.cells.of_run(run.run_id).store.clients.queued_step(run.run_id)
        return wait_reason(run, await self._engine.control.sessions(run.namespace), step)

    async def _steps_of_open(self, run_ids: Sequence[str]) -> dict[str, StepsSeen]:
        """As far as the last rows of each journal show it: a listing reads no journals."""
        rows: dict[str, list[JournalRow]] = {}
        for cell, ids in self._engine.cells.by_cell(run_ids):
            for row in await cell.store.clients.newest_rows(ids):
                rows.setdefault(row.run_id, []).append(row)
        steps = {run_id: StepsSeen() for run_id in rows}
        for run_id, found in rows.items():
            steps[run_id].look(reversed(found))
        return steps

    async def _steps_of(self, view: RunView) -> StepsSeen:
        """What the end of the journal shows. It is read on only where an open step may be found further back."""
        run, seen = view.open, StepsSeen()
        # A holder says of a run that it gives back what its code waits for, steps first. Without one its journal would
        # be read to its beginning.
        is_waiting = run is not None and run.state is RunState.SUSPENDED and "step " not in (run.waits or "")
        store = self._engine.cells.of_run(view.record.run_id).store.clients
        before = (view.closed_length if run is None else run.length) + 1
        for _ in range(1 if run is None or is_waiting else LOOKED_BACK_PAGES):
            rows, more = await store.journal_before(view.record.run_id, before, LOOKED_BACK_BYTES)
            if seen.look(rows) or not more:
                break
            before = rows[-1].seq
        return seen


def _started(outcome: Started, business_id: str) -> pb.StartedRun:
    return pb.StartedRun(run_id=outcome.run_id, id=business_id, attached=outcome.attached)


def _sender(request: pb.SignalRunRequest | pb.DeliverHookRequest, context: Context) -> bytes:
    """Where the sender of a signal is in a trace. Without its baggage: a run keeps that of its start."""
    if request.HasField("trace"):
        caller = checked_trace(request.trace)
    else:
        caller = trace_in_metadata(context.invocation_metadata())
    if caller is None:
        return b""
    return value_pb2.TraceContext(traceparent=caller.traceparent, tracestate=caller.tracestate).SerializeToString()


def _steps_again(step_ids: Sequence[str]) -> tuple[str, ...]:
    if len(step_ids) > AGAIN_MAX:
        raise InvalidRequest("again", f"has {len(step_ids):,} step ids, the limit is {AGAIN_MAX:,}")
    return tuple(name("again", one) for one in step_ids)


def _request_id(text: str) -> str:
    return name("request_id", text) if text else ""


def _reason(text: str) -> str:
    if len(text) > REASON_MAX:
        raise InvalidRequest("reason", f"has {len(text)} characters, the limit is {REASON_MAX:,}")
    return text
