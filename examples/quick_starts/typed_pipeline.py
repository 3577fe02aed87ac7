"""A list of functions whose types must fit, checked when the module is imported."""

import asyncio

import holdfast
from holdfast import pipeline


def validate(order_id: str, amount: float) -> tuple[str, float]:
    return order_id, amount


async def pay(order_id: str, amount: float) -> str:
    return f"receipt {order_id}: {amount}"


def confirm(receipt: str) -> str:
    return f"sent {receipt}"


order = pipeline("order", [validate, pay, confirm], id="order-{order_id}")


async def main() -> None:
    async with holdfast.embedded("./data"):
        print(await order("o-1", 9.99))


if __name__ == "__main__":
    asyncio.run(main())
