"""The example approval: two people approve, in time, or the payment is not made."""

from datetime import timedelta
from decimal import Decimal

import pytest

from examples.approval import payment
from holdfast.journal import SignalSetAside
from holdfast.testing import run_local

AMOUNT = Decimal("1500.00")


async def test_two_people_approve_and_a_signal_that_does_not_fit_harms_nothing() -> None:
    signals = [
        ("approve", {"by": "Ada"}),
        ("approve", "yes"),
        ("approve", {"by": "Ada"}),
        ("approve", {"by": "Grace"}, "2h"),
    ]
    run = await run_local(payment, 7, AMOUNT, signals=signals)
    assert run.value() == "paid 1500.00 for 7"
    assert timedelta(hours=2) <= run.took < timedelta(hours=3)
    assert sum(isinstance(entry, SignalSetAside) for entry in run.history) == 1


async def test_one_person_rejects() -> None:
    run = await run_local(payment, 7, AMOUNT, signals=[("approve", {"by": "Ada"}), ("reject", {"by": "Grace"})])
    assert run.value() == "rejected by Grace"


async def test_without_approval_it_reminds_each_day_and_gives_up(capsys: pytest.CaptureFixture[str]) -> None:
    run = await run_local(payment, 7, AMOUNT, signals=[("approve", {"by": "Ada"}, "30h")])
    assert run.value() == "not approved in time"
    assert run.took >= timedelta(days=3)
    assert capsys.readouterr().out.splitlines() == [
        "payment 7 waits for approval; so far: nobody",
        "payment 7 waits for approval; so far: Ada",
        "payment 7 waits for approval; so far: Ada",
    ]
