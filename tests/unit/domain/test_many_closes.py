"""Many runs that end in one batch: what that costs."""

import time

from holdfast.statuses import ClosePolicy
from holdfast_coordinator.domain.batch import decide
from holdfast_coordinator.domain.commands import TerminateRun
from holdfast_coordinator.domain.rows import ChildRow, OpenRun, RunState, Side, TaskRow, TaskState
from holdfast_coordinator.domain.snapshot import Snapshot
from tests.support.core_cell import T0, Sessions
from tests.support.core_commands import run_named

PARTS = 50


def seconds_of_ending(runs: int) -> float:
    """The CPU time that a batch takes which ends this many runs, each with 50 queued steps and children; the least of
    three."""
    ids = [run_named(number) for number in range(1, runs + 1)]
    taken = []
    for _ in range(3):
        seen = Snapshot(T0)
        for run_id in ids:
            seen.runs[run_id] = OpenRun(
                run_id, "default", "default", "order", RunState.SUSPENDED, T0, epoch=1, length=2,
                side=Side.TASKS | Side.CHILDREN | Side.ALARMS,
            )  # fmt: skip
            seen.children[run_id] = [
                ChildRow(run_id, number, f"{run_id}-{number}", ClosePolicy.CANCEL) for number in range(1, PARTS + 1)
            ]
            for number in range(1, PARTS + 1):
                seen.tasks[run_id, number] = TaskRow(
                    run_id, number, "default", "default", "charge", TaskState.READY, T0, T0, b""
                )
        commands = [TerminateRun(run_id, "req", "why") for run_id in ids]
        began_at = time.process_time()
        decided = decide(commands, seen, Sessions())
        taken.append(time.process_time() - began_at)
        assert len(decided.changes.closed) == runs
    return min(taken)


def test_ending_eight_times_as_many_runs_with_steps_and_children_takes_eight_times_as_long() -> None:
    assert seconds_of_ending(800) < 20 * seconds_of_ending(100)
