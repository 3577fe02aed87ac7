"""One batch of commands: what it must read, and what it decides. The store does the reading and the writing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from holdfast.errors import HoldfastError
from holdfast.statuses import Then

from .changes import Changes
from .commands import (
    AlarmDue,
    CancelChildAsk,
    CancelStepAsk,
    CancelTimerAsk,
    ClaimRuns,
    ClaimTasks,
    CloseAsk,
    Command,
    CommitTransition,
    ConsumeMail,
    DeliverChildClosed,
    EndAttempt,
    EndLease,
    OfferStalled,
    PostponeAlarm,
    QueueStepAsk,
    ReportAttempt,
    RequestCancel,
    ResumeRun,
    SendSignal,
    StartChildAsk,
    StartRun,
    TerminateRun,
)
from .continuing import RetryRun, RewrittenRow, id_key, retry_run
from .events import Event
from .reads import Locked, Reads, Snapshot
from .rows import AlarmKind, AlarmRow, OpenRun, RunRow, RunState, TaskRow, TaskState, body_bytes
from .starts import KnownRuns, StartAnswer, key_rows, start_run
from .steering import (
    alarm_due,
    deliver_child_closed,
    end_lease,
    offer_stalled,
    postpone_alarm,
    request_cancel,
    resume_run,
    send_signal,
    terminate_run,
)
from .tasks import end_attempt, report_attempt
from .transitions import TransitionAnswer, take_transition
from .workspace import Assign, Workspace


@dataclass(slots=True, frozen=True)
class Claimed:
    """What came of a claim. found: how many rows. left: names of which more are ready than sessions have taken."""

    found: int
    left: frozenset[str] = frozenset()


Answer = TransitionAnswer | StartAnswer | HoldfastError | Claimed | bool


BatchCommand = Command | RetryRun


@dataclass(slots=True)
class Decided:
    """What came of a batch: the rows to write, an answer per command, and what to tell the replica."""

    changes: Changes
    answers: list[Answer]
    events: list[Event] = field(default_factory=list)


def reads_of(commands: Sequence[BatchCommand]) -> Reads:
    """Everything that the commands need to see, for one round trip."""
    reads = Reads()
    for command in commands:
        match command:
            case CommitTransition():
                _reads_of_transition(reads, command)
            case StartRun():
                reads.starts[command.run_id] = command.namespace
                reads.keys.extend(key_rows(command))
                _reads_of_outbox(reads, command.outbox)
            case RetryRun(run_id, origin):
                reads.starts[run_id] = origin.namespace
                reads.keys.extend(id_key(command))
                reads.results.add(origin.run_id)
            case SendSignal(run_id, request_id):
                _reads_of_steering(reads, run_id, request_id)
                if command.once:
                    reads.requests.add((run_id, f"once/{command.signal.name}"))
            case RequestCancel(run_id, request_id) | TerminateRun(run_id, request_id):
                _reads_of_steering(reads, run_id, request_id)
                _reads_of_outbox(reads, command.outbox)
                _reads_of_end(reads, run_id)
            case ResumeRun(run_id, request_id):
                _reads_of_steering(reads, run_id, request_id)
                reads.wants_mail(run_id, after=0)
            case OfferStalled(run_id):
                reads.lock_runs.add(run_id)
                reads.wants_mail(run_id, after=0)
            case DeliverChildClosed(run_id, mail, outbox):
                reads.lock_runs.add(run_id)
                reads.children.add((run_id, mail.number))
                _reads_of_outbox(reads, outbox)
            case AlarmDue(run_id, kind, ref):
                reads.lock_runs.add(run_id)
                reads.alarms.add((run_id, kind, ref))
                if kind is AlarmKind.DEADLINE:
                    _reads_of_end(reads, run_id)
                elif kind in (AlarmKind.START, AlarmKind.ATTEMPT_DEADLINE):
                    reads.wants_mail(run_id, after=0)
            case PostponeAlarm(run_id, kind, ref):
                reads.alarms.add((run_id, kind, ref))
            case EndLease(run_id):
                reads.lock_runs.add(run_id)
                reads.wants_mail(run_id, after=0)
            case ReportAttempt(run_id, number):
                reads.tasks.add((run_id, number))
                if command.again_after is None or command.handed_back or command.lost:
                    reads.lock_runs.add(run_id)
            case EndAttempt(run_id, number):
                reads.lock_runs.add(run_id)
                reads.tasks.add((run_id, number))
            case ClaimRuns():
                reads.claim_runs.append(command)
            case ClaimTasks():
                reads.claim_tasks.append(command)
            case _:
                assert_never(command)
    return reads


def _reads_of_transition(reads: Reads, command: CommitTransition) -> None:
    run_id = command.run_id
    reads.lock_runs.add(run_id)
    consumed = [part.number for part in command.journal if isinstance(part, ConsumeMail)]
    last = consumed[-1] if consumed else 0
    if consumed:
        reads.wants_mail(run_id, first=consumed[0], last=last)
    match command.then:
        case Then.CLOSE:
            _reads_of_end(reads, run_id)
        case Then.RELEASE:  # the next holder gets also what this one has seen and left
            reads.wants_mail(run_id, after=last)
        case Then.CONTINUE | Then.SUSPEND:
            reads.wants_mail(run_id, after=max(last, command.mail_seen))
    for ask in command.asks:
        match ask:
            case CancelTimerAsk(number):
                reads.alarms.add((run_id, AlarmKind.TIMER, number))
            case CancelStepAsk(number):
                reads.tasks.add((run_id, number))
                reads.alarms.add((run_id, AlarmKind.RETRY, number))
            case CancelChildAsk(number):
                reads.children.add((run_id, number))
            case _:
                pass


def _reads_of_steering(reads: Reads, run_id: str, request_id: str) -> None:
    reads.lock_runs.add(run_id)
    reads.results.add(run_id)
    if request_id:
        reads.requests.add((run_id, request_id))


def _reads_of_end(reads: Reads, run_id: str) -> None:
    reads.tasks_of.add(run_id)
    reads.children_of.add(run_id)
    reads.wants_mail(run_id, all=True)


def _reads_of_outbox(reads: Reads, outbox: AlarmRow | None) -> None:
    if outbox is not None:
        reads.alarms.add((outbox.run_id, outbox.kind, outbox.ref))


def decide(commands: Sequence[BatchCommand], snapshot: Snapshot, assign: Assign) -> Decided:
    """Decides the commands in order, each seeing what those before it did."""
    space = Workspace(snapshot.now, assign)
    space.runs = snapshot.runs
    space.mail = {run_id: {mail.number: mail for mail in pieces} for run_id, pieces in snapshot.mail.items()}
    space.tasks = snapshot.tasks
    space.children = {run_id: {one.number: one for one in rows} for run_id, rows in snapshot.children.items()}
    space.alarms = snapshot.alarms
    space.requests = snapshot.requests
    space.results = snapshot.results
    known = KnownRuns(snapshot.existing, snapshot.keys, snapshot.keys_reserved, snapshot.key_statuses)
    claimed_runs, claimed_tasks = iter(snapshot.claimed_runs), iter(snapshot.claimed_tasks)
    tasks_left = iter(snapshot.tasks_left)
    answers: list[Answer] = []
    for command in commands:
        answer: Answer
        match command:
            case CommitTransition():
                answer = take_transition(space, command)
            case StartRun():
                answer = start_run(space, command, known)
            case RetryRun():
                answer = retry_run(space, command, known, snapshot.results)
            case SendSignal():
                answer = send_signal(space, command)
            case RequestCancel():
                answer = request_cancel(space, command)
            case TerminateRun():
                answer = terminate_run(space, command)
            case ResumeRun():
                answer = resume_run(space, command)
            case OfferStalled():
                answer = offer_stalled(space, command)
            case DeliverChildClosed():
                answer = deliver_child_closed(space, command)
            case AlarmDue():
                answer = alarm_due(space, command)
            case PostponeAlarm():
                answer = postpone_alarm(space, command)
            case EndLease():
                answer = end_lease(space, command)
            case ReportAttempt():
                answer = report_attempt(space, command)
            case EndAttempt():
                answer = end_attempt(space, command)
            case ClaimRuns():
                answer = _lease_claimed(space, command, next(claimed_runs))
            case ClaimTasks():
                answer = _claim_tasks(space, command, next(claimed_tasks), has_more=next(tasks_left, False))
            case _:
                assert_never(command)
        answers.append(answer)
    return Decided(space.changes, answers, space.events)


def _lease_claimed(space: Workspace, asked: ClaimRuns, claimed: list[tuple[OpenRun, RunRow | None]]) -> Claimed:
    """Leases claimed runs to the sessions that wait."""
    left = set(asked.workflows if len(claimed) >= asked.limit else ())
    for found, record in claimed:
        run = space.runs.get(found.run_id)
        if run is None or run.state is not RunState.READY:
            continue  # another command of this batch was faster
        session_id = space.assign.run(run, claimed=True)
        if session_id is None:
            left.add(run.workflow)
        else:
            if record is not None:
                space.records[run.run_id] = record
            space.lease(space.change(run), session_id)
    return Claimed(len(claimed), frozenset(left))


def _claim_tasks(space: Workspace, asked: ClaimTasks, claimed: list[TaskRow], *, has_more: bool) -> Claimed:
    """Claims ready queued steps for the sessions that wait. has_more: the claim has found others that it left."""
    left = set(asked.steps if has_more or len(claimed) >= asked.limit else ())
    for found in claimed:
        task = space.tasks.get((found.run_id, found.number))
        if task is None or task.state is not TaskState.READY:
            continue
        session_id = space.assign.task(task, claimed=True)
        if session_id is None:
            left.add(task.name)
        else:
            space.claim_task(space.change_task(task), session_id)
    return Claimed(len(claimed), frozenset(left))


def keys_of(command: BatchCommand) -> tuple[tuple[str, str, str], ...]:
    """The keys that a command reserves, as (namespace, kind, key)."""
    match command:
        case StartRun() if command.id is not None or command.idempotency_key is not None:
            rows = key_rows(command)
        case RetryRun():
            rows = id_key(command)
        case _:
            return ()
    return tuple((row.namespace, row.kind, row.key) for row in rows)


def command_bytes(command: BatchCommand) -> int:
    """How large a command is: what can be large in it, not the rest."""
    match command:
        case CommitTransition():
            size = 0
            for part in command.journal:
                if type(part) is bytes:
                    size += len(part)
            for ask in command.asks:
                match ask:
                    case CloseAsk():
                        size += len(ask.entry) + len(ask.result or b"") + len(ask.failure or b"")
                    case QueueStepAsk():
                        size += len(ask.arguments)
                    case StartChildAsk():
                        size += len(ask.spec)
                    case _:
                        pass
            return size
        case StartRun():
            return len(command.arguments)
        case SendSignal():
            return len(command.signal.payload)
        case ReportAttempt():
            return len(command.record) + len(command.result or b"")
        case RetryRun():
            return len(command.origin.arguments) + sum(
                len(part.entries) for part in command.begin.parts if isinstance(part, RewrittenRow)
            )
        case DeliverChildClosed():
            return body_bytes(command.mail)
        case _:
            return 0


def held_up(commands: Sequence[BatchCommand], locked: Locked) -> dict[int, bool]:
    """The commands, by their place, that need rows which another transaction has locked.

    True: the row of its run is among them, so that all later commands of that run are held up too.
    """
    found: dict[int, bool] = {}
    for place, command in enumerate(commands):
        reads = reads_of([command])
        if not reads.lock_runs.isdisjoint(locked.runs):
            found[place] = True
        elif (
            not reads.tasks.isdisjoint(locked.tasks)
            or any(run_id in reads.tasks_of for run_id, _ in locked.tasks)
            or not reads.alarms.isdisjoint(locked.alarms)
            or any((key.namespace, key.kind, key.key) in locked.keys for key in reads.keys)
        ):
            found[place] = False
    return found
