from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.api.v1 import status_pb2 as _status_pb2
from holdfast.api.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Entry(_message.Message):
    __slots__ = ("at", "run_started", "step_scheduled", "attempt_started", "attempt_ended", "step_completed", "step_failed", "step_cancelled", "timer_set", "timer_cancelled", "mail_consumed", "mail_undelivered", "child_started", "child_cancelled", "run_stalled", "run_resumed", "run_closed", "user_span_began", "user_span", "run_paused", "update_completed", "signal_set_aside", "step_skipped", "patched", "noted", "mail_sent", "metadata_set", "published")
    AT_FIELD_NUMBER: _ClassVar[int]
    RUN_STARTED_FIELD_NUMBER: _ClassVar[int]
    STEP_SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_STARTED_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_ENDED_FIELD_NUMBER: _ClassVar[int]
    STEP_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    STEP_FAILED_FIELD_NUMBER: _ClassVar[int]
    STEP_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    TIMER_SET_FIELD_NUMBER: _ClassVar[int]
    TIMER_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    MAIL_CONSUMED_FIELD_NUMBER: _ClassVar[int]
    MAIL_UNDELIVERED_FIELD_NUMBER: _ClassVar[int]
    CHILD_STARTED_FIELD_NUMBER: _ClassVar[int]
    CHILD_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    RUN_STALLED_FIELD_NUMBER: _ClassVar[int]
    RUN_RESUMED_FIELD_NUMBER: _ClassVar[int]
    RUN_CLOSED_FIELD_NUMBER: _ClassVar[int]
    USER_SPAN_BEGAN_FIELD_NUMBER: _ClassVar[int]
    USER_SPAN_FIELD_NUMBER: _ClassVar[int]
    RUN_PAUSED_FIELD_NUMBER: _ClassVar[int]
    UPDATE_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    STEP_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    PATCHED_FIELD_NUMBER: _ClassVar[int]
    NOTED_FIELD_NUMBER: _ClassVar[int]
    MAIL_SENT_FIELD_NUMBER: _ClassVar[int]
    METADATA_SET_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    run_started: RunStarted
    step_scheduled: StepScheduled
    attempt_started: AttemptStarted
    attempt_ended: AttemptEnded
    step_completed: StepCompleted
    step_failed: StepFailed
    step_cancelled: StepCancelled
    timer_set: TimerSet
    timer_cancelled: TimerCancelled
    mail_consumed: MailConsumed
    mail_undelivered: MailUndelivered
    child_started: ChildStarted
    child_cancelled: ChildCancelled
    run_stalled: RunStalled
    run_resumed: RunResumed
    run_closed: RunClosed
    user_span_began: UserSpanBegan
    user_span: UserSpan
    run_paused: RunPaused
    update_completed: UpdateCompleted
    signal_set_aside: SignalSetAside
    step_skipped: StepSkipped
    patched: Patched
    noted: Noted
    mail_sent: MailSent
    metadata_set: MetadataSet
    published: Published
    def __init__(self, at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., run_started: _Optional[_Union[RunStarted, _Mapping]] = ..., step_scheduled: _Optional[_Union[StepScheduled, _Mapping]] = ..., attempt_started: _Optional[_Union[AttemptStarted, _Mapping]] = ..., attempt_ended: _Optional[_Union[AttemptEnded, _Mapping]] = ..., step_completed: _Optional[_Union[StepCompleted, _Mapping]] = ..., step_failed: _Optional[_Union[StepFailed, _Mapping]] = ..., step_cancelled: _Optional[_Union[StepCancelled, _Mapping]] = ..., timer_set: _Optional[_Union[TimerSet, _Mapping]] = ..., timer_cancelled: _Optional[_Union[TimerCancelled, _Mapping]] = ..., mail_consumed: _Optional[_Union[MailConsumed, _Mapping]] = ..., mail_undelivered: _Optional[_Union[MailUndelivered, _Mapping]] = ..., child_started: _Optional[_Union[ChildStarted, _Mapping]] = ..., child_cancelled: _Optional[_Union[ChildCancelled, _Mapping]] = ..., run_stalled: _Optional[_Union[RunStalled, _Mapping]] = ..., run_resumed: _Optional[_Union[RunResumed, _Mapping]] = ..., run_closed: _Optional[_Union[RunClosed, _Mapping]] = ..., user_span_began: _Optional[_Union[UserSpanBegan, _Mapping]] = ..., user_span: _Optional[_Union[UserSpan, _Mapping]] = ..., run_paused: _Optional[_Union[RunPaused, _Mapping]] = ..., update_completed: _Optional[_Union[UpdateCompleted, _Mapping]] = ..., signal_set_aside: _Optional[_Union[SignalSetAside, _Mapping]] = ..., step_skipped: _Optional[_Union[StepSkipped, _Mapping]] = ..., patched: _Optional[_Union[Patched, _Mapping]] = ..., noted: _Optional[_Union[Noted, _Mapping]] = ..., mail_sent: _Optional[_Union[MailSent, _Mapping]] = ..., metadata_set: _Optional[_Union[MetadataSet, _Mapping]] = ..., published: _Optional[_Union[Published, _Mapping]] = ...) -> None: ...

