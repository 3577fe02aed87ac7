"""The client for code without asyncio: the same names, each call returns when it is done.

One background thread runs the event loop of the asynchronous client; calls may come from any thread.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from holdfast.authoring.workflows import Workflow, WorkflowStart
from holdfast.channel.calls import RETRY_FOR_SECONDS
from holdfast.channel.connection import CONNECT_SECONDS
from holdfast.client import Client as AsyncClient
from holdfast.client import History, RunDescription, RunPage
from holdfast.client import RunHandle as AsyncRunHandle
from holdfast.client.loops import new_event_loop
from holdfast.durations import Duration
from holdfast.statuses import RunStatus

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class _Background:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="holdfast-client", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it on the loop and returns what it returns. Interrupting the caller cancels it."""
        if self._loop.is_closed() or threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("this blocking client is closed, or was called from its own event loop")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RunHandle(Generic[R_co]):
    """One run; see holdfast.client.RunHandle, whose methods these are."""

    def __init__(self, background: _Background, handle: AsyncRunHandle[R_co]) -> None:
        self._background = background
        self._handle = handle

    @property
    def run_id(self) -> str:
        """The generated id; asks for it when only a business id is known."""
        if not self._handle.is_resolved:
            self.describe()
        return self._handle.run_id

    @property
    def id(self) -> str | None:
        """The business id; None when the run has none."""
        return self._handle.id

    def __repr__(self) -> str:
        return repr(self._handle)

    def status(self) -> RunStatus:
        return self._background.call(self._handle.status())

    def describe(self) -> RunDescription:
        return self._background.call(self._handle.describe())

    def history(self) -> History:
        return self._background.call(self._handle.history())

    def result(self, timeout: Duration | None = None) -> R_co:
        return self._background.call(self._handle.result(timeout))

    def signal(self, name: str, payload: Any = None, *, once: bool = False) -> bool | None:
        return self._background.call(self._handle.signal(name, payload, once=once))

    def cancel(self, reason: str | None = None, *, wait: bool = False, timeout: Duration | None = None) -> bool:
        return self._background.call(self._handle.cancel(reason, wait=wait, timeout=timeout))

    def terminate(self, reason: str | None = None) -> bool:
        return self._background.call(self._handle.terminate(reason))

    def retry(self) -> "RunHandle[R_co]":
        return RunHandle(self._background, self._background.call(self._handle.retry()))

    def resume(self) -> None:
        self._background.call(self._handle.resume())


class Client:
    """Starts, finds and lists runs; see holdfast.client.Client, whose methods these are."""

    def __init__(self, background: _Background, client: AsyncClient) -> None:
        self._background = background
        self._client = client

    @classmethod
    def connect(
        cls,
        address: str | None = None,
        namespace: str = "default",
        *,
        timeout: Duration | None = CONNECT_SECONDS,
        retry_for: Duration = RETRY_FOR_SECONDS,
    ) -> Self:
        """Connects, in a background thread that `close` ends. Usable as a context manager."""

        async def connect() -> AsyncClient:
            return await AsyncClient.connect(address, namespace, timeout=timeout, retry_for=retry_for)

        background = _Background()
        try:
            return cls(background, background.call(connect()))
        except BaseException:
            background.stop()
            raise

    def close(self) -> None:
        """Closes the connection and ends the thread. May be called twice."""
        try:
            self._background.call(self._client.close())
        except RuntimeError:
            return
        self._background.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @overload
    def start(
        self, workflow: Workflow[P, R] | WorkflowStart[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> RunHandle[R]: ...
    @overload
    def start(self, workflow: str, /, *args: Any, **kwargs: Any) -> RunHandle[Any]: ...
    def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
        return self._blocking(self._background.call(self._client.start(workflow, *args, **kwargs)))

    @overload
    def run(self, workflow: Workflow[P, R] | WorkflowStart[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run(self, workflow: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def run(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        return self._background.call(self._client.run(workflow, *args, **kwargs))

    def start_many(
        self, workflow: Workflow[..., R] | WorkflowStart[..., R] | str, calls: Iterable[Any]
    ) -> "list[RunHandle[R]]":
        handles = self._background.call(self._client.start_many(workflow, list(calls)))
        return [self._blocking(handle) for handle in handles]

    def wait_many(self, runs: "Iterable[RunHandle[R] | str]", *, timeout: Duration | None = None) -> "list[R]":
        plain = [run if isinstance(run, str) else run._handle for run in runs]
        return self._background.call(self._client.wait_many(plain, timeout=timeout))

    @overload
    def get(self, run: str) -> RunHandle[Any]: ...
    @overload
    def get(self, run: str, workflow: Workflow[..., R]) -> RunHandle[R]: ...
    def get(self, run: str, workflow: Workflow[..., Any] | None = None) -> RunHandle[Any]:
        return self._blocking(self._client.get(run) if workflow is None else self._client.get(run, workflow))

    def list(self, **filters: Any) -> RunPage:
        """See holdfast.client.Client.list for the filters."""
        return self._background.call(self._client.list(**filters))

    def _blocking(self, handle: AsyncRunHandle[R]) -> RunHandle[R]:
        return RunHandle(self._background, handle)
