"""The rows of one batch as they are after the commands decided so far, and the moves that every decision uses.

A workspace begins with what was read under the locks. Decisions change copies of rows and note the change;
what comes out is the difference to write and the events for the replica after the commit.
"""

from datetime import datetime, timedelta
from itertools import takewhile
from typing import Protocol

from holdfast.journal import AttemptRecord, Failure
from holdfast.limits import SPAN_MAX
from holdfast.statuses import AttemptOutcome

from .changes import Changes
from .commands import CommitTransition, ReportAttempt
from .events import (
    AlarmSet,
    Event,
    LeaseEnded,
    MailArrived,
    OutboxDue,
    RunLeased,
    RunReady,
    StalledRun,
    TaskClaimed,
    TaskReady,
)
from .mail import ChildClosedMail, MailBody, MailKind, MailMove, MailRow, StoredBody
from .rows import (
    GIVEN_UP,
    AlarmKind,
    AlarmRow,
    CoordinatorEntry,
    JournalRow,
    OpenRun,
    PublishedRow,
    RequestRow,
    RunRow,
    RunState,
    Side,
    TaskRow,
    TaskState,
)
from .snapshot import KnownRuns, Snapshot
from .states import NEW_RUN, RunTrigger, TaskTrigger, move_run, move_task

REQUEST_KEPT_FOR = timedelta(hours=24)
CLOCK_AHEAD_MAX = timedelta(seconds=2)
LOSSES_MAX = 5
"""Leases lost without a transition in between that stall a run: its code itself kills its workers."""


class Assign(Protocol):
    """Finds a session for work. It reserves the place; the replica gives it back when the batch fails."""

    def run(self, run: OpenRun, *, claimed: bool = False) -> str | None:
        """The session that is to hold this run, or None.

        claimed: it was read from the backlog, in its order; else it has just become ready, and must not overtake what
        waits there.
        """

    def task(self, task: TaskRow, *, claimed: bool = False) -> str | None:
        """The session that is to run this queued attempt, or None. claimed: as for runs."""


