"""Workflows whose figures test_metrics.py knows: a success, a retry, a queued step, a timer, a lost worker."""

import asyncio
import os
from datetime import timedelta

from holdfast import App, sleep
from tests.support.ledger import note

app = App("metrics")


@app.step
async def succeed() -> int:
    return 1


@app.step(retries=3, backoff=timedelta(milliseconds=10))
async def fail_twice(ledger: str) -> int:
    note(ledger, "tried")
    if _times(ledger) < 3:
        raise ConnectionError("not yet")
    return 1


@app.step(retries=0)
async def fail() -> None:
    raise ValueError("never")


@app.workflow
async def orderly(ledger: str) -> int:
    await sleep(timedelta(milliseconds=50))
    return await succeed() + await fail_twice(ledger)


@app.workflow
async def failing() -> None:
    await fail()


@app.workflow
async def with_queued_step() -> int:
    return await succeed.with_options(placement="queued")()


@app.step
async def outlive_worker(ledger: str) -> int:
    note(ledger, "began")
    if os.environ.get("FLOWS_VERSION", "1") == "1":
        await asyncio.sleep(3600)
    return 1


@app.workflow
async def survivor(ledger: str) -> int:
    return await outlive_worker(ledger)


def _times(ledger: str) -> int:
    with open(ledger, encoding="utf-8") as file:
        return len(file.readlines())
