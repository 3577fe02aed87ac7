"""Stands for the services of others: a payment provider, a warehouse, a mail service. Prints what it does.

`stock` and `outages` may be set to see what the workflow makes of trouble.
"""

from decimal import Decimal

from holdfast import FatalError

stock = {"lamp": 1_000, "chair": 1_000}
outages = 0
"""How many of the next calls to the payment provider fail."""
log: list[str] = []


class OutOfStock(FatalError):
    """The warehouse has none left."""


async def charge(order_id: str, amount: Decimal) -> str:
    """Takes money; returns the payment's id. A real provider is given an idempotency key, such as the order id."""
    global outages
    if outages:
        outages -= 1
        raise ConnectionError("the payment provider does not answer")
    _note(f"charged {amount} for {order_id}")
    return f"payment-{order_id}"


async def refund(payment: str, amount: Decimal) -> None:
    """Gives money back."""
    _note(f"refunded {amount} of {payment}")


async def ship(order_id: str, item: str) -> str:
    """Sends an item; returns the tracking number."""
    if not stock.get(item):
        raise OutOfStock(f"there is no {item} left")
    stock[item] -= 1
    _note(f"shipped a {item}")
    return f"parcel-{order_id}"


async def notify(order_id: str, text: str) -> None:
    """Writes to the customer."""
    _note(f"told the customer of {order_id}: {text}")


def _note(text: str) -> None:
    log.append(text)
    print(text, flush=True)
