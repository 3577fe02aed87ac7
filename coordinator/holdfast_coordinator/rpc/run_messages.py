"""RunService messages to and from the engine's records. Bad values raise InvalidRequest naming the field."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from string import Formatter

from holdfast.api.v1 import run_service_pb2 as pb
from holdfast.api.v1 import value_pb2
from holdfast.errors import InvalidRequest, PayloadTooLarge
from holdfast.ids import business_id_problem, is_run_id
from holdfast.limits import METADATA_BYTES_MAX, METADATA_ENTRIES_MAX, Limits
from holdfast.statuses import RunStatus
from holdfast.wire import set_time
from holdfast_coordinator.domain.commands import OnConflict, Reuse, StartRun
from holdfast_coordinator.domain.hashed_calls import Signature, started_with
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, DeadLetter, OpenRun, RunResult, RunRow, RunState
from holdfast_coordinator.engine.cells import Cells
from holdfast_coordinator.engine.registry import fitting_signature
from holdfast_coordinator.store.port import RunSelection, RunView
from holdfast_coordinator.telemetry.identity import Origins
from holdfast_coordinator.wire.content_hashes import call_of_arguments
from holdfast_coordinator.wire.entries import failure_message, status_number

from .fields import DEFAULT, choice, moment, name, priority, span, storable, whole

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1_000
_ON_CONFLICT = {int(policy): policy for policy in OnConflict}
_REUSE = {int(policy): policy for policy in Reuse}
_STATUSES = {status.number: status for status in RunStatus}


def start_command(
    namespace: str, spec: pb.StartSpec, signatures: Sequence[Signature], cells: Cells, limits: Limits
) -> StartRun:
    """A start, checked. signatures: the known ones of the workflow, newest first; one of them has to fit.

    Raises InvalidRequest, ArgumentsRejected, PayloadTooLarge.
    """
    fitting = fitting_signature(
        spec.workflow,
        signatures,
        [_json_of(one) for one in spec.arguments.positional],
        {name: _json_of(one) for name, one in spec.arguments.named.items()},
    )
    business_id = spec.id or id_of_template(fitting, spec.arguments) or None
    if business_id is not None and (problem := business_id_problem(business_id)):
        raise InvalidRequest("id", f"{business_id[:50]!r} {problem}")
    digest = call_of_arguments(spec.arguments).digest()
    return StartRun(
        run_id=cells.new_run_id(spec.start_id, business_id),
        namespace=namespace,
        workflow=spec.workflow,
        queue=name("queue", spec.queue, default=DEFAULT),
        arguments=checked_arguments(spec.workflow, spec.arguments, limits),
        call_digest=digest,
        id=business_id,
        idempotency_key=name("idempotency_key", spec.idempotency_key) if spec.idempotency_key else None,
        priority=priority("priority", spec.priority),
        delay=span("delay", spec.delay) if spec.HasField("delay") else None,
        max_duration=span("max_duration", spec.max_duration) if spec.HasField("max_duration") else None,
        metadata=_metadata(spec),
        on_conflict=choice("on_conflict", spec.on_conflict, _ON_CONFLICT, default=OnConflict.ATTACH),
        reuse=choice("reuse", spec.reuse, _REUSE, default=Reuse.ATTACH),
        signatures=signatures,
        signature_digest=started_with(digest, signatures) if business_id or spec.idempotency_key else "",
    )


def _json_of(payload: value_pb2.Payload) -> bytes | None:
    return payload.data if payload.encoding in ("", "json") else None


def give_trace(start: StartRun, spec: pb.StartSpec, origins: Origins, caller: value_pb2.TraceContext | None) -> None:
    """Decides about the trace of a start. caller: where its caller is in a trace, if it is in one."""
    identity = origins.of_start(
        start.run_id,
        start.namespace,
        start.workflow,
        caller=caller,
        joins=spec.join_trace,
        sampled=spec.sampled if spec.HasField("sampled") else None,
    )
    start.trace, start.traced = identity.trace, identity.side


def checked_arguments(workflow: str, arguments: value_pb2.Arguments, limits: Limits) -> bytes:
    """The stored bytes of arguments. Raises PayloadTooLarge."""
    size = arguments.ByteSize()
    if size > limits.payload_bytes:
        raise PayloadTooLarge(
            f"the argument list of workflow {workflow}", size_bytes=size, limit_bytes=limits.payload_bytes
        )
    return arguments.SerializeToString()


def id_of_template(signature: Signature | None, arguments: value_pb2.Arguments) -> str:
    """The business id that the workflow's template makes of arguments; "" where it has none that can be filled here.

    Callers that have the workflow's code send the id. This is for those that name the workflow: a shell, another
    language. Only texts and whole numbers are filled in, for these look the same in every language.
    """
    template = signature.get("id_template", "") if signature is not None else ""
    if signature is None or not template:
        return ""
    names = [one["name"] for one in signature["parameters"] if one["kind"] != "named_only"]
    given = {**dict(zip(names, arguments.positional, strict=False)), **arguments.named}
    values = {}
    for _, field, _, _ in Formatter().parse(template):
        if field is None:
            continue
        value = _plain(given[field]) if field in given else None
        if value is None:
            return ""
        values[field] = value
    return str(template.format_map(values))


def _plain(payload: value_pb2.Payload) -> str | int | None:
    """A text or a whole number; None for everything else."""
    try:
        value = None if payload.encoding else json.loads(payload.data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _metadata(spec: pb.StartSpec) -> dict[str, str]:
    if not spec.metadata:
        return {}
    metadata = dict(spec.metadata)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if len(metadata) > METADATA_ENTRIES_MAX or size > METADATA_BYTES_MAX:
        raise InvalidRequest(
            "metadata",
            f"{len(metadata)} entries, {size} bytes; at most {METADATA_ENTRIES_MAX}, {METADATA_BYTES_MAX} bytes",
        )
    for text in (*metadata, *metadata.values()):
        storable("metadata", text)
    return metadata


def run_filter(request: pb.ListRunsRequest) -> RunSelection:
    """What a listing shows. Raises InvalidRequest."""
    whole("page_size", request.page_size, most=PAGE_SIZE_MAX)
    for field in ("workflow", "text", "idempotency_key", "chain"):
        storable(field, getattr(request, field))
    for text in (*request.metadata, *request.metadata.values()):
        storable("metadata", text)
    return RunSelection(
        namespace=request.namespace or DEFAULT,
        workflow=request.workflow or None,
        statuses=frozenset(choice("statuses", number, _STATUSES) for number in request.statuses if number),
        metadata=dict(request.metadata),
        started_after=moment("started_after", request.started_after) if request.HasField("started_after") else None,
        started_before=moment("started_before", request.started_before) if request.HasField("started_before") else None,
        text=request.text or None,
        idempotency_key=request.idempotency_key or None,
        chain=request.chain or None,
        before=_read_cursor(request.cursor) if request.cursor else None,
        limit=request.page_size or PAGE_SIZE,
    )


def cursor_after(record: RunRow) -> str:
    """The cursor of the page after this run."""
    text = f"{record.created_at.astimezone(UTC).isoformat()} {record.run_id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        at, _, run_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not is_run_id(run_id):
            raise ValueError(cursor)
        return moment, run_id
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("cursor", "is not a cursor of an earlier page") from error


def status_of(view: RunView) -> RunStatus:
    """Where a run is in its life, as users see it."""
    if view.result is not None:
        return view.result.status
    assert view.open is not None, f"run {view.record.run_id} is neither open nor closed"
    return open_status(view.open)


def open_status(run: OpenRun) -> RunStatus:
    """The status of an open run; until its first lease it is pending."""
    match run.state:
        case RunState.STALLED:
            return RunStatus.STALLED
        case RunState.PAUSED:
            return RunStatus.PAUSED
        case _ if run.epoch == 0:
            return RunStatus.PENDING
        case RunState.SUSPENDED:
            return RunStatus.SUSPENDED
        case _:
            return RunStatus.RUNNING


def description(view: RunView, *, whole: bool) -> pb.RunDescription:
    """A run as its description; arguments and results only when `whole`."""
    record, run, result = view.record, view.open, view.result
    message = pb.RunDescription(
        run_id=record.run_id,
        id=record.id or "",
        workflow=record.workflow,
        status=status_number(status_of(view)),
        queue=record.queue,
        metadata=dict(record.metadata),
        origin_run_id=record.origin_run_id or "",
        parent_run_id=record.parent_run_id or "",
        chain_run_id=record.chain_run_id or "",
    )
    set_time(message.created_at, record.created_at)
    if run is not None:
        set_time(message.updated_at, run.last_at)
        message.reason = run.stall_reason or ""
        message.session_id = run.owner or ""
        message.journal_length = run.length
        message.losses = run.losses
    message.undelivered.extend([*map(_dead_letter, view.dead_letters), *map(_failing, view.alarms_failing)])
    if result is not None:
        set_time(message.updated_at, result.closed_at)
        set_time(message.closed_at, result.closed_at)
        message.journal_length = view.closed_length
        if result.failure is not None:
            message.failure.CopyFrom(failure_message(result.failure))
            if is_failure_of_step(message):
                message.progress = message.failure.step.number - 1
    if whole:
        message.arguments.MergeFromString(record.arguments)
        if result is not None and result.result is not None:
            message.result.SetInParent()
            message.result.MergeFromString(result.result)
    return message


def warnings_of(run: OpenRun, limits: Limits) -> list[str]:
    """What is about to become a problem of an open run, one sentence each."""
    if run.length < limits.journal_entries_warn:
        return []
    text = f"its journal has {run.length:,} entries, and it fails at {limits.journal_entries:,}"
    return [f"{text}; let it go on as a new run with continue_as_new"]


def is_failure_of_step(message: pb.RunDescription) -> bool:
    """True of a run that a step of its own failed."""
    return message.failure.HasField("step") and not message.failure.child_run_id


def set_progress(message: pb.RunDescription, progress: int | None) -> None:
    """What is seen of how far a run has come; nothing where nothing is seen."""
    if progress is not None:
        message.progress = progress


_UNDELIVERED = {
    AlarmKind.OUTBOX_CHILD: "child {ref} was not started",
    AlarmKind.OUTBOX_CHILD_CLOSED: "its end did not reach its parent",
    AlarmKind.OUTBOX_CHILD_CANCEL: "child {ref} was not asked to end",
    AlarmKind.OUTBOX_CHILD_TERMINATE: "child {ref} was not terminated",
    AlarmKind.OUTBOX_CHILD_MAIL: "message {ref} did not reach a child",
    AlarmKind.TIMER: "timer {ref} did not fire",
    AlarmKind.RETRY: "step {ref} was not retried",
}


def _dead_letter(dead: DeadLetter) -> str:
    return f"{_undelivered(dead)}, given up after {dead.attempts} attempts: {dead.reason}"


def _failing(alarm: AlarmRow) -> str:
    again_at = alarm.due_at.astimezone(UTC).isoformat(sep=" ", timespec="seconds")
    return f"{_undelivered(alarm)}: attempt {alarm.attempts} failed, the next is at {again_at}"


def _undelivered(alarm: DeadLetter | AlarmRow) -> str:
    what = _UNDELIVERED.get(alarm.kind, f"its {alarm.kind.name.lower().replace('_', ' ')} alarm did not fire")
    return what.format(ref=alarm.ref)


def closed_run(result: RunResult, newest: Mapping[str, str]) -> pb.ClosedRun:
    """A closed run as its message. newest: of those that continued as new, the newest run of their chain."""
    message = pb.ClosedRun(
        run_id=result.run_id, status=status_number(result.status), newest_run_id=newest.get(result.run_id, "")
    )
    if result.result is not None:
        message.result.SetInParent()
        message.result.MergeFromString(result.result)
    if result.failure is not None:
        message.failure.CopyFrom(failure_message(result.failure))
    return message
