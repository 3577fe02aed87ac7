"""Waiting for what a run does, as a client sees it. Only looks; never steers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from holdfast.client import RunHandle

T = TypeVar("T")

LOOK_EVERY_SECONDS = 0.01
WAIT_SECONDS = 10.0


async def until(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], *, seconds: float = WAIT_SECONDS) -> T:
    """Looks again and again until `holds` is true of what is seen, and returns it."""
    seen: list[T] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                seen.append(await look())
                if holds(seen[-1]):
                    return seen[-1]
                await asyncio.sleep(LOOK_EVERY_SECONDS)
    except TimeoutError:
        raise AssertionError(f"still {seen[-1:]} after {seconds:g} s") from None


async def until_status(run: RunHandle[Any], status: str) -> None:
    """Returns when the run has this status."""
    await until(run.status, lambda seen: seen == status)


async def kinds(run: RunHandle[Any]) -> list[str]:
    """The kinds of the entries in the journal of the run, in order."""
    return [entry.type for entry in await run.history()]