class JournalRow(_message.Message):
    __slots__ = ("seq", "epoch", "entries")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    seq: int
    epoch: int
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    def __init__(self, seq: _Optional[int] = ..., epoch: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ...) -> None: ...

class RunStarted(_message.Message):
    __slots__ = ("workflow", "origin_run_id", "seed", "continued_run_id")
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CONTINUED_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    workflow: str
    origin_run_id: str
    seed: str
    continued_run_id: str
    def __init__(self, workflow: _Optional[str] = ..., origin_run_id: _Optional[str] = ..., seed: _Optional[str] = ..., continued_run_id: _Optional[str] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("retries", "exponential", "linear", "constant", "listed")
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    EXPONENTIAL_FIELD_NUMBER: _ClassVar[int]
    LINEAR_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    LISTED_FIELD_NUMBER: _ClassVar[int]
    retries: int
    exponential: ExponentialBackoff
    linear: LinearBackoff
    constant: _duration_pb2.Duration
    listed: ListedBackoff
    def __init__(self, retries: _Optional[int] = ..., exponential: _Optional[_Union[ExponentialBackoff, _Mapping]] = ..., linear: _Optional[_Union[LinearBackoff, _Mapping]] = ..., constant: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., listed: _Optional[_Union[ListedBackoff, _Mapping]] = ...) -> None: ...

class ExponentialBackoff(_message.Message):
    __slots__ = ("base", "max", "jitter", "first_exponent")
    BASE_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    FIRST_EXPONENT_FIELD_NUMBER: _ClassVar[int]
    base: float
    max: _duration_pb2.Duration
    jitter: float
    first_exponent: int
    def __init__(self, base: _Optional[float] = ..., max: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., jitter: _Optional[float] = ..., first_exponent: _Optional[int] = ...) -> None: ...

class LinearBackoff(_message.Message):
    __slots__ = ("start", "step", "max")
    START_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    start: _duration_pb2.Duration
    step: _duration_pb2.Duration
    max: _duration_pb2.Duration
    def __init__(self, start: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., step: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListedBackoff(_message.Message):
    __slots__ = ("waits",)
    WAITS_FIELD_NUMBER: _ClassVar[int]
    waits: _containers.RepeatedCompositeFieldContainer[_duration_pb2.Duration]
    def __init__(self, waits: _Optional[_Iterable[_Union[_duration_pb2.Duration, _Mapping]]] = ...) -> None: ...

class StepScheduled(_message.Message):
    __slots__ = ("number", "name", "step_id", "arguments", "placement", "queue", "priority", "timeout", "recoveries", "retry", "started", "seed", "span", "independent")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_ID_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    RECOVERIES_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    INDEPENDENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    step_id: str
    arguments: _value_pb2.Arguments
    placement: _status_pb2.StepPlacement
    queue: str
    priority: int
    timeout: _duration_pb2.Duration
    recoveries: int
    retry: RetryPolicy
    started: bool
    seed: str
    span: int
    independent: bool
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., step_id: _Optional[str] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ..., placement: _Optional[_Union[_status_pb2.StepPlacement, str]] = ..., queue: _Optional[str] = ..., priority: _Optional[int] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., recoveries: _Optional[int] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., started: bool = ..., seed: _Optional[str] = ..., span: _Optional[int] = ..., independent: bool = ...) -> None: ...

class AttemptStarted(_message.Message):
    __slots__ = ("number", "attempt")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    number: int
    attempt: int
    def __init__(self, number: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class AttemptRecord(_message.Message):
    __slots__ = ("attempt", "outcome", "scheduled_at", "eligible_at", "started_at", "ended_at", "session_id", "build", "failure", "retry_delay", "epoch")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_AT_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    outcome: _status_pb2.AttemptOutcome
    scheduled_at: _timestamp_pb2.Timestamp
    eligible_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    session_id: str
    build: str
    failure: _value_pb2.Failure
    retry_delay: _duration_pb2.Duration
    epoch: int
    def __init__(self, attempt: _Optional[int] = ..., outcome: _Optional[_Union[_status_pb2.AttemptOutcome, str]] = ..., scheduled_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., eligible_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., session_id: _Optional[str] = ..., build: _Optional[str] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ..., retry_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...

class AttemptEnded(_message.Message):
    __slots__ = ("number", "attempt", "retry_by_alarm")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RETRY_BY_ALARM_FIELD_NUMBER: _ClassVar[int]
    number: int
    attempt: AttemptRecord
    retry_by_alarm: bool
    def __init__(self, number: _Optional[int] = ..., attempt: _Optional[_Union[AttemptRecord, _Mapping]] = ..., retry_by_alarm: bool = ...) -> None: ...

class StepCompleted(_message.Message):
    __slots__ = ("number", "result", "attempt")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    number: int
    result: _value_pb2.Payload
    attempt: AttemptRecord
    def __init__(self, number: _Optional[int] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., attempt: _Optional[_Union[AttemptRecord, _Mapping]] = ...) -> None: ...

class StepFailed(_message.Message):
    __slots__ = ("number", "failure", "attempt")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    number: int
    failure: _value_pb2.Failure
    attempt: AttemptRecord
    def __init__(self, number: _Optional[int] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ..., attempt: _Optional[_Union[AttemptRecord, _Mapping]] = ...) -> None: ...

class StepCancelled(_message.Message):
    __slots__ = ("number", "attempt", "attempts")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    number: int
    attempt: AttemptRecord
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptRecord]
    def __init__(self, number: _Optional[int] = ..., attempt: _Optional[_Union[AttemptRecord, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[AttemptRecord, _Mapping]]] = ...) -> None: ...

class StepSkipped(_message.Message):
    __slots__ = ("number", "name", "step_id", "failure")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    step_id: str
    failure: _value_pb2.Failure
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., step_id: _Optional[str] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ...) -> None: ...

class TimerSet(_message.Message):
    __slots__ = ("number", "name", "delay", "until", "signal", "span", "hook", "hook_sha256")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    HOOK_SHA256_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    delay: _duration_pb2.Duration
    until: _timestamp_pb2.Timestamp
    signal: str
    span: int
    hook: int
    hook_sha256: str
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., signal: _Optional[str] = ..., span: _Optional[int] = ..., hook: _Optional[int] = ..., hook_sha256: _Optional[str] = ...) -> None: ...

