"""One call for each of many items, some at a time: what `step.map` awaits. Ordinary workflow code."""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

from holdfast.definitions.functions import is_awaitable

A = TypeVar("A")
R = TypeVar("R")


async def results_of_each(call: Callable[[A], object], items: Iterable[A], max_parallel: int | None) -> list[R]:
    """What `call` gives for each item, in the order of the items, at most max_parallel of them at work at a time.

    The first failure cancels the calls that are under way, and is raised when they have ended; no other begins.
    """
    coming = enumerate(items)
    results: dict[int, R] = {}

    async def work(place: int, item: A) -> None:
        following: tuple[int, A] | None = (place, item)
        while following is not None:
            place, item = following
            returned = call(item)
            results[place] = await returned if is_awaitable(returned) else returned  # type: ignore[misc, assignment]
            # Taken when there is room: an iterator of many items is not read ahead.
            following = next(coming, None)

    try:
        async with asyncio.TaskGroup() as group:
            for place, item in list(itertools.islice(coming, max_parallel)):
                group.create_task(work(place, item))
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    else:
        return [results[place] for place in sorted(results)]
    # Outside of the handler: the group would be taken for its context.
    raise first
