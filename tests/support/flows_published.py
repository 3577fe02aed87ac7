"""A workflow that publishes how far it is, whose worker is killed in the middle. Run by worker processes."""

import holdfast
from holdfast import App
from tests.support.ledger import note, until_let_go

app = App("published")


@app.step(retries=0)
async def load(ledger: str, item: str) -> str:
    note(ledger, f"load {item}")
    if item == "held":
        await until_let_go(ledger)
    if item == "broken":
        raise LookupError("no such item")
    return item.upper()


@app.workflow
async def loads(ledger: str, items: list[str]) -> int:
    done: list[str] = []
    for item in items:
        done.append(await load(ledger, item))
        holdfast.publish("done", done)
        holdfast.publish("share", len(done) / len(items))
    return len(done)
