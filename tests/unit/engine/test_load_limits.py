"""When a line is too long, by what the last second committed: who is refused, and when they may come again."""

import pytest

from holdfast_coordinator.domain.batch import BatchCommand
from holdfast_coordinator.domain.commands import ClaimRuns, EndLease, LeaseEnd, SendSignal
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow
from holdfast_coordinator.engine.load_limits import LINE_BYTES_OF_STARTS, LINE_COMMANDS_MIN, Shedding
from tests.support.engine_replicas import run_named, start
from tests.support.store_rows import T0, appending

SIGNAL = SendSignal(run_named(1), "", SignalMail("go", b""))
DELIVERY = start(outbox=AlarmRow(run_named(2), AlarmKind.OUTBOX_CHILD, 1, T0))
END = EndLease(run_named(1), "s1", 1, LeaseEnd.LOST)
CLAIM = ClaimRuns("default", "default", ("order",), 10)


def refused(command: BatchCommand, waiting: int, *, committed: int = 0, size: int = 0) -> bool:
    """Whether a command is refused when so many wait, after a second that committed so many."""
    shedding = Shedding()
    shedding.committed(committed, 10.0)
    return shedding.refuses(command, waiting=waiting, waiting_bytes=size, now=10.5) > 0


@pytest.mark.parametrize("committed", [0, 1_000])
def test_starts_are_refused_before_anything_else(committed: int) -> None:
    waiting = LINE_COMMANDS_MIN
    assert refused(start(), waiting, committed=committed)
    assert not refused(appending(run_named(1)), waiting, committed=committed)
    assert not refused(SIGNAL, waiting, committed=committed)
    assert refused(appending(run_named(1)), 2 * waiting, committed=committed)
    assert refused(SIGNAL, 2 * waiting, committed=committed)


def test_a_line_is_not_long_that_two_seconds_work_off() -> None:
    assert not refused(start(), 3 * LINE_COMMANDS_MIN, committed=2 * LINE_COMMANDS_MIN)
    assert refused(start(), 4 * LINE_COMMANDS_MIN, committed=2 * LINE_COMMANDS_MIN)


def test_a_line_is_bounded_in_bytes() -> None:
    assert refused(start(), 10, size=LINE_BYTES_OF_STARTS)
    assert not refused(SIGNAL, 10, size=LINE_BYTES_OF_STARTS)
    assert refused(SIGNAL, 10, size=2 * LINE_BYTES_OF_STARTS)


@pytest.mark.parametrize("command", [DELIVERY, END, CLAIM])
def test_what_the_coordinator_asks_of_itself_is_never_refused(command: BatchCommand) -> None:
    assert not refused(command, 10**6, size=10**9)


def test_who_is_refused_may_come_again_when_the_line_is_worked_off_and_soon() -> None:
    shedding = Shedding()
    shedding.committed(20_000, 10.0)
    assert shedding.refuses(start(), waiting=40_000, waiting_bytes=0, now=10.5) == 2.0
    assert shedding.refuses(start(), waiting=100, waiting_bytes=10**9, now=10.5) == 0.1
    assert shedding.refuses(start(), waiting=40_000, waiting_bytes=0, now=20.0) == 2.0
