"""A run that goes on and on as a new one, whose worker is killed. Run by worker processes."""

import holdfast
from holdfast import App
from tests.support.ledger import note, until_let_go

app = App("continuing")


@app.step
async def turn(ledger: str, number: int) -> None:
    note(ledger, f"turn {number}")
    if number == 2:
        await until_let_go(ledger)


@app.workflow(id="turns-{ledger}")
async def turns(ledger: str, number: int = 0) -> int:
    await turn(ledger, number)
    if number < 4:
        holdfast.continue_as_new(ledger, number + 1)
    return number
