"""What reaches a run from outside: signals, cancel, terminate, resume, alarms, lost leases, children that close."""

from dataclasses import replace
from datetime import timedelta

import pytest

from holdfast.errors import RunAlreadyClosed, RunNotFound, RunNotStalled
from holdfast.ids import child_run_id
from holdfast.journal import Failure, RunClosed, RunResumed, RunStalled
from holdfast.statuses import ClosePolicy, RunStatus, Then, TransitionStatus
from holdfast_coordinator.domain.asks import SetRetryAsk, SetTimerAsk, StallAsk
from holdfast_coordinator.domain.commands import (
    ClaimRuns,
    Command,
    DeliverChildClosed,
    EndLease,
    LeaseEnd,
    OfferStalled,
    PostponeAlarm,
    RequestCancel,
    ResumeRun,
    TerminateRun,
)
from holdfast_coordinator.domain.events import LeaseEnded
from holdfast_coordinator.domain.mail import ChildClosedMail, MailKind
from holdfast_coordinator.domain.rows import AlarmKind, RunState
from holdfast_coordinator.domain.workspace import LOSSES_MAX
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import (
    OTHER,
    RUN,
    WORKER,
    child_of,
    child_start,
    fire,
    leased,
    offer,
    queue_step,
    signal,
    start,
    suspend,
    take,
    transition,
    withdraw,
)

MINUTE = timedelta(minutes=1)
CHILD = child_run_id(RUN, 1)
CANCEL = RequestCancel(RUN, "req-c", "too late")
TERMINATE = TerminateRun(RUN, "req-t", "enough")


def mail_kinds(cell: CoreCell) -> list[MailKind]:
    return [mail.kind for mail in cell.waiting_mail(RUN)]


def lose_lease(cell: CoreCell, reason: LeaseEnd = LeaseEnd.LOST) -> bool:
    run = cell.open_runs[RUN]
    return bool(cell.ask(EndLease(RUN, run.owner or "", run.epoch, reason)))


def child_closed(cell: CoreCell) -> DeliverChildClosed:
    mail = ChildClosedMail(1, CHILD, cell.run_results[CHILD].status)
    return DeliverChildClosed(RUN, mail, cell.alarms[CHILD, AlarmKind.OUTBOX_CHILD_CLOSED, 0])


# Signals


def test_a_repeated_signal_is_delivered_once(cell: CoreCell) -> None:
    leased(cell)
    assert [cell.ask(signal(1)), cell.ask(signal(1)), cell.ask(signal(2))] == [True, True, True]
    assert len(cell.waiting_mail(RUN)) == 2


def test_a_once_signal_is_delivered_once_and_only_its_own_repeat_hears_true(cell: CoreCell) -> None:
    leased(cell)
    answers = [cell.ask(signal(number, once=True)) for number in (1, 2, 1)]
    assert answers == [True, False, True]
    assert len(cell.waiting_mail(RUN)) == 1


def test_a_once_signal_is_remembered_as_long_as_its_run_is_open(cell: CoreCell) -> None:
    leased(cell)
    cell.ask(signal(once=True))
    assert cell.requests[RUN, "once/go"].expires_at > T0 + timedelta(days=3650)
    assert cell.requests[RUN, "req-1"].expires_at == T0 + timedelta(hours=24)


def test_a_signal_that_was_taken_before_the_close_still_gets_its_answer(cell: CoreCell) -> None:
    leased(cell)
    cell.ask(signal(1))
    cell.ask(TERMINATE)
    assert cell.ask(signal(1)) is True
    assert isinstance(cell.ask(signal(2)), RunAlreadyClosed)


@pytest.mark.parametrize("command", [signal(), CANCEL, TERMINATE, ResumeRun(RUN, "req-r")])
def test_an_unknown_run_is_not_found(cell: CoreCell, command: Command) -> None:
    assert isinstance(cell.ask(command), RunNotFound)


