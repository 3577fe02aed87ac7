"""A run that was started or found: wait for it, look at it, steer it. Holds no state of the run itself."""

import asyncio
import os
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload
from uuid import uuid4

from holdfast import ids
from holdfast.channel.run_calls import RunCalls
from holdfast.channel.run_records import ClosedRun
from holdfast.client.call_spans import CallSpan
from holdfast.client.closed_runs import AskedRuns
from holdfast.client.descriptions import RunDescription, describe
from holdfast.client.history import History, HistoryEntry
from holdfast.client.reports import RunReport, report_of
from holdfast.client.result_waits import AwaitedRuns
from holdfast.client.texts import checked_text
from holdfast.codec import Codec
from holdfast.codec.failures import as_run_failed
from holdfast.durations import Duration, parse_duration
from holdfast.errors import InvalidRequest
from holdfast.journal import Arguments
from holdfast.statuses import RunStatus

if TYPE_CHECKING:
    from holdfast.graphs import Graph

Result = TypeVar("Result", covariant=True)
T = TypeVar("T")

ANSWER_SECONDS = 1.0
"""Who waits for less may have no answer from the coordinator yet when the time has passed, and asks once more."""


@dataclass(slots=True, frozen=True)
class Reach:
    """What a handle needs of its client."""

    calls: RunCalls
    awaited: AwaitedRuns
    asked: AskedRuns
    codec: Codec
    namespace: str