class TimerCancelled(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class MailConsumed(_message.Message):
    __slots__ = ("number", "mail", "awaited_since")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    AWAITED_SINCE_FIELD_NUMBER: _ClassVar[int]
    number: int
    mail: Mail
    awaited_since: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., mail: _Optional[_Union[Mail, _Mapping]] = ..., awaited_since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MailUndelivered(_message.Message):
    __slots__ = ("number", "mail")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    number: int
    mail: Mail
    def __init__(self, number: _Optional[int] = ..., mail: _Optional[_Union[Mail, _Mapping]] = ...) -> None: ...

class ChildStarted(_message.Message):
    __slots__ = ("number", "workflow", "run_id", "id", "arguments", "queue", "max_duration", "close_policy", "span")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_FIELD_NUMBER: _ClassVar[int]
    CLOSE_POLICY_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    number: int
    workflow: str
    run_id: str
    id: str
    arguments: _value_pb2.Arguments
    queue: str
    max_duration: _duration_pb2.Duration
    close_policy: _status_pb2.ClosePolicy
    span: int
    def __init__(self, number: _Optional[int] = ..., workflow: _Optional[str] = ..., run_id: _Optional[str] = ..., id: _Optional[str] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ..., queue: _Optional[str] = ..., max_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., close_policy: _Optional[_Union[_status_pb2.ClosePolicy, str]] = ..., span: _Optional[int] = ...) -> None: ...

class ChildCancelled(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class MailSent(_message.Message):
    __slots__ = ("number", "message", "after", "signal", "payload", "reason")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    number: int
    message: int
    after: int
    signal: str
    payload: _value_pb2.Payload
    reason: str
    def __init__(self, number: _Optional[int] = ..., message: _Optional[int] = ..., after: _Optional[int] = ..., signal: _Optional[str] = ..., payload: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class RunStalled(_message.Message):
    __slots__ = ("reason", "build")
    REASON_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    reason: str
    build: str
    def __init__(self, reason: _Optional[str] = ..., build: _Optional[str] = ...) -> None: ...

class RunResumed(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class RunClosed(_message.Message):
    __slots__ = ("status", "result", "failure", "successor_run_id", "arguments", "signals")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    status: _status_pb2.RunStatus
    result: _value_pb2.Payload
    failure: _value_pb2.Failure
    successor_run_id: str
    arguments: _value_pb2.Arguments
    signals: _containers.RepeatedCompositeFieldContainer[Mail]
    def __init__(self, status: _Optional[_Union[_status_pb2.RunStatus, str]] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ..., successor_run_id: _Optional[str] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ..., signals: _Optional[_Iterable[_Union[Mail, _Mapping]]] = ...) -> None: ...

class UserSpanBegan(_message.Message):
    __slots__ = ("number", "name", "began_at", "parent")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    began_at: _timestamp_pb2.Timestamp
    parent: int
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., began_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., parent: _Optional[int] = ...) -> None: ...

class UserSpan(_message.Message):
    __slots__ = ("number", "name", "began_at", "parent", "error_type")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    began_at: _timestamp_pb2.Timestamp
    parent: int
    error_type: str
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., began_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., parent: _Optional[int] = ..., error_type: _Optional[str] = ...) -> None: ...

class SignalSetAside(_message.Message):
    __slots__ = ("number", "name", "problem")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    problem: str
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., problem: _Optional[str] = ...) -> None: ...

class Patched(_message.Message):
    __slots__ = ("change_id",)
    CHANGE_ID_FIELD_NUMBER: _ClassVar[int]
    change_id: str
    def __init__(self, change_id: _Optional[str] = ...) -> None: ...

class Noted(_message.Message):
    __slots__ = ("text", "level", "facts", "span")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    SPAN_FIELD_NUMBER: _ClassVar[int]
    text: str
    level: str
    facts: _value_pb2.Payload
    span: int
    def __init__(self, text: _Optional[str] = ..., level: _Optional[str] = ..., facts: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., span: _Optional[int] = ...) -> None: ...

class MetadataSet(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: str
    def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Published(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: _value_pb2.Payload
    def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ...) -> None: ...

class RunPaused(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class UpdateCompleted(_message.Message):
    __slots__ = ("number", "result", "failure")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    result: _value_pb2.Payload
    failure: _value_pb2.Failure
    def __init__(self, number: _Optional[int] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ...) -> None: ...

class Mail(_message.Message):
    __slots__ = ("number", "arrived_at", "trace", "signal", "timer", "retry_due", "step_result", "child_closed", "cancel", "update")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TIMER_FIELD_NUMBER: _ClassVar[int]
    RETRY_DUE_FIELD_NUMBER: _ClassVar[int]
    STEP_RESULT_FIELD_NUMBER: _ClassVar[int]
    CHILD_CLOSED_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    number: int
    arrived_at: _timestamp_pb2.Timestamp
    trace: _value_pb2.TraceContext
    signal: Signal
    timer: TimerFired
    retry_due: RetryDue
    step_result: StepResult
    child_closed: ChildClosed
    cancel: CancelRequested
    update: Update
    def __init__(self, number: _Optional[int] = ..., arrived_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., trace: _Optional[_Union[_value_pb2.TraceContext, _Mapping]] = ..., signal: _Optional[_Union[Signal, _Mapping]] = ..., timer: _Optional[_Union[TimerFired, _Mapping]] = ..., retry_due: _Optional[_Union[RetryDue, _Mapping]] = ..., step_result: _Optional[_Union[StepResult, _Mapping]] = ..., child_closed: _Optional[_Union[ChildClosed, _Mapping]] = ..., cancel: _Optional[_Union[CancelRequested, _Mapping]] = ..., update: _Optional[_Union[Update, _Mapping]] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("name", "payload")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    name: str
    payload: _value_pb2.Payload
    def __init__(self, name: _Optional[str] = ..., payload: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ...) -> None: ...

class TimerFired(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class RetryDue(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class StepResult(_message.Message):
    __slots__ = ("number", "attempts", "result", "failure")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    attempts: _containers.RepeatedCompositeFieldContainer[AttemptRecord]
    result: _value_pb2.Payload
    failure: _value_pb2.Failure
    def __init__(self, number: _Optional[int] = ..., attempts: _Optional[_Iterable[_Union[AttemptRecord, _Mapping]]] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ...) -> None: ...

class ChildClosed(_message.Message):
    __slots__ = ("number", "run_id", "status", "result", "failure")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    run_id: str
    status: _status_pb2.RunStatus
    result: _value_pb2.Payload
    failure: _value_pb2.Failure
    def __init__(self, number: _Optional[int] = ..., run_id: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.RunStatus, str]] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ...) -> None: ...

class CancelRequested(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class Update(_message.Message):
    __slots__ = ("name", "arguments")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    arguments: _value_pb2.Arguments
    def __init__(self, name: _Optional[str] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ...) -> None: ...
