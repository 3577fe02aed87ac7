"""What reaches a run from outside: signals, cancel and terminate requests, alarms, the end of a lease or a child."""

from dataclasses import replace
from datetime import datetime, timedelta

from holdfast.errors import HoldfastError, RunAlreadyClosed, RunNotFound, RunNotStalled
from holdfast.ids import child_run_id
from holdfast.journal import CancelRequested, Failure, RetryDue, RunClosed, RunResumed, RunStalled, TimerFired
from holdfast.statuses import RunStatus

from .chains import went_on
from .closes import close_run
from .commands import (
    AlarmDue,
    DeliverChildClosed,
    EndLease,
    LeaseEnd,
    OfferStalled,
    PostponeAlarm,
    RequestCancel,
    ResumeRun,
    SendSignal,
    TerminateRun,
)
from .events import LeaseLost, ResumedRun
from .hooks import expire_hook
from .mail import ChildClosedMail, MailKind, body_bytes
from .rows import GIVEN_UP, AlarmKind, DeadLetter, OpenRun, RunState, Side
from .rules import Rule, Rules
from .snapshot import Reads
from .states import RunTrigger
from .workspace import LOSSES_MAX, Workspace

ALARM_ATTEMPTS_MAX = 20
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=10)
"""An alarm that fails is tried 20 times, after 1, 2, 4 s and so on, in about two hours."""
AWAITED = frozenset({AlarmKind.OUTBOX_CHILD, AlarmKind.OUTBOX_CHILD_CLOSED})
"""Deliveries that a parent waits for."""
REASON_CHARACTERS_MAX = 1_000


def _read_signal(reads: Reads, asked: SendSignal) -> None:
    reads.wants_run(asked.run_id, asked.request_id, asked.requests_of)
    if asked.once:
        reads.requests.add((asked.requests_of, f"once/{asked.signal.name}"))


def send_signal(space: Workspace, asked: SendSignal) -> bool | HoldfastError:
    """Puts the signal into the mail. False when `once` was asked and it is not the first of its name."""
    earlier = space.requests.get((asked.requests_of, asked.request_id)) if asked.request_id else None
    if earlier is not None:
        return earlier
    once_id = f"once/{asked.signal.name}" if asked.once else ""
    if once_id and (asked.requests_of, once_id) in space.requests:
        return False
    run = space.runs.get(asked.run_id)
    if run is None:
        return went_on(space, asked.run_id) or _gone(space, asked.run_id)
    if asked.problem is not None:
        return asked.problem
    run = space.change(run)
    space.remember(run, once_id, True, while_open=True)
    if asked.request_id != once_id:
        space.remember(run, asked.request_id, True)
    space.deliver(run, MailKind.SIGNAL, asked.signal, trace=asked.trace)
    return True


def _read_request_to_end(reads: Reads, asked: RequestCancel | TerminateRun) -> None:
    reads.wants_run(asked.run_id, asked.request_id, asked.requests_of)
    reads.wants_outbox(asked.outbox)
    reads.wants_all_of(asked.run_id)


def request_cancel(space: Workspace, asked: RequestCancel) -> bool | HoldfastError:
    """Asks the code to end; a run that was never leased has no code to ask and ends at once."""
    run = _asked_to_end(space, asked)
    if not isinstance(run, OpenRun):
        return run
    ask_to_end(space, run, asked.reason)
    return True


def ask_to_end(space: Workspace, run: OpenRun, reason: str) -> None:
    """Asks the code of a changed run to end; without code that could be asked it ends."""
    if run.epoch == 0:
        _end_now(space, run, RunStatus.CANCELLED, Failure("CancelledError", reason))
    else:
        space.deliver(run, MailKind.CANCEL, CancelRequested(reason))


def terminate_run(space: Workspace, asked: TerminateRun) -> bool | HoldfastError:
    """Ends a run at once, whatever it does."""
    run = _asked_to_end(space, asked)
    if not isinstance(run, OpenRun):
        return run
    _end_now(space, run, RunStatus.TERMINATED, Failure("RunTerminated", asked.reason))
    return True


def _asked_to_end(space: Workspace, asked: RequestCancel | TerminateRun) -> OpenRun | bool | HoldfastError:
    """The run that is to end, changed and with its request remembered; the answer when there is nothing to do."""
    run = space.runs.get(asked.run_id)
    if run is None and asked.run_id not in space.results:
        # A child whose start is still on its way: the delivery stays, to be made again when there is a child.
        return RunNotFound(asked.run_id)
    earlier = space.requests.get((asked.requests_of, asked.request_id)) if asked.request_id else None
    if run is None and earlier is None and (answer := went_on(space, asked.run_id)) is not None:
        return answer
    if not space.clear_outbox(asked.outbox):
        return True
    if earlier is not None:
        return earlier
    if run is None:
        return False
    run = space.change(run)
    space.remember(run, asked.request_id, True)
    return run


def _read_resume(reads: Reads, asked: ResumeRun) -> None:
    reads.wants_run(asked.run_id, asked.request_id)
    reads.wants_mail(asked.run_id, after=0)


