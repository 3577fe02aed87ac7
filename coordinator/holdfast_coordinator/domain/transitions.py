"""What a worker's transition does to its run: the only way in which a leased run moves forward."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

from holdfast.errors import HoldfastError, RunAlreadyClosed, RunNotFound
from holdfast.journal import RunStalled
from holdfast.statuses import Then, TransitionStatus

from .asks import (
    Ask,
    CancelChildAsk,
    CancelledStep,
    CancelStepAsk,
    CancelTimerAsk,
    CloseAsk,
    ConsumeMail,
    PublishAsk,
    QueueStepAsk,
    SendMailAsk,
    SetMetadataAsk,
    SetRetryAsk,
    SetTimerAsk,
    StallAsk,
    StartChildAsk,
)
from .chains import go_on, keys_passed_on, mail_taken_along
from .closes import close_run
from .commands import CommitTransition
from .events import Closed, Event, LeaseReturned, OutboxDue, RunEnded
from .hooks import answer_key, open_hook
from .mail import ChildClosedMail, MailRow
from .rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    CoordinatorEntry,
    MailConsumedEntry,
    OpenRun,
    RunResult,
    RunState,
    Side,
    StepCancelledEntry,
    TaskRow,
)
from .rules import Rule, Rules
from .snapshot import Reads
from .states import NEW_TASK, RunTrigger, TaskTrigger, move_run
from .workspace import Workspace

WAITS_FOR_NOTHING = "its code waits for nothing that could wake it: no timer, signal, step or child"


@dataclass(slots=True)
class TransitionAnswer:
    """What the worker gets. `mail` is what it has not seen."""

    status: TransitionStatus
    mail: list[MailRow] = field(default_factory=list)
    refusal: str = ""


def answer_of_refusal(refusal: HoldfastError) -> TransitionAnswer:
    """What a worker gets when its transition was refused before it was taken: that a lease is lost, or why not."""
    if isinstance(refusal, RunNotFound | RunAlreadyClosed):
        return TransitionAnswer(TransitionStatus.SUPERSEDED)
    return TransitionAnswer(TransitionStatus.REFUSED, refusal=str(refusal))


def _reads(reads: Reads, asked: CommitTransition) -> None:
    run_id = asked.run_id
    reads.lock_runs.add(run_id)
    consumed = [part.number for part in asked.journal if isinstance(part, ConsumeMail)]
    last = consumed[-1] if consumed else 0
    if consumed:
        reads.wants_mail(run_id, first=consumed[0], last=last)
    match asked.then:
        case Then.CLOSE:
            reads.wants_all_of(run_id)
            reads.keys.extend(keys_passed_on(asked))
        case Then.RELEASE:  # the next holder gets also what this one has seen and left
            reads.wants_mail(run_id, after=last)
        case Then.CONTINUE | Then.SUSPEND:
            reads.wants_mail(run_id, after=max(last, asked.mail_seen))
    for ask in asked.asks:
        match ask:
            case CancelTimerAsk(number):
                reads.alarms.add((run_id, AlarmKind.TIMER, number))
            case SetTimerAsk(hook_sha256=sha256) if sha256:
                reads.requests.add((run_id, answer_key(sha256)))
            case CancelStepAsk(number):
                reads.tasks.add((run_id, number))
                reads.alarms.add((run_id, AlarmKind.RETRY, number))
            case CancelChildAsk(number):
                reads.children.add((run_id, number))
            case _:
                pass


def _size(asked: CommitTransition) -> int:
    size = 0
    for part in asked.journal:
        if type(part) is bytes:
            size += len(part)
    for ask in asked.asks:
        match ask:
            case CloseAsk():
                size += len(ask.entry) + len(ask.result or b"") + len(ask.failure or b"")
                if ask.successor is not None:
                    size += len(ask.entry)
            case QueueStepAsk():
                size += len(ask.arguments)
            case StartChildAsk() | SendMailAsk():
                size += len(ask.spec)
            case PublishAsk():
                size += len(ask.value)
            case _:
                pass
    return size


def take_transition(space: Workspace, asked: CommitTransition) -> TransitionAnswer:
    """Appends the entries, does what they ask for, and keeps, returns or ends the lease."""
    run = space.runs.get(asked.run_id)
    if run is None or run.epoch != asked.epoch:
        return TransitionAnswer(TransitionStatus.SUPERSEDED)
    if run.transition_id == asked.transition_id:
        # A repeat: its first answer was lost. The run is where that transition left it.
        return _answer(space, run, asked)
    if run.state is not RunState.LEASED or run.owner != asked.session_id:
        return TransitionAnswer(TransitionStatus.SUPERSEDED)
    refusal = _misfit(space, run, asked)
    if refusal:
        return TransitionAnswer(TransitionStatus.REFUSED, refusal=refusal)

    run = space.change(run)
    space.reports.append(asked)
    run.transition_id = asked.transition_id
    run.losses = 0
    run.timed_out = False
    entries = _consume_mail(space, run, asked)
    if asked.then is Then.CLOSE:
        closing = asked.asks[-1]
        assert isinstance(closing, CloseAsk), closing
        for ask in asked.asks[:-1]:
            _do(space, run, ask)
        space.events.append(LeaseReturned(asked.session_id, run.run_id, run.epoch))
        taken_along = mail_taken_along(space, run) if closing.successor is not None else []
        close_run(
            space, run, RunTrigger.CLOSE, closing.status, entries, closing.entry, count=asked.count - 1,
            result=closing.result, failure=closing.failure, epoch=asked.epoch, transition_id=asked.transition_id,
            at=closing.at,
        )  # fmt: skip
        if closing.successor is not None:
            go_on(space, run, asked, taken_along)
        return TransitionAnswer(TransitionStatus.COMMITTED)
    if entries:
        space.append(run, entries, asked.count, epoch=asked.epoch, transition_id=asked.transition_id)
    for ask in asked.asks:
        _do(space, run, ask)
    _watch_attempts(space, run, asked.attempt_deadline)
    _settle_lease(space, run, asked)
    return _answer(space, run, asked)


def events_of_close(asked: CommitTransition, closed: Closed) -> list[Event]:
    """The events of a close that was committed without being decided here."""
    closing = asked.asks[-1]
    assert isinstance(closing, CloseAsk), closing
    result = RunResult(
        asked.run_id, closed.namespace, closing.status, closed.closed_at, closing.result, closing.failure
    )
    events: list[Event] = [LeaseReturned(asked.session_id, asked.run_id, asked.epoch), RunEnded(result)]
    if closed.parent_run_id is not None:
        alarm = AlarmRow(asked.run_id, AlarmKind.OUTBOX_CHILD_CLOSED, 0, closed.closed_at)
        mail = ChildClosedMail(closed.parent_number, asked.run_id, closing.status, closing.result, closing.failure)
        events.append(OutboxDue(alarm, mail, closed.parent_run_id))
    return events


def _misfit(space: Workspace, run: OpenRun, asked: CommitTransition) -> str:
    """Why the transition does not fit its run, or an empty text."""
    if run.length != asked.expected_seq:
        return f"the journal has {run.length} entries, the transition expects {asked.expected_seq}"
    if run.length + asked.count > asked.entries_max and asked.then not in (Then.CLOSE, Then.STALL):
        return (
            f"its journal would have {run.length + asked.count:,} entries, the limit is {asked.entries_max:,}; "
            "let the run go on as a new one with continue_as_new, or split it into child runs"
        )
    consumed = [part.number for part in asked.journal if isinstance(part, ConsumeMail)]
    if consumed and (consumed[0] != run.mail_taken + 1 or consumed[-1] >= run.mail_next):
        return (
            f"it consumes mail {consumed[0]} to {consumed[-1]}, but mail {run.mail_taken + 1} to {run.mail_next - 1} "
            "waits, in this order"
        )
    return ""


def _consume_mail(space: Workspace, run: OpenRun, asked: CommitTransition) -> list[bytes | CoordinatorEntry]:
    """The journal parts of the transition, with what only the coordinator has: mail, attempts of queued steps."""
    entries: list[bytes | CoordinatorEntry] = []
    for part in asked.journal:
        if isinstance(part, ConsumeMail):
            mail = space.mail[run.run_id][part.number]
            space.take_mail(run, mail)
            entries.append(MailConsumedEntry(part.at, mail, part.awaited_since))
        elif isinstance(part, CancelledStep):
            task = space.tasks.get((run.run_id, part.number))
            attempts = space.attempts_of(task) if task is not None else ()
            entries.append(StepCancelledEntry(part.entry, attempts) if attempts else part.entry)
        else:
            entries.append(part)
    return entries


def _do(space: Workspace, run: OpenRun, ask: Ask) -> None:
    match ask:
        case SetTimerAsk(number, delay, until):
            due_at = until if until is not None else space.now + (delay or timedelta(0))
            if ask.hook:
                open_hook(space, run, ask, due_at)
            else:
                space.set_alarm(run, AlarmKind.TIMER, number, due_at)
        case CancelTimerAsk(number):
            space.clear_alarm((run.run_id, AlarmKind.TIMER, number))
        case SetRetryAsk(number, delay):
            space.set_alarm(run, AlarmKind.RETRY, number, space.now + delay)
        case QueueStepAsk():
            space.add_task(run, _task(space, run, ask))
        case CancelStepAsk(number):
            task = space.tasks.get((run.run_id, number))
            if task is not None:
                space.drop_task(task, TaskTrigger.CANCEL)
            space.clear_alarm((run.run_id, AlarmKind.RETRY, number))
        case StartChildAsk(number, child_run_id, policy, spec):
            child = ChildRow(run.run_id, number, child_run_id, policy)
            space.changes.children_added.append(child)
            space.children.setdefault(run.run_id, {})[number] = child
            space.send_outbox(run.run_id, AlarmKind.OUTBOX_CHILD, number, body=spec, to_run_id=child_run_id)
            run.side |= Side.CHILDREN
        case CancelChildAsk(number):
            open_child = space.children.get(run.run_id, {}).get(number)
            if open_child is not None and not open_child.closed:
                kind = AlarmKind.OUTBOX_CHILD_CANCEL
                space.send_outbox(run.run_id, kind, number, to_run_id=open_child.child_run_id)
        case SendMailAsk(number, child_run_id, spec):
            space.send_outbox(run.run_id, AlarmKind.OUTBOX_CHILD_MAIL, number, body=spec, to_run_id=child_run_id)
        case SetMetadataAsk(key, value):
            space.changes.metadata.setdefault(run.run_id, {})[key] = value
        case PublishAsk(key, value):
            space.publish(run.run_id, key, value)
        case StallAsk() | CloseAsk():
            pass  # the lease is settled at the end of the transition
        case _:
            assert_never(ask)


def _task(space: Workspace, run: OpenRun, ask: QueueStepAsk) -> TaskRow:
    return TaskRow(
        run_id=run.run_id,
        number=ask.number,
        namespace=run.namespace,
        queue=ask.queue or run.queue,
        name=ask.name,
        state=NEW_TASK,
        ready_at=space.now,
        scheduled_at=ask.at,
        arguments=ask.arguments,
        priority=ask.priority,
        timeout=ask.timeout,
        recoveries=ask.recoveries,
        retry=ask.retry,
        step_id=ask.step_id,
        seed=ask.seed,
        workflow=run.workflow,
    )


def _watch_attempts(space: Workspace, run: OpenRun, deadline: timedelta | None) -> None:
    """Keeps one lazy alarm per run, never due later than the deadline; it is re-armed when it fires.

    It stays where it is while deadlines move on, and is moved when it may be due too late: for an earlier
    deadline than before, and when a transition without a deadline came in between.
    """
    before = run.attempt_deadline_at
    run.attempt_deadline_at = space.now + deadline if deadline is not None else None
    if run.attempt_deadline_at is None:
        return
    if Side.DEADLINE_ALARM not in run.side or before is None or run.attempt_deadline_at < before:
        space.set_alarm(run, AlarmKind.ATTEMPT_DEADLINE, 0, run.attempt_deadline_at)
        run.side |= Side.DEADLINE_ALARM


def _settle_lease(space: Workspace, run: OpenRun, asked: CommitTransition) -> None:
    match asked.then:
        # By its counters: a batch reads only the first 1,000 pieces, and mail beyond them must keep the lease too.
        case Then.SUSPEND if run.mail_taken == run.mail_next - 1:
            _return_lease(space, run, asked)
            if asked.waits:
                move_run(run, RunTrigger.SUSPEND)
                run.waits = asked.waits
            else:
                space.append(run, [RunStalled(space.now, WAITS_FOR_NOTHING, "")], 1)
                space.stall(run, RunTrigger.STALL, WAITS_FOR_NOTHING)
        case Then.RELEASE:
            _return_lease(space, run, asked)
            space.make_ready(run, RunTrigger.RELEASE)
        case Then.STALL:
            _return_lease(space, run, asked)
            stall = next(ask for ask in asked.asks if isinstance(ask, StallAsk))
            space.stall(run, RunTrigger.STALL, stall.reason, build=stall.build, not_to=stall.build or None)
        case _:
            pass  # the lease stays


def _return_lease(space: Workspace, run: OpenRun, asked: CommitTransition) -> None:
    space.events.append(LeaseReturned(asked.session_id, run.run_id, run.epoch))


def _unseen(space: Workspace, run: OpenRun, asked: CommitTransition) -> list[MailRow]:
    return [mail for mail in space.waiting_mail(run.run_id) if mail.number > asked.mail_seen]


def _answer(space: Workspace, run: OpenRun, asked: CommitTransition) -> TransitionAnswer:
    if run.state is not RunState.LEASED or run.owner != asked.session_id or run.epoch != asked.epoch:
        return TransitionAnswer(TransitionStatus.COMMITTED)
    stays = asked.then is not Then.CONTINUE
    status = TransitionStatus.COMMITTED_WITH_MAIL if stays else TransitionStatus.COMMITTED
    return TransitionAnswer(status, _unseen(space, run, asked))


RULES: Rules = {CommitTransition: Rule(_reads, take_transition, size=_size, keys=keys_passed_on)}
