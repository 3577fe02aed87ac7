"""One writer per cell and replica: whatever commands have accumulated become one transaction.

There are no timers: a lone command commits at once, and while a transaction commits the next batch grows by
itself. Never ends before it is closed: whatever goes wrong with a command is that command's answer alone.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from holdfast.errors import CoordinatorOverloaded, CoordinatorUnavailable, HoldfastError, RunBusy
from holdfast_coordinator.domain.batch import Answer, BatchCommand
from holdfast_coordinator.store.port import CellStore, StoreError

from .commits import Commits, refusal
from .committed import OnCommit
from .line import Line, Ticket, Waiting
from .load_limits import Shedding
from .reservations import Reservations

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

log = structlog.get_logger(__name__)

COMMAND_SECONDS = 10.0
"""How long a command waits for its turn when its caller does not say."""
EXPIRY_SECONDS = 0.1


class CellWriter:
    """See the module. `submit` from the event loop only; `run` is its one task.

    on_commit: takes what a transaction has committed, once for each. clock: this replica's estimate of the database's
    time, for what needs no exact one. with_rows: whether the journal rows of sampled runs belong to that.
    """

    def __init__(
        self,
        store: CellStore,
        reservations: Reservations,
        on_commit: OnCommit,
        clock: Callable[[], datetime],
        *,
        with_rows: bool = False,
        metrics: "Metrics | None" = None,
    ) -> None:
        self._metrics = metrics
        self._line = Line()
        self._shedding = Shedding()
        self._commits = Commits(
            store, reservations, on_commit, clock,
            line=self._line, shedding=self._shedding, with_rows=with_rows, metrics=metrics,
        )  # fmt: skip
        self._news = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        self._closing = False

    def submit_all(
        self, commands: Sequence[BatchCommand], *, seconds: float = COMMAND_SECONDS, parked_seconds: float | None = None
    ) -> asyncio.Future[list[Answer]]:
        """Puts commands into the line; the answers come when all of them are committed or refused.

        seconds: how long they may wait for their turn. parked_seconds: how long, when another transaction has locked
        what they need; the answer is RunBusy then. The future fails with CoordinatorUnavailable when a commit is
        impossible or its outcome unknown, or when their turn has not come: repeat. It fails with CoordinatorOverloaded
        when the line is too long.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        if not commands:
            future.set_result([])
            return future
        if self._closing:
            future.set_exception(CoordinatorUnavailable("", "it is shutting down", is_reached=True))
            return future
        now = loop.time()
        line = self._line
        if retry_after := self._shedding.refuses(commands[0], waiting=len(line), waiting_bytes=line.bytes, now=now):
            detail = f"{len(line):,} commands of {line.bytes:,} bytes wait for its database"
            future.set_exception(CoordinatorOverloaded(retry_after_seconds=round(retry_after, 1), detail=detail))
            return future
        ticket = Ticket(len(commands), future)
        expires_at = now + seconds
        patience = seconds if parked_seconds is None else parked_seconds
        for index, command in enumerate(commands):
            try:
                waiting = Waiting(command, ticket, index, expires_at, patience)
            except Exception as error:
                log.exception("command_broken", command=type(command).__name__)
                ticket.answer(index, refusal(error))
            else:
                line.add(waiting)
        self._news.set()
        if self._expiry is None:
            self._expiry = loop.call_later(EXPIRY_SECONDS, self._drop_expired)
        return future

    async def submit(self, command: BatchCommand, *, seconds: float = COMMAND_SECONDS) -> Answer:
        """Submits one command; a refusal is raised."""
        (answer,) = await self.submit_all([command], seconds=seconds)
        if isinstance(answer, HoldfastError):
            raise answer
        return answer

    async def run(self) -> None:
        """Commits batches until `close` was called and the line is empty.

        However it ends, no command is left without an answer.
        """
        loop = asyncio.get_running_loop()
        try:
            while True:
                while batch := self._line.take(loop.time()):
                    await self._write(batch)
                if self._closing:
                    return
                await self._wait(loop)
        finally:
            self._closing = True
            if self._expiry is not None:
                self._expiry.cancel()
            _fail(self._line.drop(lambda waiting: True), "its writer has ended")
            await self._commits.close()

    async def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for commands, or until one that is parked is to be tried again."""
        try_at = self._line.next_try_at()
        timer = None if try_at is None else loop.call_at(try_at, self._news.set)
        await self._news.wait()
        self._news.clear()
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """No more commands are taken; `run` ends after what is in the line."""
        self._closing = True
        self._news.set()

    def _drop_expired(self) -> None:
        """Answers commands that have waited for too long, also while a batch is under way."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for waiting in self._line.drop(lambda one: min(one.expires_at, one.parked_until or now + 1) <= now):
            if waiting.parked_until:
                waiting.answer(RunBusy(waiting.run_id))
            else:
                _fail([waiting], "it has not got to this request in time, and has recorded nothing of it")
        has_more = next(iter(self._line), None) is not None
        self._expiry = loop.call_later(EXPIRY_SECONDS, self._drop_expired) if has_more else None

    async def _write(self, batch: list[Waiting]) -> None:
        """Commits a batch; whatever happens, each of its commands is answered or parked then."""
        try:
            await self._commits.commit(batch)
        except StoreError as error:
            log.warning("batch_failed", commands=len(batch), error=str(error))
            if self._metrics is not None:
                self._metrics.commit_failed()
            _fail(batch, str(error))
        except Exception as error:
            # A defect, met after a commit may have happened: the repeats of these commands settle what did.
            log.exception("batch_broken", commands=len(batch))
            _fail(batch, repr(error))
        except BaseException as error:
            _fail(batch, repr(error))
            raise
        finally:
            self._line.settle(batch)


def _fail(batch: Iterable[Waiting], why: str) -> None:
    for waiting in batch:
        waiting.fail(why)
