"""A workflow whose result is what it was told, and which fails when it is told to. See tests/chaos/courier_model.py."""

from pathlib import Path

import holdfast
from holdfast import App, Context
from tests.support.ledger import note

app = App("courier")


@app.step(retries=0, recoveries=None)
def stumble(ledger: str, word: str, ctx: Context[None]) -> None:
    """Fails in the first run that comes here with this word, however often its worker is lost."""
    note(ledger, f"{word} {ctx.run_id}")
    runs = [line.split(" ")[1] for line in Path(ledger).read_text().splitlines() if line.startswith(f"{word} ")]
    if runs[0] == ctx.run_id:
        raise ValueError(word)


@app.workflow
async def courier(ledger: str) -> list[str]:
    """All words up to one that begins with "end"."""
    words: list[str] = []
    while not words or not words[-1].startswith("end"):
        words.append(await holdfast.receive("word", str))
        if words[-1].startswith("fail"):
            await stumble(ledger, words[-1])
    return words
