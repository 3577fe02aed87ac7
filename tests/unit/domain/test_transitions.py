"""What a worker's transition does to its run: fences, repeats, mail, and what becomes of the lease."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.errors import InvalidRequest
from holdfast.statuses import RunStatus, Then, TransitionStatus
from holdfast_coordinator.domain.asks import (
    Ask,
    CancelStepAsk,
    CancelTimerAsk,
    ConsumeMail,
    SetRetryAsk,
    SetTimerAsk,
    StallAsk,
)
from holdfast_coordinator.domain.claimed_work import Claimed
from holdfast_coordinator.domain.commands import CLOSED_BY_CODE, AlarmDue, ClaimRuns, EndLease, LeaseEnd
from holdfast_coordinator.domain.events import LeaseEnded, LeaseReturned, MailArrived
from holdfast_coordinator.domain.rows import AlarmKind, MailConsumedEntry, MailUndeliveredEntry, RunState
from holdfast_coordinator.domain.transitions import WAITS_FOR_NOTHING
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import (
    ENTRY,
    OTHER,
    RUN,
    WORKER,
    child_of,
    close,
    leased,
    offer,
    queue_step,
    signal,
    suspend,
    take,
    transition,
    withdraw,
)

MINUTE = timedelta(minutes=1)


def status_of(cell: CoreCell, asked: object) -> TransitionStatus:
    return cell.ask(asked).status  # type: ignore[arg-type, no-any-return]


def test_a_transition_appends_its_entries_and_keeps_the_lease(cell: CoreCell) -> None:
    leased(cell)
    take(cell, journal=(ENTRY, ENTRY))
    run = cell.open_runs[RUN]
    assert (run.state, run.owner, run.length) == (RunState.LEASED, WORKER, 3)


@pytest.mark.feature("F51")
def test_a_late_transition_is_refused_after_the_lease_moved_on(cell: CoreCell) -> None:
    run = leased(cell)
    late = transition(run)
    offer(cell, OTHER)
    cell.ask(EndLease(RUN, WORKER, run.epoch, LeaseEnd.LOST))
    assert cell.open_runs[RUN].owner == OTHER
    assert status_of(cell, late) is TransitionStatus.SUPERSEDED
    assert cell.open_runs[RUN].length == 1


def test_a_late_transition_is_refused_when_the_same_session_holds_the_run_again(cell: CoreCell) -> None:
    run = leased(cell)
    late = transition(run)
    offer(cell, WORKER)
    cell.ask(EndLease(RUN, WORKER, run.epoch, LeaseEnd.UNDELIVERED))
    assert cell.open_runs[RUN].owner == WORKER
    assert status_of(cell, late) is TransitionStatus.SUPERSEDED


def test_a_transition_of_a_session_that_does_not_hold_the_run_is_superseded(cell: CoreCell) -> None:
    run = leased(cell)
    assert status_of(cell, transition(run, session_id=OTHER)) is TransitionStatus.SUPERSEDED


def test_a_transition_after_the_lease_was_given_back_is_superseded(cell: CoreCell) -> None:
    leased(cell)
    suspend(cell)
    run = cell.open_runs[RUN]
    assert status_of(cell, transition(run, transition_id=99)) is TransitionStatus.SUPERSEDED


@pytest.mark.parametrize("then", [Then.CONTINUE, Then.SUSPEND])
def test_a_repeated_transition_gets_the_first_answer_and_is_applied_once(cell: CoreCell, then: Then) -> None:
    asked = transition(leased(cell), SetTimerAsk(1, MINUTE, None), then=then, waits="timer 1")
    first = cell.ask(asked)
    before = cell.rows()
    assert cell.ask(asked) == first
    assert cell.rows() == before


def test_a_repeated_transition_in_one_batch_is_applied_once(cell: CoreCell) -> None:
    asked = transition(leased(cell), SetTimerAsk(1, MINUTE, None))
    first, second = cell.submit(asked, asked)
    assert first == second
    assert cell.open_runs[RUN].length == 2


def test_a_repeat_of_a_suspend_that_met_mail_brings_the_mail_again(cell: CoreCell) -> None:
    asked = transition(leased(cell), then=Then.SUSPEND, waits="signal go")
    cell.ask(signal())
    first = cell.ask(asked)
    assert [mail.number for mail in first.mail] == [1]
    assert cell.ask(asked) == first


def test_a_transition_without_an_id_cannot_be_made_because_its_repeat_could_not_be_recognised(cell: CoreCell) -> None:
    with pytest.raises(InvalidRequest, match="a repeat could not be recognised"):
        transition(leased(cell), transition_id=0)


@pytest.mark.parametrize("expected_seq", [0, 2])
def test_a_transition_that_expects_another_journal_is_refused(cell: CoreCell, expected_seq: int) -> None:
    assert status_of(cell, transition(leased(cell), expected_seq=expected_seq)) is TransitionStatus.REFUSED


@pytest.mark.parametrize("numbers", [[2, 1], [1, 1], [1, 3]])
def test_a_transition_that_consumes_mail_out_of_its_order_cannot_be_made(cell: CoreCell, numbers: list[int]) -> None:
    run = leased(cell)
    with pytest.raises(InvalidRequest, match="in its order"):
        transition(run, journal=[ConsumeMail(number, T0) for number in numbers])


@pytest.mark.parametrize("numbers", [[2], [1, 2, 3]])
def test_mail_consumed_too_early_or_before_it_has_come_is_refused(cell: CoreCell, numbers: list[int]) -> None:
    leased(cell)
    cell.submit(signal(1), signal(2))
    before = cell.rows()
    asked = transition(cell.open_runs[RUN], journal=[ConsumeMail(number, T0) for number in numbers])
    assert status_of(cell, asked) is TransitionStatus.REFUSED
    assert cell.rows() == before


def test_consumed_mail_moves_to_the_place_where_the_code_saw_it(cell: CoreCell) -> None:
    leased(cell)
    cell.submit(signal(1), signal(2))
    take(cell, journal=[ENTRY, ConsumeMail(1, T0), ENTRY])
    kinds = [type(entry) for entry in cell.entries(RUN)[1:]]
    assert kinds == [bytes, MailConsumedEntry, bytes]
    assert [mail.number for mail in cell.waiting_mail(RUN)] == [2]


def test_suspend_with_unseen_mail_keeps_the_lease_and_brings_the_mail(cell: CoreCell) -> None:
    asked = transition(leased(cell), then=Then.SUSPEND, waits="signal go")
    cell.ask(signal())
    answer = cell.ask(asked)
    assert answer.status is TransitionStatus.COMMITTED_WITH_MAIL
    assert [mail.number for mail in answer.mail] == [1]
    run = cell.open_runs[RUN]
    assert (run.state, run.owner, run.length) == (RunState.LEASED, WORKER, 2)


def test_suspend_with_seen_mail_that_was_not_consumed_keeps_the_lease(cell: CoreCell) -> None:
    leased(cell)
    cell.ask(signal())
    take(cell, then=Then.SUSPEND, waits="signal go")
    assert cell.open_runs[RUN].state is RunState.LEASED


def test_suspend_keeps_the_lease_while_there_is_more_mail_than_one_batch_reads(cell: CoreCell) -> None:
    leased(cell)
    cell.submit(*(signal(number) for number in range(1, 4)))
    cell.mail_read_max = 2
    take(cell, journal=[ConsumeMail(1, T0), ConsumeMail(2, T0)], then=Then.SUSPEND, waits="signal go", mail_seen=2)
    assert cell.open_runs[RUN].state is RunState.LEASED
    answer = take(cell, then=Then.SUSPEND, waits="signal go", mail_seen=2)
    assert [mail.number for mail in answer.mail] == [3]


def test_a_suspended_run_has_no_owner_and_its_session_has_room(cell: CoreCell) -> None:
    leased(cell)
    suspend(cell)
    assert cell.open_runs[RUN].owner is None
    assert cell.events[-1] == LeaseReturned(WORKER, RUN, 1)


def test_mail_wakes_a_suspended_run_for_the_session_that_had_it(cell: CoreCell) -> None:
    leased(cell)
    suspend(cell)
    cell.sessions.runs = {OTHER: 1, WORKER: 1}
    cell.ask(signal())
    (lease,) = cell.leases()
    assert (lease.session_id, lease.epoch, [mail.number for mail in lease.mail]) == (WORKER, 2, [1])


def test_mail_for_a_leased_run_is_offered_to_its_holder(cell: CoreCell) -> None:
    leased(cell)
    cell.ask(signal())
    (arrived,) = [event for event in cell.events if isinstance(event, MailArrived)]
    assert (arrived.session_id, arrived.mail.number) == (WORKER, 1)


def test_a_suspend_that_waits_for_nothing_stalls_the_run_with_that_reason(cell: CoreCell) -> None:
    leased(cell)
    take(cell, then=Then.SUSPEND, waits="")
    run = cell.open_runs[RUN]
    assert (run.state, run.stall_reason, run.owner, run.length) == (RunState.STALLED, WAITS_FOR_NOTHING, None, 3)


def test_a_stall_names_the_reason_and_the_build_of_the_worker(cell: CoreCell) -> None:
    leased(cell)
    take(cell, StallAsk("the code does not match", "b1"), then=Then.STALL)
    run = cell.open_runs[RUN]
    assert (run.state, run.stall_reason, run.stall_build) == (RunState.STALLED, "the code does not match", "b1")


def test_a_released_run_goes_to_another_session_at_once(cell: CoreCell) -> None:
    leased(cell)
    offer(cell, OTHER)
    take(cell, then=Then.RELEASE)
    assert (cell.open_runs[RUN].owner, cell.open_runs[RUN].epoch) == (OTHER, 2)


def test_a_released_run_that_nobody_takes_is_ready_until_it_is_claimed(cell: CoreCell) -> None:
    leased(cell)
    take(cell, then=Then.RELEASE)
    assert (cell.open_runs[RUN].state, cell.open_runs[RUN].ready_at) == (RunState.READY, T0)
    offer(cell, OTHER)
    assert cell.ask(ClaimRuns("default", "default", ("order",), 5)) == Claimed()
    assert cell.open_runs[RUN].owner == OTHER


def test_a_close_ends_the_run_with_its_result(cell: CoreCell) -> None:
    leased(cell)
    take(cell, then=Then.CLOSE)
    assert RUN not in cell.open_runs
    assert cell.run_results[RUN].status is RunStatus.COMPLETED
    assert [row.seq for row in cell.journals[RUN]] == [1, 3]


def test_a_close_journals_undelivered_mail_before_it(cell: CoreCell) -> None:
    leased(cell)
    cell.submit(signal(1), signal(2))
    take(cell, journal=[ConsumeMail(1, T0)], then=Then.CLOSE, mail_seen=0)
    consumed, undelivered, closing = cell.entries(RUN)[1:]
    assert isinstance(consumed, MailConsumedEntry)
    assert isinstance(undelivered, MailUndeliveredEntry)
    assert (consumed.mail.number, undelivered.mail.number, closing) == (1, 2, close().entry)
    assert not cell.waiting_mail(RUN)


def test_a_close_journals_more_undelivered_mail_than_one_batch_sends(cell: CoreCell) -> None:
    leased(cell)
    cell.submit(*(signal(number) for number in range(1, 6)))
    cell.mail_read_max = 2
    take(cell, then=Then.CLOSE, mail_seen=0)
    undelivered = [one.mail.number for one in cell.entries(RUN) if isinstance(one, MailUndeliveredEntry)]
    assert undelivered == [1, 2, 3, 4, 5]


def test_mail_that_arrives_in_the_batch_of_the_close_is_journaled_too(cell: CoreCell) -> None:
    run = leased(cell)
    cell.submit(signal(), transition(run, then=Then.CLOSE))
    assert isinstance(cell.entries(RUN)[-2], MailUndeliveredEntry)


def test_a_close_ends_alarms_and_queued_steps(cell: CoreCell) -> None:
    leased(cell)
    take(cell, SetTimerAsk(1, MINUTE, None), queue_step(2), SetRetryAsk(3, MINUTE))
    offer(cell, OTHER, runs=0, tasks=1)
    take(cell, queue_step(4))
    take(cell, then=Then.CLOSE)
    assert not cell.alarms
    assert not cell.tasks
    ended = [event for event in cell.events if isinstance(event, LeaseEnded)]
    assert [(event.session_id, event.number, event.cancelled) for event in ended] == [(OTHER, 4, True)]


def test_attempts_of_queued_steps_that_end_with_their_run_are_journaled(cell: CoreCell) -> None:
    leased(cell)
    offer(cell, OTHER, runs=0, tasks=1)
    take(cell, queue_step(1), queue_step(2))
    take(cell, then=Then.CLOSE)
    (undelivered,) = [entry for entry in cell.entries(RUN) if isinstance(entry, MailUndeliveredEntry)]
    (attempt,) = undelivered.mail.body.attempts  # type: ignore[union-attr]
    assert (attempt.attempt, attempt.outcome.name, attempt.session_id) == (1, "CANCELLED", OTHER)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("asks", "then"),
    [
        ([close()], Then.CONTINUE),
        ([], Then.CLOSE),
        ([SetTimerAsk(1, MINUTE, None)], Then.CLOSE),
        ([close(), SetTimerAsk(1, MINUTE, None)], Then.CLOSE),
        ([close(), close()], Then.CLOSE),
        ([close(), StallAsk("why", "b1")], Then.CLOSE),
        *[([close(status)], Then.CLOSE) for status in RunStatus if status not in CLOSED_BY_CODE],
        ([StallAsk("why", "b1")], Then.CONTINUE),
        ([], Then.STALL),
        ([close()], Then.STALL),
        ([StallAsk("why", "b1"), SetTimerAsk(1, MINUTE, None)], Then.STALL),
        ([SetTimerAsk(1, MINUTE, None), SetTimerAsk(1, MINUTE, None)], Then.CONTINUE),
        ([queue_step(1), queue_step(1)], Then.CONTINUE),
        ([child_of(1), child_of(1)], Then.SUSPEND),
    ],
)
def test_a_transition_whose_entries_do_not_fit_together_cannot_be_made(
    cell: CoreCell, asks: list[Ask], then: Then
) -> None:
    asked = transition(leased(cell))
    with pytest.raises(InvalidRequest):
        replace(asked, asks=asks, then=then)


def test_a_relative_timer_is_due_so_long_after_the_commit(cell: CoreCell) -> None:
    leased(cell)
    cell.pass_time(5)
    take(cell, SetTimerAsk(1, MINUTE, None), SetTimerAsk(2, None, T0), SetRetryAsk(3, MINUTE))
    due = {(kind.name, ref): alarm.due_at for (_, kind, ref), alarm in cell.alarms.items()}
    later = T0 + timedelta(seconds=65)
    assert due == {("TIMER", 1): later, ("TIMER", 2): T0, ("RETRY", 3): later}


def test_cancelled_timers_retries_and_queued_steps_are_gone(cell: CoreCell) -> None:
    leased(cell)
    take(cell, SetTimerAsk(1, MINUTE, None), queue_step(2), SetRetryAsk(3, MINUTE))
    take(cell, CancelTimerAsk(1), CancelStepAsk(2), CancelStepAsk(3))
    assert not cell.alarms
    assert not cell.tasks


def test_cancelling_a_timer_that_has_fired_leaves_its_mail(cell: CoreCell) -> None:
    leased(cell)
    take(cell, SetTimerAsk(1, timedelta(0), None))
    cell.ask(AlarmDue(RUN, AlarmKind.TIMER, 1))
    take(cell, CancelTimerAsk(1))
    assert len(cell.waiting_mail(RUN)) == 1


def test_the_alarm_of_attempts_stays_while_deadlines_move_on(cell: CoreCell) -> None:
    leased(cell)
    take(cell, attempt_deadline=MINUTE)
    cell.pass_time(30)
    take(cell, attempt_deadline=MINUTE)
    assert not cell.changes.alarms_set
    assert cell.open_runs[RUN].attempt_deadline_at == T0 + timedelta(seconds=90)


@pytest.mark.parametrize("between", [[], [None]])
def test_the_alarm_of_attempts_moves_to_an_earlier_deadline(cell: CoreCell, between: list[timedelta | None]) -> None:
    leased(cell)
    for deadline in (timedelta(hours=1), *between, MINUTE):
        take(cell, attempt_deadline=deadline)
    assert cell.alarms[RUN, AlarmKind.ATTEMPT_DEADLINE, 0].due_at == T0 + MINUTE


def test_a_transition_that_only_appends_may_take_the_fast_path_and_no_other(cell: CoreCell) -> None:
    run = leased(cell)
    withdraw(cell)
    assert transition(run).is_append_only
    others: list[dict[str, Any]] = [
        {"then": Then.SUSPEND},
        {"journal": [ConsumeMail(1, T0)]},
        {"journal": []},
        {"attempt_deadline": MINUTE},
    ]
    for changed in others:
        assert not transition(run, **changed).is_append_only, changed
    assert not transition(run, SetTimerAsk(1, MINUTE, None)).is_append_only
