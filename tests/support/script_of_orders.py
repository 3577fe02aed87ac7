"""The example order_fulfilment in one process, in one of its two styles: python -m tests.support.script_of_orders
DATA LEDGER asyncio|blocking. There is nothing to ship, so the money goes back.

KILLED_AT names what the shop has just done when this program ends with SIGKILL. Prints what the run came to, and its
journal without times and ids.
"""

import asyncio
import os
import signal
import sys
from decimal import Decimal

import holdfast
from examples.order_fulfilment import shop
from examples.order_fulfilment.flows import Order
from holdfast import blocking
from tests.support.ledger import note

DATA, LEDGER, STYLE = sys.argv[1:]
ATTEMPTS = ("AttemptStarted", "AttemptEnded")
"""Of these there are as many as there were kills, in both styles at places of their own."""
ORDER = Order("o-1", "lamp", Decimal("9.99"))


def done(text: str) -> None:
    what = text.split()[0]
    note(LEDGER, what)
    if os.environ.get("KILLED_AT") == what:
        os.kill(os.getpid(), signal.SIGKILL)


async def out_of_stock(order_id: str, item: str) -> str:
    done("looked")
    raise shop.OutOfStock(f"there is no {item} left")


shop._note = done
shop.ship = out_of_stock


def shown(history: holdfast.client.History) -> list[str]:
    named = [(one.type, getattr(one.entry, "number", ""), getattr(one.entry, "name", "")) for one in history]
    return [f"{kind} {number} {name}".strip() for kind, number, name in named if kind not in ATTEMPTS]


async def main() -> None:
    from examples.order_fulfilment.flows import fulfil

    async with holdfast.embedded(DATA, modules=["examples.order_fulfilment.flows"]) as client:
        print(await fulfil(ORDER))
        print(shown(await client.get("order-o-1").history()))


def main_without_asyncio() -> None:
    from examples.order_fulfilment.blocking_flows import app, fulfil

    with blocking.embedded(DATA, workflows=[app]) as client:
        print(fulfil(ORDER))
        print(shown(client.get("order-o-1").history()))


if __name__ == "__main__":
    main_without_asyncio() if STYLE == "blocking" else asyncio.run(main())