class Workspace:
    """See the module. `runs` and `tasks` hold what is open now; a closed run or ended task is gone from them."""

    __slots__ = (
        "_kept_while_open", "_new_mail", "_task_numbers", "alarms", "assign", "changes", "children", "claimed_runs",
        "claimed_tasks", "events", "known", "mail", "now", "records", "reports", "requests", "results", "runs", "tasks",
        "tasks_left",
    )  # fmt: skip

    def __init__(self, seen: Snapshot, assign: Assign) -> None:
        self.now = seen.now
        self.assign = assign
        self.runs = seen.runs
        self.records: dict[str, RunRow] = {}
        self.mail = {run_id: {mail.number: mail for mail in pieces} for run_id, pieces in seen.mail.items()}
        self._new_mail: set[tuple[str, int]] = set()
        self.tasks = seen.tasks
        self._task_numbers: dict[str, dict[int, None]] | None = None
        self.children = {run_id: {one.number: one for one in rows} for run_id, rows in seen.children.items()}
        self.alarms = seen.alarms
        self.requests = seen.requests
        self._kept_while_open: dict[str, list[RequestRow]] = {}
        self.results = seen.results
        self.known = KnownRuns(seen.existing, seen.keys, seen.keys_reserved, seen.key_statuses)
        # Of each claim of the batch, in order.
        self.claimed_runs = iter(seen.claimed_runs)
        self.claimed_tasks = iter(seen.claimed_tasks)
        self.tasks_left = iter(seen.tasks_left)
        self.changes = Changes()
        self.events: list[Event] = []
        self.reports: list[CommitTransition | ReportAttempt] = []

    # Rows

    def change(self, run: OpenRun) -> OpenRun:
        """A copy of an open run that this batch will write; the caller changes it in place."""
        changes = self.changes
        if run.run_id in changes.opened or run.run_id in changes.updated:
            return run
        changed = run.copy()
        changed.last_at = self.now
        self.runs[run.run_id] = changes.updated[run.run_id] = changed
        return changed

    def add_run(self, record: RunRow, traced: Side, *, mail_taken: int = 0) -> OpenRun:
        """Makes a run, with the alarm of its deadline; the caller gives it its first entries, and makes it ready.

        mail_taken: how many pieces of mail its journal begins with.
        """
        run = OpenRun(
            run_id=record.run_id,
            namespace=record.namespace,
            queue=record.queue,
            workflow=record.workflow,
            state=NEW_RUN,
            last_at=record.created_at,
            mail_next=mail_taken + 1,
            mail_taken=mail_taken,
            priority=record.priority,
            deadline_at=record.deadline_at,
            side=traced,
            parent_run_id=record.parent_run_id,
            parent_number=record.parent_number,
            chain_run_id=record.chain_run_id,
        )
        self.changes.runs.append(record)
        self.changes.opened[run.run_id] = self.runs[run.run_id] = run
        self.records[run.run_id] = record
        if record.deadline_at is not None:
            self.set_alarm(run, AlarmKind.DEADLINE, 0, record.deadline_at)
        return run

    def append(
        self,
        run: OpenRun,
        entries: list[bytes | CoordinatorEntry],
        count: int,
        *,
        epoch: int = 0,
        transition_id: int = 0,
    ) -> None:
        """Appends one journal row to a changed run."""
        run.length += count
        is_traced = Side.TRACE in run.side
        self.changes.journal.append(JournalRow(run.run_id, run.length, count, epoch, transition_id, entries, is_traced))

    def set_alarm(self, run: OpenRun, kind: AlarmKind, ref: int, due_at: datetime) -> None:
        """Sets an alarm of a changed run."""
        self.add_alarm(AlarmRow(run.run_id, kind, ref, due_at))
        run.side |= Side.ALARMS

    def add_alarm(self, alarm: AlarmRow) -> None:
        """Sets an alarm, or moves it."""
        key = (alarm.run_id, alarm.kind, alarm.ref)
        self.changes.alarms_cleared.discard(key)
        self.changes.alarms_set[key] = self.alarms[key] = alarm
        self.events.append(AlarmSet(alarm))

    def clear_alarm(self, key: tuple[str, AlarmKind, int]) -> bool:
        """Clears an alarm; False when it has fired or was never set. Its key must have been read."""
        if self.alarms.pop(key, None) is None:
            return False
        if self.changes.alarms_set.pop(key, None) is None:
            self.changes.alarms_cleared.add(key)
        return True

    def send_outbox(
        self, run_id: str, kind: AlarmKind, ref: int, *, body: bytes = b"", mail: ChildClosedMail | None = None,
        to_run_id: str = "", due_at: datetime | None = None,
    ) -> None:  # fmt: skip
        """Writes down a delivery to another run; it is made after the commit, and found again after a crash."""
        alarm = AlarmRow(run_id, kind, ref, due_at or self.now, body)
        self.changes.alarms_cleared.discard((run_id, kind, ref))
        self.changes.alarms_set[run_id, kind, ref] = alarm
        self.events.append(OutboxDue(alarm, mail, to_run_id))

    def clear_outbox(self, alarm: AlarmRow | None) -> bool:
        """Strikes a delivery that this command makes; False when it was made before."""
        return alarm is None or self.clear_alarm((alarm.run_id, alarm.kind, alarm.ref))

    def remember(self, run: OpenRun, request_id: str, answer: bool, *, while_open: bool = False) -> None:
        """Keeps the answer of a request of a changed run for its repeats; with `while_open` it does not expire."""
        if request_id:
            kept_for = SPAN_MAX if while_open else REQUEST_KEPT_FOR
            row = RequestRow(run.requests_of, request_id, answer, self.now + kept_for)
            if while_open:
                run.side |= Side.REQUESTS
                self._kept_while_open.setdefault(row.run_id, []).append(row)
            self.requests[row.run_id, request_id] = answer
            self.changes.requests.append(row)

    def expire_requests(self, run_id: str) -> None:
        """The run ends: what this batch keeps while it is open gets its answer for as long as other requests."""
        for row in self._kept_while_open.pop(run_id, ()):
            row.expires_at = self.now + REQUEST_KEPT_FOR

    def publish(self, run_id: str, key: str, value: bytes) -> None:
        """Keeps what a run has published; it stays when the run is closed."""
        self.changes.published[run_id, key] = PublishedRow(run_id, key, value)

    # Moves

    def make_ready(self, run: OpenRun, trigger: RunTrigger) -> None:
        """A changed run may go on: to a session that waits for it, else it is left ready."""
        move_run(run, trigger)
        run.ready_at = self.now
        session_id = self.assign.run(run)
        if session_id is None:
            self.events.append(RunReady(run.namespace, run.queue, run.workflow))
        else:
            self.lease(run, session_id)

    def lease(self, run: OpenRun, session_id: str) -> None:
        """Gives a changed run to a session, under a new epoch."""
        # Taken away once since the last transition: from the session that committed it. After more losses the sessions
        # are not recorded.
        lost = run.sticky if run.losses + run.timed_out == 1 else None
        handed_back = run.sticky == GIVEN_UP
        move_run(run, RunTrigger.LEASE)
        run.owner = run.sticky = session_id
        run.epoch += 1
        run.transition_id = 0
        self.events.append(
            RunLeased(
                session_id,
                run,
                run.epoch,
                run.length,
                self.waiting_mail(run.run_id),
                self.records.get(run.run_id),
                lost or "",
                handed_back,
            )
        )

    def end_lease(self, run: OpenRun) -> None:
        """The holder of a changed run, if it has one, is notified that it is taken away; the caller moves the run.

        The epoch fences what it may still send.
        """
        if run.owner is not None:
            self.events.append(LeaseEnded(run.owner, run.run_id, 0, run.epoch))
        run.epoch += 1

    def deliver(
        self, run: OpenRun, kind: MailKind, body: MailBody, *, trace: bytes = b"", at: datetime | None = None
    ) -> None:
        """Puts mail into a changed run and wakes it. at: when what it is about has happened."""
        mail = MailRow(run.run_id, run.mail_next, kind, not_before(at, self.now), body, trace)
        run.mail_next += 1
        self.add_mail(mail)
        if run.owner is not None:
            self.events.append(MailArrived(run.owner, run.run_id, run.epoch, mail))
        elif run.state is RunState.SUSPENDED and run.epoch > 0:  # a delayed start is woken by its alarm alone
            self.make_ready(run, RunTrigger.WAKE)

    def add_mail(self, mail: MailRow) -> None:
        """Writes a piece of mail with the next number of its run."""
        self.changes.mail_added.append(mail)
        self.mail.setdefault(mail.run_id, {})[mail.number] = mail
        self._new_mail.add((mail.run_id, mail.number))

    def move_mail(self, mail: MailRow, moved: MailRow) -> None:
        """Makes a piece of mail of a run that closes one of another run; it has been taken out of the first one's."""
        if (mail.run_id, mail.number) in self._new_mail:
            self.changes.mail_added.remove(mail)
            self.add_mail(moved)
        else:
            self.mail.setdefault(moved.run_id, {})[moved.number] = moved
            self.changes.mail_moved.append(MailMove(mail.run_id, mail.number, moved))

    def take_mail(self, run: OpenRun, mail: MailRow) -> None:
        """Moves the next piece of mail of a changed run into its journal; the caller writes the entry."""
        del self.mail[run.run_id][mail.number]
        run.mail_taken = mail.number
        key = (run.run_id, mail.number)
        if key in self._new_mail:
            self.changes.mail_added.remove(mail)
        else:
            self.changes.mail_taken.append(key)

    def waiting_mail(self, run_id: str) -> list[MailRow]:
        """Mail that is not in the journal yet and can be sent, in order, as far as this batch has read it."""
        return list(takewhile(_is_at_hand, self.mail.get(run_id, {}).values()))

    def tasks_of(self, run_id: str) -> list[TaskRow]:
        """The queued steps of a run that this batch has read or added, and not dropped."""
        if self._task_numbers is None:  # few batches ask
            self._task_numbers = {}
            for of_run, number in self.tasks:
                self._task_numbers.setdefault(of_run, {})[number] = None
        numbers = self._task_numbers.get(run_id, ())
        return [self.tasks[run_id, number] for number in numbers if (run_id, number) in self.tasks]

    def add_task(self, run: OpenRun, task: TaskRow) -> None:
        """Queues a step of a changed run, and gives it to a session that waits for it."""
        self.tasks[task.run_id, task.number] = task
        if self._task_numbers is not None:
            self._task_numbers.setdefault(task.run_id, {})[task.number] = None
        self.changes.tasks_added[task.run_id, task.number] = task
        run.side |= Side.TASKS
        self.offer_task(task)

    def change_task(self, task: TaskRow) -> TaskRow:
        """A copy of a queued step that this batch will write; the caller changes it in place."""
        key = (task.run_id, task.number)
        if key in self.changes.tasks_added or key in self.changes.tasks_updated:
            return task
        changed = task.copy()
        self.tasks[key] = self.changes.tasks_updated[key] = changed
        return changed

    def offer_task(self, task: TaskRow) -> None:
        """A changed queued step may run now or later: claimed at once where a session waits for it."""
        session_id = self.assign.task(task) if task.ready_at <= self.now else None
        if session_id is None:
            wait = max(task.ready_at - self.now, timedelta(0))
            self.events.append(TaskReady(task.namespace, task.queue, task.name, wait))
        else:
            self.claim_task(task, session_id)

    def claim_task(self, task: TaskRow, session_id: str) -> None:
        """Gives a changed queued step to a session: this is the AttemptStarted of its next attempt."""
        move_task(task, TaskTrigger.CLAIM)
        task.owner = session_id
        task.attempt += 1
        task.epoch += 1
        task.started_at = self.now
        task.deadline_at = self.now + task.timeout if task.timeout is not None else None
        self.events.append(TaskClaimed(session_id, task, task.epoch))

    def return_task(self, task: TaskRow, ready_at: datetime) -> None:
        """The attempt of a changed queued step has ended, and another follows, from `ready_at` on."""
        move_task(task, TaskTrigger.RETURN)
        task.ready_at = ready_at
        self.offer_task(task)

    def drop_task(self, task: TaskRow, trigger: TaskTrigger) -> None:
        """Deletes a queued step; a session that runs one which is cancelled is notified."""
        move_task(task, trigger)
        key = (task.run_id, task.number)
        del self.tasks[key]
        if self.changes.tasks_added.pop(key, None) is None:
            self.changes.tasks_updated.pop(key, None)
            self.changes.tasks_deleted.add(key)
        if task.owner is not None and trigger is TaskTrigger.CANCEL:
            self.events.append(LeaseEnded(task.owner, task.run_id, task.number, task.epoch, cancelled=True))

    def stall(
        self, run: OpenRun, trigger: RunTrigger, reason: str, *, build: str = "", not_to: str | None = None
    ) -> None:
        """A changed run cannot go on; the caller has journaled it and ended its lease.

        build: of the worker that had it, for people. not_to: the build that does not get it again.
        """
        move_run(run, trigger)
        run.stall_reason = reason
        run.stall_build = not_to
        self.events.append(StalledRun(run.run_id, reason, build))

    def attempts_of(self, task: TaskRow) -> tuple[bytes | AttemptRecord, ...]:
        """The attempts of a queued step that is no longer needed."""
        if task.state is TaskState.CLAIMED:
            return (*task.attempts_ended, ended_attempt(task, AttemptOutcome.CANCELLED, self.now))
        return task.attempts_ended


def not_before(at: datetime | None, now: datetime) -> datetime:
    """`now`, or a worker's time where that is a little later: what follows from an entry never precedes it.

    A worker's estimate of the database's time is some milliseconds off. One that is off by far is not believed.
    """
    return at if at is not None and now < at <= now + CLOCK_AHEAD_MAX else now


def _is_at_hand(mail: MailRow) -> bool:
    return type(mail.body) is not StoredBody


def ended_attempt(
    task: TaskRow, outcome: AttemptOutcome, now: datetime, *, failure: Failure | None = None
) -> AttemptRecord:
    """The record of a claimed attempt that the coordinator ends."""
    return AttemptRecord(
        task.attempt,
        outcome,
        task.scheduled_at,
        task.ready_at,
        task.started_at or now,
        now,
        task.owner or "",
        failure=failure,
        epoch=task.epoch,
    )
