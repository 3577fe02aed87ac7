"""Children for their parents: how they close, what is not delivered, and what a parent gets instead."""

from dataclasses import replace
from datetime import timedelta

import pytest

from holdfast.errors import RunNotFound
from holdfast.ids import child_run_id
from holdfast.journal import Failure
from holdfast.statuses import ClosePolicy, RunStatus, Then
from holdfast_coordinator.domain.asks import SetTimerAsk
from holdfast_coordinator.domain.batch import reads_of
from holdfast_coordinator.domain.commands import (
    DeliverChildClosed,
    PostponeAlarm,
    RequestCancel,
    TerminateRun,
)
from holdfast_coordinator.domain.mail import ChildClosedMail, MailKind
from holdfast_coordinator.domain.rows import AlarmKind, RunState
from tests.support.core_cell import CoreCell
from tests.support.core_commands import (
    RUN,
    child_of,
    child_start,
    leased,
    mail_kinds,
    suspend,
    take,
    withdraw,
)

MINUTE = timedelta(minutes=1)
CHILD = child_run_id(RUN, 1)


def child_closed(cell: CoreCell) -> DeliverChildClosed:
    mail = ChildClosedMail(1, CHILD, cell.run_results[CHILD].status)
    return DeliverChildClosed(RUN, mail, cell.alarms[CHILD, AlarmKind.OUTBOX_CHILD_CLOSED, 0])


def test_a_child_that_closes_is_mail_of_its_parent_once(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of())
    cell.ask(child_start(cell))
    cell.ask(TerminateRun(CHILD, "req", "why"))
    told = child_closed(cell)
    assert cell.submit(told, told) == [True, False]
    assert cell.ask(told) is False
    assert mail_kinds(cell) == [MailKind.CHILD_CLOSED]
    assert cell.children[RUN, 1].closed


def test_the_end_of_a_child_reads_no_other_child_of_its_parent(cell: CoreCell) -> None:
    """Each of 2,000 ends read all children that were still open: four million rows."""
    leased(cell)
    take(cell, child_of())
    cell.ask(child_start(cell))
    cell.ask(TerminateRun(CHILD, "req", "why"))
    reads = reads_of([child_closed(cell)])
    assert (reads.children, reads.children_of) == ({(RUN, 1)}, set())


def test_a_child_that_closes_after_its_parent_is_told_to_nobody(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of(policy=ClosePolicy.ABANDON))
    cell.ask(child_start(cell))
    take(cell, then=Then.CLOSE)
    cell.ask(TerminateRun(CHILD, "req", "why"))
    assert cell.ask(child_closed(cell)) is False
    assert not cell.alarms


def test_a_closing_parent_asks_only_children_that_are_open(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of())
    cell.ask(child_start(cell))
    cell.ask(TerminateRun(CHILD, "req", "why"))
    cell.ask(child_closed(cell))
    take(cell, then=Then.CLOSE, mail_seen=0)
    assert not cell.alarms


def test_the_cancel_of_a_child_waits_for_its_start(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of())
    delivery = child_start(cell)
    take(cell, then=Then.CLOSE)
    cancel = RequestCancel(CHILD, "req", "parent closed", cell.alarms[RUN, AlarmKind.OUTBOX_CHILD_CANCEL, 1])
    assert isinstance(cell.ask(cancel), RunNotFound)
    withdraw(cell)
    cell.ask(delivery)
    assert cell.ask(cancel) is True
    assert cell.run_results[CHILD].status is RunStatus.CANCELLED


def failing(
    cell: CoreCell,
    key: tuple[str, AlarmKind, int],
    parent: tuple[str, int] | None = None,
    reason: str = "no such queue",
) -> bool:
    """The alarm was due and what it was set for failed."""
    alarm = cell.alarms[key]
    cell.now = max(cell.now, alarm.due_at)
    return bool(cell.ask(PostponeAlarm(*key, alarm.due_at, reason, parent)))


def test_an_alarm_that_fails_is_tried_later_each_time_and_is_a_dead_letter_in_the_end(cell: CoreCell) -> None:
    leased(cell)
    take(cell, SetTimerAsk(1, MINUTE, None))
    key = (RUN, AlarmKind.TIMER, 1)
    body, waits = cell.alarms[key].body, []
    while key in cell.alarms:
        due_at = cell.alarms[key].due_at
        assert failing(cell, key)
        if key in cell.alarms:
            waits.append((cell.alarms[key].due_at - max(due_at, cell.now)).total_seconds())
    assert waits[:4] == [1, 2, 4, 8]
    assert (len(waits), waits[-1]) == (19, 600)
    dead = cell.dead_letters[key]
    assert (dead.attempts, dead.body, dead.reason) == (20, body, "no such queue")


