"""What a parent sends its child arrives once, in order, and not before there is a child."""

import pytest

from holdfast.errors import RunNotFound
from holdfast.ids import child_run_id
from holdfast_coordinator.domain.asks import SendMailAsk
from holdfast_coordinator.domain.commands import DeliverToChild, TerminateRun
from holdfast_coordinator.domain.mail import MailKind, SignalMail
from holdfast_coordinator.domain.mail_to_children import EarlierOneUnderWay
from holdfast_coordinator.domain.rows import AlarmKind
from tests.support.core_cell import CoreCell
from tests.support.core_commands import RUN, child_of, child_start, leased, take

pytestmark = pytest.mark.feature("F99")

CHILD = child_run_id(RUN, 1)


def message(cell: CoreCell, number: int, *, after: int = 0, name: str = "go") -> DeliverToChild:
    """The delivery of a signal; without a name of a request to end."""
    alarm = cell.alarms[RUN, AlarmKind.OUTBOX_CHILD_MAIL, number]
    return DeliverToChild(CHILD, alarm, after, SignalMail(name, b"") if name else None, "" if name else "enough")


def with_messages(cell: CoreCell, count: int) -> None:
    """A leased parent has asked for a child and sent it so much, all in one transition."""
    leased(cell)
    take(cell, child_of(), *(SendMailAsk(number, CHILD, b"spec") for number in range(1, count + 1)))


def mail_of_child(cell: CoreCell) -> list[MailKind]:
    return [mail.kind for mail in cell.waiting_mail(CHILD)]


def test_what_is_sent_to_a_child_waits_until_there_is_one(cell: CoreCell) -> None:
    with_messages(cell, 1)
    sent = message(cell, 1)
    assert isinstance(cell.ask(sent), RunNotFound)
    assert (RUN, AlarmKind.OUTBOX_CHILD_MAIL, 1) in cell.alarms
    cell.ask(child_start(cell))
    assert cell.submit(sent, sent) == [True, False]
    assert cell.ask(sent) is False
    assert mail_of_child(cell) == [MailKind.SIGNAL]


def test_a_message_does_not_overtake_the_one_before(cell: CoreCell) -> None:
    with_messages(cell, 2)
    cell.ask(child_start(cell))
    first, second = message(cell, 1), message(cell, 2, after=1)
    assert isinstance(cell.ask(second), EarlierOneUnderWay)
    assert cell.submit(first, second) == [True, True]
    assert [mail.body.name for mail in cell.waiting_mail(CHILD) if isinstance(mail.body, SignalMail)] == ["go", "go"]


def test_what_is_sent_to_a_closed_child_is_struck(cell: CoreCell) -> None:
    with_messages(cell, 1)
    sent = message(cell, 1)
    cell.ask(child_start(cell))
    cell.ask(TerminateRun(CHILD, "req", "why"))
    assert cell.ask(sent) is False
    assert (RUN, AlarmKind.OUTBOX_CHILD_MAIL, 1) not in cell.alarms


def test_a_child_that_nobody_has_begun_ends_by_a_request_of_its_parent(cell: CoreCell) -> None:
    with_messages(cell, 1)
    cell.ask(child_start(cell))
    assert cell.ask(message(cell, 1, name="")) is True
    assert cell.run_results[CHILD].status == "cancelled"
