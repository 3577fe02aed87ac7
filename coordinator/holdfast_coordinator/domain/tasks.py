"""What happens to queued steps: reports of their attempts, losses, deadlines.

A claim, a retry and a save touch the row of the step only. A loss and a final outcome lock the run first,
because they may end the step, which puts its result into the run's mail.
"""

from holdfast.durations import format_duration
from holdfast.statuses import AttemptOutcome

from .commands import EndAttempt, ReportAttempt
from .rows import EndedAttempt, Failure, MailKind, OpenRun, StepResultMail, TaskRow, TaskState
from .workspace import Workspace


def report_attempt(space: Workspace, asked: ReportAttempt) -> bool:
    """Records the outcome of a claimed attempt; False when the claim has moved on (a late result)."""
    task = space.tasks.get((asked.run_id, asked.number))
    if task is None or task.state is not TaskState.CLAIMED:
        return False
    if (task.owner, task.epoch, task.attempt) != (asked.session_id, asked.epoch, asked.attempt):
        return False
    task = space.change_task(task)
    task.attempts_ended = (*task.attempts_ended, asked.record)
    if asked.again_after is not None:
        if not asked.handed_back:
            task.failures += 1
        _release(task)
        task.ready_at = space.now + asked.again_after
        space.offer_task(task)
        return True
    run = space.runs.get(asked.run_id)
    assert run is not None, f"step {asked.number} is queued but run {asked.run_id} is not open"
    _finish(space, run, task, result=asked.result, failure=asked.failure)
    return True


def end_attempt(space: Workspace, asked: EndAttempt) -> bool:
    """Takes an attempt from a lost session, or past its deadline, or that was never delivered.

    A timed out attempt is repeated for now: the next claimer knows the policy and decides.
    """
    task = space.tasks.get((asked.run_id, asked.number))
    if task is None or task.state is not TaskState.CLAIMED or task.epoch != asked.epoch:
        return False
    run = space.runs.get(asked.run_id)
    assert run is not None, f"step {asked.number} is queued but run {asked.run_id} is not open"
    task = space.change_task(task)
    task.attempts_ended = (*task.attempts_ended, _ended(space, task, asked))
    if asked.timed_out:
        task.failures += 1
    elif not asked.undelivered:
        task.losses += 1
        if task.recoveries is not None and task.losses > task.recoveries:
            text = (
                f"max recovery attempts ({task.recoveries}) exceeded: "
                f"the worker was lost {task.losses} times while running step {task.name}"
            )
            _finish(space, run, task, failure=Failure("MaxRecoveryAttempts", text))
            return True
    _release(task)
    task.ready_at = space.now
    space.offer_task(task)
    return True


def _ended(space: Workspace, task: TaskRow, asked: EndAttempt) -> EndedAttempt:
    started_at = task.started_at or space.now
    outcome, failure = AttemptOutcome.LOST, None
    if asked.undelivered:
        outcome = AttemptOutcome.HANDED_BACK
    elif asked.timed_out:
        outcome = AttemptOutcome.TIMED_OUT
        after = format_duration(task.timeout) if task.timeout is not None else "its limit"
        failure = Failure("TimeoutError", f"Timeout after {after}")
    return EndedAttempt(
        task.attempt,
        outcome,
        task.scheduled_at,
        task.ready_at,
        started_at,
        space.now,
        task.owner or "",
        failure,
    )


def _release(task: TaskRow) -> None:
    task.state = TaskState.READY
    task.owner = None
    task.started_at = task.deadline_at = None


def _finish(
    space: Workspace,
    run: OpenRun,
    task: TaskRow,
    *,
    result: bytes | None = None,
    failure: bytes | Failure | None = None,
) -> None:
    task.owner = None
    space.drop_task(task)
    mail = StepResultMail(task.number, task.attempts_ended, result, failure)
    space.deliver(space.change(run), MailKind.STEP_RESULT, mail)
