"""An order as a pipeline: three functions, each given what the one before it returned.

    holdfast dev examples.pipeline
    holdfast run order_processing --arg order_id=o-1 --arg amount=9.99

Its test, tests/examples/test_pipeline.py, runs it without any service.
"""

from decimal import Decimal

from holdfast import exponential, pipeline, step


def validate_order(order_id: str, amount: Decimal) -> tuple[str, Decimal]:
    """Its two values are the two parameters of the next step."""
    if amount <= 0:
        raise ValueError(f"order {order_id} costs nothing")
    return order_id, amount


@step(retries=5, backoff=exponential(base=2, max=60))
async def process_payment(order_id: str, amount: Decimal) -> str:
    """A step keeps its options in a pipeline; the functions around it are tried once."""
    return f"receipt {order_id}: {amount}"  # here you call the payment provider


def send_confirmation(receipt: str) -> int:
    """What the last step returns is the result of the run."""
    return len(receipt)  # here you send it


order_processing = pipeline(
    "order_processing", [validate_order, process_payment, send_confirmation], id="order-{order_id}"
)
