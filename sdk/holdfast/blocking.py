"""The client for code without asyncio: the same names, each call returns when it is done.

One background thread runs the event loop of the asynchronous client; calls may come from any thread in which no event
loop runs: one would be blocked, with all that runs on it.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from holdfast.authoring.workflows import Workflow, WorkflowStart
from holdfast.channel.connection import CONNECT_SECONDS, ForkedProcess, check_not_forked
from holdfast.channel.repeatable_calls import RETRY_FOR_SECONDS
from holdfast.client import Client as AsyncClient
from holdfast.client import History, RunDescription, RunPage, RunReport
from holdfast.client import RunHandle as AsyncRunHandle
from holdfast.client.loops import new_event_loop
from holdfast.codecs import PayloadCodec, Pickle
from holdfast.durations import Duration
from holdfast.errors import HoldfastError
from holdfast.statuses import RunStatus

if TYPE_CHECKING:
    from holdfast.graphs import Graph

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class ClientClosed(HoldfastError, RuntimeError):
    """The blocking client was closed, before the call or while it waited."""

    def __init__(self) -> None:
        super().__init__("this blocking client is closed; connect another one")


class CalledInEventLoop(HoldfastError, RuntimeError):
    """A blocking client was called where an event loop runs. Nothing was sent."""

    def __init__(self) -> None:
        super().__init__(
            "a blocking client would block the event loop that runs here, with all that runs on it; "
            "use holdfast.Client with await"
        )


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Background:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="holdfast-client", daemon=True)
        self._thread.start()
        self._pid = os.getpid()

    @property
    def is_elsewhere(self) -> bool:
        """True in a forked process, which has everything of this but the thread."""
        return os.getpid() != self._pid

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it on the loop and returns what it returns. Interrupting the caller cancels it.

        Raises ClientClosed after `stop`, also to those who wait at that moment, ForkedProcess in a process that
        was forked meanwhile: the thread stayed in the other one, and CalledInEventLoop.
        """
        if self.is_elsewhere:
            work.close()
            raise ForkedProcess
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a blocking client was called from its own event loop, which it would block for ever")
        if _has_running_loop():
            work.close()
            raise CalledInEventLoop
        # Under the lock: what is handed over after the loop's last turn would never be answered.
        with self._lock:
            if self._stopped:
                work.close()
                raise ClientClosed
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ClientClosed from None
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancels what still runs and ends the thread. May be called twice."""
        if self.is_elsewhere:
            return
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            cancelling = asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop)
        cancelling.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


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

    def report(self) -> RunReport:
        return self._background.call(self._handle.report())

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

    def retry(self, *, from_tasks: Iterable[str] | None = None, graph: "Graph | None" = None) -> "RunHandle[R_co]":
        again = self._handle.retry(from_tasks=from_tasks, graph=graph)
        return RunHandle(self._background, self._background.call(again))

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
        rpc_spans: bool | None = None,
        codecs: "Iterable[PayloadCodec | Pickle]" = (),
    ) -> Self:
        """Connects, in a background thread that `close` ends. Usable as a context manager. Raises ForkedProcess."""

        async def connect() -> AsyncClient:
            return await AsyncClient.connect(
                address, namespace, timeout=timeout, retry_for=retry_for, rpc_spans=rpc_spans, codecs=codecs
            )

        check_not_forked()
        background = _Background()
        try:
            return cls(background, background.call(connect()))
        except BaseException:
            background.stop()
            raise

    def as_default(self) -> Self:
        """Makes this the client of `holdfast.blocking.start` and `holdfast.blocking.run`, in all threads."""
        global _default
        _default = self
        return self

    def close(self) -> None:
        """Closes the connection and ends the thread. May be called twice."""
        global _default
        if _default is self:
            _default = None
        try:
            self._background.call(self._client.close())
        except (ClientClosed, ForkedProcess):
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

    @overload
    def start_many(
        self, workflow: Workflow[..., R] | WorkflowStart[..., R] | str, calls: Iterable[Any]
    ) -> "list[RunHandle[R]]": ...
    @overload
    def start_many(
        self,
        workflow: Workflow[..., R] | WorkflowStart[..., R] | str,
        calls: Iterable[Any],
        *,
        return_exceptions: bool,
    ) -> "list[RunHandle[R] | BaseException]": ...
    def start_many(
        self,
        workflow: Workflow[..., R] | WorkflowStart[..., R] | str,
        calls: Iterable[Any],
        *,
        return_exceptions: bool = False,
    ) -> Any:
        starting = self._client.start_many(workflow, list(calls), return_exceptions=return_exceptions)
        started = self._background.call(starting)
        return [one if isinstance(one, BaseException) else self._blocking(one) for one in started]

    @overload
    def wait_many(self, runs: "Iterable[RunHandle[R] | str]", *, timeout: Duration | None = None) -> "list[R]": ...
    @overload
    def wait_many(
        self, runs: "Iterable[RunHandle[R] | str]", *, timeout: Duration | None = None, return_exceptions: bool
    ) -> "list[R | BaseException]": ...
    def wait_many(
        self,
        runs: Iterable[RunHandle[R] | str],
        *,
        timeout: Duration | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        plain = [run if isinstance(run, str) else run._handle for run in runs]
        return self._background.call(
            self._client.wait_many(plain, timeout=timeout, return_exceptions=return_exceptions)
        )

    def deliver(self, token: str, payload: Any = None, *, request_id: str | None = None) -> None:
        self._background.call(self._client.deliver(token, payload, request_id=request_id))

    @overload
    def get(self, run: str) -> RunHandle[Any]: ...
    @overload
    def get(self, run: str, workflow: Workflow[..., R]) -> RunHandle[R]: ...
    def get(self, run: str, workflow: Workflow[..., Any] | None = None) -> RunHandle[Any]:
        return self._blocking(self._client.get(run) if workflow is None else self._client.get(run, workflow))

    def chain(self, run: "RunHandle[Any] | str") -> RunPage:
        return self._background.call(self._client.chain(run if isinstance(run, str) else run.run_id))

    def list(
        self,
        *,
        workflow: "Workflow[..., Any] | str | None" = None,
        status: "RunStatus | str | Sequence[RunStatus | str] | None" = None,
        metadata: Mapping[str, str] | None = None,
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        text: str | None = None,
        idempotency_key: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> RunPage:
        return self._background.call(
            self._client.list(
                workflow=workflow,
                status=status,
                metadata=metadata,
                started_after=started_after,
                started_before=started_before,
                text=text,
                idempotency_key=idempotency_key,
                limit=limit,
                cursor=cursor,
            )
        )

    def _blocking(self, handle: AsyncRunHandle[R]) -> RunHandle[R]:
        return RunHandle(self._background, handle)


_default: Client | None = None
_default_lock = threading.Lock()


def default_client() -> Client:
    """What `Client.as_default` has named, else a client that connects to HOLDFAST_ADDRESS at the first call."""
    with _default_lock:
        return _default or Client.connect().as_default()


@overload
def start(workflow: Workflow[P, R] | WorkflowStart[P, R], /, *args: P.args, **kwargs: P.kwargs) -> RunHandle[R]: ...
@overload
def start(workflow: str, /, *args: Any, **kwargs: Any) -> RunHandle[Any]: ...
def start(workflow: Any, /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
    """Starts a run with the default client, as `Client.start` does."""
    return default_client().start(workflow, *args, **kwargs)


@overload
def run(workflow: Workflow[P, R] | WorkflowStart[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload
def run(workflow: str, /, *args: Any, **kwargs: Any) -> Any: ...
def run(workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Starts a run with the default client, or joins the one with its id, and waits for its result."""
    return default_client().run(workflow, *args, **kwargs)


@contextlib.contextmanager
def embedded(directory: "str | os.PathLike[str]" = ".holdfast/postgres", **options: Any) -> Iterator[Client]:
    """A coordinator, its Postgres and a worker in this process, without asyncio: `with embedded("./data") as client:`.

    All of it runs in a background thread. Inside the block the client is the default one of `holdfast.blocking`. Takes
    the options of `holdfast.embedded` and raises as that does.
    """
    from holdfast.one_process import Embedded

    check_not_forked()
    background = _Background()
    try:
        closing: list[asyncio.Task[None]] = []

        def failed(_: BaseException) -> None:
            # Whoever waits for a run gets an error; what it was is raised at the end of the block.
            closing.append(asyncio.get_running_loop().create_task(client._client.close()))

        everything = Embedded(os.fspath(directory), **options, on_failure=failed)
        client = Client(background, background.call(everything.__aenter__()))
        before = _default
        client.as_default()
        try:
            yield client
        finally:
            _restore(before)
            background.call(everything.__aexit__(None, None, None))
    finally:
        background.stop()


def _restore(client: Client | None) -> None:
    global _default
    _default = client
