"""What can be asked of a run. A command asks; the journal entry or the row it leads to records.

Each command locks at most one run. What is sent to another run travels through the outbox.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from itertools import pairwise
from typing import Any

from holdfast.errors import HoldfastError, InvalidRequest
from holdfast.limits import DEFAULT_LIMITS
from holdfast.statuses import ClosePolicy, RunStatus, Then

from .asks import (
    Ask,
    CancelledStep,
    CloseAsk,
    ConsumeMail,
    QueueStepAsk,
    SendMailAsk,
    SetRetryAsk,
    SetTimerAsk,
    StallAsk,
    StartChildAsk,
    Successor,
)
from .hashed_calls import Signature
from .mail import ChildClosedMail, SignalMail
from .rows import AlarmKind, AlarmRow, RunRow, Side


class OnConflict(IntEnum):
    """What a start does when an open run has the same id; the numbers are those of the protocol."""

    ATTACH = 1
    REJECT = 2
    TERMINATE = 3


class Reuse(IntEnum):
    """What a start does when a closed run has the same id; the numbers are those of the protocol."""

    ATTACH = 1
    NEW = 2
    RETRY_FAILED = 3


@dataclass(slots=True)
class StartRun:
    """Make a run, or join the one that has the id or key."""

    run_id: str
    namespace: str
    workflow: str
    queue: str
    arguments: bytes
    call_digest: bytes
    id: str | None = None
    idempotency_key: str | None = None
    priority: int = 0
    delay: timedelta | None = None
    max_duration: timedelta | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    on_conflict: OnConflict = OnConflict.ATTACH
    reuse: Reuse = Reuse.ATTACH
    trace: bytes = b""
    traced: Side = Side.NONE
    """How its spans are exported: TRACE, TRACE_FAILURE or not."""
    parent_run_id: str | None = None
    parent_number: int = 0
    depth: int = 0
    depth_max: int = DEFAULT_LIMITS.nesting
    """How many runs are above the child, and how many may be."""
    asked_at: datetime | None = None
    """When the parent's journal says that it asked for this child."""
    outbox: AlarmRow | None = None
    """The outbox alarm that this start delivers; cleared in the same transaction."""
    signatures: Sequence[Signature] = ()
    """The known signatures of the workflow, newest first: by them calls that were written differently are equal."""
    signature_digest: str = ""
    """Of the signature it starts with, see `hashed_calls.started_with`; not needed without an id or a key."""


@dataclass(slots=True)
class ChildStart:
    """The start of a child as its parent's journal says it."""

    start: StartRun
    asked_at: datetime
    close_policy: ClosePolicy


CLOSED_BY_CODE = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.CONTINUED_AS_NEW})
"""How the code of a run can end it; the other ends are the coordinator's."""
ENTRIES_MAX = 1_000_000_000
"""Entries that no journal has, so that a number beyond it stands for none."""


