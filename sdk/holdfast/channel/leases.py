"""What a worker and the coordinator send each other about leased work: one slotted record per message.

The worker reads and makes these; only `worker_messages` turns them into protobuf messages. Field by field they
are the messages of proto/holdfast/api/v1/worker_service.proto. Plain data, without grpc and protobuf.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from holdfast.definitions.signatures import ParameterKind
from holdfast.journal import Arguments, AttemptRecord, Entry, Mail, Payload, RetryPolicy, RunTrace, TraceContext
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.record import record
from holdfast.statuses import Then, TransitionStatus


class Held(NamedTuple):
    """A lease (step 0) or a queued attempt that a session holds, and the epoch it was granted under.

    mail_seen: in what is sent, of a lease: the number up to which all mail of the run has come; 0 everywhere else.
    """

    run_id: str
    step: int
    epoch: int
    mail_seen: int = 0


@record
class ParameterRegistration:
    """A parameter of a workflow.

    default_sha256: of the canonical JSON of its default; empty for none. type: see `hints.text_of`.
    """

    name: str
    required: bool
    kind: ParameterKind = ParameterKind.EITHER
    default_sha256: bytes = b""
    type: str = ""


@record
class WorkflowRegistration:
    """A workflow that a worker can run, with its parameters, so that wrong arguments are refused early.

    id_template: how starts that give no id get one; empty for none.
    """

    name: str
    parameters: tuple[ParameterRegistration, ...] = ()
    extra_positional: bool = False
    extra_named: bool = False
    id_template: str = ""


@record
class Introduction:
    """What a worker says of itself when it opens a session. encodings: what it can read; none when it does not say."""

    namespace: str
    queue: str
    workflows: tuple[WorkflowRegistration, ...]
    steps: tuple[str, ...]
    build: str
    host: str
    pid: int
    slots: int
    runs_max: int
    encodings: tuple[str, ...] = ()


@record
class SignalRegistration:
    """Signals of one name as the code of a workflow takes them. type: "" for anything; see hints.schemas."""

    workflow: str
    name: str
    type: str


@record
class OpenedSession:
    """The coordinator's answer to an introduction. address: where this replica itself is reached; "" if unknown."""

    session_id: str
    attach_no: int
    ttl: timedelta
    heartbeat_interval: timedelta
    poll_wait: timedelta
    database_time: datetime
    limits: Limits = DEFAULT_LIMITS
    ended: tuple[Held, ...] = ()
    address: str = ""


@record
class Row:
    """The entries of one transition; `seq` is the number of the last one."""

    seq: int
    epoch: int
    entries: tuple[Entry, ...]


@record
class ProgressReport:
    """What a running attempt saves for those that may follow.

    epoch: of the claim of a queued attempt, else of the lease of the run.
    """

    run_id: str
    step: int
    attempt: int
    epoch: int
    is_queued: bool
    details: Payload


@record
class ProgressResult:
    """What came of saved progress; none of the three below means that the claim or the lease had moved on."""

    run_id: str
    step: int
    saved: bool
    refusal: str = ""
    busy: bool = False


@record
class Lease:
    """A run that the session now holds. `rows` is the whole journal, or empty: then it has to be read.

    attach_no: the attachment that it was granted to; 0 when the coordinator does not say. progress: what attempts of
    its steps have saved, by the number of the step.
    """

    run_id: str
    epoch: int
    workflow: str
    journal_length: int
    arguments: Arguments | None = None
    rows: tuple[Row, ...] = ()
    mail: tuple[Mail, ...] = ()
    id: str = ""
    queue: str = "default"
    parent_run_id: str = ""
    created_at: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    trace: RunTrace | None = None
    after_loss: bool = False
    after_timeout: bool = False
    lost_session_id: str = ""
    handed_back: bool = False
    mail_taken: int = 0
    attach_no: int = 0
    progress: Mapping[int, Payload] = field(default_factory=dict)


@record
class QueuedAttempt:
    """An attempt of a queued step that the session now holds; its claim is its start."""

    run_id: str
    step: int
    attempt: int
    epoch: int
    name: str
    arguments: Arguments
    workflow: str
    scheduled_at: datetime
    eligible_at: datetime
    started_at: datetime
    timeout: timedelta | None = None
    retry: RetryPolicy | None = None
    failures: int = 0
    step_id: str = ""
    trace: TraceContext | None = None
    attach_no: int = 0
    seed: str = ""
    saved: Payload | None = None


@record
class Notice:
    """News about something that the session holds."""

    held: Held
    mail: tuple[Mail, ...] = ()
    ended: bool = False
    cancelled: bool = False


@record
class Work:
    """The answer to a poll. See `granted_to`."""

    leases: tuple[Lease, ...] = ()
    attempts: tuple[QueuedAttempt, ...] = ()
    notices: tuple[Notice, ...] = ()

    def granted_to(self, attach_no: int) -> "Work":
        """The answer without grants of another attachment: the replica that made them has lost this session."""
        own = (0, attach_no)
        if all(lease.attach_no in own for lease in self.leases) and all(one.attach_no in own for one in self.attempts):
            return self
        return replace(
            self,
            leases=tuple(lease for lease in self.leases if lease.attach_no in own),
            attempts=tuple(one for one in self.attempts if one.attach_no in own),
        )


@record
class Transition:
    """What happened in a leased run since its last transition."""

    run_id: str
    epoch: int
    expected_seq: int
    transition_id: int
    entries: tuple[Entry, ...]
    mail_seen: int
    then: Then
    attempt_deadline: timedelta | None = None
    waits: tuple[str, ...] = ()


@record
class TransitionResult:
    """What came of a transition."""

    run_id: str
    status: TransitionStatus
    mail: tuple[Mail, ...] = ()
    refusal: str = ""


@record
class AttemptReport:
    """How a queued attempt ended; `record.retry_delay` is set when it is to be repeated."""

    run_id: str
    step: int
    attempt: int
    epoch: int
    record: AttemptRecord
    result: Payload | None = None


@record
class AttemptReportResult:
    """What came of an attempt report; none of the three below means that the claim had moved on."""

    run_id: str
    step: int
    recorded: bool
    refusal: str = ""
    busy: bool = False


@record
class ReportAnswer:
    """The answer to a report: one result per transition and per attempt, in order."""

    transitions: tuple[TransitionResult, ...] = ()
    attempts: tuple[AttemptReportResult, ...] = ()


@record
class JournalPage:
    """A page of a journal; `arguments` is on the first page only."""

    rows: tuple[Row, ...]
    more: bool
    arguments: Arguments | None = None


@record
class JournalBeginning:
    """How the journal of a lease begins; without rows it has to be read alone, which says why."""

    run_id: str
    epoch: int
    rows: tuple[Row, ...]
    more: bool


@record
class Pulse:
    """The answer to a heartbeat."""

    database_time: datetime
    ended: tuple[Held, ...] = ()
