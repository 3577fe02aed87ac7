"""What running attempts save for those that may follow: of a queued step in its row, else beside the run."""

from .commands import SaveProgress
from .rows import ProgressRow, RunState, Side, TaskState
from .rules import Rule, Rules
from .snapshot import Reads
from .workspace import Workspace


def _reads(reads: Reads, asked: SaveProgress) -> None:
    if asked.is_queued:
        reads.tasks.add((asked.run_id, asked.number))
    else:
        reads.lock_runs.add(asked.run_id)


def save_progress(space: Workspace, asked: SaveProgress) -> bool:
    """Keeps it; False when the claim or the lease has moved on."""
    if asked.is_queued:
        task = space.tasks.get((asked.run_id, asked.number))
        held_by = (asked.session_id, asked.epoch, asked.attempt)
        if task is None or task.state is not TaskState.CLAIMED or (task.owner, task.epoch, task.attempt) != held_by:
            return False
        space.change_task(task).saved = asked.details
        return True
    run = space.runs.get(asked.run_id)
    if run is None or run.state is not RunState.LEASED or (run.owner, run.epoch) != (asked.session_id, asked.epoch):
        return False
    space.change(run).side |= Side.PROGRESS
    row = ProgressRow(asked.run_id, asked.number, asked.attempt, asked.details)
    space.changes.progress[asked.run_id, asked.number] = row
    return True


RULES: Rules = {SaveProgress: Rule(_reads, save_progress, size=lambda asked: len(asked.details))}
