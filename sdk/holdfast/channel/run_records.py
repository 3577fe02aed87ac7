"""What the client asks of the coordinator about runs and gets back: plain records, values still encoded."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Literal

from holdfast.errors import HoldfastError
from holdfast.journal import Arguments, Entry, Failure, Payload, TraceContext
from holdfast.record import record
from holdfast.statuses import RunStatus

OnConflict = Literal["attach", "reject", "terminate"]
Reuse = Literal["attach", "new", "retry_failed"]


@record
class StartSpec:
    """One run to start. Each payload of `arguments` carries its content_sha256."""

    start_id: str
    workflow: str
    arguments: Arguments
    id: str = ""
    idempotency_key: str = ""
    queue: str = ""
    priority: int = 0
    delay: timedelta | None = None
    max_duration: timedelta | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    on_conflict: OnConflict = "attach"
    reuse: Reuse = "attach"
    trace: TraceContext | None = None
    join_trace: bool = False
    sampled: bool | None = None

    @property
    def size_bytes(self) -> int:
        """About how large it is on the wire."""
        payloads = (*self.arguments.positional, *self.arguments.named.values())
        baggage_bytes = len(self.trace.baggage) if self.trace is not None else 0
        return 300 + baggage_bytes + sum(len(payload.data) + 50 for payload in payloads)


@record
class StartedRun:
    """The run that a start made, or joined when `attached`."""

    run_id: str
    id: str = ""
    attached: bool = False


StartOutcome = StartedRun | HoldfastError


@record
class ClosedRun:
    """A run that has ended. `result` is set when completed, `failure` when it ended otherwise.

    newest_run_id: of one that continued as new, the run of its chain that has the result or will have it.
    """

    run_id: str
    status: RunStatus
    result: Payload | None = None
    failure: Failure | None = None
    newest_run_id: str = ""


@record
class RunRecord:
    """What is known of a run. Texts are empty where there is nothing to say."""

    run_id: str
    id: str
    workflow: str
    status: RunStatus
    reason: str
    current_step: str
    queue: str
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    arguments: Arguments
    result: Payload | None
    failure: Failure | None
    metadata: Mapping[str, str]
    origin_run_id: str
    parent_run_id: str
    session_id: str
    journal_length: int
    losses: int
    undelivered: tuple[str, ...] = ()
    progress: int | None = None
    chain_run_id: str = ""
    warnings: tuple[str, ...] = ()


@record
class RunFilter:
    """Which runs to list; empty fields let everything through."""

    workflow: str = ""
    statuses: Sequence[RunStatus] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    started_after: datetime | None = None
    started_before: datetime | None = None
    text: str = ""
    idempotency_key: str = ""
    chain: str = ""


@record
class RunRecordPage:
    """Runs, newest first, and the cursor of the next page ("" on the last one)."""

    runs: tuple[RunRecord, ...]
    next_cursor: str


SpanKind = Literal["internal", "server", "client", "consumer"]
SpanStatus = Literal["unset", "ok", "error"]


@record
class SpanLink:
    """Another span that has to do with one. relation: caller, origin, parent, child, sender, previous or next."""

    trace_id: bytes
    span_id: bytes
    relation: str


@record
class TraceSpan:
    """One finished span of a run. Times are nanoseconds since 1970. parent_id: empty for the root of a trace."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    name: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    status: SpanStatus
    attributes: Mapping[str, str | int]
    links: tuple[SpanLink, ...] = ()


@record
class ExportedTrace:
    """What an export sent, and to which collector."""

    spans: int
    collector: str


@record
class HistoryPage:
    """Entries with their numbers and the epoch they were written under (0: by the coordinator)."""

    entries: tuple[tuple[int, int, Entry], ...]
    more: bool
    arguments: Arguments
