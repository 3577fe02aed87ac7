from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.api.v1 import journal_pb2 as _journal_pb2
from holdfast.api.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ParameterKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARAMETER_KIND_UNSPECIFIED: _ClassVar[ParameterKind]
    PARAMETER_KIND_EITHER: _ClassVar[ParameterKind]
    PARAMETER_KIND_POSITIONAL_ONLY: _ClassVar[ParameterKind]
    PARAMETER_KIND_NAMED_ONLY: _ClassVar[ParameterKind]

class Then(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    THEN_UNSPECIFIED: _ClassVar[Then]
    THEN_CONTINUE: _ClassVar[Then]
    THEN_SUSPEND: _ClassVar[Then]
    THEN_CLOSE: _ClassVar[Then]
    THEN_RELEASE: _ClassVar[Then]
    THEN_STALL: _ClassVar[Then]

class TransitionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSITION_STATUS_UNSPECIFIED: _ClassVar[TransitionStatus]
    TRANSITION_STATUS_COMMITTED: _ClassVar[TransitionStatus]
    TRANSITION_STATUS_COMMITTED_WITH_MAIL: _ClassVar[TransitionStatus]
    TRANSITION_STATUS_SUPERSEDED: _ClassVar[TransitionStatus]
    TRANSITION_STATUS_REFUSED: _ClassVar[TransitionStatus]
    TRANSITION_STATUS_BUSY: _ClassVar[TransitionStatus]
PARAMETER_KIND_UNSPECIFIED: ParameterKind
PARAMETER_KIND_EITHER: ParameterKind
PARAMETER_KIND_POSITIONAL_ONLY: ParameterKind
PARAMETER_KIND_NAMED_ONLY: ParameterKind
THEN_UNSPECIFIED: Then
THEN_CONTINUE: Then
THEN_SUSPEND: Then
THEN_CLOSE: Then
THEN_RELEASE: Then
THEN_STALL: Then
TRANSITION_STATUS_UNSPECIFIED: TransitionStatus
TRANSITION_STATUS_COMMITTED: TransitionStatus
TRANSITION_STATUS_COMMITTED_WITH_MAIL: TransitionStatus
TRANSITION_STATUS_SUPERSEDED: TransitionStatus
TRANSITION_STATUS_REFUSED: TransitionStatus
TRANSITION_STATUS_BUSY: TransitionStatus

class WorkflowRegistration(_message.Message):
    __slots__ = ("name", "parameters", "extra_positional", "extra_named", "id_template")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_POSITIONAL_FIELD_NUMBER: _ClassVar[int]
    EXTRA_NAMED_FIELD_NUMBER: _ClassVar[int]
    ID_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters: _containers.RepeatedCompositeFieldContainer[Parameter]
    extra_positional: bool
    extra_named: bool
    id_template: str
    def __init__(self, name: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[Parameter, _Mapping]]] = ..., extra_positional: bool = ..., extra_named: bool = ..., id_template: _Optional[str] = ...) -> None: ...

class Parameter(_message.Message):
    __slots__ = ("name", "required", "kind", "default_sha256", "type")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_SHA256_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    required: bool
    kind: ParameterKind
    default_sha256: bytes
    type: str
    def __init__(self, name: _Optional[str] = ..., required: bool = ..., kind: _Optional[_Union[ParameterKind, str]] = ..., default_sha256: _Optional[bytes] = ..., type: _Optional[str] = ...) -> None: ...

class SignalRegistration(_message.Message):
    __slots__ = ("workflow", "name", "type")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    name: str
    type: str
    def __init__(self, workflow: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class RegisterSignalsRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "signals")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    signals: _containers.RepeatedCompositeFieldContainer[SignalRegistration]
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., signals: _Optional[_Iterable[_Union[SignalRegistration, _Mapping]]] = ...) -> None: ...

class RegisterSignalsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Held(_message.Message):
    __slots__ = ("run_id", "step", "epoch", "mail_seen")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MAIL_SEEN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: int
    epoch: int
    mail_seen: int
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[int] = ..., epoch: _Optional[int] = ..., mail_seen: _Optional[int] = ...) -> None: ...

