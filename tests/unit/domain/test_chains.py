"""A run that continues as new: it closes and the next begins in one transaction, and nothing that came is lost."""

from datetime import timedelta

import pytest

from holdfast.ids import child_run_id, successor_run_id
from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.domain.asks import CloseAsk, Successor
from holdfast_coordinator.domain.chains import RunWentOn
from holdfast_coordinator.domain.commands import CommitTransition, RequestCancel, TerminateRun
from holdfast_coordinator.domain.mail import MailKind, SignalMail
from holdfast_coordinator.domain.rows import AlarmKind, MailUndeliveredEntry, RunState
from tests.support.core_cell import CoreCell
from tests.support.core_commands import (
    RUN,
    WORKER,
    child_of,
    child_start,
    close,
    leased,
    offer,
    signal,
    start,
    take,
    transition,
    withdraw,
)
from tests.support.invariants import check

pytestmark = pytest.mark.feature("F101")

NEXT = successor_run_id(RUN)


def going_on(cell: CoreCell, run_id: str = RUN, *, carried: int = 0) -> CommitTransition:
    """The transition with which a leased run continues as new."""
    closing = close(RunStatus.CONTINUED_AS_NEW)
    signals = [(cell.now, b"carried")] * carried
    closing.successor = Successor(successor_run_id(run_id), b"next arguments", b"next", signals)
    run, record = cell.open_runs[run_id], cell.runs[run_id]
    asked = transition(run, then=Then.CLOSE, origin=record)
    asked.asks = [closing]
    return asked


def go_on(cell: CoreCell, run_id: str = RUN) -> None:
    """It does so."""
    asked = going_on(cell, run_id)
    assert cell.ask(asked).status.name == "COMMITTED"
    check(cell.rows())


def test_a_run_closes_and_the_next_begins_in_one_transaction(cell: CoreCell) -> None:
    leased(cell, start(id="o-1", metadata={"team": "billing"}, max_duration=timedelta(hours=1)))
    cell.pass_time(60)
    go_on(cell)
    record, first = cell.runs[NEXT], cell.runs[RUN]
    assert cell.run_results[RUN].status is RunStatus.CONTINUED_AS_NEW
    assert (record.id, record.arguments, record.metadata) == ("o-1", b"next arguments", {"team": "billing"})
    assert record.deadline_at == first.deadline_at, "the deadline is that of the chain"
    assert (record.chain_run_id, cell.open_runs[NEXT].state) == (RUN, RunState.READY)
    assert cell.keys["default", "id", "o-1"].run_id == NEXT
    assert (NEXT, AlarmKind.DEADLINE, 0) in cell.alarms


def test_who_starts_the_first_call_again_joins_the_run_that_goes_on(cell: CoreCell) -> None:
    leased(cell, start(id="o-1"))
    go_on(cell)
    joined = cell.ask(start(2, id="o-1"))
    assert (joined.run_id, joined.attached) == (NEXT, True)


def test_what_has_come_and_was_not_seen_goes_along_in_order(cell: CoreCell) -> None:
    """Signals that nobody had taken first; a request to end too; a timer of the run that closed does not."""
    run = leased(cell)
    cell.ask(signal(1, name="a"))
    cell.ask(RequestCancel(RUN, "req-c", "enough"))
    cell.ask(signal(2, name="b"))
    asked = going_on(cell, carried=1)
    cell.submit(signal(3, name="c"), asked)  # in one batch: it comes just before
    check(cell.rows())
    mail = cell.waiting_mail(NEXT)
    assert [one.number for one in mail] == [1, 2, 3, 4, 5]
    names = [one.body.name if isinstance(one.body, SignalMail) else one.body for one in mail]
    assert names[0] == b"carried"
    assert [names[1], names[3], names[4]] == ["a", "b", "c"]
    assert mail[2].kind is MailKind.CANCEL
    assert not [one for one in cell.entries(RUN) if isinstance(one, MailUndeliveredEntry)]
    assert run.run_id not in cell.open_runs


def test_what_is_sent_to_a_run_that_went_on_is_for_the_next_one_and_arrives_there_once(cell: CoreCell) -> None:
    leased(cell)
    assert cell.ask(signal(1)) is True
    go_on(cell)
    assert cell.ask(signal(1)) is True, "a repeat gets its first answer"
    late = signal(2)
    for command in (late, RequestCancel(RUN, "r-2", ""), TerminateRun(RUN, "r-3", "")):
        assert isinstance(cell.ask(command), RunWentOn)
    late.run_id, late.chain_run_id = NEXT, RUN
    assert cell.submit(late, late) == [True, True]
    assert [mail.kind for mail in cell.waiting_mail(NEXT)] == [MailKind.SIGNAL] * 2
    repeat = signal(1)
    repeat.run_id, repeat.chain_run_id = NEXT, RUN
    assert cell.ask(repeat) is True, "also when it finds the next run by the business id"
    assert len(cell.waiting_mail(NEXT)) == 2


def test_a_signal_that_counts_once_does_so_in_a_whole_chain(cell: CoreCell) -> None:
    leased(cell)
    assert cell.ask(signal(1, once=True)) is True
    go_on(cell)
    second = signal(2, once=True)
    second.run_id, second.chain_run_id = NEXT, RUN
    assert cell.ask(second) is False
    assert cell.requests[RUN, "once/go"].expires_at - cell.now > timedelta(days=365)
    cell.ask(TerminateRun(NEXT, "end", "", chain_run_id=RUN))
    assert cell.requests[RUN, "once/go"].expires_at - cell.now <= timedelta(days=2)


def test_a_parent_is_told_of_the_last_run_only(cell: CoreCell) -> None:
    leased(cell)
    take(cell, child_of())
    child, after = child_run_id(RUN, 1), successor_run_id(child_run_id(RUN, 1))
    offer(cell, WORKER)
    cell.ask(child_start(cell))
    withdraw(cell)
    go_on(cell, child)
    assert (child, AlarmKind.OUTBOX_CHILD_CLOSED, 0) not in cell.alarms
    assert (cell.runs[after].parent_run_id, cell.runs[after].parent_number) == (RUN, 1)
    cell.ask(TerminateRun(after, "end", "", chain_run_id=child))
    assert (after, AlarmKind.OUTBOX_CHILD_CLOSED, 0) in cell.alarms


def test_a_transition_that_continues_is_never_committed_by_the_fast_path(cell: CoreCell) -> None:
    leased(cell)
    asked = going_on(cell)
    assert isinstance(asked.asks[-1], CloseAsk)
    assert not asked.is_plain_close
