"""An order, from payment to delivery: retries, a signal with a deadline, a durable timer, a compensation.

`shop` stands for the services of others: a payment provider and a warehouse. See README.md.
"""

from dataclasses import dataclass
from decimal import Decimal

from holdfast import StepFailed, exponential, receive, sleep, step, workflow

from . import shop

APPROVAL_ABOVE = Decimal(1000)


@dataclass
class Order:
    id: str
    item: str
    amount: Decimal


@dataclass
class Receipt:
    payment: str
    amount: Decimal


@dataclass
class Approval:
    """A person said yes or no."""

    approved: bool
    by: str


@workflow(id="order-{order.id}", max_duration="30d")
async def fulfil(order: Order) -> str:
    """Takes the money, ships, and asks for a review a week later. Returns how the order ended."""
    if order.amount > APPROVAL_ABOVE and not await is_approved(order):
        return "declined"
    receipt = await charge(order)
    try:
        tracking = await ship(order)
    except StepFailed as failed:
        # The compensation is a step like any other: repeated until it has succeeded, whatever happens to this
        # process, and then never done again.
        await refund(receipt)
        await notify(order, f"refunded: {failed.message}")
        return "refunded"
    await notify(order, f"on its way: {tracking}")
    await sleep("7d", "before asking for a review")  # no worker is busy meanwhile
    await notify(order, "how do you like it?")
    return "delivered"


async def is_approved(order: Order) -> bool:
    """Waits for the signal "approval". Ordinary code: part of the run that calls it."""
    await notify(order, "waits for approval")
    try:
        answer = await receive("approval", Approval, timeout="3d")
    except TimeoutError:
        return False
    return answer.approved


@step(retries=5, backoff=exponential(base=2, max=60), timeout="10s")
async def charge(order: Order) -> Receipt:
    """Takes the money. A provider that is away for a minute costs a few retries, not the order."""
    return Receipt(payment=await shop.charge(order.id, order.amount), amount=order.amount)


@step(timeout="30s")
async def ship(order: Order) -> str:
    """Sends the item; returns the tracking number. OutOfStock is a FatalError: asking again would not help."""
    return await shop.ship(order.id, order.item)


@step(retries=20)
async def refund(receipt: Receipt) -> None:
    """Gives the money back."""
    await shop.refund(receipt.payment, receipt.amount)


@step
async def notify(order: Order, text: str) -> None:
    """Writes to the customer."""
    await shop.notify(order.id, text)
