"""Many runs that end in one batch: what that costs, counted in instructions of Python."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from holdfast.statuses import ClosePolicy
from holdfast_coordinator.domain.batch import Decided, decide
from holdfast_coordinator.domain.commands import SendSignal, TerminateRun
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail
from holdfast_coordinator.domain.rows import ChildRow, OpenRun, RunState, Side, TaskRow, TaskState
from holdfast_coordinator.domain.snapshot import Snapshot
from tests.support.core_cell import T0, Sessions
from tests.support.core_commands import run_named

PARTS = 5


def instructions_of(work: Callable[[], Decided]) -> tuple[int, Decided]:
    """How many instructions of Python `work` executes, loops inside one expression included."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        done = work()
    finally:
        sys.settrace(before)
    return count, done


def ending(runs: int) -> int:
    """The instructions of a batch that ends this many runs. Each has five queued steps and as many children, signals
    that came before, and signals of this batch, which are remembered while it is open."""
    ids = [run_named(number) for number in range(1, runs + 1)]
    numbers = range(1, PARTS + 1)
    seen = Snapshot(T0)
    for run_id in ids:
        seen.runs[run_id] = OpenRun(
            run_id, "default", "default", "order", RunState.SUSPENDED, T0, epoch=1, length=2, mail_next=PARTS + 1,
            side=Side.TASKS | Side.CHILDREN | Side.ALARMS,
        )  # fmt: skip
        seen.children[run_id] = [
            ChildRow(run_id, number, f"{run_id}-{number}", ClosePolicy.CANCEL) for number in numbers
        ]
        seen.mail[run_id] = [MailRow(run_id, number, MailKind.SIGNAL, T0, b"signal") for number in numbers]
        for number in numbers:
            seen.tasks[run_id, number] = TaskRow(
                run_id, number, "default", "default", "charge", TaskState.READY, T0, T0, b""
            )
    signals = [
        SendSignal(run_id, f"req-{number}", SignalMail(f"go-{number}", b""), once=True)
        for run_id in ids
        for number in numbers
    ]
    ends = [TerminateRun(run_id, "req", "why") for run_id in ids]
    count, decided = instructions_of(lambda: decide([*signals, *ends], seen, Sessions()))
    assert len(decided.changes.closed) == runs
    assert len(decided.changes.requests) == runs * (2 * PARTS + 1)
    return count


def test_ending_eight_times_as_many_runs_in_one_batch_is_eight_times_the_work() -> None:
    few, many = ending(20), ending(160)
    assert many < 8.5 * few, (few, many)
