"""The client behind `await order.start(...)`: one per event loop, connected at the first start.

Its address is HOLDFAST_ADDRESS, else localhost:7410; its namespace "default".
"""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from holdfast.authoring.definitions import WorkflowDefinition
from holdfast.authoring.starting import StartOptions
from holdfast.authoring.workflows import WorkflowStart
from holdfast.client.client import Client
from holdfast.client.handle import RunHandle
from holdfast.errors import HoldfastError

_connecting: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Client]]" = WeakKeyDictionary()


async def default_client() -> Client:
    """The default client of the running loop. Concurrent first calls connect once. Raises as Client.connect."""
    loop = asyncio.get_running_loop()
    task = _connecting.get(loop)
    if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
        task = _connecting[loop] = loop.create_task(_connect())
    # Shielded: the one who asked first may go away while others wait for the same connection.
    return await asyncio.shield(task)


async def close_default_client() -> None:
    """Closes the default client of the running loop, if there is one. The next start connects again."""
    task = _connecting.pop(asyncio.get_running_loop(), None)
    if task is None:
        return
    try:
        client = await task
    except HoldfastError:
        # It never connected, as those who asked for it have heard: there is nothing to close.
        return
    await client.close()


async def start_with_default_client(
    definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], options: StartOptions
) -> RunHandle[Any]:
    """What `workflow.start` calls."""
    client = await default_client()
    target: WorkflowStart[..., Any] = WorkflowStart(definition, options)
    return await client.start(target, *args, **kwargs)


async def _connect() -> Client:
    return await Client.connect()
