"""Calls outside a run: a step is its plain function, a workflow is plain code. Nothing connects anywhere.

One wrinkle: `async` workflow code awaits every step, so in a workflow that is called as plain code a `def` step
must give something to await. Everywhere else it gives its result at once. A plain `def` workflow runs on a loop of its
own, where its steps, sleeps and time-outs are those of an `async` one.
"""

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from holdfast.definitions.functions import is_awaitable
from holdfast.workflow.styles import Style, in_style, plain_workflow, result_of

_warned: set[str] = set()


class PlainCall(UserWarning):
    """A workflow was called outside a run: it ran as plain code, and nothing of it is durable."""


def is_in_workflow() -> bool:
    """True in workflow code that runs as plain code."""
    return plain_workflow.get() is not None


def warn_of_plain_call(workflow: str) -> None:
    """Warns once in a process for each workflow that is called outside a run."""
    if is_in_workflow() or workflow in _warned:
        return
    _warned.add(workflow)
    warnings.warn(
        f"workflow {workflow} runs as plain code here, and nothing of it is stored; "
        f"start a durable run with `await client.start({workflow}, ...)`, or make calls durable with "
        "`client.as_default()`",
        PlainCall,
        stacklevel=4,
    )


def call_step(function: Callable[..., Any], is_async: bool, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a step call gives outside a run."""
    if not is_in_workflow():
        return function(*args, **kwargs)
    return in_style(call_as_step(function, is_async, args, kwargs))


def run_workflow(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Runs a plain `def` workflow as plain code, to its end; its sleeps sleep, its steps run in this process."""
    import asyncio

    return asyncio.run(call_workflow(function, "blocking", args, kwargs))


async def call_workflow(
    function: Callable[..., Any], style: Style, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Runs workflow code as plain code; its sleeps sleep, its steps run here."""
    before = plain_workflow.set(style)
    try:
        return await (result_of(function, args, kwargs) if style == "blocking" else function(*args, **kwargs))
    finally:
        plain_workflow.reset(before)


async def call_as_step(
    function: Callable[..., Any], is_async: bool, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Calls the function as workflow code calls a step: to be awaited, a plain one in a thread."""
    # A step's own code is not workflow code: the steps it calls are plain functions to it.
    before = plain_workflow.set(None)
    try:
        if is_async:
            return await function(*args, **kwargs)
        value = await _in_thread(partial(function, *args, **kwargs))
        return await value if is_awaitable(value) else value
    finally:
        plain_workflow.reset(before)


async def _in_thread(act: Callable[[], Any]) -> Any:
    """What `act` returns. Who is cancelled meanwhile leaves it running, and leaves no coroutine of it unawaited."""
    # Imported here: a module that defines steps needs neither.
    import asyncio
    import threading

    lock = threading.Lock()
    returned: list[Any] = []
    is_left = False

    def call() -> None:
        value = act()
        with lock:
            if not is_left:
                returned.append(value)
                return
        _close(value)

    try:
        await asyncio.to_thread(call)
    except BaseException:
        with lock:
            is_left = True
        for value in returned:
            _close(value)
        raise
    return returned[0]


def _close(value: Any) -> None:
    if inspect.iscoroutine(value):
        value.close()
