"""A workflow with one step, for workers whose health and whose clock are looked at."""

import time

from holdfast import App, Context, constant, now, sleep

app = App("health")


@app.step
async def machine_time() -> float:
    return time.time()


@app.workflow
async def one_step() -> float:
    return await machine_time()


@app.workflow
async def asks_the_clock() -> float:
    return time.time()


@app.step(retries=1, backoff=constant("1.2s"))
async def breaks_once(ctx: Context[None]) -> float:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    return time.time()


@app.workflow
async def keeps_time() -> list[float]:
    """What the machine of the worker and what the run take for the time: before a sleep and a retry, and after."""
    began = now().timestamp()
    await sleep("1.2s")
    woke = now().timestamp()
    machine = await breaks_once()
    return [began, woke, now().timestamp(), machine]