class RunHandle(Generic[Result]):
    """One run, by its run id or business id. `client.start` returns it, and `client.get` without a call.

    `await client.get("order-1")` also checks that the run exists, and fills in `run_id` and `id`.
    """

    __slots__ = ("_attached", "_closed", "_hint", "_id", "_reach", "_run", "_run_id")

    def __init__(
        self, reach: Reach, run: str, *, run_id: str | None = None, id: str | None = None, result_hint: Any = Any,
        attached: bool = False,
    ) -> None:  # fmt: skip
        """run: the run id or business id to ask with. result_hint: what `result` decodes to. attached: see there."""
        self._reach = reach
        self._run = run
        self._run_id = run if run_id is None and ids.is_run_id(run) else run_id
        self._id = id if id or ids.is_run_id(run) else run
        self._hint = result_hint
        self._closed: ClosedRun | None = None
        self._attached = attached

    @property
    def attached(self) -> bool:
        """True when the start that gave this handle joined a run that was there already."""
        return self._attached

    @property
    def run_id(self) -> str:
        """The generated id. Raises InvalidRequest while only a business id is known: await the handle first."""
        if self._run_id is None:
            raise InvalidRequest("run_id", f"is not known yet for {self._run!r}; use `await client.get(...)`")
        return self._run_id

    @property
    def is_resolved(self) -> bool:
        """True when the run id is known."""
        return self._run_id is not None

    @property
    def id(self) -> str | None:
        """The business id; None when the run has none, or when the handle was made from a run id only."""
        return self._id

    def __repr__(self) -> str:
        return f"<RunHandle {self._run_id or '?'}{f' id={self._id!r}' if self._id else ''}>"

    def __await__(self) -> Generator[Any, None, Self]:
        return self._found().__await__()

    async def status(self) -> RunStatus:
        """Where the run is in its life. Raises RunNotFound, as everything here does for an unknown run."""
        return (await self._reach.calls.get_run(self._asked)).status

    async def describe(self) -> RunDescription:
        """What is known of the run."""
        record = await self._reach.calls.get_run(self._asked)
        self._run_id, self._id = record.run_id, record.id or None
        return describe(record, self._reach.codec)

    async def history(self) -> History:
        """The journal of the run, all of it."""
        entries: list[HistoryEntry] = []
        arguments = Arguments()
        more = True
        while more:
            page = await self._reach.calls.get_history(self._asked, after=len(entries))
            if not entries:
                arguments = page.arguments
            entries += [HistoryEntry(number, epoch, entry) for number, epoch, entry in page.entries]
            more = page.more and bool(page.entries)
        return History(self._run_id or self._run, arguments, tuple(entries))

    async def report(self) -> RunReport:
        """How each task of the run stands, that is each of its steps, as its journal says."""
        run = await self.describe()
        return report_of(run, await self.history(), self._reach.codec)

    async def result(self, timeout: Duration | None = None) -> Result:
        """What the workflow returned; of a run that continues as new, what the last run of its chain returned.

        Raises RunFailed, RunCancelled or RunTimedOut with the original type, text and traceback, and
        TimeoutError when `timeout` passes first; the run then goes on. While the coordinator is away, it waits.
        timeout: 0 asks once whether the run is closed.
        """
        closed = await self._closing(timeout)
        if closed.status is not RunStatus.COMPLETED:
            raise as_run_failed(closed.run_id, closed.status, closed.failure)
        if closed.result is None:
            return cast(Result, None)
        value = self._reach.codec.decode(closed.result, self._hint, what=f"the result of run {closed.run_id}")
        return cast(Result, value)

    @overload
    async def get(self, key: str, type: type[T]) -> T: ...
    @overload
    async def get(self, key: str, type: Any = Any) -> Any: ...
    async def get(self, key: str, type: Any = Any) -> Any:
        """What the code of the run has published last under this key, as `type`; also when the run is closed.

        Raises KeyNotPublished when it has published nothing under it, or not yet.
        """
        payload = await self._reach.calls.get_published(self._asked, checked_text("key", key))
        return self._reach.codec.decode(payload, type, what=f"what run {self._asked} has published as {key!r}")

    async def signal(self, name: str, payload: Any = None, *, once: bool = False) -> bool | None:
        """Sends a signal; returns when it is committed. Signals of one name arrive in the order of sending.

        once: only the first signal of this name counts, and the answer says whether this was it; else None.
        Raises RunAlreadyClosed.
        """
        checked_text("signal.name", name)
        encoded = None
        if payload is not None:
            encoded = self._reach.codec.encode(payload, what=f"the payload of signal {name}")
        with self._span("signal") as span:
            accepted = await self._reach.calls.signal(
                self._asked, name, encoded, request_id=new_request_id(), once=once, trace=span.trace
            )
        return accepted if once else None

    async def cancel(self, reason: str | None = None, *, wait: bool = False, timeout: Duration | None = None) -> bool:
        """Asks the run to end; its code may clean up first. False when it was already closed.

        wait: return only when the run is closed; raises TimeoutError when `timeout` passes first.
        """
        text = checked_text("reason", reason or "")
        with self._span("cancel"):
            accepted = await self._reach.calls.cancel(self._asked, text, request_id=new_request_id())
        if wait and accepted:
            await self._closing(timeout)
        return accepted

    async def terminate(self, reason: str | None = None) -> bool:
        """Ends the run at once, without asking its code. False when it was already closed."""
        text = checked_text("reason", reason or "")
        with self._span("terminate"):
            return await self._reach.calls.terminate(self._asked, text, request_id=new_request_id())

    async def retry(
        self, *, from_tasks: Iterable[str] | None = None, graph: "Graph | None" = None
    ) -> "RunHandle[Result]":
        """A new run that continues this one at the failed step and takes over its id.

        from_tasks: of a run of a graph: these tasks run again, and all that depends on them, and what failed or was
        skipped; the others keep their results. A completed run can be continued so too. graph: whose tasks they are; it
        knows what depends on what.
        Raises RunNotRetryable unless it failed, timed out, was cancelled or terminated, RunAlreadyStarted while another
        run has its id and is open, and InvalidGraph for a name that is no task, with the nearest one.
        """
        again: tuple[str, ...] = ()
        if from_tasks is not None:
            if graph is None:
                problem = "is needed to know what depends on from_tasks: retry(from_tasks=[...], graph=g)"
                raise InvalidRequest("graph", problem)
            again = graph.from_tasks(from_tasks)
        elif graph is not None:
            raise InvalidRequest("from_tasks", "names the tasks that run again; leave graph out without it")
        with self._span("retry"):
            started = await self._reach.calls.retry(self._asked, start_id=new_start_id(), again=again)
        return RunHandle(
            self._reach, started.run_id, run_id=started.run_id, id=started.id or None, result_hint=self._hint
        )

    async def resume(self) -> None:
        """Offers a stalled run to workers again, whatever their build. Raises RunNotStalled."""
        with self._span("resume"):
            await self._reach.calls.resume(self._asked, request_id=new_request_id())

    @property
    def _asked(self) -> str:
        return self._run_id or self._run

    def _span(self, name: str) -> CallSpan:
        return CallSpan(name, self._reach.namespace, run_id=self._run_id or "", id=self._id or "")

    async def _found(self) -> Self:
        await self.describe()
        return self

    async def _closing(self, timeout: Duration | None) -> ClosedRun:
        if self._closed is None:
            seconds = None if timeout is None else parse_duration(timeout).total_seconds()
            try:
                async with asyncio.timeout(seconds):
                    if self._run_id is None:
                        await self.describe()
                    closed = await self._reach.awaited.closed(self.run_id)
                    while closed.newest_run_id:
                        closed = await self._reach.awaited.closed(closed.newest_run_id)
                    self._closed = closed
            except TimeoutError:
                assert seconds is not None
                if seconds < ANSWER_SECONDS:
                    # No time for an answer, which may be that it has long been closed.
                    self._closed = await self._closed_now()
                if self._closed is None:
                    raise TimeoutError(f"run {self._asked} is still open after {seconds:g} s; it goes on") from None
        return self._closed

    async def _closed_now(self) -> ClosedRun | None:
        if self._run_id is None:
            await self.describe()
        closed = await self._reach.asked.closed(self.run_id)
        while closed is not None and closed.newest_run_id:
            closed = await self._reach.asked.closed(closed.newest_run_id)
        return closed


def new_start_id() -> str:
    """A start id for now."""
    return ids.start_id(time.time_ns() // 1_000_000, os.urandom(10))


def new_request_id() -> str:
    return uuid4().hex
