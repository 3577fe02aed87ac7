"""Steps that no worker has registered: `step.map` and `holdfast.inline` under crashes. Run by worker processes."""

import holdfast
from holdfast import App
from tests.support.ledger import block_until_let_go, note, until_let_go

app = App("inline", retries=0)


def read_rate(ledger: str, currency: str) -> int:
    note(ledger, f"read {currency}")
    if currency == "held":
        block_until_let_go(ledger)
    return len(currency)


@app.workflow
async def rates(ledger: str) -> list[int]:
    return [await holdfast.inline("read rate", read_rate, ledger, one) for one in ("EUR", "held", "CHF")]


@app.step
async def treat(item: tuple[str, int]) -> int:
    ledger, number = item
    note(ledger, f"treat {number}")
    if number == 3:
        await until_let_go(ledger)
    return number * 10


@app.workflow
async def treats(ledger: str) -> list[int]:
    holdfast.note("many items", count=6)
    return await treat.map([(ledger, number) for number in range(6)], max_parallel=2)
