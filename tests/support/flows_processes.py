"""Workflows for workers that get signals, lose processes of their pool, or start among proxies."""

from collections.abc import AsyncIterator

import holdfast
from holdfast import App, constant
from tests.support import pool_steps
from tests.support.ledger import note, until_let_go

app = App("processes", backoff=constant(0))


@app.step
async def clean_up(ledger: str) -> None:
    note(ledger, "cleaned up")


@app.step
async def held(ledger: str) -> None:
    note(ledger, "held")
    await until_let_go(ledger)


async def words() -> AsyncIterator[str]:
    while True:
        yield await holdfast.receive("word", str)


async def words_and_clean_up(ledger: str) -> AsyncIterator[str]:
    try:
        async for word in words():
            yield word
    finally:
        await clean_up(ledger)


@app.workflow
async def waits_in_try(ledger: str) -> str:
    try:
        return await holdfast.receive("word", str)
    finally:
        await clean_up(ledger)


@app.workflow
async def waits_in_generator(ledger: str) -> str:
    async for word in words_and_clean_up(ledger):
        return word
    return ""


@app.workflow
async def works_in_try(ledger: str) -> str:
    try:
        await held(ledger)
        return await holdfast.receive("word", str)
    finally:
        await clean_up(ledger)


@app.workflow
async def in_pool() -> int:
    return await pool_steps.process_id()


@app.workflow
async def killed_once(path: str) -> str:
    return await pool_steps.be_killed_once(path)
