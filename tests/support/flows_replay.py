"""Workflows that meet other workers and other code on their way. Run by worker processes.

FLOWS_VERSION=2 stands for a deployment that changed the order of the steps.
"""

import asyncio
import os

import holdfast
from holdfast import App
from tests.support.ledger import block_until_let_go, note, until_let_go

app = App("replay")

VERSION = int(os.environ.get("FLOWS_VERSION", "1"))


@app.step
async def fetch(ledger: str) -> str:
    note(ledger, "fetch")
    return "raw"


@app.step
async def process(ledger: str) -> str:
    note(ledger, "process")
    if VERSION == 1:
        await until_let_go(ledger)
    return "done"


@app.workflow
async def changing(ledger: str) -> str:
    if VERSION == 2:
        return await process(ledger)
    await fetch(ledger)
    return await process(ledger)


@app.workflow
async def patched(ledger: str) -> str:
    """Version 2 gets its change by `holdfast.patched`, so that a run of version 1 goes on."""
    if VERSION == 2 and holdfast.patched("fetch-less"):
        return await process(ledger)
    await fetch(ledger)
    return f"fetched, {await process(ledger)}"


@app.step
async def once(ledger: str) -> None:
    note(ledger, "once")


@app.workflow
async def one_step(ledger: str) -> None:
    await once(ledger)


@app.step
async def slow_here(ledger: str) -> int:
    note(ledger, f"here {os.getpid()}")
    await until_let_go(ledger)
    return os.getpid()


@app.step
def slow_in_a_thread(ledger: str) -> int:
    note(ledger, f"thread {os.getpid()}")
    block_until_let_go(ledger)
    return os.getpid()


@app.step(placement="queued")
async def slow_from_the_queue(ledger: str) -> int:
    note(ledger, f"queued {os.getpid()}")
    await until_let_go(ledger)
    return os.getpid()


@app.workflow
async def who_finishes(ledger: str) -> list[int]:
    return await asyncio.gather(slow_here(ledger), slow_in_a_thread(ledger), slow_from_the_queue(ledger))


apart = App("apart")
"""An app whose steps a worker of the workflow below does not bring along."""


@apart.step
async def second_step(ledger: str) -> str:
    note(ledger, "second_step")
    return "second"


@app.workflow
async def needs_another_worker(ledger: str) -> str:
    await fetch(ledger)
    return await second_step(ledger)