class OpenSessionRequest(_message.Message):
    __slots__ = ("namespace", "session_id", "queue", "workflows", "steps", "build", "host", "pid", "slots", "runs_max", "held", "encodings")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOWS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    RUNS_MAX_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    session_id: str
    queue: str
    workflows: _containers.RepeatedCompositeFieldContainer[WorkflowRegistration]
    steps: _containers.RepeatedScalarFieldContainer[str]
    build: str
    host: str
    pid: int
    slots: int
    runs_max: int
    held: _containers.RepeatedCompositeFieldContainer[Held]
    encodings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., session_id: _Optional[str] = ..., queue: _Optional[str] = ..., workflows: _Optional[_Iterable[_Union[WorkflowRegistration, _Mapping]]] = ..., steps: _Optional[_Iterable[str]] = ..., build: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., slots: _Optional[int] = ..., runs_max: _Optional[int] = ..., held: _Optional[_Iterable[_Union[Held, _Mapping]]] = ..., encodings: _Optional[_Iterable[str]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("payload_bytes", "error_text_bytes", "transition_bytes", "message_bytes", "journal_entries", "journal_entries_warn", "journal_bytes", "journal_bytes_warn")
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    ERROR_TEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_BYTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_ENTRIES_WARN_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BYTES_WARN_FIELD_NUMBER: _ClassVar[int]
    payload_bytes: int
    error_text_bytes: int
    transition_bytes: int
    message_bytes: int
    journal_entries: int
    journal_entries_warn: int
    journal_bytes: int
    journal_bytes_warn: int
    def __init__(self, payload_bytes: _Optional[int] = ..., error_text_bytes: _Optional[int] = ..., transition_bytes: _Optional[int] = ..., message_bytes: _Optional[int] = ..., journal_entries: _Optional[int] = ..., journal_entries_warn: _Optional[int] = ..., journal_bytes: _Optional[int] = ..., journal_bytes_warn: _Optional[int] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("session_id", "attach_no", "ttl", "heartbeat_interval", "poll_wait", "limits", "database_time", "ended", "address")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    POLL_WAIT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DATABASE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    ttl: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    poll_wait: _duration_pb2.Duration
    limits: Limits
    database_time: _timestamp_pb2.Timestamp
    ended: _containers.RepeatedCompositeFieldContainer[Held]
    address: str
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., ttl: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., poll_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., database_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Iterable[_Union[Held, _Mapping]]] = ..., address: _Optional[str] = ...) -> None: ...

class PollRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "msg_no", "free_slots", "free_runs", "received")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    MSG_NO_FIELD_NUMBER: _ClassVar[int]
    FREE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    FREE_RUNS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    msg_no: int
    free_slots: int
    free_runs: int
    received: _containers.RepeatedCompositeFieldContainer[Held]
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., msg_no: _Optional[int] = ..., free_slots: _Optional[int] = ..., free_runs: _Optional[int] = ..., received: _Optional[_Iterable[_Union[Held, _Mapping]]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("run_id", "epoch", "workflow", "journal_length", "id", "queue", "arguments", "rows", "mail", "trace", "after_loss", "after_timeout", "created_at", "parent_run_id", "metadata", "lost_session_id", "attach_no", "mail_taken", "handed_back", "progress")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_LENGTH_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    AFTER_LOSS_FIELD_NUMBER: _ClassVar[int]
    AFTER_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PARENT_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    LOST_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    MAIL_TAKEN_FIELD_NUMBER: _ClassVar[int]
    HANDED_BACK_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    workflow: str
    journal_length: int
    id: str
    queue: str
    arguments: _value_pb2.Arguments
    rows: _containers.RepeatedCompositeFieldContainer[_journal_pb2.JournalRow]
    mail: _containers.RepeatedCompositeFieldContainer[_journal_pb2.Mail]
    trace: _value_pb2.RunTrace
    after_loss: bool
    after_timeout: bool
    created_at: _timestamp_pb2.Timestamp
    parent_run_id: str
    metadata: _containers.ScalarMap[str, str]
    lost_session_id: str
    attach_no: int
    mail_taken: int
    handed_back: bool
    progress: _containers.RepeatedCompositeFieldContainer[StepProgress]
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., workflow: _Optional[str] = ..., journal_length: _Optional[int] = ..., id: _Optional[str] = ..., queue: _Optional[str] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ..., rows: _Optional[_Iterable[_Union[_journal_pb2.JournalRow, _Mapping]]] = ..., mail: _Optional[_Iterable[_Union[_journal_pb2.Mail, _Mapping]]] = ..., trace: _Optional[_Union[_value_pb2.RunTrace, _Mapping]] = ..., after_loss: bool = ..., after_timeout: bool = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., parent_run_id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., lost_session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., mail_taken: _Optional[int] = ..., handed_back: bool = ..., progress: _Optional[_Iterable[_Union[StepProgress, _Mapping]]] = ...) -> None: ...

class StepProgress(_message.Message):
    __slots__ = ("step", "attempt", "details")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    step: int
    attempt: int
    details: _value_pb2.Payload
    def __init__(self, step: _Optional[int] = ..., attempt: _Optional[int] = ..., details: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ...) -> None: ...

