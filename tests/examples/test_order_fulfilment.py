"""The example order_fulfilment does what its README says: in process, on a clock that jumps over the waits."""

from datetime import timedelta
from decimal import Decimal

import pytest

from examples.order_fulfilment import shop
from examples.order_fulfilment.flows import Order, fulfil
from holdfast.journal import AttemptEnded
from holdfast.testing import run_local

CHEAP = Order("o-1", "lamp", Decimal("9.99"))
EXPENSIVE = Order("o-2", "chair", Decimal(1500))


@pytest.fixture(autouse=True)
def _fresh_shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "log", [])
    monkeypatch.setattr(shop, "stock", {"lamp": 1, "chair": 1})
    monkeypatch.setattr(shop, "outages", 0)


async def test_an_order_is_paid_shipped_and_a_week_later_reviewed() -> None:
    run = await run_local(fulfil, CHEAP)
    assert run.value() == "delivered"
    assert run.took >= timedelta(days=7)
    assert shop.log == [
        "charged 9.99 for o-1",
        "shipped a lamp",
        "told the customer of o-1: on its way: parcel-o-1",
        "told the customer of o-1: how do you like it?",
    ]


async def test_a_provider_that_is_away_costs_retries_and_not_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "outages", 3)
    run = await run_local(fulfil, CHEAP)
    assert run.value() == "delivered"
    assert sum(isinstance(entry, AttemptEnded) for entry in run.history) == 3


async def test_money_goes_back_when_nothing_is_left_to_ship(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "stock", {})
    run = await run_local(fulfil, CHEAP)
    assert run.value() == "refunded"
    assert shop.log == [
        "charged 9.99 for o-1",
        "refunded 9.99 of payment-o-1",
        "told the customer of o-1: refunded: there is no lamp left",
    ]


@pytest.mark.parametrize(("approved", "ended"), [(True, "delivered"), (False, "declined")])
async def test_an_expensive_order_ends_as_the_answer_says(approved: bool, ended: str) -> None:
    answer = ("approval", {"approved": approved, "by": "Ada"}, "1d")
    assert (await run_local(fulfil, EXPENSIVE, signals=[answer])).value() == ended


async def test_an_expensive_order_without_an_answer_is_declined_after_three_days() -> None:
    run = await run_local(fulfil, EXPENSIVE)
    assert run.value() == "declined"
    assert timedelta(days=3) <= run.took < timedelta(days=4)
    assert shop.log == ["told the customer of o-2: waits for approval"]