@pytest.mark.parametrize(
    ("command", "answer"),
    [(signal(), RunAlreadyClosed), (CANCEL, bool), (ResumeRun(RUN, "req-r"), RunNotStalled)],
)
def test_a_run_that_closed_earlier_in_the_batch_is_closed(cell: CoreCell, command: Command, answer: type) -> None:
    run = leased(cell)
    assert isinstance(cell.submit(transition(run, then=Then.CLOSE), command)[1], answer)


# Cancel, terminate, resume


def test_cancel_of_a_run_that_was_never_leased_closes_it(cell: CoreCell) -> None:
    cell.ask(start())
    assert cell.ask(CANCEL) is True
    assert cell.run_results[RUN].status is RunStatus.CANCELLED


def test_cancel_of_a_run_with_code_is_mail_and_wakes_it(cell: CoreCell) -> None:
    leased(cell)
    suspend(cell)
    assert [cell.ask(CANCEL), cell.ask(CANCEL)] == [True, True]
    assert mail_kinds(cell) == [MailKind.CANCEL]
    assert cell.open_runs[RUN].state is RunState.READY


def test_cancel_and_terminate_of_a_closed_run_say_false(cell: CoreCell) -> None:
    leased(cell)
    take(cell, then=Then.CLOSE)
    assert [cell.ask(CANCEL), cell.ask(TERMINATE)] == [False, False]
    assert cell.run_results[RUN].status is RunStatus.COMPLETED


def test_terminate_ends_everything_and_tells_the_holders(cell: CoreCell) -> None:
    run = leased(cell)
    offer(cell, OTHER, runs=0, tasks=1)
    take(cell, queue_step(1), SetTimerAsk(2, MINUTE, None), child_of(1), child_of(2, policy=ClosePolicy.TERMINATE))
    take(cell, child_of(3, policy=ClosePolicy.ABANDON))
    cell.ask(signal())
    assert cell.ask(TERMINATE) is True
    assert cell.run_results[RUN].status is RunStatus.TERMINATED
    assert not cell.tasks
    assert not cell.waiting_mail(RUN)
    ended = {(event.session_id, event.number) for event in cell.events if isinstance(event, LeaseEnded)}
    assert ended == {(WORKER, 0), (OTHER, 1)}
    left = {(kind, ref) for _, kind, ref in cell.alarms if kind > AlarmKind.OUTBOX_CHILD}
    assert left == {(AlarmKind.OUTBOX_CHILD_CANCEL, 1), (AlarmKind.OUTBOX_CHILD_TERMINATE, 2)}
    late = transition(run, expected_seq=3)
    assert cell.ask(late).status is TransitionStatus.SUPERSEDED


def test_a_terminated_run_journals_its_mail_and_then_the_close(cell: CoreCell) -> None:
    leased(cell)
    cell.ask(signal())
    cell.ask(TERMINATE)
    *_, undelivered, closing = cell.entries(RUN)
    assert undelivered.mail.number == 1
    assert isinstance(closing, RunClosed)


def test_a_repeated_terminate_gets_the_first_answer(cell: CoreCell) -> None:
    leased(cell)
    assert [cell.ask(TERMINATE), cell.ask(TERMINATE)] == [True, True]


def test_resume_offers_a_stalled_run_again_once(cell: CoreCell) -> None:
    leased(cell)
    take(cell, then=Then.SUSPEND)
    resume = ResumeRun(RUN, "req-r")
    assert [cell.ask(resume), cell.ask(resume)] == [True, True]
    run = cell.open_runs[RUN]
    assert (run.state, run.stall_reason) == (RunState.READY, None)
    assert [type(entry) for entry in cell.entries(RUN)].count(RunResumed) == 1
    assert isinstance(cell.ask(ResumeRun(RUN, "req-2")), RunNotStalled)


