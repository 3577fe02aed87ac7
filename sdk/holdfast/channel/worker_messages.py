"""The messages of WorkerService as the records of `leases`, both ways. Nothing here decides or checks anything.

Hot path: see `wire.values` for how messages are filled.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from holdfast.api.v1 import journal_pb2
from holdfast.api.v1 import worker_service_pb2 as pb
from holdfast.channel.leases import (
    AttemptReport,
    AttemptReportResult,
    Held,
    Introduction,
    JournalBeginning,
    JournalPage,
    Lease,
    Notice,
    OpenedSession,
    ProgressReport,
    ProgressResult,
    Pulse,
    QueuedAttempt,
    ReportAnswer,
    Row,
    Transition,
    TransitionResult,
    Work,
)
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import TransitionStatus
from holdfast.wire import (
    arguments_from_message,
    entry_from_message,
    mails_from_messages,
    payload_from_message,
    retry_from_message,
    run_trace_from_message,
    set_span,
    span_from,
    time_from,
    trace_from_message,
    write_attempt,
    write_entries,
    write_payload,
)

_STATUSES: tuple[TransitionStatus | None, ...] = (None, *TransitionStatus)


def write_held(messages: Any, held: Iterable[Held]) -> None:
    """Appends what is held to a repeated field."""
    add = messages.add
    for one in held:
        add(run_id=one.run_id, step=one.step, epoch=one.epoch, mail_seen=one.mail_seen)


def held_from(messages: Iterable[pb.Held]) -> tuple[Held, ...]:
    return tuple([Held(one.run_id, one.step, one.epoch) for one in messages])


# Sessions


def open_session_request(introduction: Introduction, session_id: str, held: Iterable[Held]) -> pb.OpenSessionRequest:
    """session_id: of the session to attach again; "" opens a new one."""
    request = pb.OpenSessionRequest(
        namespace=introduction.namespace,
        session_id=session_id,
        queue=introduction.queue,
        steps=introduction.steps,
        build=introduction.build,
        host=introduction.host,
        pid=introduction.pid,
        slots=introduction.slots,
        runs_max=introduction.runs_max,
        encodings=introduction.encodings,
    )
    for workflow in introduction.workflows:
        message = request.workflows.add(
            name=workflow.name,
            extra_positional=workflow.extra_positional,
            extra_named=workflow.extra_named,
            id_template=workflow.id_template,
        )
        for parameter in workflow.parameters:
            message.parameters.add(
                name=parameter.name,
                required=parameter.required,
                kind=parameter.kind.value,
                default_sha256=parameter.default_sha256,
                type=parameter.type,
            )
    write_held(request.held, held)
    return request


def opened_session(response: pb.OpenSessionResponse) -> OpenedSession:
    return OpenedSession(
        session_id=response.session_id,
        attach_no=response.attach_no,
        ttl=span_from(response.ttl),
        heartbeat_interval=span_from(response.heartbeat_interval),
        poll_wait=span_from(response.poll_wait),
        database_time=time_from(response.database_time),
        limits=_limits(response.limits) if response.HasField("limits") else DEFAULT_LIMITS,
        ended=held_from(response.ended),
        address=response.address,
    )


def _limits(message: pb.Limits) -> Limits:
    return Limits(
        payload_bytes=message.payload_bytes or DEFAULT_LIMITS.payload_bytes,
        error_text_bytes=message.error_text_bytes or DEFAULT_LIMITS.error_text_bytes,
        transition_bytes=message.transition_bytes or DEFAULT_LIMITS.transition_bytes,
        message_bytes=message.message_bytes or DEFAULT_LIMITS.message_bytes,
        journal_entries=message.journal_entries or DEFAULT_LIMITS.journal_entries,
        journal_entries_warn=message.journal_entries_warn or DEFAULT_LIMITS.journal_entries_warn,
        journal_bytes=message.journal_bytes or DEFAULT_LIMITS.journal_bytes,
        journal_bytes_warn=message.journal_bytes_warn or DEFAULT_LIMITS.journal_bytes_warn,
    )


def heartbeat_request(
    session_id: str,
    attach_no: int,
    msg_no: int,
    held: Iterable[Held],
    *,
    loop_lag: timedelta,
    draining: bool,
    given_up: Iterable[Held] = (),
    lost: Iterable[Held] = (),
) -> pb.HeartbeatRequest:
    request = pb.HeartbeatRequest(session_id=session_id, attach_no=attach_no, msg_no=msg_no, draining=draining)
    set_span(request.loop_lag, loop_lag)
    write_held(request.held, held)
    write_held(request.given_up, given_up)
    write_held(request.lost, lost)
    return request


def vouching_request(session_id: str, attach_no: int) -> bytes:
    """A heartbeat that is sent in the worker's place, without its msg_no: see MSG_NO_TAG."""
    return pb.HeartbeatRequest(session_id=session_id, attach_no=attach_no, vouched=True).SerializeToString()


