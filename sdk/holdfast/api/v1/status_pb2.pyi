from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class RunStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATUS_UNSPECIFIED: _ClassVar[RunStatus]
    RUN_STATUS_PENDING: _ClassVar[RunStatus]
    RUN_STATUS_RUNNING: _ClassVar[RunStatus]
    RUN_STATUS_SUSPENDED: _ClassVar[RunStatus]
    RUN_STATUS_PAUSED: _ClassVar[RunStatus]
    RUN_STATUS_STALLED: _ClassVar[RunStatus]
    RUN_STATUS_COMPLETED: _ClassVar[RunStatus]
    RUN_STATUS_FAILED: _ClassVar[RunStatus]
    RUN_STATUS_CANCELLED: _ClassVar[RunStatus]
    RUN_STATUS_TERMINATED: _ClassVar[RunStatus]
    RUN_STATUS_TIMED_OUT: _ClassVar[RunStatus]
    RUN_STATUS_CONTINUED_AS_NEW: _ClassVar[RunStatus]

class AttemptOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTEMPT_OUTCOME_UNSPECIFIED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_COMPLETED: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_FAILED_RETRYABLE: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_FAILED_FINAL: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_TIMED_OUT: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_LOST: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_HANDED_BACK: _ClassVar[AttemptOutcome]
    ATTEMPT_OUTCOME_CANCELLED: _ClassVar[AttemptOutcome]

class StepPlacement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEP_PLACEMENT_UNSPECIFIED: _ClassVar[StepPlacement]
    STEP_PLACEMENT_INLINE: _ClassVar[StepPlacement]
    STEP_PLACEMENT_QUEUED: _ClassVar[StepPlacement]

class ClosePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLOSE_POLICY_UNSPECIFIED: _ClassVar[ClosePolicy]
    CLOSE_POLICY_CANCEL: _ClassVar[ClosePolicy]
    CLOSE_POLICY_TERMINATE: _ClassVar[ClosePolicy]
    CLOSE_POLICY_ABANDON: _ClassVar[ClosePolicy]
RUN_STATUS_UNSPECIFIED: RunStatus
RUN_STATUS_PENDING: RunStatus
RUN_STATUS_RUNNING: RunStatus
RUN_STATUS_SUSPENDED: RunStatus
RUN_STATUS_PAUSED: RunStatus
RUN_STATUS_STALLED: RunStatus
RUN_STATUS_COMPLETED: RunStatus
RUN_STATUS_FAILED: RunStatus
RUN_STATUS_CANCELLED: RunStatus
RUN_STATUS_TERMINATED: RunStatus
RUN_STATUS_TIMED_OUT: RunStatus
RUN_STATUS_CONTINUED_AS_NEW: RunStatus
ATTEMPT_OUTCOME_UNSPECIFIED: AttemptOutcome
ATTEMPT_OUTCOME_COMPLETED: AttemptOutcome
ATTEMPT_OUTCOME_FAILED_RETRYABLE: AttemptOutcome
ATTEMPT_OUTCOME_FAILED_FINAL: AttemptOutcome
ATTEMPT_OUTCOME_TIMED_OUT: AttemptOutcome
ATTEMPT_OUTCOME_LOST: AttemptOutcome
ATTEMPT_OUTCOME_HANDED_BACK: AttemptOutcome
ATTEMPT_OUTCOME_CANCELLED: AttemptOutcome
STEP_PLACEMENT_UNSPECIFIED: StepPlacement
STEP_PLACEMENT_INLINE: StepPlacement
STEP_PLACEMENT_QUEUED: StepPlacement
CLOSE_POLICY_UNSPECIFIED: ClosePolicy
CLOSE_POLICY_CANCEL: ClosePolicy
CLOSE_POLICY_TERMINATE: ClosePolicy
CLOSE_POLICY_ABANDON: ClosePolicy
