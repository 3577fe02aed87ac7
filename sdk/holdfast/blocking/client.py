"""The client for code without asyncio: the same names, each call returns when it is done.

One background thread runs the event loop of the asynchronous client; calls may come from any thread in which no event
loop runs: one would be blocked, with all that runs on it.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, overload

from holdfast.authoring.starter import StartOptions, set_blocking_caller
from holdfast.authoring.workflows import Workflow, WorkflowStart
from holdfast.blocking.background import BackgroundLoop, ClientClosed
from holdfast.channel.connection import CONNECT_SECONDS, ForkedProcess, check_not_forked
from holdfast.channel.repeatable_calls import RETRY_FOR_SECONDS
from holdfast.client import Client as AsyncClient
from holdfast.client import History, RunDescription, RunPage, RunReport
from holdfast.client import RunHandle as AsyncRunHandle
from holdfast.codecs import PayloadCodec, Pickle
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.durations import Duration
from holdfast.statuses import RunStatus

if TYPE_CHECKING:
    from holdfast.graphs import Graph

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


class RunHandle(Generic[R_co]):
    """One run; see holdfast.client.RunHandle, whose methods these are."""

    def __init__(self, background: BackgroundLoop, handle: AsyncRunHandle[R_co]) -> None:
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

    @overload
    def get(self, key: str, type: type[T]) -> T: ...
    @overload
    def get(self, key: str, type: Any = Any) -> Any: ...
    def get(self, key: str, type: Any = Any) -> Any:
        return self._background.call(self._handle.get(key, type))

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

    def __init__(self, background: BackgroundLoop, client: AsyncClient) -> None:
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
        background = BackgroundLoop()
        try:
            return cls(background, background.call(connect()))
        except BaseException:
            background.stop()
            raise

    @property
    def asynchronous(self) -> AsyncClient:
        """The client behind this one; its calls belong to the background thread."""
        return self._client

    def as_default(self) -> Self:
        """Makes this the client of `holdfast.blocking.start` and `holdfast.blocking.run`, in all threads.

        Calls of plain `def` workflows outside of runs are durable runs then, which are waited for.
        """
        restore_default(self)
        return self

    def close(self) -> None:
        """Closes the connection and ends the thread. May be called twice."""
        if _default is self:
            restore_default(None)
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


def named_client() -> Client | None:
    """What `Client.as_default` has named; None where it has not."""
    return _default


def restore_default(client: Client | None) -> None:
    """Makes this the default client again, or none."""
    global _default
    _default = client
    set_blocking_caller(None if client is None else _call)


def _call(definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a call of a plain `def` workflow becomes where a client is the default one."""
    target: WorkflowStart[..., Any] = WorkflowStart(definition, StartOptions())
    return default_client().run(target, *args, **kwargs)
