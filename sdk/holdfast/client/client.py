"""The client: starts runs and finds them. Batches what is concurrent, repeats what got no answer.

Belongs to the event loop that connected it.
"""

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from holdfast.authoring.workflows import Workflow, WorkflowStart
from holdfast.channel.coded_calls import CodedRunCalls
from holdfast.channel.connection import CONNECT_SECONDS, Connection, address_or_default
from holdfast.channel.repeatable_calls import RETRY_FOR_SECONDS
from holdfast.channel.rpc_spans import rpc_spans_or_default
from holdfast.channel.run_calls import RunCalls
from holdfast.channel.run_records import RunFilter, StartedRun
from holdfast.client.call_spans import CallSpan
from holdfast.client.closed_runs import AskedRuns
from holdfast.client.descriptions import RunDescription, RunPage, describe_page
from holdfast.client.handle import Reach, RunHandle, new_request_id
from holdfast.client.result_waits import AwaitedRuns
from holdfast.client.start_batches import StartBatcher
from holdfast.client.start_specs import StartTarget, call_of, start_spec, target_of
from holdfast.client.texts import checked_text
from holdfast.client.value_codecs import NO_CODECS, value_codec
from holdfast.codec import Codec
from holdfast.codecs import CodecChain, PayloadCodec, Pickle
from holdfast.durations import Duration, parse_duration
from holdfast.errors import InvalidRequest
from holdfast.statuses import RunStatus

if TYPE_CHECKING:
    from holdfast.client.defaults import DefaultClient

P = ParamSpec("P")
R = TypeVar("R")

_PAGE_MAX = 1_000


class Connecting:
    """What `Client.connect` returns: await it, or use it with `async with`."""

    def __init__(
        self,
        address: str | None,
        namespace: str,
        *,
        timeout: float | None,
        retry_for: float,
        rpc_spans: bool | None,
        codecs: "Iterable[PayloadCodec | Pickle]",
    ) -> None:
        self._codecs = CodecChain(codecs)
        self._address = address
        self._namespace = namespace
        self._timeout = timeout
        self._retry_for = retry_for
        self._rpc_spans = rpc_spans
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, "Client"]:
        return self._connect().__await__()

    async def __aenter__(self) -> "Client":
        self._client = await self._connect()
        return self._client

    async def __aexit__(self, *exc: object) -> None:
        assert self._client is not None
        await self._client.close()

    async def _connect(self) -> "Client":
        address = address_or_default(self._address)
        rpc_spans = rpc_spans_or_default(self._rpc_spans)
        connection = await Connection.open(address, timeout=self._timeout, rpc_spans=rpc_spans)
        return Client(connection, namespace=self._namespace, codecs=self._codecs, retry_for=self._retry_for)


