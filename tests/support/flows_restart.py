"""Workflows that are under way while the coordinator is killed. Run by worker processes."""

import asyncio
from datetime import datetime

import holdfast
from holdfast import App, Context, constant
from tests.support.ledger import note

app = App("restart")


@app.step
async def first(ledger: str, name: str) -> str:
    note(ledger, f"first {name}")
    await asyncio.sleep(0.01)
    return name


@app.step(placement="queued")
async def second(ledger: str, name: str) -> str:
    note(ledger, f"second {name}")
    return name


@app.step
def third(ledger: str, name: str) -> str:
    note(ledger, f"third {name}")
    return name


@app.workflow
async def three_steps(ledger: str, name: str) -> str:
    await first(ledger, name)
    await holdfast.sleep("20ms")
    return await third(ledger, await second(ledger, name))


@app.step(retries=3, backoff=constant("5s"))
async def fails_once(ledger: str, ctx: Context[None]) -> int:
    note(ledger, f"fails_once {ctx.attempt}")
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return ctx.attempt


@app.workflow
async def retries_later(ledger: str) -> int:
    return await fails_once(ledger)


@app.workflow
async def sleeps_until(moment: datetime) -> str:
    await holdfast.sleep(moment)
    return "awake"


@app.workflow
async def sleeps_for(seconds: float) -> float:
    await holdfast.sleep(seconds)
    return seconds


@app.workflow
async def waits_for_word() -> str:
    return await holdfast.receive("word", str)


@app.workflow
async def quick(ledger: str) -> str:
    return await first(ledger, "quick")
