"""Requests and answers of RunService as protobuf messages. Nothing here decides or checks anything."""

from collections.abc import Iterable

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.channel.refusals import error_of
from holdfast.channel.run_records import (
    ClosedRun,
    HistoryPage,
    OnConflict,
    Reuse,
    RunFilter,
    RunRecord,
    RunRecordPage,
    StartedRun,
    StartOutcome,
    StartSpec,
)
from holdfast.journal import Payload, TraceContext
from holdfast.wire import entry_from_message
from holdfast.wire.values import (
    arguments_from_message,
    failure_of,
    result_of,
    set_span,
    set_time,
    status_of_number,
    time_from,
    write_arguments,
    write_payload,
    write_trace,
)

_ON_CONFLICT: dict[OnConflict, pb.ConflictPolicy] = {
    "attach": pb.CONFLICT_POLICY_ATTACH,
    "reject": pb.CONFLICT_POLICY_REJECT,
    "terminate": pb.CONFLICT_POLICY_TERMINATE,
}
_REUSE: dict[Reuse, pb.ReusePolicy] = {
    "attach": pb.REUSE_POLICY_ATTACH,
    "new": pb.REUSE_POLICY_NEW,
    "retry_failed": pb.REUSE_POLICY_RETRY_FAILED,
}


def start_runs_request(namespace: str, starts: Iterable[StartSpec]) -> pb.StartRunsRequest:
    request = pb.StartRunsRequest(namespace=namespace)
    add = request.starts.add
    for start in starts:
        _write_start(add(), start)
    return request


def _write_start(message: pb.StartSpec, start: StartSpec) -> None:
    message.start_id = start.start_id
    message.workflow = start.workflow
    write_arguments(message.arguments, start.arguments)
    if start.id:
        message.id = start.id
    if start.idempotency_key:
        message.idempotency_key = start.idempotency_key
    if start.queue:
        message.queue = start.queue
    if start.priority:
        message.priority = start.priority
    if start.delay is not None:
        set_span(message.delay, start.delay)
    if start.max_duration is not None:
        set_span(message.max_duration, start.max_duration)
    if start.metadata:
        message.metadata.update(start.metadata)
    if start.on_conflict != "attach":
        message.on_conflict = _ON_CONFLICT[start.on_conflict]
    if start.reuse != "attach":
        message.reuse = _REUSE[start.reuse]
    if start.trace is not None:
        write_trace(message.trace, start.trace)
    if start.join_trace:
        message.join_trace = True
    if start.sampled is not None:
        message.sampled = start.sampled


def start_outcomes(response: pb.StartRunsResponse) -> list[StartOutcome]:
    """A run or a typed error for each start, in the order of the request."""
    return [_start_outcome(outcome) for outcome in response.outcomes]


def _start_outcome(message: pb.StartOutcome) -> StartOutcome:
    if message.HasField("run"):
        return started_run(message.run)
    refusal = message.refusal
    return error_of(refusal.reason, refusal.message, dict(refusal.metadata))


def started_run(message: pb.StartedRun) -> StartedRun:
    return StartedRun(message.run_id, message.id, message.attached)


def run_record(message: pb.RunDescription) -> RunRecord:
    return RunRecord(
        run_id=message.run_id,
        id=message.id,
        workflow=message.workflow,
        status=status_of_number(message.status),
        reason=message.reason,
        current_step=message.current_step,
        queue=message.queue,
        created_at=time_from(message.created_at),
        updated_at=time_from(message.updated_at),
        closed_at=time_from(message.closed_at) if message.HasField("closed_at") else None,
        arguments=arguments_from_message(message.arguments),
        result=result_of(message),
        failure=failure_of(message),
        metadata=dict(message.metadata),
        origin_run_id=message.origin_run_id,
        parent_run_id=message.parent_run_id,
        session_id=message.session_id,
        journal_length=message.journal_length,
        losses=message.losses,
        undelivered=tuple(message.undelivered),
        progress=message.progress if message.HasField("progress") else None,
        chain_run_id=message.chain_run_id,
        warnings=tuple(message.warnings),
    )


def list_runs_request(namespace: str, which: RunFilter, *, page_size: int, cursor: str) -> pb.ListRunsRequest:
    request = pb.ListRunsRequest(
        namespace=namespace,
        workflow=which.workflow,
        statuses=[status.number for status in which.statuses],  # type: ignore[misc]  # the same numbers
        metadata=which.metadata,
        text=which.text,
        page_size=page_size,
        cursor=cursor,
        idempotency_key=which.idempotency_key,
        chain=which.chain,
    )
    if which.started_after is not None:
        set_time(request.started_after, which.started_after)
    if which.started_before is not None:
        set_time(request.started_before, which.started_before)
    return request


def run_record_page(response: pb.ListRunsResponse) -> RunRecordPage:
    return RunRecordPage(tuple(run_record(run) for run in response.runs), response.next_cursor)


def wait_runs_request(namespace: str, run_ids: Iterable[str], *, wait_seconds: int) -> pb.WaitRunsRequest:
    request = pb.WaitRunsRequest(namespace=namespace, run_ids=run_ids)
    request.wait.SetInParent()  # absent would mean 30 s
    request.wait.seconds = wait_seconds
    return request


def closed_runs(response: pb.WaitRunsResponse) -> list[ClosedRun]:
    return [
        ClosedRun(one.run_id, status_of_number(one.status), result_of(one), failure_of(one), one.newest_run_id)
        for one in response.closed
    ]


def journal_page(response: pb.GetHistoryResponse) -> HistoryPage:
    entries = []
    for row in response.rows:
        first = row.seq - len(row.entries) + 1
        for number, message in enumerate(row.entries, start=first):
            entries.append((number, row.epoch, entry_from_message(message)))
    return HistoryPage(tuple(entries), response.more, arguments_from_message(response.arguments))


def deliver_hook_request(
    token: str, payload: Payload | None, *, request_id: str, trace: TraceContext | None
) -> pb.DeliverHookRequest:
    request = pb.DeliverHookRequest(token=token, request_id=request_id)
    if payload is not None:
        write_payload(request.payload, payload)
    if trace is not None:
        write_trace(request.trace, trace)
    return request


def signal_run_request(
    namespace: str,
    run: str,
    name: str,
    payload: Payload | None,
    *,
    request_id: str,
    once: bool,
    trace: TraceContext | None,
) -> pb.SignalRunRequest:
    request = pb.SignalRunRequest(namespace=namespace, run=run, request_id=request_id, once=once)
    request.signal.name = name
    if payload is not None:
        write_payload(request.signal.payload, payload)
    if trace is not None:
        write_trace(request.trace, trace)
    return request
