"""What reaches a run from outside: signals, cancel, terminate, resume, alarms."""

from dataclasses import replace
from datetime import timedelta

import pytest

from holdfast.errors import ArgumentsRejected, RunAlreadyClosed, RunNotFound, RunNotStalled
from holdfast.ids import child_run_id
from holdfast.journal import RunClosed, RunResumed
from holdfast.statuses import ClosePolicy, RunStatus, Then, TransitionStatus
from holdfast_coordinator.domain.asks import SetRetryAsk, SetTimerAsk, StallAsk
from holdfast_coordinator.domain.commands import (
    ClaimRuns,
    Command,
    OfferStalled,
    RequestCancel,
    ResumeRun,
    TerminateRun,
)
from holdfast_coordinator.domain.events import LeaseEnded
from holdfast_coordinator.domain.mail import MailKind
from holdfast_coordinator.domain.rows import AlarmKind, RunState
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import (
    OTHER,
    RUN,
    WORKER,
    child_of,
    fire,
    leased,
    mail_kinds,
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


# Signals


def test_a_repeated_signal_is_delivered_once(cell: CoreCell) -> None:
    leased(cell)
    assert [cell.ask(signal(1)), cell.ask(signal(1)), cell.ask(signal(2))] == [True, True, True]
    assert len(cell.waiting_mail(RUN)) == 2


@pytest.mark.feature("F93")
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


@pytest.mark.feature("F96")
def test_a_signal_that_its_run_cannot_take_writes_nothing_and_a_repeat_gets_its_first_answer(cell: CoreCell) -> None:
    leased(cell)
    problem = ArgumentsRejected("signal 'go'", parameter="approved", reason="does not fit")
    assert cell.ask(replace(signal(1, once=True), problem=problem)) is problem
    assert cell.waiting_mail(RUN) == []
    assert cell.ask(signal(1, once=True)) is True
    assert cell.ask(replace(signal(1, once=True), problem=problem)) is True, "taken before its type was registered"
    assert cell.ask(replace(signal(2, once=True), problem=problem)) is False
    cell.ask(TERMINATE)
    assert isinstance(cell.ask(replace(signal(3), problem=problem)), RunAlreadyClosed)


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


@pytest.mark.feature("F75")
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
