"""Workflows whose worker is killed in the middle. Run by worker processes; every execution goes to the ledger.

FLOWS_VERSION=2 stands for a deployment of changed code: other implementations, another order of a loop.
"""

import asyncio
import os
import signal

from holdfast import App, Context
from tests.support.ledger import block_until_let_go, note, until_let_go

app = App("crash")

VERSION = int(os.environ.get("FLOWS_VERSION", "1"))


async def hold_back(ledger: str) -> None:
    """Keeps the first version where it is until it is killed."""
    if VERSION == 1:
        await until_let_go(ledger)


@app.step
async def fetch(ledger: str) -> int:
    note(ledger, "fetch")
    return 0


@app.step
def process(ledger: str, raw: int) -> str:
    note(ledger, f"process {raw}")
    return "old" if VERSION == 1 else "new"


@app.step
async def save(ledger: str, value: str) -> str:
    note(ledger, f"save {value}")
    await hold_back(ledger)
    return f"saved {value}"


@app.workflow
async def three_steps(ledger: str) -> str:
    return await save(ledger, await process(ledger, await fetch(ledger)))


@app.step
async def count(ledger: str, i: int) -> int:
    note(ledger, f"count {i}")
    if i == 2:
        await hold_back(ledger)
    return i


@app.workflow
async def loop_of_one_step(ledger: str) -> list[int]:
    return [await count(ledger, i) for i in range(3)]


@app.step
async def treat(ledger: str, item: int) -> int:
    note(ledger, f"treat {item}")
    if item == 3:
        await hold_back(ledger)
    return item * 10


@app.workflow
async def named_items(ledger: str) -> dict[str, int]:
    items = range(5) if VERSION == 1 else reversed(range(5))
    return {str(item): await treat.with_options(step_id=f"item-{item}")(ledger, item) for item in items}


@app.step
async def branch(ledger: str, name: str) -> str:
    note(ledger, f"branch {name}")
    if name != "a":
        await hold_back(ledger)
    return name


@app.workflow
async def branches(ledger: str) -> list[str]:
    return await asyncio.gather(*(branch(ledger, name) for name in "abc"))


@app.step(recoveries=2)
async def deadly(ledger: str) -> None:
    note(ledger, "deadly")
    os.kill(os.getpid(), signal.SIGKILL)


@app.workflow
async def kills_its_workers(ledger: str) -> None:
    await deadly(ledger)


@app.step(recoveries=0, retries=0)
async def at_most_once(ledger: str) -> None:
    note(ledger, "at most once")
    await hold_back(ledger)


@app.workflow
async def started_once(ledger: str) -> None:
    await at_most_once(ledger)


@app.step(placement="queued")
async def queued(ledger: str) -> int:
    note(ledger, "queued")
    await hold_back(ledger)
    return os.getpid()


@app.workflow
async def one_queued_step(ledger: str) -> int:
    return await queued(ledger)


PAGES = 10
HELD_AT = 5


async def read_pages(ledger: str, ctx: Context[None]) -> int:
    """Saves after each page how far it is, and stops half-way in the first version; returns where it began."""
    began = ctx.saved["next"] if ctx.saved else 0
    for page in range(began, PAGES):
        note(ledger, f"page {page}")
        await ctx.save({"next": page + 1})
        if page + 1 == HELD_AT:
            note(ledger, "half-way")
            await hold_back(ledger)
    return int(began)


pages = app.step(name="pages")(read_pages)
queued_pages = app.step(name="queued_pages", placement="queued")(read_pages)


@app.step
def plain_pages(ledger: str, ctx: Context[None]) -> int:
    began = ctx.saved["next"] if ctx.saved else 0
    for page in range(began, PAGES):
        note(ledger, f"page {page}")
        ctx.save({"next": page + 1})
        if page + 1 == HELD_AT and VERSION == 1:
            note(ledger, "half-way")
            block_until_let_go(ledger)
    return int(began)


@app.workflow
async def saved_pages(ledger: str) -> int:
    return await pages(ledger)


@app.workflow
async def saved_queued_pages(ledger: str) -> int:
    return await queued_pages(ledger)


@app.workflow
async def saved_plain_pages(ledger: str) -> int:
    return await plain_pages(ledger)
