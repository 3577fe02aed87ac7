"""Many runs that end in one batch: what that costs."""

import time

from holdfast_coordinator.domain.batch import decide
from holdfast_coordinator.domain.commands import TerminateRun
from holdfast_coordinator.domain.rows import OpenRun, RunState, Side, TaskRow, TaskState
from holdfast_coordinator.domain.snapshot import Snapshot
from tests.support.core_cell import T0, Sessions
from tests.support.core_commands import run_named

STEPS = 50


def seconds_of_ending(runs: int) -> float:
    """The CPU time that a batch takes which ends this many runs with 50 queued steps each; the least of three."""
    ids = [run_named(number) for number in range(1, runs + 1)]
    taken = []
    for _ in range(3):
        seen = Snapshot(T0)
        for run_id in ids:
            seen.runs[run_id] = OpenRun(
                run_id, "default", "default", "order", RunState.SUSPENDED, T0, epoch=1, length=2, side=Side.TASKS
            )
            for number in range(1, STEPS + 1):
                seen.tasks[run_id, number] = TaskRow(
                    run_id, number, "default", "default", "charge", TaskState.READY, T0, T0, b""
                )
        commands = [TerminateRun(run_id, "req", "why") for run_id in ids]
        began_at = time.process_time()
        decided = decide(commands, seen, Sessions())
        taken.append(time.process_time() - began_at)
        assert len(decided.changes.closed) == runs
    return min(taken)


def test_ending_eight_times_as_many_runs_with_queued_steps_takes_eight_times_as_long() -> None:
    assert seconds_of_ending(800) < 20 * seconds_of_ending(100)