def test_a_parent_gets_the_failure_of_a_child_whose_start_was_given_up(cell: CoreCell) -> None:
    """It waited for ever."""
    leased(cell)
    suspend(cell, child_of(), waits="child 1")
    key = (RUN, AlarmKind.OUTBOX_CHILD, 1)
    while key in cell.alarms:
        assert mail_kinds(cell) == []
        assert failing(cell, key, parent=(RUN, 1))
    (mail,) = cell.waiting_mail(RUN)
    assert isinstance(mail.body, ChildClosedMail)
    assert (mail.body.number, mail.body.run_id, mail.body.status) == (1, CHILD, RunStatus.FAILED)
    why = f"run {CHILD} was not started in 20 attempts: no such queue"
    assert mail.body.failure == Failure("ChildNotStarted", why)
    assert cell.open_runs[RUN].state is RunState.READY
    assert key in cell.dead_letters


def test_a_reason_of_any_length_is_cut_in_the_failure_as_in_the_dead_letter(cell: CoreCell) -> None:
    leased(cell)
    suspend(cell, child_of(), waits="child 1")
    key = (RUN, AlarmKind.OUTBOX_CHILD, 1)
    while key in cell.alarms:
        assert failing(cell, key, parent=(RUN, 1), reason="x" * 5_000)
    (mail,) = cell.waiting_mail(RUN)
    why = f"run {CHILD} was not started in 20 attempts: {'x' * 1_000}"
    assert mail.body == ChildClosedMail(1, CHILD, RunStatus.FAILED, failure=Failure("ChildNotStarted", why, cut=True))
    assert cell.dead_letters[key].reason == "x" * 1_000


def test_a_closed_parent_is_not_written_to_when_the_start_of_its_child_is_given_up(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of(policy=ClosePolicy.ABANDON))
    take(cell, then=Then.CLOSE)
    key = (RUN, AlarmKind.OUTBOX_CHILD, 1)
    while key in cell.alarms:
        assert failing(cell, key, parent=(RUN, 1))
    assert key in cell.dead_letters
    assert not cell.waiting_mail(RUN)


def test_a_parent_gets_a_failure_once_when_the_end_of_its_child_is_given_up(cell: CoreCell) -> None:
    leased(cell)
    suspend(cell, child_of(), waits="child 1")
    cell.ask(child_start(cell))
    cell.ask(TerminateRun(CHILD, "req", "why"))
    late = child_closed(cell)
    key = (CHILD, AlarmKind.OUTBOX_CHILD_CLOSED, 0)
    while key in cell.alarms:
        assert mail_kinds(cell) == []
        assert failing(cell, key, parent=(RUN, 1))
    assert cell.ask(late) is False
    (mail,) = cell.waiting_mail(RUN)
    why = f"the end of run {CHILD} was not delivered in 20 attempts: no such queue"
    failure = Failure("ChildEndNotDelivered", why)
    assert mail.body == ChildClosedMail(1, CHILD, RunStatus.FAILED, failure=failure)
    assert cell.children[RUN, 1].closed
    assert cell.open_runs[RUN].state is RunState.READY
    assert key in cell.dead_letters


@pytest.mark.parametrize("kind", [AlarmKind.OUTBOX_CHILD, AlarmKind.OUTBOX_CHILD_CLOSED])
def test_what_a_parent_waits_for_is_not_given_up_without_it(cell: CoreCell, kind: AlarmKind) -> None:
    leased(cell)
    suspend(cell, child_of(), waits="child 1")
    key = (RUN, AlarmKind.OUTBOX_CHILD, 1)
    if kind is AlarmKind.OUTBOX_CHILD_CLOSED:
        cell.ask(child_start(cell))
        cell.ask(TerminateRun(CHILD, "req", "why"))
        key = (CHILD, kind, 0)
    for _ in range(100):
        assert failing(cell, key)
    assert cell.alarms[key].due_at == cell.now + timedelta(minutes=10)
    assert not cell.dead_letters
    assert mail_kinds(cell) == []


def test_an_alarm_that_was_moved_or_cleared_meanwhile_is_not_postponed(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of(1))
    key = (RUN, AlarmKind.OUTBOX_CHILD, 1)
    late = PostponeAlarm(*key, cell.alarms[key].due_at, "why")
    assert failing(cell, key)
    before = cell.rows()
    assert not cell.ask(late)
    cell.ask(child_start(cell, 1))
    assert not cell.ask(replace(late, due_at=before.alarms[key].due_at))
    assert key not in cell.alarms


@pytest.mark.feature("F100")
def test_a_child_below_the_limit_of_nesting_is_made_and_failed_and_one_at_it_lives(cell: CoreCell) -> None:
    """Its parent gets that as its end, with the class of the error; a retry of a run is as deep as the run."""
    leased(cell)
    take(cell, child_of(1), child_of(2))
    cell.ask(child_start(cell, 1, depth=3, depth_max=3))
    cell.ask(child_start(cell, 2, depth=4, depth_max=3))
    first, second = child_run_id(RUN, 1), child_run_id(RUN, 2)
    assert (cell.runs[first].depth, first in cell.open_runs) == (3, True)
    failure = cell.run_results[second].failure
    assert isinstance(failure, Failure)
    assert (failure.error_type, failure.error_class) == ("LimitExceeded", "holdfast.errors:LimitExceeded")
    assert "would have 4 runs above it, the limit is 3" in failure.message
