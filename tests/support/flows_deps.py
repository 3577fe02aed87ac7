"""Steps that use what the command line gave their worker, and the ways to make that."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from holdfast import App, Context

app = App("deps")


@dataclass
class Bank:
    name: str
    is_open: bool = True


@app.step(retries=0)
def ask(ctx: Context[Bank]) -> str:
    return f"{ctx.deps.name} {'open' if ctx.deps.is_open else 'closed'}"


@app.workflow
async def asks() -> str:
    return await ask()


def plain() -> Bank:
    return Bank("plain")


async def awaited() -> Bank:
    await asyncio.sleep(0)
    return Bank("awaited")


@contextlib.asynccontextmanager
async def managed() -> AsyncIterator[Bank]:
    bank = Bank("managed")
    yield bank
    bank.is_open = False
    print("the bank is closed", file=sys.stderr, flush=True)


@contextlib.asynccontextmanager
async def stuck() -> AsyncIterator[Bank]:
    yield Bank("stuck")
    raise OSError("the door is jammed")


def broken() -> Bank:
    raise ConnectionError("no bank answers")


def generator() -> Iterator[Bank]:
    yield Bank("generator")


def needs(name: str, of: int = 1) -> Bank:
    return Bank(name)


nothing_to_call = Bank("constant")
