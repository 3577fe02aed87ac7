"""The example order_fulfilment on a real coordinator, up to where it would wait for a week."""

from decimal import Decimal

import pytest

from examples.order_fulfilment import shop
from examples.order_fulfilment.flows import Order, fulfil
from holdfast.client import Client

from .conftest import WorkerFactory

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_money_goes_back_when_nothing_is_left_to_ship(
    client: Client, worker: WorkerFactory, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "stock", {})
    monkeypatch.setattr(shop, "log", [])
    async with worker(workflows=[fulfil]):
        run = await client.start(fulfil.with_options(queue=queue), Order("e-1", "lamp", Decimal("9.99")))
        assert await run.result(timeout=20) == "refunded"
    assert run.id == "order-e-1"
    assert shop.log[:2] == ["charged 9.99 for e-1", "refunded 9.99 of payment-e-1"]


async def test_an_expensive_order_waits_for_its_approval(client: Client, worker: WorkerFactory, queue: str) -> None:
    async with worker(workflows=[fulfil]):
        run = await client.start(fulfil.with_options(queue=queue), Order("e-2", "chair", Decimal(1500)))
        await client.get("order-e-2").signal("approval", {"approved": False, "by": "Ada"})
        assert await run.result(timeout=20) == "declined"
