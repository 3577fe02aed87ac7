"""Graphs that worker processes run, and whose workers are killed; every execution goes to the ledger."""

import os
import time
from typing import Any

from holdfast import Context, Graph
from tests.support.ledger import block_until_let_go, may_go, note, until_let_go

diamond = Graph("diamond", inputs={"ledger": str}, metadata={"team": "backend"})


@diamond.task
def top(ledger: str) -> int:
    note(ledger, "top")
    return 1


@diamond.task(deps=[top])
async def left(ledger: str, top: int) -> int:
    note(ledger, "left")
    await until_let_go(ledger)
    return top + 1


@diamond.task(deps=[top])
def right(upstream: dict[str, Any], ledger: str) -> int:
    note(ledger, "right")
    return int(upstream["top"]) + 2


@diamond.task
def bottom(ledger: str, left: int, right: int) -> int:
    note(ledger, "bottom")
    return left + right


partly = Graph("partly", inputs={"ledger": str})


@partly.task
def slow(ledger: str) -> None:
    note(ledger, "slow")
    if not may_go(ledger + ".mended"):
        raise ValueError("kaput")


@partly.task(deps=[slow])
def child(ledger: str) -> None:
    note(ledger, "child")


@partly.task(deps=[child])
def grand(ledger: str) -> None:
    note(ledger, "grand")


@partly.task
async def indep(ledger: str) -> str:
    note(ledger, "indep")
    await until_let_go(ledger)
    return "done"


@partly.task
def after(ledger: str, indep: str) -> str:
    note(ledger, "after")
    return f"after {indep}"


@partly.task(retries=1, backoff=["1h"])
def patient(ledger: str, ctx: Context[Any]) -> int:
    if ctx.attempt == 1:
        raise KeyError("later")
    return ctx.attempt


@partly.task
def waiting(patient: int) -> None: ...


pooled = Graph("pooled")


@pooled.task
def first_pid() -> int:
    return os.getpid()


@pooled.task(deps=[first_pid])
def pids(upstream: dict[str, Any]) -> list[int]:
    return [int(upstream["first_pid"]), os.getpid()]


endless = Graph("endless", inputs={"ledger": str})


@endless.task
def loops(ledger: str, ctx: Context[Any]) -> None:
    note(ledger, "loops")
    try:
        while True:
            ctx.raise_if_cancelled()
            time.sleep(0.01)
    finally:
        note(ledger, "ended")
        block_until_let_go(ledger)


spread = Graph("spread", inputs={"ledger": str})


def use_factory(ctx: Context[Any], ledger: str) -> str:
    note(ledger, "using")
    block_until_let_go(ledger)
    return f"{ctx.region} {ctx.make_client()}"


for side in ("one", "two"):
    spread.task(name=side, placement="queued")(use_factory)
