"""The kinds of journal entries and of mail, declared once: who writes each, what it asks for, what it ends.

A kind is a message of proto/holdfast/api/v1/journal.proto, which says its fields, their units and what absence means,
and a row here, which says the rest. `make proto` makes from both what must agree with them: the records, their wire
code and sizes, and docs/journal.md. Pure; nothing but the standard library is imported here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from types import MappingProxyType
from typing import Any


class Writer(Flag):
    """Who may write entries of a kind."""

    WORKER = auto()
    """The session that holds the lease of the run."""
    COORDINATOR = auto()
    """The coordinator, under the lock of the run."""
    EITHER = WORKER | COORDINATOR


class Subject(Enum):
    """What an entry is about; except for RUN, its `number` says which one of the run."""

    RUN = "run"
    STEP = "step"
    ATTEMPT = "attempt"
    TIMER = "timer"
    CHILD = "child"
    MAIL = "mail"
    SPAN = "span"


class Asks(Enum):
    """What the coordinator does when a worker commits an entry, besides storing it."""

    QUEUE_STEP = "a place in the queue"
    KEEP_RETRY = "mail after the wait"
    CANCEL_STEP = "the removal of the step from its queue"
    SET_TIMER = "mail at the time"
    CANCEL_TIMER = "the removal of the timer"
    START_CHILD = "the start of the child"
    CANCEL_CHILD = "a cancel request to the child"
    SEND_MAIL = "a signal or a cancel request to the child"
    SET_METADATA = "the fact among the metadata of the run"
    CONSUME_MAIL = "the mail, in the entry"
    PUBLISH = "the value, for whoever asks for the key"
    STALL = "a worker with another build"
    CLOSE = "the end of the run and of all that is open in it"


class Replay(Enum):
    """What an entry is to the code that is replayed."""

    DECIDED = "is compared with what the code asks for"
    OBSERVED = "lets the code go on"
    PASSED = "passes by"


@dataclass(slots=True, frozen=True)
class RecordSpec:
    """What the protocol does not say of the record that a message is in Python.

    name: of the message's field in `Entry.body` or `Mail.body`; of a part of those, of the message. required: fields
    that each record is given, in the order of its parameters; all others follow in the order of the protocol.
    defaults: of fields whose default is not the one of their type. left_out: fields without a place in the record.
    texts: fields of people's words, whose length counts towards the size of a transition; all other texts are names,
    which have room in the frame of an entry.
    """

    name: str
    required: tuple[str, ...] = field(default=(), kw_only=True)
    defaults: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    left_out: frozenset[str] = field(default=frozenset(), kw_only=True)
    texts: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(slots=True, frozen=True)
class EntryKind(RecordSpec):
    """One kind of entry.

    about: its subject. asks: None when it is only stored. asks_when: the condition of that, for people; "" for always.
    ends: what is over with it; with a run, all that is open in it.
    """

    about: Subject
    writer: Writer
    replay: Replay
    asks: Asks | None = None
    asks_when: str = ""
    ends: frozenset[Subject] = frozenset()


_WORKER, _COORDINATOR, _EITHER = Writer.WORKER, Writer.COORDINATOR, Writer.EITHER
_DECIDED, _OBSERVED, _PASSED = Replay.DECIDED, Replay.OBSERVED, Replay.PASSED
_WHOLE_STEP = frozenset({Subject.STEP, Subject.ATTEMPT})

_ENTRIES = (
    EntryKind("run_started", Subject.RUN, _COORDINATOR, _OBSERVED, required=("workflow",)),
    EntryKind(
        "step_scheduled",
        Subject.STEP,
        _WORKER,
        _DECIDED,
        asks=Asks.QUEUE_STEP,
        asks_when="its `placement` is queued",
        required=("number", "name", "arguments"),
        defaults={"recoveries": 3},
    ),
    EntryKind("attempt_started", Subject.ATTEMPT, _WORKER, _PASSED, required=("number", "attempt")),
    EntryKind(
        "attempt_ended",
        Subject.ATTEMPT,
        _WORKER,
        _PASSED,
        asks=Asks.KEEP_RETRY,
        asks_when="`retry_by_alarm` is true",
        ends=frozenset({Subject.ATTEMPT}),
        required=("number", "attempt"),
    ),
    EntryKind("step_completed", Subject.STEP, _WORKER, _OBSERVED, ends=_WHOLE_STEP, required=("number", "result")),
    EntryKind("step_failed", Subject.STEP, _WORKER, _OBSERVED, ends=_WHOLE_STEP, required=("number", "failure")),
    EntryKind(
        "step_cancelled",
        Subject.STEP,
        _WORKER,
        _DECIDED,
        asks=Asks.CANCEL_STEP,
        ends=_WHOLE_STEP,
        required=("number",),
        left_out=frozenset({"attempts"}),
    ),
    EntryKind("timer_set", Subject.TIMER, _WORKER, _DECIDED, asks=Asks.SET_TIMER, required=("number",)),
    EntryKind(
        "timer_cancelled",
        Subject.TIMER,
        _WORKER,
        _DECIDED,
        asks=Asks.CANCEL_TIMER,
        ends=frozenset({Subject.TIMER}),
        required=("number",),
    ),
    EntryKind(
        "mail_consumed",
        Subject.MAIL,
        _WORKER,
        _OBSERVED,
        asks=Asks.CONSUME_MAIL,
        ends=frozenset({Subject.MAIL}),
        required=("number",),
    ),
    EntryKind(
        "mail_undelivered", Subject.MAIL, _COORDINATOR, _PASSED, ends=frozenset({Subject.MAIL}), required=("number",)
    ),
    EntryKind(
        "child_started",
        Subject.CHILD,
        _WORKER,
        _DECIDED,
        asks=Asks.START_CHILD,
        required=("number", "workflow", "run_id", "arguments"),
    ),
    EntryKind(
        "child_cancelled",
        Subject.CHILD,
        _WORKER,
        _DECIDED,
        asks=Asks.CANCEL_CHILD,
        ends=frozenset({Subject.CHILD}),
        required=("number",),
    ),
    EntryKind("run_stalled", Subject.RUN, _EITHER, _PASSED, asks=Asks.STALL, required=("reason",), texts=("reason",)),
    EntryKind("run_resumed", Subject.RUN, _COORDINATOR, _PASSED),
    EntryKind(
        "run_closed",
        Subject.RUN,
        _EITHER,
        _DECIDED,
        asks=Asks.CLOSE,
        ends=frozenset({Subject.RUN}),
        required=("status",),
    ),
    EntryKind(
        "user_span_began",
        Subject.SPAN,
        _WORKER,
        _DECIDED,
        required=("number", "name", "began_at"),
        texts=("name",),
    ),
    EntryKind(
        "user_span",
        Subject.SPAN,
        _WORKER,
        _DECIDED,
        ends=frozenset({Subject.SPAN}),
        required=("number", "name", "began_at"),
        texts=("name", "error_type"),
    ),
    EntryKind(
        "signal_set_aside",
        Subject.MAIL,
        _WORKER,
        _DECIDED,
        required=("number", "name", "problem"),
        texts=("name", "problem"),
    ),
    EntryKind("step_skipped", Subject.STEP, _WORKER, _DECIDED, required=("number", "name", "step_id", "failure")),
    EntryKind("patched", Subject.RUN, _WORKER, _DECIDED, required=("change_id",), texts=("change_id",)),
    EntryKind("noted", Subject.RUN, _WORKER, _PASSED, required=("text", "level"), texts=("text",)),
    EntryKind(
        "mail_sent",
        Subject.CHILD,
        _WORKER,
        _DECIDED,
        asks=Asks.SEND_MAIL,
        required=("number", "message"),
        texts=("signal", "reason"),
    ),
    EntryKind(
        "metadata_set",
        Subject.RUN,
        _WORKER,
        _DECIDED,
        asks=Asks.SET_METADATA,
        required=("key", "value"),
        texts=("key", "value"),
    ),
    EntryKind(
        "published", Subject.RUN, _WORKER, _DECIDED, asks=Asks.PUBLISH, required=("key", "value"), texts=("key",)
    ),
)

ENTRY_KINDS: Mapping[str, EntryKind] = MappingProxyType({kind.name: kind for kind in _ENTRIES})
"""By name, in the order of the protocol."""

RESERVED_ENTRIES = frozenset({"run_paused", "update_completed"})
"""Fields of `Entry.body` that are drawn in traces and have no record: no version writes or reads them."""

MAIL_KINDS: Mapping[str, RecordSpec] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            RecordSpec("signal", required=("name",)),
            RecordSpec("timer", required=("number",)),
            RecordSpec("retry_due", required=("number",)),
            RecordSpec("step_result", required=("number", "attempts")),
            RecordSpec("child_closed", required=("number", "run_id", "status")),
            RecordSpec("cancel"),
        )
    }
)

ATTEMPT = RecordSpec(
    "AttemptRecord", required=("attempt", "outcome", "scheduled_at", "eligible_at", "started_at", "ended_at")
)
"""A part of entries and of mail."""

RESERVED_MAIL = frozenset({"update"})
"""Fields of `Mail.body` without a record."""


# The groups that the code asks for, by name.


def _names(is_in: Callable[[EntryKind], bool]) -> frozenset[str]:
    return frozenset(kind.name for kind in _ENTRIES if is_in(kind))


WORKER_ENTRIES = _names(lambda kind: Writer.WORKER in kind.writer)
"""What a worker may write."""
STORED_ENTRIES = _names(lambda kind: Writer.WORKER in kind.writer and kind.asks is None)
"""What a worker writes and the coordinator only stores, whatever it says."""
OF_STEPS = _names(lambda kind: kind.about in (Subject.STEP, Subject.ATTEMPT))
"""Their `number` is that of a step."""
OF_CHILDREN = _names(lambda kind: kind.about is Subject.CHILD)
"""Their `number` is that of a child."""
STEP_ENDS = _names(lambda kind: kind.about is Subject.STEP and Subject.STEP in kind.ends)
"""With these a step is over. A queued step also ends with the mail of its result, every step with its run."""
ATTEMPT_ENDS = _names(lambda kind: kind.name in OF_STEPS and Subject.ATTEMPT in kind.ends)
"""With these an attempt under the lease of the run is over, if they have its record."""
ATTEMPT_RESULTS = _names(lambda kind: kind.name in ATTEMPT_ENDS and kind.asks is not Asks.CANCEL_STEP)
"""Those of them that a worker writes because an attempt ended, and not because nothing awaits it any more."""
