"""The workflows whose recoveries are measured. Every execution of a step is in the ledger of chaos."""

import asyncio
import contextlib
import os
from typing import Literal

import holdfast
from holdfast import App, Context
from tests.chaos import ledger

TICK_SECONDS = 0.05
FOR_EVER_SECONDS = 3600.0

app = App("recoveries")


@app.step
async def hold(ctx: Context[None]) -> int:
    """Its first attempt never ends; the next says in which process it is."""
    _note("begins", "hold", ctx)
    if ctx.attempt == 1:
        await asyncio.sleep(FOR_EVER_SECONDS)
    return os.getpid()


@app.step
async def tick(ctx: Context[None]) -> None:
    """Takes a moment."""
    _note("begins", "tick", ctx)
    await asyncio.sleep(TICK_SECONDS)
    _note("ends", "tick", ctx)


@app.step
async def hear(ctx: Context[None]) -> None:
    """Notes that it was reached."""
    _note("begins", "hear", ctx)


@app.workflow
async def is_held() -> int:
    """The process that it ended in."""
    return await hold()


@app.workflow
async def ticks(count: int) -> int:
    """Short steps, one after the other."""
    for _ in range(count):
        await tick()
    return count


@app.workflow
async def waits() -> str:
    """Is suspended until it gets a word."""
    word = await holdfast.receive("word", str)
    await hear()
    return word


@app.workflow
async def waits_at_work() -> str:
    """Gets its word while a step of it runs, so that a worker holds it."""
    work = asyncio.ensure_future(hold())
    word = await holdfast.receive("word", str)
    await hear()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return word


def _note(moment: Literal["begins", "ends"], step: str, ctx: Context[None]) -> None:
    at = ledger.boottime()
    ledger.write(ledger.Line(moment, ctx.run_id, step, ctx.attempt, ctx.idempotency_key, "", os.getpid(), at))