MSG_NO_TAG = pb.HeartbeatRequest.MSG_NO_FIELD_NUMBER << 3
"""What stands before the msg_no in the bytes of a heartbeat."""


def close_session_request(session_id: str, attach_no: int, lost: Iterable[Held]) -> pb.CloseSessionRequest:
    request = pb.CloseSessionRequest(session_id=session_id, attach_no=attach_no)
    write_held(request.lost, lost)
    return request


def pulse(response: pb.HeartbeatResponse) -> Pulse:
    return Pulse(time_from(response.database_time), held_from(response.ended))


# Work


def poll_request(
    session_id: str, attach_no: int, msg_no: int, *, free_slots: int, free_runs: int, received: Iterable[Held]
) -> pb.WorkRequest:
    """A poll as a message of the stream; its `poll` is that of the unary call."""
    request = pb.WorkRequest()
    message = request.poll
    message.session_id = session_id
    message.attach_no = attach_no
    message.msg_no = msg_no
    message.free_slots = free_slots
    message.free_runs = free_runs
    write_held(message.received, received)
    return request


def work(response: pb.PollResponse) -> Work:
    return Work(
        tuple([_lease(one) for one in response.leases]),
        tuple([_queued_attempt(one) for one in response.attempts]),
        tuple([_notice(one) for one in response.notices]),
    )


def _lease(message: pb.Lease) -> Lease:
    return Lease(
        run_id=message.run_id,
        epoch=message.epoch,
        workflow=message.workflow,
        journal_length=message.journal_length,
        arguments=arguments_from_message(message.arguments) if message.HasField("arguments") else None,
        rows=rows_from(message.rows),
        mail=tuple(mails_from_messages(message.mail)) if message.mail else (),
        id=message.id,
        queue=message.queue or "default",
        parent_run_id=message.parent_run_id,
        created_at=time_from(message.created_at) if message.HasField("created_at") else None,
        metadata=dict(message.metadata) if message.metadata else {},
        trace=run_trace_from_message(message.trace) if message.HasField("trace") else None,
        after_loss=message.after_loss,
        after_timeout=message.after_timeout,
        lost_session_id=message.lost_session_id,
        handed_back=message.handed_back,
        mail_taken=message.mail_taken,
        attach_no=message.attach_no,
        progress={one.step: payload_from_message(one.details) for one in message.progress} if message.progress else {},
    )


def _queued_attempt(message: pb.QueuedAttempt) -> QueuedAttempt:
    return QueuedAttempt(
        run_id=message.run_id,
        step=message.step,
        attempt=message.attempt,
        epoch=message.epoch,
        name=message.name,
        arguments=arguments_from_message(message.arguments),
        workflow=message.workflow,
        scheduled_at=time_from(message.scheduled_at),
        eligible_at=time_from(message.eligible_at),
        started_at=time_from(message.started_at),
        timeout=span_from(message.timeout) if message.HasField("timeout") else None,
        retry=retry_from_message(message.retry) if message.HasField("retry") else None,
        failures=message.failures,
        step_id=message.step_id,
        trace=trace_from_message(message.trace) if message.HasField("trace") else None,
        attach_no=message.attach_no,
        seed=message.seed,
        saved=payload_from_message(message.saved) if message.HasField("saved") else None,
    )


def _notice(message: pb.Notice) -> Notice:
    held = message.held
    return Notice(
        Held(held.run_id, held.step, held.epoch),
        tuple(mails_from_messages(message.mail)),
        message.ended,
        message.cancelled,
    )