class QueuedAttempt(_message.Message):
    __slots__ = ("run_id", "step", "attempt", "epoch", "name", "arguments", "timeout", "retry", "workflow", "trace", "started_at", "failures", "step_id", "scheduled_at", "eligible_at", "attach_no", "seed", "saved")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    STEP_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_AT_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: int
    attempt: int
    epoch: int
    name: str
    arguments: _value_pb2.Arguments
    timeout: _duration_pb2.Duration
    retry: _journal_pb2.RetryPolicy
    workflow: str
    trace: _value_pb2.TraceContext
    started_at: _timestamp_pb2.Timestamp
    failures: int
    step_id: str
    scheduled_at: _timestamp_pb2.Timestamp
    eligible_at: _timestamp_pb2.Timestamp
    attach_no: int
    seed: str
    saved: _value_pb2.Payload
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[int] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., name: _Optional[str] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., retry: _Optional[_Union[_journal_pb2.RetryPolicy, _Mapping]] = ..., workflow: _Optional[str] = ..., trace: _Optional[_Union[_value_pb2.TraceContext, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., failures: _Optional[int] = ..., step_id: _Optional[str] = ..., scheduled_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., eligible_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., attach_no: _Optional[int] = ..., seed: _Optional[str] = ..., saved: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ...) -> None: ...

class Notice(_message.Message):
    __slots__ = ("held", "mail", "ended", "cancelled")
    HELD_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    held: Held
    mail: _containers.RepeatedCompositeFieldContainer[_journal_pb2.Mail]
    ended: bool
    cancelled: bool
    def __init__(self, held: _Optional[_Union[Held, _Mapping]] = ..., mail: _Optional[_Iterable[_Union[_journal_pb2.Mail, _Mapping]]] = ..., ended: bool = ..., cancelled: bool = ...) -> None: ...

class PollResponse(_message.Message):
    __slots__ = ("leases", "attempts", "notices", "msg_no")
    LEASES_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    MSG_NO_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[Lease]
    attempts: _containers.RepeatedCompositeFieldContainer[QueuedAttempt]
    notices: _containers.RepeatedCompositeFieldContainer[Notice]
    msg_no: int
    def __init__(self, leases: _Optional[_Iterable[_Union[Lease, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[QueuedAttempt, _Mapping]]] = ..., notices: _Optional[_Iterable[_Union[Notice, _Mapping]]] = ..., msg_no: _Optional[int] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("run_id", "epoch", "expected_seq", "transition_id", "entries", "mail_seen", "then", "attempt_deadline", "waits")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_SEQ_FIELD_NUMBER: _ClassVar[int]
    TRANSITION_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MAIL_SEEN_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    expected_seq: int
    transition_id: int
    entries: _containers.RepeatedCompositeFieldContainer[_journal_pb2.Entry]
    mail_seen: int
    then: Then
    attempt_deadline: _duration_pb2.Duration
    waits: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., expected_seq: _Optional[int] = ..., transition_id: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[_journal_pb2.Entry, _Mapping]]] = ..., mail_seen: _Optional[int] = ..., then: _Optional[_Union[Then, str]] = ..., attempt_deadline: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., waits: _Optional[_Iterable[str]] = ...) -> None: ...

class TransitionResult(_message.Message):
    __slots__ = ("run_id", "status", "mail", "refusal")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    status: TransitionStatus
    mail: _containers.RepeatedCompositeFieldContainer[_journal_pb2.Mail]
    refusal: str
    def __init__(self, run_id: _Optional[str] = ..., status: _Optional[_Union[TransitionStatus, str]] = ..., mail: _Optional[_Iterable[_Union[_journal_pb2.Mail, _Mapping]]] = ..., refusal: _Optional[str] = ...) -> None: ...

class AttemptReport(_message.Message):
    __slots__ = ("run_id", "step", "attempt", "epoch", "record", "result")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: int
    attempt: int
    epoch: int
    record: _journal_pb2.AttemptRecord
    result: _value_pb2.Payload
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[int] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., record: _Optional[_Union[_journal_pb2.AttemptRecord, _Mapping]] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ...) -> None: ...

