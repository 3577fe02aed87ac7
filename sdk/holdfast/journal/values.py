"""The values that entries and mail are made of, as slotted records. Payloads are still encoded."""

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta

from holdfast.backoff import Backoff
from holdfast.record import record

__all__ = [
    "Arguments",
    "Failure",
    "Payload",
    "RetryPolicy",
    "RunTrace",
    "StepOrigin",
    "TraceContext",
]

FRAME_BYTES = 192
"""What an entry has besides values: times, numbers, names, the record of an attempt."""


PICKLE = "pickle"


class AllowedPickle(str):
    """The encoding of a pickled value that this process may read: it was made here, or came where that is allowed.

    No message brings it: what is sent and comes is the plain text "pickle".
    """

    __slots__ = ()


@record
class Payload:
    """One encoded value: its bytes and how they are encoded ("" means JSON)."""

    data: bytes
    encoding: str = ""
    content_sha256: bytes = b""

    @property
    def is_readable(self) -> bool:
        """Whether this process can read it: it is JSON, or was allowed to be pickled."""
        return self.encoding in ("", "json") or self.encoding.__class__ is AllowedPickle


@record
class Arguments:
    """The arguments of a call, encoded one by one. context: what the workflow has set for its steps, no parameter."""

    positional: tuple[Payload, ...] = ()
    named: Mapping[str, Payload] = field(default_factory=dict)
    context: Payload | None = None

    @property
    def size_bytes(self) -> int:
        """An upper estimate of their size on the wire."""
        size = 0
        for payload in self.positional:
            size += len(payload.data) + 16
        for name, payload in self.named.items():
            size += len(payload.data) + 16 + 4 * len(name)
        if self.context is not None:
            size += len(self.context.data) + 16
        return size


@record
class StepOrigin:
    """Which step a failure belongs to."""

    name: str
    number: int
    attempts: int


@record
class Failure:
    """Why something failed, in a form that can be stored and rebuilt."""

    error_type: str
    message: str = ""
    error_class: str = ""
    traceback: str = ""
    cut: bool = False
    facts: Payload | None = None
    step: StepOrigin | None = None
    child_run_id: str = ""
    cause: "Failure | None" = None
    leaves: "tuple[Failure, ...]" = ()

    @property
    def size_bytes(self) -> int:
        """An upper estimate, with all that led to it; a character has at most four bytes."""
        size = 0
        failure: Failure | None = self
        while failure is not None:
            size += FRAME_BYTES + 4 * (len(failure.message) + len(failure.traceback) + len(failure.error_class))
            if failure.facts is not None:
                size += len(failure.facts.data)
            size += sum([leaf.size_bytes for leaf in failure.leaves])
            failure = failure.cause
        return size


@record
class TraceContext:
    """W3C trace context and baggage, as headers."""

    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""


@record
class RunTrace:
    """The position of a run's own span, and how much of the run one trace covers."""

    context: TraceContext
    segment: timedelta


@record
class RetryPolicy:
    """What a call says about retries, where it overrides the definition of its step."""

    retries: int
    backoff: Backoff