def test_a_stalled_run_is_offered_to_another_build_and_not_to_the_one_that_stalled_it(cell: CoreCell) -> None:
    leased(cell)
    take(cell, StallAsk("the code does not match", "b1"), then=Then.STALL)
    cell.sessions.runs = {OTHER: 1, WORKER: 1}
    assert [cell.ask(OfferStalled(RUN, "b1")), cell.ask(OfferStalled(RUN, "b2"))] == [False, True]
    assert (cell.open_runs[RUN].owner, cell.open_runs[RUN].build) == (OTHER, "b2")


def test_a_run_offered_to_another_build_remembers_the_one_that_stalled_it_until_it_is_leased(cell: CoreCell) -> None:
    leased(cell)
    take(cell, StallAsk("the code does not match", "b1"), then=Then.STALL)
    withdraw(cell)
    cell.ask(OfferStalled(RUN, "b2"))
    assert (cell.open_runs[RUN].state, cell.open_runs[RUN].stall_build) == (RunState.READY, "b1")
    offer(cell, OTHER)
    cell.ask(ClaimRuns("default", "default", ("order",), 1))
    assert (cell.open_runs[RUN].owner, cell.open_runs[RUN].stall_build) == (OTHER, None)


def test_mail_does_not_wake_a_stalled_run(cell: CoreCell) -> None:
    leased(cell)
    take(cell, then=Then.SUSPEND)
    cell.ask(signal())
    assert cell.open_runs[RUN].state is RunState.STALLED


# Alarms


@pytest.mark.parametrize(
    ("ask", "kind", "mail"),
    [
        (SetTimerAsk(7, MINUTE, None), AlarmKind.TIMER, MailKind.TIMER),
        (SetRetryAsk(7, MINUTE), AlarmKind.RETRY, MailKind.RETRY_DUE),
    ],
)
def test_an_alarm_fires_once_and_never_early(
    cell: CoreCell, ask: SetTimerAsk | SetRetryAsk, kind: AlarmKind, mail: MailKind
) -> None:
    leased(cell)
    suspend(cell, ask, waits="a time")
    cell.pass_time(59.999)
    assert not fire(cell, kind, 7)
    cell.pass_time(0.001)
    assert [fire(cell, kind, 7), fire(cell, kind, 7)] == [True, False]
    assert mail_kinds(cell) == [mail]
    assert cell.open_runs[RUN].state is RunState.READY


def test_a_deadline_times_the_run_out_at_once(cell: CoreCell) -> None:
    leased(cell, start(max_duration=MINUTE))
    cell.pass_time(60)
    assert fire(cell, AlarmKind.DEADLINE)
    assert cell.run_results[RUN].status is RunStatus.TIMED_OUT


def test_the_alarm_of_attempts_is_armed_again_when_the_deadline_has_moved_on(cell: CoreCell) -> None:
    leased(cell)
    take(cell, attempt_deadline=MINUTE)
    cell.pass_time(30)
    take(cell, attempt_deadline=MINUTE)
    cell.pass_time(30)
    assert fire(cell, AlarmKind.ATTEMPT_DEADLINE)
    assert cell.open_runs[RUN].state is RunState.LEASED
    assert cell.alarms[RUN, AlarmKind.ATTEMPT_DEADLINE, 0].due_at == T0 + timedelta(seconds=90)


def test_attempts_past_their_deadline_end_the_lease_and_the_next_grant_says_so(cell: CoreCell) -> None:
    leased(cell)
    take(cell, attempt_deadline=MINUTE)
    cell.pass_time(60)
    offer(cell, OTHER)
    assert fire(cell, AlarmKind.ATTEMPT_DEADLINE)
    run = cell.open_runs[RUN]
    assert (run.owner, run.epoch, run.timed_out, run.losses) == (OTHER, 3, True, 0)
    take(cell)
    assert not cell.open_runs[RUN].timed_out


def test_the_alarm_of_attempts_that_have_ended_does_nothing(cell: CoreCell) -> None:
    leased(cell)
    take(cell, attempt_deadline=MINUTE)
    take(cell)
    cell.pass_time(60)
    assert fire(cell, AlarmKind.ATTEMPT_DEADLINE)
    assert cell.open_runs[RUN].state is RunState.LEASED
    take(cell, attempt_deadline=MINUTE)
    assert (RUN, AlarmKind.ATTEMPT_DEADLINE, 0) in cell.alarms


