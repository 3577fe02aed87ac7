"""Workflows that take signals by handlers, whose worker is killed in the middle. Run by worker processes."""

from typing import Any

import holdfast
from holdfast import App
from tests.support.ledger import note, until_let_go

app = App("handlers")


@app.step
async def price(ledger: str, item: str) -> int:
    note(ledger, f"price {item}")
    if item == "held":
        await until_let_go(ledger)
    return len(item)


@app.workflow
async def cart(ledger: str, count: int) -> dict[str, Any]:
    """Prices `count` items; counts the signals that were handled. The result says in which order they began."""
    begun: list[str] = []
    prices: dict[str, int] = {}

    @holdfast.on_signal("add")
    async def add(item: str) -> None:
        begun.append(item)
        prices[item] = await price(ledger, item)

    @holdfast.on_signal("drop")
    def drop(item: str) -> None:
        begun.append(f"-{item}")
        prices.pop(item, None)

    await holdfast.wait_until(lambda: len(prices) >= count)
    return {"begun": begun, "prices": prices}
