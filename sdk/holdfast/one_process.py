"""Everything in one process: a coordinator with a Postgres of its own, a worker, and a client.

The same engine and the same durability as in many processes: what was begun goes on when the program is started again.
The coordinator is found by its entry point, so that the SDK needs nothing of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from holdfast.authoring.discovery import discover
from holdfast.client import Client
from holdfast.codecs import PayloadCodec, Pickle
from holdfast.durations import Duration
from holdfast.errors import HoldfastError
from holdfast.statuses import RunStatus
from holdfast.worker import Worker
from holdfast.worker.attempts import NO_DEPS
from holdfast.worker.guards import Guards
from holdfast.worker.registration import Given

SERVERS = "holdfast.servers"
"""The group of entry points in which the coordinator is found."""
_PAGE = 1_000


class Served(Protocol):
    """A coordinator that serves at an address; `failed` ends with an error when it cannot go on."""

    address: str
    failed: asyncio.Future[None]


Serve = Callable[[Path], AbstractAsyncContextManager[Served]]
"""Serves with its data in a directory, as long as the block runs."""


class ServerMissing(HoldfastError):
    """The coordinator is not installed, so it cannot run in this process."""

    def __init__(self) -> None:
        super().__init__(
            "a coordinator in this process needs the server, which is not installed: pip install 'holdfast[server]'"
        )


class Embedded:
    """Made by `holdfast.embedded`; `async with` gives the client, which is the default one inside of the block.

    on_failure: called when the coordinator or the worker has ended by itself; by default the block is cancelled and
    raises what it was.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        modules: Iterable[str] = (),
        workflows: Iterable[Given] = (),
        steps: Iterable[Given] = (),
        deps: Any = NO_DEPS,
        concurrency: int = 100,
        retry_failed: bool = False,
        drain_timeout: Duration = "5s",
        guards: Guards = "on",
        codecs: "Iterable[PayloadCodec | Pickle]" = (),
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._directory = Path(directory)
        self._workflows = list(workflows)
        self._steps = list(steps)
        targets = list(modules)
        if targets or not (self._workflows or self._steps):
            found = discover(targets or ["__main__"])
            self._workflows += found.workflows
            self._steps += found.steps
        self._options: dict[str, Any] = {
            "deps": deps, "max_steps": concurrency, "drain_timeout": drain_timeout, "guards": guards,
        }  # fmt: skip
        self._codecs = list(codecs)
        self._retry_failed = retry_failed
        self._on_failure = on_failure
        self._failure: BaseException | None = None
        self._body: asyncio.Task[Any] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Client:
        serve = _server()
        async with AsyncExitStack() as stack:
            served = await stack.enter_async_context(serve(self._directory))
            client = await stack.enter_async_context(Client.connect(served.address, codecs=self._codecs))
            if self._retry_failed:
                await retry_failed_runs(client)
            self._body = asyncio.current_task()
            served.failed.add_done_callback(self._ended)
            stack.callback(served.failed.remove_done_callback, self._ended)
            await stack.enter_async_context(self._working(client))
            stack.enter_context(client.as_default())
            self._stack = stack.pop_all()
        return client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        if self._failure is not None and isinstance(error, asyncio.CancelledError | None):
            if self._body is not None and self._on_failure is None and error is not None:
                self._body.uncancel()
            raise self._failure

    @contextlib.asynccontextmanager
    async def _working(self, client: Client) -> AsyncIterator[None]:
        """The worker, as long as the block runs. The program around it has the signals."""
        worker = Worker(client, workflows=self._workflows, steps=self._steps, handle_signals=False, **self._options)
        running = asyncio.create_task(worker.run())
        ready = asyncio.create_task(worker.ready())
        try:
            await asyncio.wait((running, ready), return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running
            running.add_done_callback(self._ended)
            yield
        finally:
            running.remove_done_callback(self._ended)
            ready.cancel()
            worker.drain()
            await asyncio.gather(running, ready, return_exceptions=True)

    def _ended(self, part: "asyncio.Future[None]") -> None:
        """The coordinator or the worker has ended, and nobody has asked it to: runs would wait for ever."""
        if self._failure is not None:
            return  # the block is being left for what ended first; cancelled twice, its task would stay cancelled
        error = None if part.cancelled() else part.exception()
        self._failure = error or HoldfastError("the worker of this process has ended by itself")
        if self._on_failure is not None:
            self._on_failure(self._failure)
        elif self._body is not None:
            self._body.cancel()


def embedded(
    directory: str | Path = ".holdfast/postgres",
    *,
    modules: Iterable[str] = (),
    workflows: Iterable[Given] = (),
    steps: Iterable[Given] = (),
    deps: Any = NO_DEPS,
    concurrency: int = 100,
    retry_failed: bool = False,
    drain_timeout: Duration = "5s",
    guards: Guards = "on",
    codecs: "Iterable[PayloadCodec | Pickle]" = (),
) -> Embedded:
    """A coordinator, its Postgres and a worker in this process: `async with holdfast.embedded("./data") as client:`.

    Runs that were not finished when a process before this one ended, however it ended, go on. Inside the block the
    client is the default one: `await order("o-1")` is a durable run that is waited for, and `order.start` starts one.

    directory: of the data; one process has it at a time. modules: as `holdfast worker` takes them, "shop.flows" or
    "shop.flows:app"; workflows, steps: as a Worker takes them; without any of these, what the main module defines.
    deps, concurrency, guards, codecs: as of a Worker. retry_failed: runs that have failed and were not retried go on at
    the failed step. drain_timeout: how long the end of the block waits for running steps; what is left goes on at the
    next start.
    Raises ServerMissing without the extra `server`, ModuleNotLoaded, and errors that say why Postgres cannot start.
    """
    return Embedded(
        directory,
        modules=modules,
        workflows=workflows,
        steps=steps,
        deps=deps,
        concurrency=concurrency,
        retry_failed=retry_failed,
        drain_timeout=drain_timeout,
        guards=guards,
        codecs=codecs,
    )


async def retry_failed_runs(client: Client) -> int:
    """Retries the failed runs that no other run continues; how many."""
    failed = [run.run_id async for run in _all_runs(client, status=RunStatus.FAILED)]
    if not failed:
        return 0
    continued = {run.origin_run_id async for run in _all_runs(client)}
    left = [run_id for run_id in failed if run_id not in continued]
    for run_id in reversed(left):  # the oldest first
        await client.get(run_id).retry()
    return len(left)


async def _all_runs(client: Client, **filters: Any) -> AsyncIterator[Any]:
    cursor = None
    while True:
        page = await client.list(limit=_PAGE, cursor=cursor, **filters)
        for run in page:
            yield run
        cursor = page.next_cursor
        if cursor is None:
            return


def _server() -> Serve:
    for found in entry_points(group=SERVERS, name="embedded"):
        try:
            serve: Serve = found.load()
        except ModuleNotFoundError as error:
            raise ServerMissing from error
        return serve
    raise ServerMissing
