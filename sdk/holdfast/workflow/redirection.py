"""How workflow code comes to the runtime's own combinators and primitives: asyncio's functions lead there.

Outside workflow code asyncio's own run.
"""

import asyncio
import inspect
from asyncio import events
from collections.abc import Callable
from types import FunctionType
from typing import Any

from holdfast.workflow.combinators import (
    as_completed,
    create_in_group,
    gather,
    leave_group,
    wait,
    wait_for,
    wrap_future,
)
from holdfast.workflow.synchronization import (
    acquire_semaphore,
    is_locked,
    notify_condition,
    release_semaphore,
    wait_for_condition,
)


def replace_in_asyncio(loop_class: type) -> None:
    """Let asyncio's own functions lead here when a loop of this class runs; everywhere else they do what they did.

    The functions are changed in place: a module that did `from asyncio import gather` long ago has them too.
    """
    replaced: list[tuple[Any, dict[str, Callable[..., Any]]]] = [
        (asyncio.tasks, {"gather": gather, "as_completed": as_completed, "wait_for": wait_for, "wait": wait}),
        (asyncio.futures, {"wrap_future": wrap_future}),
        (asyncio.TaskGroup, {"__aexit__": leave_group, "create_task": create_in_group}),
        (asyncio.Semaphore, {"acquire": acquire_semaphore, "locked": is_locked, "release": release_semaphore}),
        (asyncio.Condition, {"wait": wait_for_condition, "notify": notify_condition}),
    ]
    for owner, functions in replaced:
        for name, ours in functions.items():
            _redirect(getattr(owner, name), ours, loop_class)


def _either(*args: Any, _loop_class: Any, _running: Any, _ours: Any, _plain: Any, **kwargs: Any) -> Any:
    return (_ours if _running().__class__ is _loop_class else _plain)(*args, **kwargs)


async def _either_awaited(*args: Any, _loop_class: Any, _running: Any, _ours: Any, _plain: Any, **kwargs: Any) -> Any:
    return await (_ours if _running().__class__ is _loop_class else _plain)(*args, **kwargs)


def _redirect(function: Any, ours: Callable[..., Any], loop_class: type) -> None:
    plain: Any = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    plain.__kwdefaults__ = function.__kwdefaults__
    plain.__qualname__ = function.__qualname__
    function.__wrapped__ = plain  # what inspect.signature shows
    either = _either_awaited if inspect.iscoroutinefunction(function) else _either
    function.__code__ = either.__code__
    function.__defaults__ = None
    function.__kwdefaults__ = {
        "_loop_class": loop_class,
        "_running": events._get_running_loop,
        "_ours": ours,
        "_plain": plain,
    }
