"""The example order_fulfilment in both styles: whatever happens, the journals are the same."""

from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from examples.order_fulfilment import blocking_flows, flows, shop
from examples.order_fulfilment.flows import Order
from holdfast.journal import Entry
from holdfast.testing import run_local

YES = ("approval", {"approved": True, "by": "Ada"}, "1h")


def without_times(entry: Any) -> Any:
    """An entry, with every instant and traceback in it replaced."""
    values = {}
    for field in fields(entry):
        value = getattr(entry, field.name)
        if isinstance(value, datetime):
            values[field.name] = datetime(2030, 1, 1, tzinfo=UTC)
        elif field.name == "traceback":
            values[field.name] = ""
        elif hasattr(value, "__dataclass_fields__"):
            values[field.name] = without_times(value)
    return replace(entry, **values)


def journal(history: tuple[Entry, ...]) -> list[str]:
    return [repr(without_times(entry)) for entry in history]


@pytest.mark.feature("F147")
@pytest.mark.parametrize(
    ("amount", "stock", "outages", "signals", "result"),
    [
        (Decimal("9.99"), 1, 0, [], "delivered"),
        (Decimal("9.99"), 1, 2, [], "delivered"),
        (Decimal("9.99"), 0, 0, [], "refunded"),
        (Decimal(1500), 1, 0, [YES], "delivered"),
        (Decimal(1500), 1, 0, [], "declined"),
    ],
)
async def test_an_order_has_the_same_journal_in_both_styles(
    amount: Decimal, stock: int, outages: int, signals: list[Any], result: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals = []
    for fulfil in (flows.fulfil, blocking_flows.fulfil):
        monkeypatch.setattr(shop, "stock", {"lamp": stock})
        monkeypatch.setattr(shop, "outages", outages)
        done = await run_local(fulfil, Order("o-1", "lamp", amount), signals=signals)
        assert done.value() == result
        journals.append(journal(done.history))
    assert journals[0] == journals[1]
