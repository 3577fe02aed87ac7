"""Workflows whose worker is told to leave while their steps run. Run by worker processes."""

import asyncio
import os
import time

from holdfast import App
from tests.support.ledger import block_until_let_go, note, until_let_go

app = App("drain")


@app.step
async def take_a_moment(ledger: str, name: str) -> None:
    note(ledger, f"moment {name}")
    await asyncio.sleep(0.7)


@app.step
def take_a_moment_in_a_thread(ledger: str, name: str) -> None:
    note(ledger, f"moment {name}")
    time.sleep(0.7)


@app.step
async def afterwards(ledger: str, name: str) -> int:
    note(ledger, f"afterwards {name}")
    return os.getpid()


@app.workflow
async def two_steps(ledger: str, name: str) -> int:
    if int(name) % 2:
        await take_a_moment(ledger, name)
    else:
        await take_a_moment_in_a_thread(ledger, name)
    return await afterwards(ledger, name)


@app.step
async def endless(ledger: str, kind: str) -> int:
    note(ledger, f"{kind} {os.getpid()}")
    await until_let_go(ledger)
    return os.getpid()


@app.step
def endless_in_a_thread(ledger: str) -> int:
    note(ledger, f"thread {os.getpid()}")
    block_until_let_go(ledger)
    return os.getpid()


@app.workflow
async def three_endless_steps(ledger: str) -> list[int]:
    queued = endless.with_options(placement="queued")
    return await asyncio.gather(endless(ledger, "inline"), queued(ledger, "queued"), endless_in_a_thread(ledger))


@app.step
async def blocks_its_loop(ledger: str) -> None:
    note(ledger, f"blocked {os.getpid()}")
    time.sleep(600)  # noqa: ASYNC251 - a mistake that users make


@app.workflow
async def one_blocking_step(ledger: str) -> None:
    await blocks_its_loop(ledger)
