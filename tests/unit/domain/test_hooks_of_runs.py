"""Hooks as rows: open until something is delivered or they expire, with an answer for all who come later."""

from dataclasses import replace
from datetime import timedelta

import pytest

from holdfast.errors import ArgumentsRejected, HookAlreadyReceived, HookExpired, HookNotFound
from holdfast_coordinator.domain.asks import SetTimerAsk
from holdfast_coordinator.domain.commands import DeliverHook, TerminateRun
from holdfast_coordinator.domain.mail import MailKind
from holdfast_coordinator.domain.rows import AlarmKind, RunState
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import RUN, fire, leased, mail_kinds, suspend, take

pytestmark = pytest.mark.feature("F95")

SECOND = timedelta(seconds=1)
SHA = "ab" * 32


def takes_all(workflow: str, signal: str) -> None:
    assert (workflow, signal) == ("order", "hook payment 1")


def delivery(request: int = 1, **changed: object) -> DeliverHook:
    asked = DeliverHook(RUN, f"req-{request}", 1, SHA, b"payload", b"", takes_all)
    return replace(asked, **changed)  # type: ignore[arg-type]


def hooked(cell: CoreCell, *, timeout: timedelta = SECOND, number: int = 1) -> None:
    """The run waits for its hook."""
    asked = SetTimerAsk(number, timeout, None, 1, SHA, "hook payment 1")
    suspend(cell, asked, waits="signal hook payment 1")


def test_a_delivery_in_time_wakes_the_run_and_a_second_one_was_before_it(cell: CoreCell) -> None:
    leased(cell)
    hooked(cell)
    cell.now = T0 + SECOND / 2
    assert cell.ask(delivery(1)) is True
    assert mail_kinds(cell) == [MailKind.SIGNAL]
    assert cell.open_runs[RUN].state is not RunState.SUSPENDED
    assert isinstance(cell.ask(delivery(2)), HookAlreadyReceived)
    assert cell.ask(delivery(1)) is True, "the repeat of the first one"
    assert mail_kinds(cell) == [MailKind.SIGNAL]


def test_from_its_time_on_a_hook_has_expired_whether_or_not_its_alarm_has_fired(cell: CoreCell) -> None:
    leased(cell)
    hooked(cell)
    cell.now = T0 + 2 * SECOND
    assert isinstance(cell.ask(delivery(1)), HookExpired)
    assert mail_kinds(cell) == []
    assert fire(cell, AlarmKind.TIMER, -1) is True
    assert mail_kinds(cell) == [MailKind.TIMER]
    assert isinstance(cell.ask(delivery(1)), HookExpired)


def test_another_secret_or_another_number_is_no_hook(cell: CoreCell) -> None:
    leased(cell)
    hooked(cell)
    assert isinstance(cell.ask(delivery(1, sha256="cd" * 32)), HookNotFound)
    assert isinstance(cell.ask(delivery(1, number=2)), HookNotFound)
    assert cell.ask(delivery(1)) is True
    assert isinstance(cell.ask(delivery(2, sha256="cd" * 32)), HookNotFound)


def test_what_does_not_fit_leaves_the_hook_open(cell: CoreCell) -> None:
    leased(cell)
    hooked(cell)
    problem = ArgumentsRejected("'hook payment'", parameter="amount", reason="does not fit")
    assert cell.ask(delivery(1, check=lambda *_: problem)) is problem
    assert mail_kinds(cell) == []
    assert cell.ask(delivery(1)) is True
    assert cell.ask(delivery(1, check=lambda *_: problem)) is True, "the repeat of one that was taken"


def test_a_hook_that_is_open_again_takes_another_payload_and_then_no_more(cell: CoreCell) -> None:
    leased(cell)
    asked = SetTimerAsk(1, SECOND, None, 1, SHA, "hook payment 1")
    take(cell, asked)
    assert cell.ask(delivery(1)) is True
    take(cell, replace(asked, number=2))
    assert cell.ask(delivery(2)) is True
    assert isinstance(cell.ask(delivery(3)), HookAlreadyReceived)
    take(cell, replace(asked, number=3))
    cell.now = T0 + 2 * SECOND
    assert fire(cell, AlarmKind.TIMER, -1) is True


def test_the_answer_outlives_the_run_by_a_day_and_an_open_hook_ends_with_it(cell: CoreCell) -> None:
    leased(cell)
    hooked(cell)
    assert cell.ask(delivery(1)) is True
    cell.ask(TerminateRun(RUN, "req-t", "enough"))
    assert isinstance(cell.ask(delivery(2)), HookAlreadyReceived)
    assert cell.requests[RUN, f"hook/{SHA}"].expires_at == T0 + timedelta(hours=24)


def test_an_open_hook_ends_with_its_run(cell: CoreCell) -> None:
    leased(cell)
    hooked(cell)
    cell.ask(TerminateRun(RUN, "req-t", "enough"))
    assert cell.alarms == {}
    assert isinstance(cell.ask(delivery(1)), HookNotFound)
