"""Parents that start children and go on, whose worker is killed. Run by worker processes."""

from holdfast import App, receive, start_child
from tests.support.ledger import note, until_let_go

app = App("children-by-handle")


@app.step
async def begun(ledger: str, name: str) -> str:
    note(ledger, name)
    return name


@app.step
async def hold(ledger: str) -> None:
    note(ledger, "held")
    await until_let_go(ledger)


@app.workflow
async def answers(ledger: str) -> str:
    await begun(ledger, "child")
    return f"heard {await receive('word', str)}"


@app.workflow
async def asks_later(ledger: str) -> list[str]:
    handle = start_child(answers, ledger)
    await begun(ledger, handle.run_id)
    await hold(ledger)
    await handle.signal("word", "hello")
    return [handle.run_id, await handle.result()]
