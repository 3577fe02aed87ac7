"""Workflows and steps that take longer than they may. Run by worker processes."""

import asyncio
import time

from holdfast import App, Context, constant, sleep
from tests.support.ledger import note

app = App("timeouts")

BLOCK_SECONDS = 6.0


@app.step(timeout=0.2, retries=0)
async def sleeps_on(ledger: str) -> None:
    note(ledger, "sleeps_on")
    await asyncio.sleep(5)


@app.workflow
async def too_slow(ledger: str) -> None:
    await sleeps_on(ledger)


@app.step(timeout=0.3, retries=1, backoff=constant(0))
def stuck_the_first_time(ledger: str, ctx: Context[None]) -> str:
    attempt = ctx.attempt
    note(ledger, f"attempt {attempt}")
    if attempt == 1:
        time.sleep(1)
        note(ledger, "attempt 1 returns")
    return f"from attempt {attempt}"


@app.step
async def wait_a_second() -> None:
    await asyncio.sleep(1)


@app.workflow
async def stuck_in_a_thread(ledger: str) -> str:
    result = await stuck_the_first_time(ledger)
    await wait_a_second()
    return result


@app.step(timeout=0.4, retries=5, backoff=constant(0))
async def blocks_the_loop(ledger: str, kind: str, ctx: Context[None]) -> int:
    note(ledger, f"{kind} {ctx.attempt}")
    if ctx.attempt == 1:
        time.sleep(BLOCK_SECONDS)  # noqa: ASYNC251 - a mistake that users make
    return ctx.attempt


@app.workflow
async def blocks_inline(ledger: str) -> int:
    return await blocks_the_loop(ledger, "inline")


@app.workflow
async def blocks_from_the_queue(ledger: str) -> int:
    return await blocks_the_loop.with_options(placement="queued")(ledger, "queued")


@app.step
async def six_tenths() -> None:
    await asyncio.sleep(0.6)


@app.workflow(max_duration="1s")
async def past_its_deadline() -> None:
    for _ in range(10):
        await six_tenths()


@app.workflow(max_duration="1s")
async def sleeps_past_its_deadline() -> None:
    await sleep("1h")
