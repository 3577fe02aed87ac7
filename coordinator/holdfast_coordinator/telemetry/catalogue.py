"""Every span and every attribute that coordinators write, as data: what the builders follow and the docs list. Pure."""

from dataclasses import dataclass, field

from holdfast.traces import SpanOf

from .spans import SpanKind


@dataclass(slots=True, frozen=True)
class SpanType:
    """One row of the table of spans.

    name: with what differs in braces, at the end. begins, ends, below: what its times and its parent are, for people.
    of: the word in its id; None for a span that is not derived from the journal.
    """

    of: SpanOf | None
    name: str
    kind: SpanKind
    begins: str
    ends: str
    below: str
    prefix: str = field(init=False)
    """What its name begins with; what differs follows."""
    word: bytes = field(init=False)
    """`of`, as the ids of its spans are made from it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", self.name.partition("{")[0])
        object.__setattr__(self, "word", self.of.encode() if self.of is not None else b"")


_INTERNAL, _SERVER, _CLIENT = SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT

RUN = SpanType(
    SpanOf.RUN, "run {workflow}", _SERVER, "created", "closed", "none, or the caller when joined, or `child {workflow}`"
)
ACCEPTED = SpanType(SpanOf.ACCEPTED, "run accepted", _INTERNAL, "created", "first lease", "run")
IN_CODE = "the user span around it, or run"

STEP = SpanType(SpanOf.STEP, "step {name}", _CLIENT, "scheduled", "final result", IN_CODE)
QUEUE_WAIT = SpanType(SpanOf.QUEUE_WAIT, "queue wait", _INTERNAL, "eligible", "started; left out below 5 ms", "step")
ATTEMPT = SpanType(SpanOf.ATTEMPT, "attempt {name}", _SERVER, "started", "result, timeout, or found lost", "step")
RETRY_WAIT = SpanType(SpanOf.RETRY_WAIT, "retry wait", _INTERNAL, "attempt ended", "next one eligible", "step")
SLEEP = SpanType(SpanOf.TIMER, "sleep", _INTERNAL, "set", "fired or cancelled", IN_CODE)
TIMER = SpanType(SpanOf.TIMER, "timer", _INTERNAL, "set, with a name", "fired or cancelled", IN_CODE)
SIGNAL_WAIT = SpanType(
    SpanOf.SIGNAL_WAIT, "wait signal {name}", _INTERNAL, "wait began", "received, timed out or cancelled", "run"
)
SIGNAL = SpanType(SpanOf.SIGNAL, "signal {name}", SpanKind.CONSUMER, "received", "consumed", "run; links to the sender")
UPDATE = SpanType(SpanOf.UPDATE, "update {name}", _SERVER, "accepted", "completed", "run; links to the caller")
CHILD = SpanType(SpanOf.CHILD, "child {workflow}", _CLIENT, "requested", "closed, or no longer awaited", IN_CODE)
STALLED = SpanType(SpanOf.STALLED, "stalled", _INTERNAL, "entered", "left", "run")
PAUSED = SpanType(SpanOf.PAUSED, "paused", _INTERNAL, "entered", "left", "run")
USER = SpanType(SpanOf.USER, "{name}", _INTERNAL, "the code entered it", "the code left it, or the run closed", IN_CODE)
NOTE = SpanType(SpanOf.NOTE, "note", _INTERNAL, "the code wrote it", "the same moment", IN_CODE)
LATE_RESULT = SpanType(
    None, "late result", _INTERNAL, "a report of a superseded attempt was refused", "the same moment", "that attempt"
)

SPANS = (RUN, ACCEPTED, STEP, QUEUE_WAIT, ATTEMPT, RETRY_WAIT, SLEEP, TIMER, SIGNAL_WAIT, SIGNAL, UPDATE, CHILD,
         STALLED, PAUSED, USER, NOTE, LATE_RESULT)  # fmt: skip

ATTRIBUTES = {
    "holdfast.namespace": "the namespace of the run; on every span",
    "holdfast.workflow.name": "the name of the workflow; on every span",
    "holdfast.run.id": "the id of the run; on every span",
    "holdfast.workflow.id": "the business id of the run; on every span of a run that has one",
    "holdfast.run.status": "how the run ended; `running` where another segment follows",
    "holdfast.step.name": "the registered name of the step",
    "holdfast.step.number": "the number of the step in its run, from 1, in call order",
    "holdfast.step.id": "the caller's own identity for the call",
    "holdfast.attempt": "the attempt, from 1; of a wait: the one that was waited for",
    "holdfast.attempt.outcome": (
        "completed, failed_retryable, failed_final, timed_out, lost, handed_back or cancelled"
    ),
    "holdfast.retry.delay_ms": "how long the step waits before its next attempt",
    "holdfast.queue": "the queue of the run, the step or the child",
    "holdfast.placement": "where the step ran: inline or queued",
    "holdfast.worker.id": "the session of the worker that ran the attempt",
    "holdfast.worker.build": "the build of that worker; of a stall: the build that could not go on",
    "holdfast.lease.epoch": "the epoch of the lease under which the attempt ran",
    "holdfast.input.bytes": "how large the arguments are, encoded",
    "holdfast.output.bytes": "how large the result is, encoded",
    "error.type": "the class of the error; the outcome where nothing was raised",
    "holdfast.error.message": "the text of the error, at most 1 KB",
    "holdfast.origin.run.id": "the run whose journal this one continues",
    "holdfast.parent.run.id": "the run that started this one as a child",
    "holdfast.child.run.id": "the run of the child",
    "holdfast.successor.run.id": "the run that goes on, where this one continued as new",
    "holdfast.timer.name": "the name of the timer",
    "holdfast.wait.outcome": "fired, received, timed_out or cancelled",
    "holdfast.stall.reason": "why the run cannot go on, at most 1 KB",
    "holdfast.pause.reason": "who holds the run back, or why, at most 1 KB",
    "holdfast.note.level": "debug, info, warning or error",
    "holdfast.note.text": "what the note says, at most 1 KB; its facts are in the history only",
    "holdfast.trace.segment": "the number of the segment, from 0, of a run with several",
    "holdfast.spans.omitted": "how many spans the budget left out of this trace",
}
"""Every attribute, in the order in which a span has them, and what it means."""

LINKS = {
    "caller": "who started the run, or asked for the update",
    "sender": "who sent the signal",
    "origin": "the run span of the run that this one retries",
    "parent": "the span of the parent that stands for this child, which may outlive it",
    "child": "the run span of a child in a trace of its own",
    "predecessor": "the run span of the run that went on as this one",
    "successor": "the run span of the run that goes on where this one continued as new",
    "previous": "the run span of the segment before",
    "next": "the run span of the segment after",
}
"""What `holdfast.link.relation` says of a link."""
