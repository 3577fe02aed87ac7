from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from holdfast.api.v1 import journal_pb2 as _journal_pb2
from holdfast.api.v1 import status_pb2 as _status_pb2
from holdfast.api.v1 import value_pb2 as _value_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConflictPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFLICT_POLICY_UNSPECIFIED: _ClassVar[ConflictPolicy]
    CONFLICT_POLICY_ATTACH: _ClassVar[ConflictPolicy]
    CONFLICT_POLICY_REJECT: _ClassVar[ConflictPolicy]
    CONFLICT_POLICY_TERMINATE: _ClassVar[ConflictPolicy]

class ReusePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REUSE_POLICY_UNSPECIFIED: _ClassVar[ReusePolicy]
    REUSE_POLICY_ATTACH: _ClassVar[ReusePolicy]
    REUSE_POLICY_NEW: _ClassVar[ReusePolicy]
    REUSE_POLICY_RETRY_FAILED: _ClassVar[ReusePolicy]

class SpanKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPAN_KIND_UNSPECIFIED: _ClassVar[SpanKind]
    SPAN_KIND_INTERNAL: _ClassVar[SpanKind]
    SPAN_KIND_SERVER: _ClassVar[SpanKind]
    SPAN_KIND_CLIENT: _ClassVar[SpanKind]
    SPAN_KIND_PRODUCER: _ClassVar[SpanKind]
    SPAN_KIND_CONSUMER: _ClassVar[SpanKind]

class SpanStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPAN_STATUS_UNSPECIFIED: _ClassVar[SpanStatus]
    SPAN_STATUS_OK: _ClassVar[SpanStatus]
    SPAN_STATUS_ERROR: _ClassVar[SpanStatus]
CONFLICT_POLICY_UNSPECIFIED: ConflictPolicy
CONFLICT_POLICY_ATTACH: ConflictPolicy
CONFLICT_POLICY_REJECT: ConflictPolicy
CONFLICT_POLICY_TERMINATE: ConflictPolicy
REUSE_POLICY_UNSPECIFIED: ReusePolicy
REUSE_POLICY_ATTACH: ReusePolicy
REUSE_POLICY_NEW: ReusePolicy
REUSE_POLICY_RETRY_FAILED: ReusePolicy
SPAN_KIND_UNSPECIFIED: SpanKind
SPAN_KIND_INTERNAL: SpanKind
SPAN_KIND_SERVER: SpanKind
SPAN_KIND_CLIENT: SpanKind
SPAN_KIND_PRODUCER: SpanKind
SPAN_KIND_CONSUMER: SpanKind
SPAN_STATUS_UNSPECIFIED: SpanStatus
SPAN_STATUS_OK: SpanStatus
SPAN_STATUS_ERROR: SpanStatus

class StartSpec(_message.Message):
    __slots__ = ("start_id", "workflow", "arguments", "id", "idempotency_key", "queue", "priority", "delay", "max_duration", "metadata", "on_conflict", "reuse", "trace", "join_trace", "sampled")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    START_ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ON_CONFLICT_FIELD_NUMBER: _ClassVar[int]
    REUSE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    JOIN_TRACE_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_FIELD_NUMBER: _ClassVar[int]
    start_id: str
    workflow: str
    arguments: _value_pb2.Arguments
    id: str
    idempotency_key: str
    queue: str
    priority: int
    delay: _duration_pb2.Duration
    max_duration: _duration_pb2.Duration
    metadata: _containers.ScalarMap[str, str]
    on_conflict: ConflictPolicy
    reuse: ReusePolicy
    trace: _value_pb2.TraceContext
    join_trace: bool
    sampled: bool
    def __init__(self, start_id: _Optional[str] = ..., workflow: _Optional[str] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ..., id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., queue: _Optional[str] = ..., priority: _Optional[int] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., on_conflict: _Optional[_Union[ConflictPolicy, str]] = ..., reuse: _Optional[_Union[ReusePolicy, str]] = ..., trace: _Optional[_Union[_value_pb2.TraceContext, _Mapping]] = ..., join_trace: bool = ..., sampled: bool = ...) -> None: ...

class StartRunRequest(_message.Message):
    __slots__ = ("namespace", "start")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    start: StartSpec
    def __init__(self, namespace: _Optional[str] = ..., start: _Optional[_Union[StartSpec, _Mapping]] = ...) -> None: ...

class StartedRun(_message.Message):
    __slots__ = ("run_id", "id", "attached")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    id: str
    attached: bool
    def __init__(self, run_id: _Optional[str] = ..., id: _Optional[str] = ..., attached: bool = ...) -> None: ...

class StartRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: StartedRun
    def __init__(self, run: _Optional[_Union[StartedRun, _Mapping]] = ...) -> None: ...

class StartRunsRequest(_message.Message):
    __slots__ = ("namespace", "starts")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    starts: _containers.RepeatedCompositeFieldContainer[StartSpec]
    def __init__(self, namespace: _Optional[str] = ..., starts: _Optional[_Iterable[_Union[StartSpec, _Mapping]]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "reason", "message", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class StartRunsResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[StartOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[StartOutcome, _Mapping]]] = ...) -> None: ...

class StartOutcome(_message.Message):
    __slots__ = ("run", "refusal")
    RUN_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    run: StartedRun
    refusal: Refusal
    def __init__(self, run: _Optional[_Union[StartedRun, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("namespace", "run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ...) -> None: ...

class RunDescription(_message.Message):
    __slots__ = ("run_id", "id", "workflow", "status", "reason", "current_step", "queue", "created_at", "updated_at", "closed_at", "arguments", "result", "failure", "metadata", "origin_run_id", "parent_run_id", "session_id", "journal_length", "losses", "undelivered", "progress", "chain_run_id", "warnings")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CURRENT_STEP_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    UNDELIVERED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHAIN_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    id: str
    workflow: str
    status: _status_pb2.RunStatus
    reason: str
    current_step: str
    queue: str
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    closed_at: _timestamp_pb2.Timestamp
    arguments: _value_pb2.Arguments
    result: _value_pb2.Payload
    failure: _value_pb2.Failure
    metadata: _containers.ScalarMap[str, str]
    origin_run_id: str
    parent_run_id: str
    session_id: str
    journal_length: int
    losses: int
    undelivered: _containers.RepeatedScalarFieldContainer[str]
    progress: int
    chain_run_id: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., id: _Optional[str] = ..., workflow: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.RunStatus, str]] = ..., reason: _Optional[str] = ..., current_step: _Optional[str] = ..., queue: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., closed_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., origin_run_id: _Optional[str] = ..., parent_run_id: _Optional[str] = ..., session_id: _Optional[str] = ..., journal_length: _Optional[int] = ..., losses: _Optional[int] = ..., undelivered: _Optional[_Iterable[str]] = ..., progress: _Optional[int] = ..., chain_run_id: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: RunDescription
    def __init__(self, run: _Optional[_Union[RunDescription, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("namespace", "workflow", "statuses", "metadata", "started_after", "text", "page_size", "cursor", "idempotency_key", "started_before", "chain")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    STARTED_AFTER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    STARTED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    workflow: str
    statuses: _containers.RepeatedScalarFieldContainer[_status_pb2.RunStatus]
    metadata: _containers.ScalarMap[str, str]
    started_after: _timestamp_pb2.Timestamp
    text: str
    page_size: int
    cursor: str
    idempotency_key: str
    started_before: _timestamp_pb2.Timestamp
    chain: str
    def __init__(self, namespace: _Optional[str] = ..., workflow: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[_status_pb2.RunStatus, str]]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., started_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., text: _Optional[str] = ..., page_size: _Optional[int] = ..., cursor: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., started_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., chain: _Optional[str] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_cursor")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CURSOR_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunDescription]
    next_cursor: str
    def __init__(self, runs: _Optional[_Iterable[_Union[RunDescription, _Mapping]]] = ..., next_cursor: _Optional[str] = ...) -> None: ...

class WaitRunsRequest(_message.Message):
    __slots__ = ("namespace", "run_ids", "wait")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_IDS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run_ids: _containers.RepeatedScalarFieldContainer[str]
    wait: _duration_pb2.Duration
    def __init__(self, namespace: _Optional[str] = ..., run_ids: _Optional[_Iterable[str]] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ClosedRun(_message.Message):
    __slots__ = ("run_id", "status", "result", "failure", "newest_run_id")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    NEWEST_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    status: _status_pb2.RunStatus
    result: _value_pb2.Payload
    failure: _value_pb2.Failure
    newest_run_id: str
    def __init__(self, run_id: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.RunStatus, str]] = ..., result: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_value_pb2.Failure, _Mapping]] = ..., newest_run_id: _Optional[str] = ...) -> None: ...

class WaitRunsResponse(_message.Message):
    __slots__ = ("closed",)
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    closed: _containers.RepeatedCompositeFieldContainer[ClosedRun]
    def __init__(self, closed: _Optional[_Iterable[_Union[ClosedRun, _Mapping]]] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("namespace", "run", "after")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    after: int
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("rows", "more", "arguments")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[_journal_pb2.JournalRow]
    more: bool
    arguments: _value_pb2.Arguments
    def __init__(self, rows: _Optional[_Iterable[_Union[_journal_pb2.JournalRow, _Mapping]]] = ..., more: bool = ..., arguments: _Optional[_Union[_value_pb2.Arguments, _Mapping]] = ...) -> None: ...

class GetPublishedRequest(_message.Message):
    __slots__ = ("namespace", "run", "key")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    key: str
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class GetPublishedResponse(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: _value_pb2.Payload
    def __init__(self, value: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ...) -> None: ...

class SignalRunRequest(_message.Message):
    __slots__ = ("namespace", "run", "signal", "request_id", "once", "trace")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ONCE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    signal: _journal_pb2.Signal
    request_id: str
    once: bool
    trace: _value_pb2.TraceContext
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., signal: _Optional[_Union[_journal_pb2.Signal, _Mapping]] = ..., request_id: _Optional[str] = ..., once: bool = ..., trace: _Optional[_Union[_value_pb2.TraceContext, _Mapping]] = ...) -> None: ...

class SignalRunResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: bool = ...) -> None: ...

class DeliverHookRequest(_message.Message):
    __slots__ = ("token", "payload", "request_id", "trace")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    token: str
    payload: _value_pb2.Payload
    request_id: str
    trace: _value_pb2.TraceContext
    def __init__(self, token: _Optional[str] = ..., payload: _Optional[_Union[_value_pb2.Payload, _Mapping]] = ..., request_id: _Optional[str] = ..., trace: _Optional[_Union[_value_pb2.TraceContext, _Mapping]] = ...) -> None: ...

class DeliverHookResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("namespace", "run", "reason", "request_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    reason: str
    request_id: str
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CancelRunResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: bool = ...) -> None: ...

class TerminateRunRequest(_message.Message):
    __slots__ = ("namespace", "run", "reason", "request_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    reason: str
    request_id: str
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TerminateRunResponse(_message.Message):
    __slots__ = ("accepted",)
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    def __init__(self, accepted: bool = ...) -> None: ...

class RetryRunRequest(_message.Message):
    __slots__ = ("namespace", "run", "start_id", "again")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    START_ID_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    start_id: str
    again: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., start_id: _Optional[str] = ..., again: _Optional[_Iterable[str]] = ...) -> None: ...

class RetryRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: StartedRun
    def __init__(self, run: _Optional[_Union[StartedRun, _Mapping]] = ...) -> None: ...

class ResumeRunRequest(_message.Message):
    __slots__ = ("namespace", "run", "request_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    request_id: str
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeRunResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTraceRequest(_message.Message):
    __slots__ = ("namespace", "run", "after")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    after: int
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class GetTraceResponse(_message.Message):
    __slots__ = ("spans", "more")
    SPANS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    spans: _containers.RepeatedCompositeFieldContainer[TraceSpan]
    more: bool
    def __init__(self, spans: _Optional[_Iterable[_Union[TraceSpan, _Mapping]]] = ..., more: bool = ...) -> None: ...

class TraceSpan(_message.Message):
    __slots__ = ("trace_id", "span_id", "parent_span_id", "name", "kind", "started_at", "ended_at", "status", "attributes", "links")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    kind: SpanKind
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    status: SpanStatus
    attributes: _containers.RepeatedCompositeFieldContainer[TraceAttribute]
    links: _containers.RepeatedCompositeFieldContainer[_value_pb2.TraceLink]
    def __init__(self, trace_id: _Optional[bytes] = ..., span_id: _Optional[bytes] = ..., parent_span_id: _Optional[bytes] = ..., name: _Optional[str] = ..., kind: _Optional[_Union[SpanKind, str]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[_Union[SpanStatus, str]] = ..., attributes: _Optional[_Iterable[_Union[TraceAttribute, _Mapping]]] = ..., links: _Optional[_Iterable[_Union[_value_pb2.TraceLink, _Mapping]]] = ...) -> None: ...

class TraceAttribute(_message.Message):
    __slots__ = ("key", "text", "number")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    key: str
    text: str
    number: int
    def __init__(self, key: _Optional[str] = ..., text: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class ExportTraceRequest(_message.Message):
    __slots__ = ("namespace", "run")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    run: str
    def __init__(self, namespace: _Optional[str] = ..., run: _Optional[str] = ...) -> None: ...

class ExportTraceResponse(_message.Message):
    __slots__ = ("spans", "collector")
    SPANS_FIELD_NUMBER: _ClassVar[int]
    COLLECTOR_FIELD_NUMBER: _ClassVar[int]
    spans: int
    collector: str
    def __init__(self, spans: _Optional[int] = ..., collector: _Optional[str] = ...) -> None: ...
