"""Several calls at a time: what `step.map` and `holdfast.parallel` await. Ordinary workflow code."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from holdfast.definitions.functions import is_awaitable
from holdfast.workflow.styles import result_of

A = TypeVar("A")
R = TypeVar("R")
T = TypeVar("T")


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

    await _all_of(work(place, item) for place, item in list(itertools.islice(coming, max_parallel)))
    return [results[place] for place in sorted(results)]


async def results_of_all(calls: Sequence[Any]) -> tuple[Any, ...]:
    """What the calls give, in their order. Each is something to await, or a function without parameters.

    The first failure cancels the others, and is raised when they have ended.
    """
    return tuple(await _all_of(call if asyncio.iscoroutine(call) else _result_of(call) for call in calls))


async def _result_of(call: Any) -> Any:
    return await (call if is_awaitable(call) else result_of(call))


async def _all_of(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What they return, each a task. The first failure cancels the others, and is raised when they have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    else:
        return [task.result() for task in tasks]
    # Outside of the handler: the group would be taken for its context.
    raise first
