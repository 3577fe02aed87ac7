"""The calls of clients and workers, with payload codecs on both sides of the wire.

What is sent is encoded, what comes is decoded: nothing in the process but this sees encoded values, and nothing plain
leaves it. A codec that does I/O is called in a thread.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from holdfast.channel.connection import Connection
from holdfast.channel.leases import (
    AttemptReport,
    Held,
    JournalBeginning,
    JournalPage,
    Lease,
    ProgressReport,
    ProgressResult,
    ReportAnswer,
    Transition,
    Work,
)
from holdfast.channel.repeatable_calls import RETRY_FOR_SECONDS
from holdfast.channel.run_calls import RunCalls
from holdfast.channel.run_records import (
    ClosedRun,
    HistoryPage,
    RunFilter,
    RunRecord,
    RunRecordPage,
    StartOutcome,
    StartSpec,
)
from holdfast.channel.worker_calls import WorkerCalls
from holdfast.codecs.chain import CodecChain
from holdfast.errors import CoordinatorUnavailable, HoldfastError
from holdfast.journal import Payload, TraceContext

log = logging.getLogger("holdfast.codecs")

T = TypeVar("T")


class CodecFailed(HoldfastError):
    """A payload codec raised an error. Nothing was sent."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"a payload codec failed with {type(error).__name__}: {error}")


class PayloadStoreAway(CoordinatorUnavailable):
    """The store of a payload codec cannot be reached now. The call may be repeated; workers repeat it by themselves."""

    def __init__(self, error: OSError) -> None:
        super().__init__("", is_reached=True)
        self.args = (f"the store of a payload codec cannot be reached: {type(error).__name__}: {error}",)


async def _encoded(codecs: CodecChain, value: T) -> T:
    return await _applied(codecs, codecs.encoded, value)


async def _decoded(codecs: CodecChain, value: T) -> T:
    return await _applied(codecs, codecs.decoded, value)


async def _applied(codecs: CodecChain, act: Callable[[T], T], value: T) -> T:
    try:
        return await asyncio.to_thread(act, value) if codecs.blocks else act(value)
    except HoldfastError:
        raise
    except OSError as error:
        log.error("a store of payloads cannot be reached: %s", error)
        raise PayloadStoreAway(error) from error
    except Exception as error:
        raise CodecFailed(error) from error


class CodedRunCalls(RunCalls):
    """RunCalls of a client that has codecs."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        *,
        codecs: CodecChain,
        retry_for: float | None = RETRY_FOR_SECONDS,
    ) -> None:
        super().__init__(connection, namespace, retry_for=retry_for)
        self._codecs = codecs

    async def start_runs(self, starts: Sequence[StartSpec]) -> list[StartOutcome]:
        return await super().start_runs(await _encoded(self._codecs, tuple(starts)))

    async def get_run(self, run: str) -> RunRecord:
        return await _decoded(self._codecs, await super().get_run(run))

    async def list_runs(self, which: RunFilter, *, page_size: int, cursor: str = "") -> RunRecordPage:
        return await _decoded(self._codecs, await super().list_runs(which, page_size=page_size, cursor=cursor))

    async def wait_runs(self, run_ids: Collection[str]) -> list[ClosedRun]:
        return list(await _decoded(self._codecs, tuple(await super().wait_runs(run_ids))))

    async def closed_runs(self, run_ids: Collection[str]) -> list[ClosedRun]:
        return list(await _decoded(self._codecs, tuple(await super().closed_runs(run_ids))))

    async def get_history(self, run: str, *, after: int = 0) -> HistoryPage:
        return await _decoded(self._codecs, await super().get_history(run, after=after))

    async def get_published(self, run: str, key: str) -> Payload:
        return await _decoded(self._codecs, await super().get_published(run, key))

    async def signal(
        self,
        run: str,
        name: str,
        payload: Payload | None,
        *,
        request_id: str,
        once: bool,
        trace: TraceContext | None = None,
    ) -> bool:
        encoded = await _encoded(self._codecs, payload)
        return await super().signal(run, name, encoded, request_id=request_id, once=once, trace=trace)

    async def deliver(
        self, token: str, payload: Payload | None, *, request_id: str, trace: TraceContext | None = None
    ) -> None:
        await super().deliver(token, await _encoded(self._codecs, payload), request_id=request_id, trace=trace)


class CodedWorkerCalls(WorkerCalls):
    """WorkerCalls of a worker that has codecs."""

    def __init__(self, connection: Connection, codecs: CodecChain) -> None:
        super().__init__(connection)
        self._codecs = codecs
        self._sent: dict[int, tuple[Any, Any]] = {}

    async def poll(
        self,
        session_id: str,
        attach_no: int,
        msg_no: int,
        *,
        free_slots: int,
        free_runs: int,
        received: Iterable[Held],
        wait: timedelta,
    ) -> Work:
        work = await super().poll(
            session_id, attach_no, msg_no, free_slots=free_slots, free_runs=free_runs, received=received, wait=wait
        )
        return await _decoded(self._codecs, work)

    async def report(
        self,
        session_id: str,
        attach_no: int,
        transitions: Iterable[Transition],
        attempts: Iterable[AttemptReport],
    ) -> ReportAnswer:
        transitions, attempts = list(transitions), list(attempts)
        # A report whose answer was lost is repeated as it was: encrypted again it would be another one.
        sent = self._sent
        self._sent = {}
        for one in (*transitions, *attempts):
            known = sent.get(id(one))
            encoded = known[1] if known is not None else await _encoded(self._codecs, one)
            self._sent[id(one)] = one, encoded  # with the record itself, so that nothing else has its id
        answer = await super().report(
            session_id,
            attach_no,
            [self._sent[id(one)][1] for one in transitions],
            [self._sent[id(one)][1] for one in attempts],
        )
        return await _decoded(self._codecs, answer)

    async def save_progress(
        self, session_id: str, attach_no: int, progress: Iterable[ProgressReport]
    ) -> tuple[ProgressResult, ...]:
        return await super().save_progress(session_id, attach_no, await _encoded(self._codecs, tuple(progress)))

    async def read_journal(
        self, session_id: str, attach_no: int, run_id: str, epoch: int, *, after: int
    ) -> JournalPage:
        page = await super().read_journal(session_id, attach_no, run_id, epoch, after=after)
        return await _decoded(self._codecs, page)

    async def read_journals(
        self, session_id: str, attach_no: int, leases: Iterable[Lease]
    ) -> tuple[JournalBeginning, ...]:
        return await _decoded(self._codecs, await super().read_journals(session_id, attach_no, leases))
