"""Mail on its way to one session."""

import pytest

from holdfast_coordinator.engine import held_mail
from holdfast_coordinator.engine.held_mail import HeldMail, RunMail, UnreadMail
from tests.support.engine_replicas import mail, run_named

RUN = run_named(1)


def test_mail_that_a_commit_here_had_at_hand_goes_out_as_it_is() -> None:
    box = HeldMail()
    box.arrived(mail(1))
    box.arrived(mail(2))
    box.arrived(mail(1, run=2))
    assert box.is_waiting
    assert box.take() == (
        [RunMail(RUN, 1, [mail(1).mail, mail(2).mail]), RunMail(run_named(2), 1, [mail(1, run=2).mail])],
        [],
    )
    assert not box.is_waiting
    assert box.take() == ([], [])


def test_what_the_worker_has_is_not_sent_again_and_its_last_word_counts() -> None:
    box = HeldMail()
    box.said({RUN: 2})
    box.arrived(mail(2))
    box.arrived(mail(3))
    assert box.take() == ([RunMail(RUN, 1, [mail(3).mail])], [])
    box.said({RUN: 1})
    box.waits(RUN, 1)
    assert box.take() == ([], [UnreadMail(RUN, 1, 1)])


def test_mail_that_is_read_makes_what_is_at_hand_needless() -> None:
    box = HeldMail()
    box.arrived(mail(5))
    box.waits(RUN, 1)
    box.arrived(mail(6))
    assert box.take() == ([], [UnreadMail(RUN, 1, 0)])


def test_a_flood_of_mail_is_read_from_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_mail, "AT_HAND_BYTES_MAX", 3 * held_mail.PIECE_BYTES)
    box = HeldMail()
    for number in (1, 2, 3, 4, 5):
        box.arrived(mail(number))
    box.arrived(mail(1, run=2))  # there is room again
    assert box.take() == ([RunMail(run_named(2), 1, [mail(1, run=2).mail])], [UnreadMail(RUN, 1, 0)])
    for number in (6, 7, 8):
        box.arrived(mail(number))
    box.forget(RUN)
    for number in (1, 2, 3):
        box.arrived(mail(number, run=2))
    assert box.take()[1] == []


def test_a_worker_that_takes_no_mail_is_not_sent_the_same_page_at_every_poll() -> None:
    box = HeldMail()
    box.waits(RUN, 1, from_number=1_000)
    assert box.take() == ([], [])
    box.said({RUN: 1_000})
    box.waits(RUN, 1, from_number=1_000)
    assert box.take() == ([], [UnreadMail(RUN, 1, 1_000)])
