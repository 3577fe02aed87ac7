"""What happens to queued steps: reports of their attempts, losses, deadlines.

A claim, a retry and a save touch the row of the step only. A loss and a final outcome lock the run first,
because they may end the step, which puts its result into the run's mail.
"""

from holdfast.durations import format_duration
from holdfast.journal import AttemptRecord, Failure
from holdfast.statuses import AttemptOutcome

from .commands import EndAttempt, LeaseEnd, ReportAttempt
from .events import LeaseEnded, LeaseLost
from .mail import MailKind, StepResultMail
from .rows import OpenRun, TaskRow, TaskState
from .rules import Rule, Rules
from .snapshot import Reads
from .states import TaskTrigger
from .workspace import Workspace, ended_attempt


def _read_report(reads: Reads, asked: ReportAttempt) -> None:
    reads.tasks.add((asked.run_id, asked.number))
    if asked.again_after is None or asked.handed_back or asked.lost:
        reads.lock_runs.add(asked.run_id)


def report_attempt(space: Workspace, asked: ReportAttempt) -> bool:
    """Records the outcome of a claimed attempt; False when the claim has moved on (a late result)."""
    task = space.tasks.get((asked.run_id, asked.number))
    if task is None:
        return False
    held_by = (task.owner, task.epoch, task.attempt)
    if task.state is not TaskState.CLAIMED or held_by != (asked.session_id, asked.epoch, asked.attempt):
        # A repeat of what was recorded, because its answer was lost, is answered as it was.
        return asked.record in task.attempts_ended
    task = space.change_task(task)
    space.reports.append(asked)
    task.attempts_ended = (*task.attempts_ended, asked.record)
    if asked.lost:
        _lose(space, task)
        return True
    only_once = asked.handed_back and task.recoveries == 0
    if asked.again_after is not None and not only_once:
        if not asked.handed_back:
            task.failures += 1
        space.return_task(task, space.now + asked.again_after)
        return True
    run = space.runs.get(asked.run_id)
    assert run is not None, f"step {asked.number} is queued but run {asked.run_id} is not open"
    failure = asked.failure if not only_once or asked.failure is not None else _started_only_once(task)
    _finish(space, run, task, result=asked.result, failure=failure)
    return True


def _read_end(reads: Reads, asked: EndAttempt) -> None:
    reads.lock_runs.add(asked.run_id)
    reads.tasks.add((asked.run_id, asked.number))


def end_attempt(space: Workspace, asked: EndAttempt) -> bool:
    """Takes an attempt from a lost session, or past its deadline, or that was never delivered.

    A timed out attempt is repeated for now: the next claimer has the policy and decides. False when the claim
    has moved on, or its deadline is still to come.
    """
    task = space.tasks.get((asked.run_id, asked.number))
    if task is None or task.state is not TaskState.CLAIMED or task.epoch != asked.epoch:
        return False
    if asked.timed_out and (task.deadline_at is None or task.deadline_at > space.now):
        return False
    run = space.runs.get(asked.run_id)
    assert run is not None, f"step {asked.number} is queued but run {asked.run_id} is not open"
    task = space.change_task(task)
    task.attempts_ended = (*task.attempts_ended, _ended(space, task, asked))
    if task.owner is not None:
        reason = LeaseEnd.OVERDUE if asked.timed_out else LeaseEnd.UNDELIVERED if asked.undelivered else LeaseEnd.LOST
        space.events.append(LeaseEnded(task.owner, task.run_id, task.number, task.epoch))
        space.events.append(
            LeaseLost(task.owner, task.run_id, task.number, task.epoch, reason, task.attempt, task.scheduled_at)
        )
    if asked.timed_out:
        task.failures += 1
    elif asked.undelivered:
        # The claim counts as a start: what a silent worker did is unknown.
        if task.recoveries == 0:
            _finish(space, run, task, failure=_started_only_once(task))
            return True
    else:
        _lose(space, task)
        return True
    space.return_task(task, space.now)
    return True


def _lose(space: Workspace, task: TaskRow) -> None:
    """A changed step lost its attempt: it is repeated at once, or has been lost too often."""
    task.losses += 1
    if task.recoveries is not None and task.losses > task.recoveries:
        run = space.runs[task.run_id]
        text = (
            f"max recovery attempts ({task.recoveries}) exceeded: "
            f"the worker was lost {task.losses} times while running step {task.name}"
        )
        _finish(space, run, task, failure=Failure("MaxRecoveryAttempts", text))
        return
    space.return_task(task, space.now)


def _ended(space: Workspace, task: TaskRow, asked: EndAttempt) -> AttemptRecord:
    outcome, failure = AttemptOutcome.LOST, None
    if asked.undelivered:
        outcome = AttemptOutcome.HANDED_BACK
    elif asked.timed_out:
        outcome = AttemptOutcome.TIMED_OUT
        after = format_duration(task.timeout) if task.timeout is not None else "its limit"
        failure = Failure("TimeoutError", f"Timeout after {after}")
    return ended_attempt(task, outcome, space.now, failure=failure)


def _started_only_once(task: TaskRow) -> Failure:
    text = (
        "max recovery attempts (0) exceeded: "
        f"the worker was shut down while running step {task.name}, which may be started only once"
    )
    return Failure("MaxRecoveryAttempts", text)


def _finish(
    space: Workspace,
    run: OpenRun,
    task: TaskRow,
    *,
    result: bytes | None = None,
    failure: bytes | Failure | None = None,
) -> None:
    space.drop_task(task, TaskTrigger.FINISH)
    mail = StepResultMail(task.number, task.attempts_ended, result, failure)
    space.deliver(space.change(run), MailKind.STEP_RESULT, mail)


RULES: Rules = {
    ReportAttempt: Rule(_read_report, report_attempt, size=lambda asked: len(asked.record) + len(asked.result or b"")),
    EndAttempt: Rule(_read_end, end_attempt),
}
