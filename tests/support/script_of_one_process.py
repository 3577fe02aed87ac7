"""A program that is all of holdfast in one process: python -m tests.support.script_of_one_process DATA LEDGER.

KILLED_AT names the step in which it ends with SIGKILL; FAILS makes the second step fail.
"""

import asyncio
import os
import signal
import sys

import holdfast
from holdfast import blocking, step, workflow
from tests.support.ledger import note

DATA, LEDGER, *STYLE = sys.argv[1:]


def ends_in(name: str) -> None:
    note(LEDGER, name)
    if os.environ.get("KILLED_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)


@step
async def reserve(order_id: str) -> str:
    ends_in("reserve")
    return f"{order_id} reserved"


@step(retries=0)
def charge(order_id: str) -> str:
    ends_in("charge")
    if "FAILS" in os.environ:
        raise ValueError("no money")
    return f"{order_id} charged"


@step(placement="queued")
async def ship(order_id: str) -> str:
    ends_in("ship")
    return f"{order_id} shipped"


@workflow(id="order-{order_id}")
async def order(order_id: str) -> list[str]:
    done = [await reserve(order_id), await charge(order_id)]
    await holdfast.sleep("10ms")
    return [*done, await ship(order_id)]


@workflow(id="plain-order-{order_id}")
def plain_order(order_id: str) -> list[str]:
    done = [reserve(order_id), charge(order_id)]
    holdfast.sleep("10ms")
    return [*done, ship(order_id)]


async def main() -> None:
    async with holdfast.embedded(DATA, retry_failed="RETRIES" in os.environ):
        print(await order("o-1"))


if __name__ == "__main__":
    if STYLE == ["plain"]:
        with blocking.embedded(DATA):
            print(plain_order("o-1"))
    elif STYLE == ["blocking"]:
        with blocking.embedded(DATA):
            print(blocking.run(order, "o-1"))
    else:
        asyncio.run(main())
