"""The floors of one cell, kept in step with what its writer commits and its loops read. In memory; see floors.py."""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks
from holdfast_coordinator.domain.events import Closed
from holdfast_coordinator.domain.rows import AlarmKind, OpenRun, RunState, TaskRow, TaskState
from holdfast_coordinator.domain.snapshot import Snapshot

from .floors import Floors, Place, Position, TimeFloor
from .port import Moved


class CellFloors:
    """Where claims of runs and of queued steps begin, and where reads of due alarms and of due deliveries do."""

    def __init__(self) -> None:
        self.alarms = TimeFloor()
        self.deliveries = TimeFloor()
        self._runs = Floors()
        self._tasks = Floors()

    def of_claim(self, claim: ClaimRuns | ClaimTasks, names: tuple[str, ...]) -> list[Position]:
        """Where a claim begins, for each of its names."""
        floors = self._runs if isinstance(claim, ClaimRuns) else self._tasks
        return floors.of([(claim.namespace, claim.queue, name) for name in names], time.monotonic())

    def alarm_is_due(self, kind: AlarmKind, due_at: datetime) -> None:
        """An alarm was set, or is still to be read again."""
        (self.deliveries if kind >= AlarmKind.OUTBOX_CHILD else self.alarms).lower(due_at)

    def forget_claims(self) -> None:
        """What was claimed may not be committed."""
        self._runs.forget()
        self._tasks.forget()

    def rolled_back(self, snapshot: Snapshot) -> None:
        """A batch wrote nothing: what it claimed is ready again."""
        if any(snapshot.claimed_runs):
            self._runs.forget()
        if any(snapshot.claimed_tasks):
            self._tasks.forget()

    def moved(self, done: Iterable[Moved]) -> None:
        """Compare-and-sets were committed: a run that closed left a delivery to its parent."""
        for one in done:
            if isinstance(one, Closed) and one.parent_run_id is not None:
                self.deliveries.lower(one.closed_at)

    def committed(self, snapshot: Snapshot, changes: Changes) -> None:
        """A batch was committed: floors rise to what it claimed, and sink to what it made ready or due."""
        for alarm in changes.alarms_set.values():
            self.alarm_is_due(alarm.kind, alarm.due_at)
        if claimed_runs := [run for claim in snapshot.claimed_runs for run, _ in claim]:
            if all(run.run_id in changes.updated or run.run_id in changes.closed for run in claimed_runs):
                self._runs.claimed(_run_positions(claimed_runs))
            else:
                self._runs.forget()
        for runs in (changes.opened, changes.updated):
            for run in runs.values():
                if run.state is RunState.READY:
                    for place, position in _run_positions([run]):
                        self._runs.lower(place, position)
        if claimed_tasks := [task for claim in snapshot.claimed_tasks for task in claim]:
            gone = changes.tasks_updated.keys() | changes.tasks_deleted
            if all((task.run_id, task.number) in gone for task in claimed_tasks):
                self._tasks.claimed(_task_positions(claimed_tasks))
            else:
                self._tasks.forget()
        for tasks in (changes.tasks_added, changes.tasks_updated):
            for task in tasks.values():
                if task.state is TaskState.READY:
                    for place, position in _task_positions([task]):
                        self._tasks.lower(place, position)


def _run_positions(runs: Sequence[OpenRun]) -> list[tuple[Place, Position]]:
    return [
        ((run.namespace, run.queue, run.workflow), (run.priority, run.ready_at))
        for run in runs
        if run.ready_at is not None
    ]


def _task_positions(tasks: Sequence[TaskRow]) -> list[tuple[Place, Position]]:
    return [((task.namespace, task.queue, task.name), (task.priority, task.ready_at)) for task in tasks]