@dataclass(slots=True)
class CommitTransition:
    """What a worker did with a leased run since its last transition. Raises InvalidRequest when it is misshapen.

    journal: the entries in order, as framed bytes; a ConsumeMail or CancelledStep stands where its entry belongs.
    parsed: the entries as messages, so that they are parsed once. Never looked into here. origin, trace, traced: of a
    run that continues as new, what it was started with, and the trace of the run that goes on; given by the engine.
    entries_max: how many entries the journal may have, unless this closes or stalls the run.
    What does not depend on the run is checked here, so that nothing misshapen ever stands in a line or a batch.
    """

    run_id: str
    session_id: str
    epoch: int
    expected_seq: int
    transition_id: int
    count: int
    journal: Sequence[bytes | ConsumeMail | CancelledStep]
    asks: Sequence[Ask]
    mail_seen: int
    then: Then
    attempt_deadline: timedelta | None = None
    waits: str = ""
    parsed: Sequence[Any] = field(default=(), repr=False, compare=False)
    entries_max: int = DEFAULT_LIMITS.journal_entries
    origin: RunRow | None = None
    trace: bytes = b""
    traced: Side = Side.NONE

    def __post_init__(self) -> None:
        if self.transition_id < 1:
            text = f"{self.transition_id} is no transition id, they count from 1; a repeat could not be recognised"
            raise InvalidRequest("transition_id", text)
        if not 0 <= self.expected_seq <= ENTRIES_MAX:
            raise InvalidRequest("expected_seq", f"{self.expected_seq} is no length of a journal")
        if self.epoch < 1 or self.mail_seen < 0:
            raise InvalidRequest("epoch", f"epoch {self.epoch} and mail_seen {self.mail_seen} count from 1 and from 0")
        if self.asks or self.then is Then.CLOSE or self.then is Then.STALL:
            self._check_end()
            self._check_numbers()
        if len(self.journal) > 1:
            self._check_mail()

    def _check_end(self) -> None:
        """A close and a stall end the transition that is one, and stand nowhere else."""
        asks = self.asks
        ends = [ask for ask in asks if type(ask) is CloseAsk or type(ask) is StallAsk]
        kind = {Then.CLOSE: CloseAsk, Then.STALL: StallAsk}.get(self.then)
        if kind is None:
            if ends:
                text = f"RunClosed and RunStalled belong into transitions that close and stall, not {self.then.name}"
                raise InvalidRequest("then", text)
        elif len(ends) != 1 or type(ends[0]) is not kind or asks[-1] is not ends[0]:
            name = "RunClosed" if kind is CloseAsk else "RunStalled"
            text = f"{name} must be the last entry of a transition that says {self.then.name}, and the only one"
            raise InvalidRequest("entries", text)
        for end in ends:
            if isinstance(end, CloseAsk) and end.status not in CLOSED_BY_CODE:
                text = f"code completes, fails, is cancelled or continues as new; it cannot close a run as {end.status}"
                raise InvalidRequest("entries.run_closed.status", text)

    def _check_numbers(self) -> None:
        """Nothing is set, queued or started twice under one number."""
        seen: set[tuple[type, int]] = set()
        for ask in self.asks:
            if isinstance(ask, QueueStepAsk | SetTimerAsk | SetRetryAsk | StartChildAsk | SendMailAsk):
                key = (type(ask), ask.number)
                if key in seen:
                    name = type(ask).__name__.removesuffix("Ask")
                    raise InvalidRequest("entries", f"{name} number {ask.number} is there twice")
                seen.add(key)

    def _check_mail(self) -> None:
        """Mail is consumed in its order, each piece once."""
        numbers = [part.number for part in self.journal if type(part) is ConsumeMail]
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            first = next(b for a, b in pairwise(numbers) if b != a + 1)
            raise InvalidRequest(
                "entries.mail_consumed.number", f"{first} is out of order; mail is consumed in its order"
            )

    @property
    def is_plain_close(self) -> bool:
        """True when it only appends and closes, so that one compare-and-set can commit it unless mail waits."""
        is_alone = self.then is Then.CLOSE and len(self.asks) == 1 and all(type(one) is bytes for one in self.journal)
        return is_alone and self.successor is None

    @property
    def successor(self) -> Successor | None:
        """The run that goes on, where this one continues as new."""
        closing = self.asks[-1] if self.then is Then.CLOSE else None
        return closing.successor if type(closing) is CloseAsk else None

    @property
    def is_append_only(self) -> bool:
        """True when it only appends to the journal, so that one compare-and-set can commit it."""
        return (
            self.then is Then.CONTINUE
            and not self.asks
            and self.count > 0
            and len(self.journal) == 1
            and type(self.journal[0]) is bytes
            and self.attempt_deadline is None
            and self.expected_seq + self.count <= self.entries_max
        )


@dataclass(slots=True)
class SendSignal:
    """Put a signal into the mail of a run. problem: why the run cannot take it; a repeat gets its first answer."""

    run_id: str
    request_id: str
    signal: SignalMail
    once: bool = False
    trace: bytes = b""
    problem: HoldfastError | None = None
    chain_run_id: str | None = None
    """The first run of its chain, see RunRow. So in the requests below."""

    @property
    def requests_of(self) -> str:
        """See OpenRun."""
        return self.chain_run_id or self.run_id


@dataclass(slots=True)
class DeliverHook:
    """Put what somebody delivers to a hook into the mail of its run. number, sha256: of the hook, and of the token.

    check: why the code of this workflow would not take it as this signal, by what is known; None where it may.
    """

    run_id: str
    request_id: str
    number: int
    sha256: str
    payload: bytes
    trace: bytes
    check: Callable[[str, str], HoldfastError | None]


@dataclass(slots=True)
class RequestCancel:
    """Ask a run to end; its code may clean up first."""

    run_id: str
    request_id: str
    reason: str
    outbox: AlarmRow | None = None
    chain_run_id: str | None = None

    @property
    def requests_of(self) -> str:
        """See OpenRun."""
        return self.chain_run_id or self.run_id