# Leases


def test_a_lost_lease_raises_the_epoch_and_tells_the_holder(cell: CoreCell) -> None:
    leased(cell)
    assert lose_lease(cell)
    run = cell.open_runs[RUN]
    assert (run.state, run.epoch, run.losses) == (RunState.READY, 2, 1)
    assert LeaseEnded(WORKER, RUN, 0, 1) in cell.events


def test_a_lease_that_has_moved_on_is_not_ended(cell: CoreCell) -> None:
    leased(cell)
    assert not cell.ask(EndLease(RUN, WORKER, 2, LeaseEnd.LOST))
    assert not cell.ask(EndLease(RUN, OTHER, 1, LeaseEnd.LOST))
    assert cell.open_runs[RUN].owner == WORKER


def test_five_losses_without_a_transition_stall_the_run(cell: CoreCell) -> None:
    leased(cell)
    for _ in range(LOSSES_MAX):
        offer(cell, OTHER)
        lose_lease(cell)
    run = cell.open_runs[RUN]
    assert run.state is RunState.STALLED
    assert run.stall_reason is not None
    assert "5 workers were lost" in run.stall_reason
    assert isinstance(cell.entries(RUN)[-1], RunStalled)


def test_a_transition_forgets_the_losses_before_it(cell: CoreCell) -> None:
    leased(cell)
    for _ in range(2 * LOSSES_MAX):
        offer(cell, OTHER)
        lose_lease(cell)
        take(cell)
    assert cell.open_runs[RUN].state is RunState.LEASED


@pytest.mark.parametrize("reason", [LeaseEnd.UNDELIVERED, LeaseEnd.CLOSED_SESSION])
def test_a_lease_that_was_not_lost_does_not_count_as_a_loss(cell: CoreCell, reason: LeaseEnd) -> None:
    leased(cell)
    for _ in range(2 * LOSSES_MAX):
        offer(cell, OTHER)
        lose_lease(cell, reason)
    assert cell.open_runs[RUN].losses == 0


def test_a_run_that_was_lost_once_is_leased_with_the_session_that_lost_it(cell: CoreCell) -> None:
    leased(cell)
    take(cell)
    offer(cell, OTHER)
    lose_lease(cell)
    assert [event.lost_session_id for event in cell.leases()] == [WORKER]
    take(cell)
    offer(cell, WORKER)
    lose_lease(cell)
    assert [event.lost_session_id for event in cell.leases()] == [OTHER]


def test_a_run_that_was_taken_for_its_deadline_is_leased_with_the_session_that_had_it(cell: CoreCell) -> None:
    leased(cell)
    take(cell, attempt_deadline=MINUTE)
    cell.pass_time(60)
    offer(cell, OTHER)
    fire(cell, AlarmKind.ATTEMPT_DEADLINE)
    assert [event.lost_session_id for event in cell.leases()] == [WORKER]
    offer(cell, "ses_third")
    lose_lease(cell)
    assert [event.lost_session_id for event in cell.leases()] == [""], "the attempts were not those of the second"


@pytest.mark.parametrize("reason", list(LeaseEnd))
def test_after_two_ends_of_leases_without_a_transition_nobody_is_named(cell: CoreCell, reason: LeaseEnd) -> None:
    leased(cell)
    take(cell)
    offer(cell, OTHER)
    lose_lease(cell)
    offer(cell, "ses_third")
    lose_lease(cell, reason)
    assert [event.lost_session_id for event in cell.leases()] == [""]


def test_a_lease_without_a_loss_names_nobody(cell: CoreCell) -> None:
    leased(cell)
    assert [event.lost_session_id for event in cell.leases()] == [""]
    offer(cell, OTHER)
    lose_lease(cell, LeaseEnd.UNDELIVERED)
    assert [event.lost_session_id for event in cell.leases()] == [""]


# Children


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
