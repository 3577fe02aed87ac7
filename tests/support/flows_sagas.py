"""A saga whose worker is killed while it undoes. Run by worker processes; every execution goes to the ledger."""

from holdfast import App, Saga
from tests.support.ledger import block_until_let_go, note, until_let_go

app = App("sagas", retries=0)


@app.step
async def book(ledger: str, what: str) -> None:
    note(ledger, f"book {what}")


@app.step
def book_in_a_thread(ledger: str, what: str) -> None:
    note(ledger, f"book {what}")
    block_until_let_go(ledger)
    note(ledger, f"booked {what}")


@app.step
async def cancel(ledger: str, what: str) -> None:
    note(ledger, f"cancel {what}")
    if what == "hotel":
        await until_let_go(ledger)


@app.step
async def explode(ledger: str) -> None:
    note(ledger, "explode")
    raise ValueError("no train")


@app.workflow
async def trip(ledger: str) -> None:
    async with Saga() as saga:
        for what in ("flight", "hotel", "car"):
            saga.add(cancel, ledger, what)
            await book(ledger, what)
        await explode(ledger)


@app.workflow
async def slow_trip(ledger: str) -> None:
    async with Saga() as saga:
        saga.add(cancel, ledger, "flight")
        await book_in_a_thread(ledger, "flight")
