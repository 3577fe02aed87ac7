"""The end of a run: what is journaled with it, what ends with it, and what is kept of it."""

from datetime import datetime, timedelta

from holdfast.journal import Failure
from holdfast.limits import DEFAULT_LIMITS
from holdfast.statuses import ClosePolicy, RunStatus

from .events import RunEnded
from .mail import ChildClosedMail, MailKind, MailRow, StepResultMail, body_bytes
from .rows import (
    AlarmKind,
    CoordinatorEntry,
    MailConsumedEntry,
    MailUndeliveredEntry,
    OpenRun,
    RunResult,
    Side,
    StepCancelledEntry,
    TraceMark,
)
from .states import RunTrigger, TaskTrigger, move_run
from .workspace import Workspace, not_before

ROW_BYTES_MAX = DEFAULT_LIMITS.transition_bytes
RELAY_AFTER = timedelta(seconds=30)
"""How long the replica that closed a run has for exporting its spans, before any may read them from the journal."""
FAILED_STATUSES = frozenset({RunStatus.FAILED, RunStatus.TIMED_OUT, RunStatus.TERMINATED})


def close_run(
    space: Workspace,
    run: OpenRun,
    trigger: RunTrigger,
    status: RunStatus,
    entries: list[bytes | CoordinatorEntry],
    closing: bytes | CoordinatorEntry,
    *,
    count: int,
    result: bytes | None = None,
    failure: bytes | Failure | None = None,
    epoch: int = 0,
    transition_id: int = 0,
    at: datetime | None = None,
) -> None:
    """Ends a changed run: `entries` (`count` of them, without the close), undelivered mail, then `closing`.

    Attempts of queued steps that end with the run are journaled as mail too: it is the form that has them all.
    """
    move_run(run, trigger)
    size, entries = sum(map(_entry_bytes, entries)), list(entries)
    for missed in [*space.mail.get(run.run_id, {}).values(), *_attempts_cut_short(space, run)]:
        # A row travels whole, so it must fit into a message, however much mail was not received.
        size += body_bytes(missed.body)
        if size > ROW_BYTES_MAX and entries:
            space.append(run, entries, count, epoch=epoch, transition_id=transition_id)
            entries, count, size = [], 0, body_bytes(missed.body)
        entries.append(MailUndeliveredEntry(space.now, missed))
        count += 1
    space.append(run, [*entries, closing], count + 1, epoch=epoch, transition_id=transition_id)
    closed_at = not_before(at, space.now)
    _end_everything_of(space, run, status, closed_at)
    outcome = RunResult(run.run_id, run.namespace, status, closed_at, result, failure)
    space.changes.closed[run.run_id] = space.results[run.run_id] = outcome
    space.events.append(RunEnded(outcome))
    if run.parent_run_id is not None and status is not RunStatus.CONTINUED_AS_NEW:
        mail = ChildClosedMail(run.parent_number, run.run_id, status, result, failure)
        space.send_outbox(
            run.run_id, AlarmKind.OUTBOX_CHILD_CLOSED, 0, mail=mail, to_run_id=run.parent_run_id, due_at=closed_at
        )


def _attempts_cut_short(space: Workspace, run: OpenRun) -> list[MailRow]:
    """The attempts of queued steps without a result, as the mail that their results would have been."""
    cut_short = []
    for task in space.tasks_of(run.run_id) if Side.TASKS in run.side else ():
        if not task.attempt:
            continue
        attempts = space.attempts_of(task)
        body = StepResultMail(task.number, attempts, failure=Failure("CancelledError", "the run closed"))
        cut_short.append(MailRow(run.run_id, run.mail_next, MailKind.STEP_RESULT, space.now, body))
        run.mail_next += 1
    return cut_short


def _end_everything_of(space: Workspace, run: OpenRun, status: RunStatus, closed_at: datetime) -> None:
    run_id, changes = run.run_id, space.changes
    if Side.TASKS in run.side:
        for task in space.tasks_of(run_id):
            space.drop_task(task, TaskTrigger.CANCEL)
    for child in space.children.get(run_id, {}).values():
        if not child.closed and child.close_policy is not ClosePolicy.ABANDON:
            terminate = child.close_policy is ClosePolicy.TERMINATE
            kind = AlarmKind.OUTBOX_CHILD_TERMINATE if terminate else AlarmKind.OUTBOX_CHILD_CANCEL
            space.send_outbox(run_id, kind, child.number, to_run_id=child.child_run_id)
    if status is RunStatus.CONTINUED_AS_NEW:
        changes.swept[run_id] = run.side & ~Side.REQUESTS  # the run that goes on has them now
    else:
        space.expire_requests(run.requests_of)
        changes.swept[run_id] = run.side
        if run.chain_run_id is not None:
            changes.requests_of[run_id] = run.chain_run_id
    mark = trace_mark(run, status, closed_at)
    if mark is not None:
        changes.traces_closed.append(mark)
    changes.updated.pop(run_id, None)
    changes.opened.pop(run_id, None)
    space.mail.pop(run_id, None)
    del space.runs[run_id]


def trace_mark(run: OpenRun, status: RunStatus, closed_at: datetime) -> TraceMark | None:
    """What the end of a run leaves for its spans: whatever becomes of this replica, they are exported."""
    if Side.TRACE in run.side:
        return TraceMark(run.run_id, 0, closed_at, closed_at + RELAY_AFTER)
    if Side.TRACE_FAILURE in run.side and status in FAILED_STATUSES:
        return TraceMark(run.run_id, 0, closed_at, closed_at)
    return None


def _entry_bytes(entry: bytes | CoordinatorEntry) -> int:
    if isinstance(entry, bytes):
        return len(entry)
    if isinstance(entry, StepCancelledEntry):
        return len(entry.entry) + sum(len(one) for one in entry.attempts if isinstance(one, bytes))
    return body_bytes(entry.mail.body) if isinstance(entry, MailConsumedEntry) else 0