def rows_from(messages: Iterable[journal_pb2.JournalRow]) -> tuple[Row, ...]:
    """Raises ValueError for an entry of a kind that this SDK does not know."""
    return tuple([Row(one.seq, one.epoch, tuple(map(entry_from_message, one.entries))) for one in messages])


def journal_page(response: pb.ReadJournalResponse) -> JournalPage:
    return JournalPage(
        rows_from(response.rows),
        response.more,
        arguments_from_message(response.arguments) if response.HasField("arguments") else None,
    )


def read_journals_request(session_id: str, attach_no: int, leases: Iterable[Lease]) -> pb.ReadJournalsRequest:
    request = pb.ReadJournalsRequest(session_id=session_id, attach_no=attach_no)
    for lease in leases:
        request.leases.add(run_id=lease.run_id, epoch=lease.epoch)
    return request


def journal_beginnings(response: pb.ReadJournalsResponse) -> tuple[JournalBeginning, ...]:
    return tuple(map(_journal_beginning, response.journals))


def _journal_beginning(message: pb.JournalBeginning) -> JournalBeginning:
    try:
        rows = rows_from(message.rows)
    except ValueError:
        rows = ()  # read alone, it says what is wrong with it, and its neighbours are read
    return JournalBeginning(message.run_id, message.epoch, rows, message.more)


# Reports


def report_request(
    session_id: str,
    attach_no: int,
    transitions: Iterable[Transition],
    attempts: Iterable[AttemptReport],
) -> pb.WorkRequest:
    """A report as a message of the stream; its `report` is that of the unary call."""
    request = pb.WorkRequest()
    report = request.report
    report.session_id = session_id
    report.attach_no = attach_no
    for transition in transitions:
        message = report.transitions.add()
        message.run_id = transition.run_id
        message.epoch = transition.epoch
        message.expected_seq = transition.expected_seq
        message.transition_id = transition.transition_id
        message.mail_seen = transition.mail_seen
        message.then = transition.then  # type: ignore[assignment]  # the same numbers
        write_entries(message.entries, transition.entries)
        if transition.attempt_deadline is not None:
            set_span(message.attempt_deadline, transition.attempt_deadline)
        if transition.waits:
            message.waits.extend(transition.waits)
    for attempt in attempts:
        _write_attempt_report(report.attempts.add(), attempt)
    return request


def _write_attempt_report(message: pb.AttemptReport, report: AttemptReport) -> None:
    message.run_id = report.run_id
    message.step = report.step
    message.attempt = report.attempt
    message.epoch = report.epoch
    write_attempt(message.record, report.record)
    if report.result is not None:
        write_payload(message.result, report.result)
        message.result.SetInParent()


def progress_request(session_id: str, attach_no: int, progress: Iterable[ProgressReport]) -> pb.SaveProgressRequest:
    request = pb.SaveProgressRequest(session_id=session_id, attach_no=attach_no)
    for one in progress:
        message = request.progress.add(
            run_id=one.run_id, step=one.step, attempt=one.attempt, epoch=one.epoch, queued=one.is_queued
        )
        write_payload(message.details, one.details)
        message.details.SetInParent()
    return request


def progress_results(response: pb.SaveProgressResponse) -> tuple[ProgressResult, ...]:
    return tuple([ProgressResult(one.run_id, one.step, one.saved, one.refusal, one.busy) for one in response.results])


def report_answer(response: pb.ReportResponse) -> ReportAnswer:
    return ReportAnswer(
        tuple([_transition_result(one) for one in response.transitions]),
        tuple(
            [
                AttemptReportResult(one.run_id, one.step, one.recorded, one.refusal, one.busy)
                for one in response.attempts
            ]
        ),
    )


def _transition_result(message: pb.TransitionResult) -> TransitionResult:
    number = message.status
    status = _STATUSES[number] if 0 < number < len(_STATUSES) else None
    if status is None:
        raise ValueError(f"{number} is not the number of a transition status")
    mail = message.mail
    return TransitionResult(message.run_id, status, tuple(mails_from_messages(mail)) if mail else (), message.refusal)
