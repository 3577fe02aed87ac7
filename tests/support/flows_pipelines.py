"""Pipelines whose worker is killed in the middle. Run by worker processes; every execution goes to the ledger."""

import os

from holdfast import App, pipeline
from tests.support.ledger import note, until_let_go

app = App("pipelines of processes")

VERSION = int(os.environ.get("FLOWS_VERSION", "1"))


def read(ledger: str) -> tuple[str, str, int]:
    """What the next step is called with."""
    note(ledger, "read")
    return ledger, "hello", 123


def read_untyped(ledger):  # type: ignore[no-untyped-def]
    return read(ledger)


async def show(ledger: str, message: str, count: int) -> str:
    """The first version is held here until it is killed."""
    note(ledger, f"show {message} {count}")
    if VERSION == 1:
        await until_let_go(ledger)
    return f"{message} {count}"


async def frame(text: str) -> str:
    return f"[{text}]"


typed = pipeline("typed", [read, show, frame], app=app)
untyped = pipeline("untyped", [read_untyped, show, frame], app=app)
