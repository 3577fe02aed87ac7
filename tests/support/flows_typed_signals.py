"""Workflows that take signals of types of their own. Imported by worker processes too."""

from typing import Annotated

from pydantic import BaseModel, Field, field_validator

import holdfast
from holdfast import App, receive

app = App("typed-signals")


class Approval(BaseModel):
    approved: bool
    by: Annotated[str, Field(min_length=1)] = "nobody"

    @field_validator("by")
    @classmethod
    def has_a_voice(cls, by: str) -> str:
        if by == "the cat":
            raise ValueError("cats approve nothing")
        return by


@app.workflow
async def order(item: str) -> str:
    approval = await receive("approval", Approval)
    return f"{item} by {approval.by}: {approval.approved}"


@app.workflow
async def cart() -> int:
    count = 0

    @holdfast.on_signal("add")
    def add(number: int) -> None:
        nonlocal count
        count += number

    @holdfast.on_signal("close")
    def close() -> None:
        nonlocal count
        count = count or 1

    await holdfast.wait_until(lambda: count > 0)
    return count