def resume_run(space: Workspace, asked: ResumeRun) -> bool | HoldfastError:
    """Offers a stalled run again, whatever the build of the workers."""
    if asked.request_id and (asked.run_id, asked.request_id) in space.requests:
        return True
    run = space.runs.get(asked.run_id)
    if run is None:
        closed = space.results.get(asked.run_id)
        return RunNotStalled(asked.run_id, closed.status) if closed else RunNotFound(asked.run_id)
    if run.state is not RunState.STALLED:
        return RunNotStalled(asked.run_id, run.state.name.lower())
    run = space.change(run)
    space.remember(run, asked.request_id, True)
    unstall(space, run, "an operator asked for it")
    return True


def _read_run_and_mail(reads: Reads, asked: OfferStalled | EndLease) -> None:
    reads.lock_runs.add(asked.run_id)
    reads.wants_mail(asked.run_id, after=0)


def offer_stalled(space: Workspace, asked: OfferStalled) -> bool:
    """Offers a run that another build stalled; False when it is stalled for another reason, or no longer."""
    run = space.runs.get(asked.run_id)
    if run is None or run.state is not RunState.STALLED or run.stall_build in (None, asked.build):
        return False
    run = space.change(run)
    # Not to the session that stalled it, which may still be there: the new build is preferred from now on.
    run.build, run.sticky = asked.build, None
    unstall(space, run, f"build {asked.build} has come", not_to=run.stall_build)
    return True


def unstall(space: Workspace, run: OpenRun, reason: str, *, not_to: str | None = None) -> None:
    """A changed stalled run may go on. not_to: the build whose sessions do not get it; kept until it is leased."""
    space.append(run, [RunResumed(space.now, reason)], 1)
    space.events.append(ResumedRun(run.run_id, reason))
    run.stall_build = not_to
    run.losses = 0
    space.make_ready(run, RunTrigger.RESUME)


def _read_child_closed(reads: Reads, asked: DeliverChildClosed) -> None:
    reads.lock_runs.add(asked.run_id)
    reads.children.add((asked.run_id, asked.mail.number))
    reads.wants_outbox(asked.outbox)


def deliver_child_closed(space: Workspace, asked: DeliverChildClosed) -> bool:
    """Notifies a parent that its child has closed, once; False when it was notified or is closed itself."""
    if not space.clear_outbox(asked.outbox):
        return False
    return _child_closed(space, asked.run_id, asked.mail, at=asked.outbox.due_at)


def _child_closed(space: Workspace, parent_run_id: str, mail: ChildClosedMail, *, at: datetime) -> bool:
    run = space.runs.get(parent_run_id)
    child = space.children.get(parent_run_id, {}).get(mail.number)
    if run is None or child is None or child.closed:
        return False
    run = space.change(run)
    del space.children[run.run_id][child.number]
    space.changes.children_closed.add((run.run_id, mail.number))
    space.deliver(run, MailKind.CHILD_CLOSED, mail, at=at)
    return True


def end_lease(space: Workspace, asked: EndLease) -> bool:
    """Takes a run from a session that will not bring it back; False when it holds it no longer."""
    run = space.runs.get(asked.run_id)
    if run is None or run.state is not RunState.LEASED or run.owner != asked.session_id or run.epoch != asked.epoch:
        return False
    run = space.change(run)
    space.end_lease(run)
    space.events.append(LeaseLost(asked.session_id, run.run_id, 0, asked.epoch, asked.reason))
    if asked.reason is LeaseEnd.LOST:
        run.losses += 1
    elif run.losses or run.timed_out:
        run.sticky = None  # it is not the session whose attempts were lost, and must not be taken for it
    elif asked.reason is LeaseEnd.UNDELIVERED and run.transition_id:
        # A transition under this lease: the session had the run, so it is what the session could not go on with.
        run.sticky = GIVEN_UP
    if run.losses >= LOSSES_MAX:
        reason = f"{run.losses} workers were lost while they held it, without any progress in between"
        space.append(run, [RunStalled(space.now, reason, run.build or "")], 1)
        space.stall(run, RunTrigger.GIVE_UP, reason, build=run.build or "")
    else:
        space.make_ready(run, RunTrigger.END_LEASE)
    return True


def _read_alarm(reads: Reads, asked: AlarmDue) -> None:
    reads.lock_runs.add(asked.run_id)
    reads.alarms.add((asked.run_id, asked.kind, asked.ref))
    if asked.kind is AlarmKind.DEADLINE:
        reads.wants_all_of(asked.run_id)
    elif asked.kind in (AlarmKind.START, AlarmKind.ATTEMPT_DEADLINE):
        reads.wants_mail(asked.run_id, after=0)


