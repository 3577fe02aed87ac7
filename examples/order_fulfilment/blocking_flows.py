"""The order of `flows`, without `await`: the workflow and its steps are plain functions. Its journals are the same.

An app of its own, so that both can have the same names.
"""

from holdfast import App, StepFailed, exponential, receive, sleep

from . import shop_without_asyncio as shop
from .flows import APPROVAL_ABOVE, Approval, Order, Receipt

app = App("blocking-orders")


@app.workflow(id="order-{order.id}", max_duration="30d")
def fulfil(order: Order) -> str:
    """Takes the money, ships, and asks for a review a week later. Returns how the order ended."""
    if order.amount > APPROVAL_ABOVE and not is_approved(order):
        return "declined"
    receipt = charge(order)
    try:
        tracking = ship(order)
    except StepFailed as failed:
        refund(receipt)
        notify(order, f"refunded: {failed.message}")
        return "refunded"
    notify(order, f"on its way: {tracking}")
    sleep("7d", "before asking for a review")  # no worker, and no thread, is busy meanwhile
    notify(order, "how do you like it?")
    return "delivered"


def is_approved(order: Order) -> bool:
    """Waits for the signal "approval". Ordinary code: part of the run that calls it."""
    notify(order, "waits for approval")
    try:
        answer: Approval = receive("approval", Approval, timeout="3d")
    except TimeoutError:
        return False
    return answer.approved


@app.step(retries=5, backoff=exponential(base=2, max=60), timeout="10s")
def charge(order: Order) -> Receipt:
    return Receipt(payment=shop.charge(order.id, order.amount), amount=order.amount)


@app.step(timeout="30s")
def ship(order: Order) -> str:
    return shop.ship(order.id, order.item)


@app.step(retries=20)
def refund(receipt: Receipt) -> None:
    shop.refund(receipt.payment, receipt.amount)


@app.step
def notify(order: Order, text: str) -> None:
    shop.notify(order.id, text)