class AttemptReportResult(_message.Message):
    __slots__ = ("run_id", "step", "recorded", "refusal", "busy")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    RECORDED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: int
    recorded: bool
    refusal: str
    busy: bool
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[int] = ..., recorded: bool = ..., refusal: _Optional[str] = ..., busy: bool = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "transitions", "attempts")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    transitions: _containers.RepeatedCompositeFieldContainer[Transition]
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptReport]
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., transitions: _Optional[_Iterable[_Union[Transition, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[AttemptReport, _Mapping]]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("transitions", "attempts")
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    transitions: _containers.RepeatedCompositeFieldContainer[TransitionResult]
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptReportResult]
    def __init__(self, transitions: _Optional[_Iterable[_Union[TransitionResult, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[AttemptReportResult, _Mapping]]] = ...) -> None: ...

class ProgressReport(_message.Message):
    __slots__ = ("run_id", "step", "attempt", "epoch", "queued", "details")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: int
    attempt: int
    epoch: int
    queued: bool
    details: _value_pb2.Payload
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[int] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., queued: bool = ..., details: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ...) -> None: ...

class SaveProgressRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "progress")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    progress: _containers.RepeatedCompositeFieldContainer[ProgressReport]
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., progress: _Optional[_Iterable[_Union[ProgressReport, _Mapping]]] = ...) -> None: ...

class ProgressResult(_message.Message):
    __slots__ = ("run_id", "step", "saved", "refusal", "busy")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SAVED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    step: int
    saved: bool
    refusal: str
    busy: bool
    def __init__(self, run_id: _Optional[str] = ..., step: _Optional[int] = ..., saved: bool = ..., refusal: _Optional[str] = ..., busy: bool = ...) -> None: ...

class SaveProgressResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ProgressResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ProgressResult, _Mapping]]] = ...) -> None: ...

class WorkRequest(_message.Message):
    __slots__ = ("poll", "report")
    POLL_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    poll: PollRequest
    report: ReportRequest
    def __init__(self, poll: _Optional[_Union[PollRequest, _Mapping]] = ..., report: _Optional[_Union[ReportRequest, _Mapping]] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("poll", "report")
    POLL_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    poll: PollResponse
    report: ReportResponse
    def __init__(self, poll: _Optional[_Union[PollResponse, _Mapping]] = ..., report: _Optional[_Union[ReportResponse, _Mapping]] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "held", "loop_lag", "msg_no", "draining", "vouched", "given_up", "lost")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    LOOP_LAG_FIELD_NUMBER: _ClassVar[int]
    MSG_NO_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    VOUCHED_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    held: _containers.RepeatedCompositeFieldContainer[Held]
    loop_lag: _duration_pb2.Duration
    msg_no: int
    draining: bool
    vouched: bool
    given_up: _containers.RepeatedCompositeFieldContainer[Held]
    lost: _containers.RepeatedCompositeFieldContainer[Held]
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., held: _Optional[_Iterable[_Union[Held, _Mapping]]] = ..., loop_lag: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., msg_no: _Optional[int] = ..., draining: bool = ..., vouched: bool = ..., given_up: _Optional[_Iterable[_Union[Held, _Mapping]]] = ..., lost: _Optional[_Iterable[_Union[Held, _Mapping]]] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("database_time", "ended")
    DATABASE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    database_time: _timestamp_pb2.Timestamp
    ended: _containers.RepeatedCompositeFieldContainer[Held]
    def __init__(self, database_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended: _Optional[_Iterable[_Union[Held, _Mapping]]] = ...) -> None: ...

class ReadJournalRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "run_id", "epoch", "after")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    run_id: str
    epoch: int
    after: int
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., after: _Optional[int] = ...) -> None: ...

class ReadJournalResponse(_message.Message):
    __slots__ = ("rows", "more", "arguments")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[_journal_pb2.JournalRow]
    more: bool
    arguments: _value_pb2.Arguments
    def __init__(self, rows: _Optional[_Iterable[_Union[_journal_pb2.JournalRow, _Mapping]]] = ..., more: bool = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ...) -> None: ...

class ReadJournalsRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "leases")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    leases: _containers.RepeatedCompositeFieldContainer[Held]
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., leases: _Optional[_Iterable[_Union[Held, _Mapping]]] = ...) -> None: ...

class JournalBeginning(_message.Message):
    __slots__ = ("run_id", "epoch", "rows", "more")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    epoch: int
    rows: _containers.RepeatedCompositeFieldContainer[_journal_pb2.JournalRow]
    more: bool
    def __init__(self, run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[_journal_pb2.JournalRow, _Mapping]]] = ..., more: bool = ...) -> None: ...

class ReadJournalsResponse(_message.Message):
    __slots__ = ("journals",)
    JOURNALS_FIELD_NUMBER: _ClassVar[int]
    journals: _containers.RepeatedCompositeFieldContainer[JournalBeginning]
    def __init__(self, journals: _Optional[_Iterable[_Union[JournalBeginning, _Mapping]]] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("session_id", "attach_no", "lost")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTACH_NO_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attach_no: int
    lost: _containers.RepeatedCompositeFieldContainer[Held]
    def __init__(self, session_id: _Optional[str] = ..., attach_no: _Optional[int] = ..., lost: _Optional[_Iterable[_Union[Held, _Mapping]]] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
