"""Workflows with hooks. Imported by worker processes too."""

import functools
from pathlib import Path

from pydantic import BaseModel, field_validator

import holdfast
from holdfast import App

app = App("hooks")

tokens: list[str] = []


class Payment(BaseModel):
    amount: int
    by: str = "nobody"

    @field_validator("by")
    @classmethod
    def is_somebody(cls, by: str) -> str:
        if by == "the cat":
            raise ValueError("cats pay nothing")
        return by


@app.step
async def notify(token: str) -> None:
    tokens.append(token)


def announce(path: str, token: str) -> None:
    """Appends the token: who reads the file sees how often this was called."""
    with Path(path).open("a") as file:
        file.write(f"{token}\n")


@app.workflow
async def pay(timeout: str) -> str:
    payment = await holdfast.hook("payment", Payment, timeout=timeout or None, on_created=notify)
    try:
        paid = await payment
    except TimeoutError as late:
        return str(late)
    return f"{paid.amount} by {paid.by}"


@app.workflow
async def pay_elsewhere(path: str) -> str:
    payment = await holdfast.hook("payment", Payment, on_created=functools.partial(announce, path))
    await holdfast.sleep("10ms")
    return f"{(await payment).amount} by {(await payment).by}"
