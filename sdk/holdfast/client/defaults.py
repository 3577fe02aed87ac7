"""The client behind `await order.start(...)`: one per event loop, connected at the first start, closed with the loop.

Its address is HOLDFAST_ADDRESS, else localhost:7410; its namespace "default". `Client.as_default` puts another one in
its place, which then also makes `await order(...)` a durable run.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from holdfast.authoring.starter import StartOptions, callers
from holdfast.authoring.workflows import WorkflowStart
from holdfast.client.client import Client
from holdfast.client.handle import RunHandle
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.errors import HoldfastError


@dataclass(slots=True, frozen=True)
class _Default:
    """The client of one loop, and what closes it with the loop: the loop itself refers to that only weakly."""

    connecting: asyncio.Task[Client]
    closing: AsyncGenerator[None]


_defaults: dict[asyncio.AbstractEventLoop, _Default] = {}
_named: dict[asyncio.AbstractEventLoop, Client] = {}


class DefaultClient:
    """What `Client.as_default` returns: with `with` the client is the default one as long as the block runs."""

    def __init__(self, client: Client) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._client = client
        self._before = _named.get(loop)
        _be_default(loop, client)

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, *exc: object) -> None:
        if _named.get(self._loop) is self._client:
            _be_default(self._loop, self._before)


def _be_default(loop: asyncio.AbstractEventLoop, client: Client | None) -> None:
    for ended in [other for other in _named if other.is_closed()]:
        del _named[ended], callers[ended]
    if client is None:
        del _named[loop], callers[loop]
        return
    _named[loop] = client

    async def call(definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target: WorkflowStart[..., Any] = WorkflowStart(definition, StartOptions())
        return await client.run(target, *args, **kwargs)

    callers[loop] = call


def no_longer_default(client: Client) -> None:
    """The client is closed: it is the default of no loop any more."""
    for loop in [loop for loop, named in _named.items() if named is client]:
        del _named[loop], callers[loop]


async def default_client() -> Client:
    """The default client of the running loop. Concurrent first calls connect once. Raises as Client.connect."""
    loop = asyncio.get_running_loop()
    named = _named.get(loop)
    if named is not None:
        return named
    for other in [other for other in _defaults if other.is_closed()]:
        # Closed without the clean-up that asyncio.run does. Without a reference the channel of its client ends too.
        del _defaults[other]
    default = _defaults.get(loop)
    if default is None or _has_failed(default.connecting):
        connecting = loop.create_task(_connect())
        default = _defaults[loop] = _Default(connecting, _until_the_loop_ends(connecting))
        await anext(default.closing)
    # Shielded: the one who asked first may go away while others wait for the same connection.
    return await asyncio.shield(default.connecting)


async def close_default_client() -> None:
    """Closes the default client of the running loop, if there is one. The next start connects again."""
    default = _defaults.pop(asyncio.get_running_loop(), None)
    if default is None or default.connecting.cancelled():
        return
    try:
        client = await default.connecting
    except HoldfastError:
        # It never connected, and the callers have that error: there is nothing to close.
        return
    await client.close()


def _has_failed(connecting: asyncio.Task[Client]) -> bool:
    return connecting.done() and (connecting.cancelled() or connecting.exception() is not None)


async def _until_the_loop_ends(connecting: asyncio.Task[Client]) -> AsyncGenerator[None]:
    """Waits at its yield for what asyncio.run does with all asynchronous generators of its loop: close them."""
    try:
        yield
    finally:
        default = _defaults.get(asyncio.get_running_loop())
        if default is not None and default.connecting is connecting:  # else it was closed, or has failed, before
            await close_default_client()


async def start_with_default_client(
    definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any], options: StartOptions
) -> RunHandle[Any]:
    """What `workflow.start` calls."""
    client = await default_client()
    target: WorkflowStart[..., Any] = WorkflowStart(definition, options)
    return await client.start(target, *args, **kwargs)


async def _connect() -> Client:
    return await Client.connect()


async def start(workflow: Any, /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
    """Starts a run with the default client, as `Client.start` does: `await holdfast.start(order, "o-1")`."""
    return await (await default_client()).start(workflow, *args, **kwargs)
