"""Continuing a closed run: a new run that begins with what still holds of the old one's journal, and takes its id."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from holdfast.errors import HoldfastError, RunAlreadyStarted, RunNotFound, RunNotRetryable
from holdfast.statuses import RunStatus

from .commands import StartRun
from .mail import MailKind, MailRow
from .rows import AlarmKind, JournalCopy, KeyRow, RunRow, Side
from .rules import Rule, Rules
from .snapshot import Reads
from .starts import ID, KEY, Started, key_rows, repeated, reserved_of
from .states import RunTrigger
from .workspace import Workspace

RETRYABLE = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.CANCELLED, RunStatus.TERMINATED})


@dataclass(slots=True)
class RewrittenRow:
    """One journal row of the new run: framed entries, and how many they are."""

    entries: bytes
    count: int


@dataclass(slots=True)
class CopiedRows:
    """Journal rows of the old run from `first` to `last` that the new one has as they are, `shift` entries earlier.

    rows, count: how many rows and how many entries.
    """

    first: int
    last: int
    shift: int
    rows: int
    count: int


@dataclass(slots=True)
class Continuation:
    """What the new run begins with.

    parts: its journal, in order; long ones are copied by the database. timers: (number, due) of those that are still
    set. signals: Mail bytes that had not been delivered. published: by key, the Payload that the journal has last.
    mail_taken: the highest number of mail in the journal.
    runs_again: how many steps of the old one run again because that was asked for.
    """

    parts: Sequence[RewrittenRow | CopiedRows]
    timers: list[tuple[int, datetime]] = field(default_factory=list)
    signals: list[bytes] = field(default_factory=list)
    published: dict[str, bytes] = field(default_factory=dict)
    mail_taken: int = 0
    runs_again: int = 0


@dataclass(slots=True)
class RetryRun:
    """Continue a failed, timed out, cancelled or terminated run at its failed step; where steps of it are asked to run
    again, also a completed one.

    by_id: whether the run was found by its id, and is continued only while that stands for it. start: which has found
    it so, and asks for that; None for who asks for it by itself.
    """

    run_id: str
    origin: RunRow
    begin: Continuation
    trace: bytes = b""
    traced: Side = Side.NONE
    by_id: bool = False
    start: StartRun | None = None

    @property
    def call_digest(self) -> bytes:
        """What the new run is called with, written as its start has written it: repeats are recognised by that."""
        return self.start.call_digest if self.start is not None else self.origin.call_digest


def keys_taken(asked: RetryRun) -> list[KeyRow]:
    """The business id that the new run takes over, if the old one has one, and the idempotency key of its start."""
    origin, start = asked.origin, asked.start
    keys = [row for row in key_rows(start) if row.kind == KEY] if start is not None else []
    if origin.id is not None:
        keys.append(KeyRow(origin.namespace, ID, origin.id, asked.run_id, origin.call_digest, origin.workflow))
    return keys


def _reads(reads: Reads, asked: RetryRun) -> None:
    reads.starts[asked.run_id] = asked.origin.namespace
    reads.keys.extend(keys_taken(asked))
    reads.results.add(asked.origin.run_id)


def _size(asked: RetryRun) -> int:
    rewritten = [len(part.entries) for part in asked.begin.parts if isinstance(part, RewrittenRow)]
    return len(asked.origin.arguments) + sum(rewritten)


def retry_run(space: Workspace, asked: RetryRun) -> Started | HoldfastError:
    """Makes the new run; a repeat with the same start id gets the same one."""
    origin, known, keys = asked.origin, space.known, keys_taken(asked)
    earlier = known.existing.get(asked.run_id)
    if earlier is not None:
        space.changes.keys_released += reserved_of(keys, known)
        return repeated(earlier, asked.run_id, origin.namespace, asked.call_digest)
    refusal = _refusal(space, asked, keys)
    if refusal is not None:
        space.changes.keys_released += reserved_of(keys, known)
        return refusal
    for row in keys:
        holder = known.keys.get((row.namespace, row.kind, row.key))
        if holder is not None:
            row.signature_digest = holder.signature_digest
            space.changes.keys.append(row)
    _continue(space, asked)
    # A repeat may be in this very batch: it has not read what is written here.
    known.existing[asked.run_id] = (origin.namespace, asked.call_digest, asked.run_id)
    return Started(asked.run_id, attached=False)


def _refusal(space: Workspace, asked: RetryRun, keys: Sequence[KeyRow]) -> HoldfastError | None:
    origin, known = asked.origin, space.known
    result = space.results.get(origin.run_id)
    if result is None:
        return RunNotFound(origin.run_id, namespace=origin.namespace)
    is_asked_again = result.status is RunStatus.COMPLETED and asked.begin.runs_again
    if result.status not in RETRYABLE and not is_asked_again:
        return RunNotRetryable(origin.run_id, result.status)
    for row in keys:
        holder = known.keys.get((row.namespace, row.kind, row.key))
        if holder is None:
            continue
        has_passed_on = row.kind == KEY or (asked.by_id and holder.run_id != origin.run_id)
        if has_passed_on or known.statuses.get(holder.run_id) is None:
            return RunAlreadyStarted(row.key, holder.run_id)
    return None


def _continue(space: Workspace, asked: RetryRun) -> None:
    now, origin, begin = space.now, asked.origin, asked.begin
    deadline_at = now + (origin.deadline_at - origin.created_at) if origin.deadline_at is not None else None
    record = RunRow(
        run_id=asked.run_id,
        namespace=origin.namespace,
        workflow=origin.workflow,
        queue=origin.queue,
        created_at=now,
        arguments=origin.arguments,
        call_digest=asked.call_digest,
        id=origin.id,
        idempotency_key=asked.start.idempotency_key if asked.start is not None else None,
        priority=origin.priority,
        deadline_at=deadline_at,
        metadata=origin.metadata,
        trace=asked.trace,
        origin_run_id=origin.run_id,
        depth=origin.depth,
        chain_run_id=origin.chain_run_id,
        metadata_at_start=origin.metadata_at_start,
    )
    run = space.add_run(record, asked.traced, mail_taken=begin.mail_taken)
    for part in begin.parts:
        if isinstance(part, RewrittenRow):
            space.append(run, [part.entries], part.count)
        else:
            run.length += part.count
            copy = JournalCopy(run.run_id, origin.run_id, part.first, part.last, part.shift, part.rows)
            space.changes.journal_copied.append(copy)
    for body in begin.signals:
        mail = MailRow(run.run_id, run.mail_next, MailKind.SIGNAL, now, body)
        run.mail_next += 1
        space.add_mail(mail)
    for key, value in begin.published.items():
        space.publish(run.run_id, key, value)
    for number, due_at in begin.timers:
        space.set_alarm(run, AlarmKind.TIMER, number, due_at)
    space.make_ready(run, RunTrigger.WAKE)


RULES: Rules = {RetryRun: Rule(_reads, retry_run, size=_size, keys=keys_taken)}
