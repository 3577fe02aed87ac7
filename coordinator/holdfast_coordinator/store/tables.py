"""The tables of a cell and of the control schema: the one description of what Postgres holds.

Must agree with what the migrations make; a test compares them. Checks are the second fence behind the core: what is
unsound is refused with its command and never stored. Rules that every table keeps: a primary key, no
foreign keys, ids as text in byte order, protobuf as bytea. Indexes of hot tables are partial, and nothing that
changes from one transition of a leased run to the next is in any index, so that those updates stay HOT.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from holdfast.statuses import ClosePolicy, RunStatus
from holdfast_coordinator.domain.mail import MailKind
from holdfast_coordinator.domain.rows import AlarmKind, RunState, TaskState

# By a constant number of dead rows: the default, a share of the table, comes later the longer a queue is.
_HOT = {
    "fillfactor": "50",
    "autovacuum_vacuum_scale_factor": "0.0",
    "autovacuum_vacuum_threshold": "2000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0.0",
    "autovacuum_analyze_threshold": "5000",
}
_QUEUE = {**_HOT, "fillfactor": "80"}
_APPENDED = {
    "autovacuum_vacuum_insert_scale_factor": "0.0",
    "autovacuum_vacuum_insert_threshold": "200000",
    "autovacuum_analyze_scale_factor": "0.0",
    "autovacuum_analyze_threshold": "100000",
}

STORAGE: dict[str, dict[str, str]] = {
    "runs": _APPENDED,
    "run_results": _APPENDED,
    "open_runs": _HOT,
    "journal": _APPENDED,
    "mail": _QUEUE,
    "step_tasks": _QUEUE,
    "alarms": _QUEUE,
    "dead_letters": _APPENDED,
    "children": _QUEUE,
    "step_progress": _QUEUE,
    "trace_marks": _QUEUE,
    "run_keys": _APPENDED,
    "requests": _QUEUE,
    "sessions": _HOT,
}
"""Storage parameters by table: the migrations apply them, Alembic does not compare them, a test does."""

cell_metadata = MetaData()
control_metadata = MetaData()


def _one_of(column: str, numbers: Iterable[int]) -> str:
    """The condition that a column has one of these numbers, which follow one another."""
    ordered = sorted(numbers)
    assert ordered == list(range(ordered[0], ordered[-1] + 1)), ordered
    return f"{column} BETWEEN {ordered[0]} AND {ordered[-1]}"


def _id(name: str, *, nullable: bool = False) -> "Column[Any]":
    return Column(name, Text(collation="C"), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> "Column[Any]":
    return Column(name, Text, nullable=nullable)


def _small(name: str) -> "Column[Any]":
    return Column(name, SmallInteger, nullable=False)


def _int(name: str, *, nullable: bool = False) -> "Column[Any]":
    return Column(name, Integer, nullable=nullable)


def _big(name: str) -> "Column[Any]":
    return Column(name, BigInteger, nullable=False)


def _flag(name: str) -> "Column[Any]":
    return Column(name, Boolean, nullable=False)


def _at(name: str, *, nullable: bool = False) -> "Column[Any]":
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _bytes(name: str, *, nullable: bool = False) -> "Column[Any]":
    return Column(name, LargeBinary, nullable=nullable)


runs = Table(
    "runs", cell_metadata,
    _id("run_id"), _id("namespace"), _id("workflow"), _id("queue"), _at("created_at"),
    _bytes("arguments"), _bytes("call_digest"), _id("id", nullable=True),
    _id("idempotency_key", nullable=True), _int("priority"), _at("deadline_at", nullable=True),
    Column("metadata", JSONB, nullable=False), _bytes("trace"), _id("origin_run_id", nullable=True),
    _id("parent_run_id", nullable=True), _int("parent_number"), _int("depth"), _id("chain_run_id", nullable=True),
    Column("metadata_at_start", JSONB, nullable=True),
    PrimaryKeyConstraint("run_id", name="runs_pkey"),
    Index("runs_by_chain", "chain_run_id", "created_at", "run_id", postgresql_where=text("chain_run_id IS NOT NULL")),
    Index("runs_by_creation", "namespace", "created_at", "run_id"),
    Index("runs_by_workflow", "namespace", "workflow", "created_at", "run_id"),
    Index(
        "runs_by_metadata", "metadata", postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"}, postgresql_where=text("metadata <> '{}'::jsonb"),
    ),
)  # fmt: skip

run_results = Table(
    "run_results", cell_metadata,
    _id("run_id"), _id("namespace"), _small("status"), _at("closed_at"),
    _bytes("result", nullable=True), _bytes("failure", nullable=True),
    PrimaryKeyConstraint("run_id", name="run_results_pkey"),
    CheckConstraint(_one_of("status", (one.number for one in RunStatus if one.is_closed)), name="run_results_closed"),
    Index("run_results_by_close", "closed_at"),
    Index(
        "run_results_by_status", "namespace", "status",
        postgresql_where=text(f"status <> {RunStatus.COMPLETED.number}"),
    ),
)  # fmt: skip

open_runs = Table(
    "open_runs", cell_metadata,
    _id("run_id"), _id("namespace"), _id("queue"), _id("workflow"), _small("state"), _at("last_at"),
    _id("build", nullable=True), _big("epoch"), _id("owner", nullable=True), _id("sticky", nullable=True),
    _big("length"), _big("transition_id"), _big("mail_next"), _big("mail_taken"),
    _at("ready_at", nullable=True), _int("priority"), _int("losses"), _flag("timed_out"),
    _at("deadline_at", nullable=True), _at("attempt_deadline_at", nullable=True),
    _text("stall_reason", nullable=True), _id("stall_build", nullable=True), _text("waits", nullable=True),
    _small("side"), _id("parent_run_id", nullable=True), _int("parent_number"), _id("chain_run_id", nullable=True),
    PrimaryKeyConstraint("run_id", name="open_runs_pkey"),
    Index(
        "open_runs_to_claim", "namespace", "queue", "workflow", "priority", "ready_at",
        postgresql_where=text(f"state = {RunState.READY}"),
    ),
    Index("open_runs_stalled", "namespace", "queue", "workflow", postgresql_where=text(f"state = {RunState.STALLED}")),
    Index("open_runs_by_owner", "owner", postgresql_where=text("owner IS NOT NULL")),
)  # fmt: skip

journal = Table(
    "journal", cell_metadata,
    _id("run_id"), _big("seq"), _int("count"), _big("epoch"), _big("transition_id"), _bytes("entries"),
    PrimaryKeyConstraint("run_id", "seq", name="journal_pkey"),
)  # fmt: skip

mail = Table(
    "mail", cell_metadata,
    _id("run_id"), _big("number"), _small("kind"), _at("arrived_at"), _bytes("body"),
    PrimaryKeyConstraint("run_id", "number", name="mail_pkey"),
    CheckConstraint(f"number >= 1 AND {_one_of('kind', MailKind)}", name="mail_sound"),
)  # fmt: skip

step_tasks = Table(
    "step_tasks", cell_metadata,
    _id("run_id"), _int("number"), _id("namespace"), _id("queue"), _id("name"), _small("state"),
    _at("ready_at"), _at("scheduled_at"), _bytes("arguments"), _int("priority"), _int("attempt"),
    _int("failures"), _int("losses"), _id("owner", nullable=True), _big("epoch"),
    _at("started_at", nullable=True), _at("deadline_at", nullable=True),
    Column("timeout", Interval, nullable=True), _int("recoveries", nullable=True), _bytes("retry"),
    _id("step_id"), _id("seed"), _id("workflow"), _bytes("attempts_ended"), _bytes("saved", nullable=True),
    PrimaryKeyConstraint("run_id", "number", name="step_tasks_pkey"),
    Index(
        "step_tasks_to_claim", "namespace", "queue", "name", "priority", "ready_at",
        postgresql_where=text(f"state = {TaskState.READY}"),
    ),
    Index("step_tasks_by_owner", "owner", postgresql_where=text("owner IS NOT NULL")),
    Index("step_tasks_by_deadline", "deadline_at", postgresql_where=text("deadline_at IS NOT NULL")),
)  # fmt: skip

alarms = Table(
    "alarms", cell_metadata,
    _id("run_id"), _small("kind"), _int("ref"), _at("due_at"), _bytes("body"),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("run_id", "kind", "ref", name="alarms_pkey"),
    CheckConstraint(f"{_one_of('kind', AlarmKind)} AND attempts >= 0", name="alarms_sound"),
    Index("alarms_by_time", "due_at", postgresql_where=text(f"kind < {AlarmKind.OUTBOX_CHILD}")),
    Index("alarms_to_deliver", "due_at", postgresql_where=text(f"kind >= {AlarmKind.OUTBOX_CHILD}")),
    Index("alarms_failing", "run_id", "kind", "ref", postgresql_where=text("attempts > 0")),
)  # fmt: skip

dead_letters = Table(
    "dead_letters", cell_metadata,
    _id("run_id"), _small("kind"), _int("ref"), _at("died_at"), _bytes("body"), _int("attempts"), _text("reason"),
    PrimaryKeyConstraint("run_id", "kind", "ref", name="dead_letters_pkey"),
)  # fmt: skip

children = Table(
    "children", cell_metadata,
    _id("run_id"), _int("number"), _id("child_run_id"), _small("close_policy"), _flag("closed"),
    PrimaryKeyConstraint("run_id", "number", name="children_pkey"),
    CheckConstraint(f"number >= 1 AND {_one_of('close_policy', ClosePolicy)}", name="children_sound"),
)  # fmt: skip

step_progress = Table(
    "step_progress", cell_metadata,
    _id("run_id"), _int("number"), _int("attempt"), _bytes("details"),
    PrimaryKeyConstraint("run_id", "number", name="step_progress_pkey"),
)  # fmt: skip

published = Table(
    "published", cell_metadata,
    _id("run_id"), _id("key"), _bytes("value"),
    PrimaryKeyConstraint("run_id", "key", name="published_pkey"),
)  # fmt: skip

trace_marks = Table(
    "trace_marks", cell_metadata,
    _id("run_id"), _big("exported_seq"), _at("closed_at", nullable=True), _at("relay_at", nullable=True),
    PrimaryKeyConstraint("run_id", name="trace_marks_pkey"),
    Index("trace_marks_to_relay", "relay_at", postgresql_where=text("relay_at IS NOT NULL")),
)  # fmt: skip

run_keys = Table(
    "run_keys", cell_metadata,
    _id("namespace"), _id("kind"), _id("key"), _id("run_id"), _bytes("call_digest"), _id("workflow"),
    _id("signature_digest"),
    PrimaryKeyConstraint("namespace", "kind", "key", name="run_keys_pkey"),
)  # fmt: skip

requests = Table(
    "requests", cell_metadata,
    _id("run_id"), _id("request_id"), _flag("answer"), _at("expires_at"),
    PrimaryKeyConstraint("run_id", "request_id", name="requests_pkey"),
    Index("requests_by_expiry", "expires_at"),
)  # fmt: skip

namespaces = Table(
    "namespaces", control_metadata,
    _id("name"), _at("created_at"),
    PrimaryKeyConstraint("name", name="namespaces_pkey"),
)  # fmt: skip

sessions = Table(
    "sessions", control_metadata,
    _id("session_id"), _id("namespace"), _id("queue"), _id("replica_id"), _big("attach_no"), _id("build"),
    _text("host"), _big("pid"), _int("slots"), _at("opened_at"), _at("heartbeat_at"),
    Column("workflows", ARRAY(Text(collation="C")), nullable=False),
    Column("steps", ARRAY(Text(collation="C")), nullable=False), _at("died_at", nullable=True),
    Column("encodings", ARRAY(Text(collation="C")), nullable=False, server_default=text("'{}'")),
    PrimaryKeyConstraint("session_id", name="sessions_pkey"),
)  # fmt: skip

known_workflows = Table(
    "known_workflows", control_metadata,
    _id("namespace"), _id("name"), _id("digest"), Column("signature", JSONB, nullable=False), _at("registered_at"),
    PrimaryKeyConstraint("namespace", "name", "digest", name="known_workflows_pkey"),
    Index("known_workflows_by_time", "registered_at"),
)  # fmt: skip

known_signals = Table(
    "known_signals", control_metadata,
    _id("namespace"), _id("workflow"), _id("name"), _id("digest"), _text("type"), _at("registered_at"),
    PrimaryKeyConstraint("namespace", "workflow", "name", "digest", name="known_signals_pkey"),
    Index("known_signals_by_time", "registered_at"),
)  # fmt: skip
