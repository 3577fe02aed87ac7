"""A user module with postponed annotations, some of which only a type checker can resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast import App
from holdfast.definitions.context import Context

if TYPE_CHECKING:
    from nowhere import Deps, Unknown  # type: ignore[import-not-found]

app = App("postponed")


@app.step
async def early(late: Late, count: int) -> Late:
    return late


@app.step
async def with_unknown(x: Unknown, ctx: Context[Deps], count: int) -> None: ...


class Late:
    """Defined after the step that names it."""