def alarm_due(space: Workspace, asked: AlarmDue) -> bool:
    """Does what an alarm was set for, once; False when it was cleared, moved or is not due."""
    key = (asked.run_id, asked.kind, asked.ref)
    alarm = space.alarms.get(key)
    if alarm is None or alarm.due_at > space.now:
        return False
    space.clear_alarm(key)
    run = space.runs.get(asked.run_id)
    if run is None:
        return False
    run = space.change(run)
    match asked.kind:
        case AlarmKind.START:
            if run.state is RunState.SUSPENDED:
                space.make_ready(run, RunTrigger.WAKE)
        case AlarmKind.TIMER if asked.ref < 0:
            expire_hook(space, run, alarm)
        case AlarmKind.TIMER:
            space.deliver(run, MailKind.TIMER, TimerFired(asked.ref))
        case AlarmKind.RETRY:
            space.deliver(run, MailKind.RETRY_DUE, RetryDue(asked.ref))
        case AlarmKind.DEADLINE:
            text = f"the run passed its deadline at {alarm.due_at.isoformat(timespec='milliseconds')}"
            _end_now(space, run, RunStatus.TIMED_OUT, Failure("RunTimedOut", text))
        case AlarmKind.ATTEMPT_DEADLINE:
            _attempts_overdue(space, run)
        case _:
            raise AssertionError(f"{asked.kind!r} is an outbox delivery, not an alarm of its run")
    return True


def _read_failed_alarm(reads: Reads, asked: PostponeAlarm) -> None:
    reads.alarms.add((asked.run_id, asked.kind, asked.ref))
    if asked.parent is not None:
        reads.lock_runs.add(asked.parent[0])
        reads.children.add(asked.parent)


def postpone_alarm(space: Workspace, asked: PostponeAlarm) -> bool:
    """Moves an alarm that failed: later each time, and after the last attempt to the dead letters, where it stays.

    The parent of a child whose start or end is given up gets that as the child's end, in the same transaction: while
    it cannot, nothing is given up. False when the alarm was cleared or moved meanwhile.
    """
    key = (asked.run_id, asked.kind, asked.ref)
    alarm = space.alarms.get(key)
    if alarm is None or alarm.due_at != asked.due_at:
        return False
    attempts = alarm.attempts + 1
    if attempts < ALARM_ATTEMPTS_MAX or (asked.kind in AWAITED and asked.parent is None):
        wait = min(FIRST_WAIT * 2 ** min(alarm.attempts, ALARM_ATTEMPTS_MAX), LONGEST_WAIT)
        space.add_alarm(replace(alarm, due_at=space.now + wait, attempts=attempts))
    else:
        space.clear_alarm(key)
        dead = DeadLetter(*key, space.now, alarm.body, attempts, asked.reason[:REASON_CHARACTERS_MAX])
        space.changes.dead_letters.append(dead)
        if asked.parent is not None:
            _child_given_up(space, dead, *asked.parent, is_cut=dead.reason != asked.reason)
    return True


def _child_given_up(space: Workspace, dead: DeadLetter, parent: str, number: int, *, is_cut: bool) -> None:
    if dead.kind is AlarmKind.OUTBOX_CHILD:
        child = child_run_id(parent, number)
        error_type, what = "ChildNotStarted", f"run {child} was not started"
    else:
        child = dead.run_id
        error_type, what = "ChildEndNotDelivered", f"the end of run {child} was not delivered"
    failure = Failure(error_type, f"{what} in {dead.attempts} attempts: {dead.reason}", cut=is_cut)
    mail = ChildClosedMail(number, child, RunStatus.FAILED, failure=failure)
    _child_closed(space, parent, mail, at=space.now)


def _attempts_overdue(space: Workspace, run: OpenRun) -> None:
    """The lazy alarm has fired: re-arm it at what is due now, or take the lease from a worker that is too late."""
    run.side &= ~Side.DEADLINE_ALARM
    deadline_at = run.attempt_deadline_at
    if deadline_at is None or run.state is not RunState.LEASED:
        return
    if deadline_at > space.now:
        space.set_alarm(run, AlarmKind.ATTEMPT_DEADLINE, 0, deadline_at)
        run.side |= Side.DEADLINE_ALARM
        return
    space.events.append(LeaseLost(run.owner or "", run.run_id, 0, run.epoch, LeaseEnd.OVERDUE))
    space.end_lease(run)
    run.timed_out = True
    space.make_ready(run, RunTrigger.END_LEASE)


def _end_now(space: Workspace, run: OpenRun, status: RunStatus, failure: Failure) -> None:
    space.end_lease(run)
    close_run(
        space, run, RunTrigger.END, status, [], RunClosed(space.now, status, failure=failure), count=0, failure=failure
    )


def _gone(space: Workspace, run_id: str) -> HoldfastError:
    return RunAlreadyClosed(run_id) if run_id in space.results else RunNotFound(run_id)


RULES: Rules = {
    SendSignal: Rule(_read_signal, send_signal, size=lambda asked: len(asked.signal.payload)),
    RequestCancel: Rule(_read_request_to_end, request_cancel),
    TerminateRun: Rule(_read_request_to_end, terminate_run),
    ResumeRun: Rule(_read_resume, resume_run),
    OfferStalled: Rule(_read_run_and_mail, offer_stalled),
    DeliverChildClosed: Rule(_read_child_closed, deliver_child_closed, size=lambda asked: body_bytes(asked.mail)),
    AlarmDue: Rule(_read_alarm, alarm_due),
    PostponeAlarm: Rule(_read_failed_alarm, postpone_alarm),
    EndLease: Rule(_read_run_and_mail, end_lease),
}
