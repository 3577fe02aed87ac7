"""Starts runs and continues closed ones: what a start asks for first is done, then the start is repeated."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from holdfast.errors import HoldfastError, RunAlreadyStarted, RunNotRetryable
from holdfast.limits import DEFAULT_LIMITS
from holdfast_coordinator.domain.batch import Answer
from holdfast_coordinator.domain.commands import StartRun, TerminateRun
from holdfast_coordinator.domain.continuations import Continuation, RetryRun
from holdfast_coordinator.domain.rows import JournalRow
from holdfast_coordinator.domain.starts import RetryInstead, Started, TerminateFirst
from holdfast_coordinator.telemetry.identity import Origins

from .cells import Cells
from .waiters import Waiters

REPEATS_MAX = 5


class ContinuationCodec(Protocol):
    """Reads a journal for what a continuation of its run begins with."""

    def continuation(self, rows: Iterable[JournalRow], origin_run_id: str, again: Collection[str] = ()) -> Continuation:
        """What a continuation of a closed run begins with; rows: its whole journal; again: steps that run again."""


class Starts:
    """See the module."""

    def __init__(self, cells: Cells, waiters: Waiters, codec: ContinuationCodec, origins: Origins | None) -> None:
        self._cells = cells
        self._waiters = waiters
        self._codec = codec
        self._origins = origins

    async def start_runs(self, starts: Sequence[StartRun], *, seconds: float) -> list[Started | HoldfastError]:
        """Starts runs; each succeeds or is refused by itself, in order."""
        answers = await self._cells.submit_each(starts, seconds=seconds)
        return [await self._settle(start, answer, seconds) for start, answer in zip(starts, answers, strict=True)]

    async def _settle(self, start: StartRun, answer: Answer, seconds: float) -> Started | HoldfastError:
        """Does what a start asked for first, and repeats it."""
        repeats = 0
        while isinstance(answer, TerminateFirst | RetryInstead):
            if repeats == REPEATS_MAX:
                return HoldfastError(f"the id {start.id!r} was taken again and again; choose another policy")
            repeats += 1
            if isinstance(answer, RetryInstead):
                continued = await self.continue_run(
                    answer.run_id, start.run_id, seconds=seconds, by_id=True, start=start
                )
                if not isinstance(continued, RunAlreadyStarted):
                    return continued
                # Another start was faster, and has the id or the key now: this one meets the run that it made.
            else:
                text = f"run {start.run_id} takes its id {start.id!r}"
                terminate = TerminateRun(answer.run_id, start.run_id, text)
                await self._cells.submit(answer.run_id, [terminate], seconds=seconds)
            (answer,) = await self._cells.submit(start.run_id, [start], seconds=seconds)
        assert isinstance(answer, Started | HoldfastError), f"a start cannot be answered with {answer!r}"
        if isinstance(answer, Started) and not answer.attached:
            self._waiters.is_open(start.namespace, answer.run_id)
        return answer

    async def retry(
        self, run_id: str, new_run_id: str, *, seconds: float, by_id: bool, status: str, again: Collection[str] = ()
    ) -> Started | HoldfastError:
        """Continues a run; when it was found by its id, and that has passed on meanwhile, the run that has it now.

        status: what a refusal calls the run while it is not closed. again: the step ids of steps that run again.
        """
        answer = await self.continue_run(run_id, new_run_id, seconds=seconds, by_id=by_id, status=status, again=again)
        repeats = 0
        while by_id and isinstance(answer, RunAlreadyStarted) and repeats < REPEATS_MAX:
            repeats += 1
            answer = await self.continue_run(answer.run_id, new_run_id, seconds=seconds, by_id=True, again=again)
        return answer

    async def continue_run(
        self, run_id: str, new_run_id: str, *, seconds: float, by_id: bool, start: StartRun | None = None,
        status: str = "open", again: Collection[str] = (),
    ) -> Started | HoldfastError:  # fmt: skip
        """Makes a run that continues a closed one at its failed step. new_run_id: in the same cell.

        by_id, start: see RetryRun.
        """
        store = self._cells.of_run(run_id).store
        origin = (await store.records([run_id]))[run_id]
        if start is None and by_id:
            made = (await store.records([new_run_id])).get(new_run_id)
            if made is not None and made.origin_run_id and (made.namespace, made.id) == (origin.namespace, origin.id):
                # A repeat of a retry by the id, which its first call has passed on.
                return Started(new_run_id, attached=False)
        closed = await store.results([run_id])
        if not closed:
            return RunNotRetryable(run_id, status)
        rows: list[JournalRow] = []
        more = True
        while more:
            page, more = await store.journal(run_id, rows[-1].seq if rows else 0, DEFAULT_LIMITS.journal_page_bytes)
            rows += page
        # In a thread: of a long journal this takes seconds, and heartbeats cannot wait.
        begin = await asyncio.to_thread(self._codec.continuation, rows, run_id, again)
        asked = RetryRun(new_run_id, origin, begin, by_id=by_id, start=start)
        if self._origins is not None:
            identity = self._origins.of_retry(new_run_id, origin)
            asked.trace, asked.traced = identity.trace, identity.side
        (answer,) = await self._cells.submit(run_id, [asked], seconds=seconds)
        assert isinstance(answer, Started | HoldfastError), answer
        if isinstance(answer, Started):
            self._waiters.is_open(origin.namespace, answer.run_id)
        return answer
