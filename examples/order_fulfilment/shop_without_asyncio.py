"""The services of `shop`, for code without asyncio."""

import asyncio
from decimal import Decimal

from . import shop


def charge(order_id: str, amount: Decimal) -> str:
    return asyncio.run(shop.charge(order_id, amount))


def refund(payment: str, amount: Decimal) -> None:
    asyncio.run(shop.refund(payment, amount))


def ship(order_id: str, item: str) -> str:
    return asyncio.run(shop.ship(order_id, item))


def notify(order_id: str, text: str) -> None:
    asyncio.run(shop.notify(order_id, text))
