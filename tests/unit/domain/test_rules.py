"""Each command has one rule, in the module that decides it: what it reads, how large it is, which keys it needs."""

from typing import Any, get_args

import pytest

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.asks import StartChildAsk
from holdfast_coordinator.domain.batch import RULES, BatchCommand, command_bytes, keys_of, reads_of
from holdfast_coordinator.domain.commands import DeliverChildClosed, EndLease, LeaseEnd
from holdfast_coordinator.domain.continuations import Continuation, RetryRun, RewrittenRow
from holdfast_coordinator.domain.mail import ChildClosedMail, SignalMail
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, OpenRun, RunRow, RunState, TaskRow, TaskState
from tests.support.core_cell import T0
from tests.support.core_commands import RUN, queue_step, report, signal, start, transition

BYTES = b"x" * 1_000
LEASED = OpenRun(RUN, "default", "default", "order", RunState.LEASED, T0, owner="s1", epoch=1, length=1)
CLAIMED = TaskRow(RUN, 1, "default", "default", "charge", TaskState.CLAIMED, T0, T0, b"", attempt=1, owner="s1")
OUTBOX = AlarmRow(RUN, AlarmKind.OUTBOX_CHILD_CLOSED, 0, T0)
ORIGIN = RunRow(RUN, "default", "order", "default", T0, BYTES, b"digest", id="order-1")


def with_payload() -> Any:
    """A signal with a payload."""
    command = signal()
    command.signal = SignalMail("go", BYTES)
    return command


def test_every_command_has_a_rule_and_every_rule_a_command() -> None:
    assert set(RULES) == set(get_args(BatchCommand))


@pytest.mark.parametrize(
    "command",
    [
        start(arguments=BYTES),
        transition(LEASED, journal=[BYTES]),
        transition(LEASED, queue_step(arguments=BYTES), journal=[]),
        transition(LEASED, StartChildAsk(1, RUN, None, BYTES), journal=[]),  # type: ignore[arg-type]
        with_payload(),
        report(CLAIMED, record=b"", result=BYTES),
        report(CLAIMED, record=BYTES),
        DeliverChildClosed(
            RUN,
            ChildClosedMail(1, RUN, RunStatus.COMPLETED, BYTES),
            AlarmRow(RUN, AlarmKind.OUTBOX_CHILD_CLOSED, 0, T0),
        ),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_can_be_large_in_a_command_counts(command: BatchCommand) -> None:
    assert command_bytes(command) == 1_000


def test_a_continued_run_counts_its_arguments_and_the_rows_that_are_written_anew() -> None:
    again = RetryRun(RUN, ORIGIN, Continuation([RewrittenRow(BYTES, 3)]))
    assert command_bytes(again) == 2_000
    assert keys_of(again) == (("default", "id", "order-1"),)


def test_what_a_command_reads_does_not_hang_on_its_neighbours() -> None:
    commands = [EndLease(RUN, "s1", 1, LeaseEnd.LOST), start(2, id="order-2"), with_payload()]
    together = reads_of(commands)
    assert together.lock_runs == {RUN}
    assert [row.key for row in together.keys] == ["order-2"]
    assert together.requests == {(RUN, "req-1")}
    assert reads_of(commands[:1]).requests == set()
