"""What becomes of ready runs and queued steps that were read for the sessions that wait for them."""

from dataclasses import dataclass

from .commands import ClaimRuns, ClaimTasks
from .rows import RunState, TaskState
from .rules import Rule, Rules
from .snapshot import Reads
from .workspace import Workspace


@dataclass(slots=True, frozen=True)
class Claimed:
    """What came of a claim. left: names of which more are ready than sessions have taken."""

    left: frozenset[str] = frozenset()


def _read_runs(reads: Reads, asked: ClaimRuns) -> None:
    reads.claim_runs.append(asked)


def claim_runs(space: Workspace, asked: ClaimRuns) -> Claimed:
    """Leases the runs that were read to the sessions that wait."""
    claimed = next(space.claimed_runs)
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
    return Claimed(frozenset(left))


def _read_tasks(reads: Reads, asked: ClaimTasks) -> None:
    reads.claim_tasks.append(asked)


def claim_tasks(space: Workspace, asked: ClaimTasks) -> Claimed:
    """Gives the queued steps that were read to the sessions that wait."""
    claimed, has_more = next(space.claimed_tasks), next(space.tasks_left, False)
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
    return Claimed(frozenset(left))


RULES: Rules = {
    ClaimRuns: Rule(_read_runs, claim_runs),
    ClaimTasks: Rule(_read_tasks, claim_tasks),
}
