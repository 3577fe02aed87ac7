from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Payload(_message.Message):
    __slots__ = ("data", "encoding", "content_sha256")
    DATA_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    CONTENT_SHA256_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    encoding: str
    content_sha256: bytes
    def __init__(self, data: _Optional[bytes] = ..., encoding: _Optional[str] = ..., content_sha256: _Optional[bytes] = ...) -> None: ...

class Arguments(_message.Message):
    __slots__ = ("positional", "named", "context")
    class NamedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Payload
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...
    POSITIONAL_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    positional: _containers.RepeatedCompositeFieldContainer[Payload]
    named: _containers.MessageMap[str, Payload]
    context: Payload
    def __init__(self, positional: _Optional[_Iterable[_Union[Payload, _Mapping]]] = ..., named: _Optional[_Mapping[str, Payload]] = ..., context: _Optional[_Union[Payload, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("error_type", "error_class", "message", "traceback", "cut", "facts", "step", "child_run_id", "cause", "leaves")
    ERROR_TYPE_FIELD_NUMBER: _ClassVar[int]
    ERROR_CLASS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CHILD_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    LEAVES_FIELD_NUMBER: _ClassVar[int]
    error_type: str
    error_class: str
    message: str
    traceback: str
    cut: bool
    facts: Payload
    step: StepOrigin
    child_run_id: str
    cause: Failure
    leaves: _containers.RepeatedCompositeFieldContainer[Failure]
    def __init__(self, error_type: _Optional[str] = ..., error_class: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., cut: bool = ..., facts: _Optional[_Union[Payload, _Mapping]] = ..., step: _Optional[_Union[StepOrigin, _Mapping]] = ..., child_run_id: _Optional[str] = ..., cause: _Optional[_Union[Failure, _Mapping]] = ..., leaves: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ...) -> None: ...

class StepOrigin(_message.Message):
    __slots__ = ("name", "number", "attempts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: int
    attempts: int
    def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ..., attempts: _Optional[int] = ...) -> None: ...

class TraceContext(_message.Message):
    __slots__ = ("traceparent", "tracestate", "baggage")
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    BAGGAGE_FIELD_NUMBER: _ClassVar[int]
    traceparent: str
    tracestate: str
    baggage: str
    def __init__(self, traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., baggage: _Optional[str] = ...) -> None: ...

class RunTrace(_message.Message):
    __slots__ = ("context", "parent", "links", "segment")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    context: TraceContext
    parent: TraceContext
    links: _containers.RepeatedCompositeFieldContainer[TraceLink]
    segment: _duration_pb2.Duration
    def __init__(self, context: _Optional[_Union[TraceContext, _Mapping]] = ..., parent: _Optional[_Union[TraceContext, _Mapping]] = ..., links: _Optional[_Iterable[_Union[TraceLink, _Mapping]]] = ..., segment: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class TraceLink(_message.Message):
    __slots__ = ("context", "relation")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    context: TraceContext
    relation: str
    def __init__(self, context: _Optional[_Union[TraceContext, _Mapping]] = ..., relation: _Optional[str] = ...) -> None: ...
