"""The states of runs, steps and attempts as users see them, and what becomes of a transition.

Shared by the SDK and the coordinator. The numbers are those of the protocol and of the database.
"""

from enum import IntEnum, StrEnum


class RunStatus(StrEnum):
    """Where a run is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    PAUSED = "paused"
    STALLED = "stalled"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    CONTINUED_AS_NEW = "continued_as_new"

    @property
    def is_closed(self) -> bool:
        """True when the run has ended; closed runs never change."""
        return self not in OPEN_STATUSES

    @property
    def number(self) -> int:
        """Its number in the protocol and in the database."""
        return _NUMBERS[self]

    @classmethod
    def of_number(cls, number: int) -> "RunStatus":
        """The status with this protocol number. Raises ValueError when there is none."""
        if not 1 <= number <= len(_ORDER):
            raise ValueError(f"{number} is not the number of a run status (1 to {len(_ORDER)})")
        return _ORDER[number - 1]


_ORDER = tuple(RunStatus)
_NUMBERS = {status: number for number, status in enumerate(_ORDER, start=1)}
OPEN_STATUSES = frozenset(_ORDER[:5])


class StepStatus(StrEnum):
    """Where a step is in its life."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    WAITING_RETRY = "waiting_retry"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class AttemptOutcome(IntEnum):
    """How an attempt of a step ended; the numbers are those of the protocol."""

    COMPLETED = 1
    FAILED_RETRYABLE = 2
    FAILED_FINAL = 3
    TIMED_OUT = 4
    LOST = 5
    HANDED_BACK = 6
    CANCELLED = 7


class Placement(IntEnum):
    """Where a step runs; the numbers are those of the protocol."""

    INLINE = 1
    QUEUED = 2


class ClosePolicy(IntEnum):
    """What happens to a child run when its parent closes; the numbers are those of the protocol."""

    CANCEL = 1
    TERMINATE = 2
    ABANDON = 3


class Then(IntEnum):
    """What becomes of a lease after a transition; the numbers are those of the protocol."""

    CONTINUE = 1
    SUSPEND = 2
    CLOSE = 3
    RELEASE = 4
    STALL = 5


class TransitionStatus(IntEnum):
    """How a transition was taken; the numbers are those of the protocol."""

    COMMITTED = 1
    COMMITTED_WITH_MAIL = 2
    SUPERSEDED = 3
    REFUSED = 4
    BUSY = 5