@dataclass(slots=True)
class TerminateRun:
    """End a run at once."""

    run_id: str
    request_id: str
    reason: str
    outbox: AlarmRow | None = None
    chain_run_id: str | None = None

    @property
    def requests_of(self) -> str:
        """See OpenRun."""
        return self.chain_run_id or self.run_id


@dataclass(slots=True)
class ResumeRun:
    """Offer a stalled run again, whatever the build of the workers."""

    run_id: str
    request_id: str


@dataclass(slots=True)
class OfferStalled:
    """Offer a stalled run to a build other than the one that stalled it."""

    run_id: str
    build: str


@dataclass(slots=True)
class DeliverChildClosed:
    """Put the end of a child into the mail of its parent, and mark the child closed."""

    run_id: str
    mail: ChildClosedMail
    outbox: AlarmRow


@dataclass(slots=True)
class DeliverToChild:
    """Put what a parent has sent into the mail of its child: a signal, or a request to end with this reason.

    after: the number of the message to that child that must have arrived before; 0 for none.
    """

    run_id: str
    outbox: AlarmRow
    after: int
    signal: SignalMail | None = None
    reason: str = ""


@dataclass(slots=True)
class AlarmDue:
    """An alarm of a run is due; `kind` is one of START, TIMER, RETRY, DEADLINE, ATTEMPT_DEADLINE."""

    run_id: str
    kind: AlarmKind
    ref: int


@dataclass(slots=True)
class PostponeAlarm:
    """What an alarm was to make happen has failed: it is tried again later, and given up in the end.

    due_at: of the attempt that failed; an alarm that is due at another time was moved or set anew meanwhile.
    parent: of the start or the end of a child: the run that waits for it, and the number of the child there. It gets a
    failure as the end of the child when this is given up; without it the start and the end of a child are not given up.
    """

    run_id: str
    kind: AlarmKind
    ref: int
    due_at: datetime
    reason: str
    parent: tuple[str, int] | None = None


class LeaseEnd(IntEnum):
    """Why the coordinator ends a lease."""

    LOST = 1
    UNDELIVERED = 2
    CLOSED_SESSION = 3
    OVERDUE = 4


@dataclass(slots=True)
class EndLease:
    """Take a run from a session that is dead, said good-bye or never got it."""

    run_id: str
    session_id: str
    epoch: int
    reason: LeaseEnd


@dataclass(slots=True)
class ReportAttempt:
    """A queued attempt ended. `record` is its AttemptRecord bytes; `again_after` is set when it is repeated.

    parsed: the record as a message, see CommitTransition.
    lost: what ran it in the worker is gone, and it is repeated as often as the loss of a worker allows.
    """

    run_id: str
    number: int
    attempt: int
    epoch: int
    session_id: str
    record: bytes
    result: bytes | None = None
    failure: bytes | None = None
    again_after: timedelta | None = None
    handed_back: bool = False
    lost: bool = False
    parsed: Any = field(default=None, repr=False, compare=False)


@dataclass(slots=True)
class SaveProgress:
    """Keep what a running attempt has saved for those that may follow.

    epoch: of the claim of a queued attempt, else of the lease of the run. details: a Payload.
    """

    run_id: str
    number: int
    attempt: int
    epoch: int
    session_id: str
    details: bytes
    is_queued: bool


@dataclass(slots=True)
class EndAttempt:
    """Take a queued attempt from a session that is dead, or from one whose attempt passed its deadline."""

    run_id: str
    number: int
    epoch: int
    timed_out: bool = False
    undelivered: bool = False


@dataclass(slots=True)
class ClaimRuns:
    """Lease ready runs of one queue to the sessions that wait for them.

    not_builds: for each workflow the one build that all sessions with room for it have, "" when there are several;
    runs that this build has stalled would find no session, and hold up those behind them.
    """

    namespace: str
    queue: str
    workflows: tuple[str, ...]
    limit: int
    not_builds: tuple[str, ...] = ()


@dataclass(slots=True)
class ClaimTasks:
    """Claim ready queued steps of one queue for the sessions that wait for them."""

    namespace: str
    queue: str
    steps: tuple[str, ...]
    limit: int


RunCommand = (
    CommitTransition
    | SendSignal
    | DeliverHook
    | RequestCancel
    | TerminateRun
    | ResumeRun
    | OfferStalled
    | DeliverChildClosed
    | DeliverToChild
    | AlarmDue
    | PostponeAlarm
    | EndLease
    | ReportAttempt
    | SaveProgress
    | EndAttempt
)
Command = StartRun | RunCommand | ClaimRuns | ClaimTasks