class Client:
    """Starts, finds and lists the runs of one namespace. `await Client.connect()` makes it.

    Calls that get no answer are repeated for `retry_for` seconds before they raise CoordinatorUnavailable;
    waiting for results goes on as long as it takes. Every mutation carries an id of its own, so a repeat of it
    changes nothing.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str = "default",
        codec: Codec | None = None,
        codecs: CodecChain = NO_CODECS,
        retry_for: float = RETRY_FOR_SECONDS,
    ) -> None:
        self.connection = connection
        self.namespace = namespace
        self.codecs = codecs
        self.codec = codec or value_codec(codecs)
        self._calls = (
            CodedRunCalls(connection, namespace, codecs=codecs, retry_for=retry_for)
            if codecs
            else RunCalls(connection, namespace, retry_for=retry_for)
        )
        self._starts = StartBatcher(self._calls.start_runs)
        self._awaited = AwaitedRuns(self._calls.wait_runs)
        self._reach = Reach(self._calls, self._awaited, AskedRuns(self._calls.closed_runs), self.codec, namespace)

    @staticmethod
    def connect(
        address: str | None = None,
        namespace: str = "default",
        *,
        timeout: Duration | None = CONNECT_SECONDS,
        retry_for: Duration = RETRY_FOR_SECONDS,
        rpc_spans: bool | None = None,
        codecs: "Iterable[PayloadCodec | Pickle]" = (),
    ) -> Connecting:
        """Connects: `client = await Client.connect()`, or `async with Client.connect() as client`.

        address: "host:port"; else HOLDFAST_ADDRESS, else localhost:7410. timeout: how long to try; None does not
        check, the first call connects. rpc_spans: makes OpenTelemetry spans of single rpcs too, here and in the
        workers of this client; else HOLDFAST_RPC_SPANS, else not. codecs: what all values go through, in this order;
        see `holdfast.codecs`. Raises InvalidRequest for a malformed address and CoordinatorUnavailable.
        """
        return Connecting(
            address,
            namespace,
            timeout=None if timeout is None else parse_duration(timeout).total_seconds(),
            retry_for=parse_duration(retry_for).total_seconds(),
            rpc_spans=rpc_spans,
            codecs=codecs,
        )

    async def close(self) -> None:
        """Closes the connection. Who still waits for something of this client gets an error."""
        from holdfast.client.defaults import no_longer_default

        no_longer_default(self)
        self._starts.close()
        self._awaited.close()
        await self.connection.close()

    def as_default(self) -> "DefaultClient":
        """Makes this the default client of the running event loop; with `with`, as long as the block runs.

        Calls of workflows outside a run are durable then: `await order("o-1")` starts a run, or joins the one with the
        same id, and waits for its result. `order.start(...)` and `holdfast.start(order, ...)` use this client.
        """
        from holdfast.client.defaults import DefaultClient

        return DefaultClient(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @overload
    async def start(
        self, workflow: Workflow[P, R] | WorkflowStart[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> RunHandle[R]: ...
    @overload
    async def start(self, workflow: str, /, *args: Any, **kwargs: Any) -> RunHandle[Any]: ...
    async def start(self, workflow: Any, /, *args: Any, **kwargs: Any) -> RunHandle[Any]:
        """Starts a run; returns when the start is committed. An open run with the same id is joined.

        workflow: the workflow, `order.with_options(id="o-1")`, or a name. Raises ArgumentsRejected and the other
        errors of arguments before anything is sent, and RunConflict, RunAlreadyStarted, WorkflowNotRegistered.
        """
        return await self._start(target_of(workflow), args, kwargs)

    @overload
    async def run(self, workflow: Workflow[P, R] | WorkflowStart[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run(self, workflow: str, /, *args: Any, **kwargs: Any) -> Any: ...
    async def run(self, workflow: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Starts a run, or joins the one with the same id, and returns its result; see `RunHandle.result`."""
        handle = await self._start(target_of(workflow), args, kwargs)
        return await handle.result()

    @overload
    async def start_many(
        self, workflow: "Workflow[..., R] | WorkflowStart[..., R] | str", calls: Iterable[Any]
    ) -> list[RunHandle[R]]: ...
    @overload
    async def start_many(
        self,
        workflow: "Workflow[..., R] | WorkflowStart[..., R] | str",
        calls: Iterable[Any],
        *,
        return_exceptions: bool,
    ) -> list[RunHandle[R] | BaseException]: ...
    async def start_many(
        self,
        workflow: "Workflow[..., R] | WorkflowStart[..., R] | str",
        calls: Iterable[Any],
        *,
        return_exceptions: bool = False,
    ) -> Any:
        """Starts one run per call; returns their handles in order.

        calls: a tuple holds positional arguments, a mapping named ones, anything else is the only argument.
        return_exceptions: a refused start leaves its error in the list; else the first error is raised, and the
        other runs are started all the same.
        """
        target = target_of(workflow)
        handles: list[Any] = []
        with CallSpan("start runs", self.namespace, workflow=target.definition.name) as span:
            trace = span.trace
            specs = [start_spec(target, *call_of(given), self.codec, trace=trace) for given in calls]
            outcomes = await asyncio.gather(*map(self._starts.start, specs), return_exceptions=True)
            for outcome in outcomes:
                if not isinstance(outcome, BaseException):
                    handles.append(self._handle(outcome, target))
                elif return_exceptions:
                    handles.append(outcome)
                else:
                    raise outcome
        return handles

    @overload
    async def wait_many(self, runs: Iterable[RunHandle[R] | str], *, timeout: Duration | None = None) -> list[R]: ...
    @overload
    async def wait_many(
        self, runs: Iterable[RunHandle[R] | str], *, timeout: Duration | None = None, return_exceptions: bool
    ) -> list[R | BaseException]: ...
    async def wait_many(
        self,
        runs: Iterable[RunHandle[R] | str],
        *,
        timeout: Duration | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """The results of many runs, in order, in few calls; see `RunHandle.result`.

        return_exceptions: a run that did not complete leaves its error in the list; else the first one is raised.
        """
        handles = [self.get(run) if isinstance(run, str) else run for run in runs]
        waits = [asyncio.ensure_future(handle.result(timeout)) for handle in handles]
        try:
            return await asyncio.gather(*waits, return_exceptions=return_exceptions)
        finally:
            # After the first error the other results have no reader: without this they were awaited on, unseen.
            for wait in waits:
                wait.cancel()

    @overload
    def get(self, run: str) -> RunHandle[Any]: ...
    @overload
    def get(self, run: str, workflow: Workflow[..., R]) -> RunHandle[R]: ...
    def get(self, run: str, workflow: Workflow[..., Any] | None = None) -> RunHandle[Any]:
        """The handle of a run by its run id or business id, without asking; `await` it to check that it exists.

        workflow: types the result.
        """
        if not run:
            raise InvalidRequest("run", "is empty; give a run id or a business id")
        checked_text("run", run)
        hint = Any if workflow is None else workflow.definition.signature.result
        return RunHandle(self._reach, run, result_hint=hint)

    async def chain(self, run: RunHandle[Any] | str) -> RunPage:
        """The runs of a chain, of which each continued as the next, oldest first; one run where there is no chain.

        run: any of them, by its handle, run id or business id. A retry of one of them is in the chain too.
        """
        name = run if isinstance(run, str) else run.run_id
        if not name:
            raise InvalidRequest("run", "is empty; give a run id or a business id")
        which, cursor = RunFilter(chain=checked_text("run", name)), ""
        newest_first: tuple[RunDescription, ...] = ()
        while True:
            page = await self._calls.list_runs(which, page_size=_PAGE_MAX, cursor=cursor)
            newest_first += describe_page(page, self.codec).runs
            cursor = page.next_cursor
            if not cursor:
                return RunPage(newest_first[::-1], None)

    async def deliver(self, token: str, payload: Any = None, *, request_id: str | None = None) -> None:
        """Delivers to the hook that this token was made for; returns when it is committed. See `holdfast.hook`.

        request_id: of who calls, at most 200 characters: calls with the same one are one delivery, and get its answer.
        Raises HookNotFound, HookAlreadyReceived, HookExpired, ArgumentsRejected for a payload that does not fit, and
        InvalidRequest for what is no token.
        """
        checked_text("token", token)
        encoded = None if payload is None else self._reach.codec.encode(payload, what="the payload for a hook")
        with CallSpan("deliver", self.namespace) as span:
            await self._reach.calls.deliver(token, encoded, request_id=request_id or new_request_id(), trace=span.trace)

    async def list(
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
        """A page of runs, newest first, without their arguments and results.

        status: one or several. text: part of the id, run id or workflow. limit: 1 to 1,000. cursor: of the page
        before. Runs that start meanwhile never appear twice.
        """
        if not 1 <= limit <= _PAGE_MAX:
            raise InvalidRequest("limit", f"is {limit}; it must be from 1 to {_PAGE_MAX:,}")
        name = workflow if isinstance(workflow, str) else workflow.name if workflow else ""
        which = RunFilter(
            workflow=checked_text("workflow", name),
            statuses=_statuses(status),
            metadata={
                checked_text("metadata", key): checked_text("metadata", value)
                for key, value in (metadata or {}).items()
            },
            started_after=_aware(started_after),
            started_before=_aware(started_before),
            text=checked_text("text", text or ""),
            idempotency_key=checked_text("idempotency_key", idempotency_key or ""),
        )
        page = await self._calls.list_runs(which, page_size=limit, cursor=checked_text("cursor", cursor or ""))
        return describe_page(page, self.codec)

    async def _start(self, target: StartTarget, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> RunHandle[Any]:
        with CallSpan("start run", self.namespace, workflow=target.definition.name) as span:
            started = await self._starts.start(start_spec(target, args, kwargs, self.codec, trace=span.trace))
            span.started(started.run_id, started.id)
        return self._handle(started, target)

    def _handle(self, run: StartedRun, target: StartTarget) -> RunHandle[Any]:
        return RunHandle(
            self._reach, run.run_id, run_id=run.run_id, id=run.id or None, attached=run.attached,
            result_hint=target.definition.signature.result,
        )  # fmt: skip


def _statuses(given: "RunStatus | str | Sequence[RunStatus | str] | None") -> tuple[RunStatus, ...]:
    if given is None:
        return ()
    try:
        return tuple(RunStatus(one) for one in ([given] if isinstance(given, str) else given))
    except ValueError as error:
        known = ", ".join(RunStatus)
        raise InvalidRequest("status", f"{error}; the statuses are {known}") from None


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
