"""One writer per cell and replica: whatever commands have accumulated become one transaction.

There are no timers: a lone command commits at once, and while a transaction commits the next batch grows by
itself. Answers and events go out only after the commit. Never decides anything itself: the core does.
"""

import asyncio
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

import structlog

from holdfast.errors import CoordinatorUnavailable, HoldfastError
from holdfast_coordinator.domain.batch import Answer, BatchCommand, Decided, batch_length, decide, reads_of
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import Close, StartRun, Transition
from holdfast_coordinator.domain.events import Appended, Closed, Event, RunLeased, TaskClaimed
from holdfast_coordinator.domain.reads import Snapshot
from holdfast_coordinator.domain.rows import JournalRow, RunRecord
from holdfast_coordinator.domain.starts import needs_no_reading
from holdfast_coordinator.domain.transitions import TransitionAnswer, TransitionStatus, events_of_close
from holdfast_coordinator.domain.workspace import Assign
from holdfast_coordinator.store.port import (
    CellStore,
    DataRejected,
    Moved,
    OutcomeUnknown,
    SerializationConflict,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

log = structlog.get_logger(__name__)

OnJournal = Callable[[Sequence[JournalRow], Sequence[RunRecord]], None]

OnDecided = Callable[[Sequence[BatchCommand], Decided], None]

_COMMITTED = TransitionAnswer(TransitionStatus.COMMITTED)

BATCH_COMMANDS_MAX = 1_000
CONFLICT_REPEATS_MAX = 20


class _Ticket:
    """Commands that were submitted together, and the future of their answers."""

    __slots__ = ("answers", "future", "missing")

    def __init__(self, count: int, future: asyncio.Future[list[Answer]]) -> None:
        self.answers: list[Answer | None] = [None] * count
        self.missing = count
        self.future = future

    def answer(self, index: int, answer: Answer) -> None:
        self.answers[index] = answer
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(cast(list[Answer], self.answers))


class _Waiting:
    """A command in the line, and where its answer goes. `locking` keeps it off the compare-and-set path."""

    __slots__ = ("command", "index", "locking", "ticket")

    def __init__(self, command: BatchCommand, ticket: _Ticket, index: int) -> None:
        self.command = command
        self.ticket = ticket
        self.index = index
        self.locking = not (type(command) is Transition and (command.is_append_only or command.is_plain_close))

    def answer(self, answer: Answer) -> None:
        self.ticket.answer(self.index, answer)


def _split(batch: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """Transitions that a compare-and-set can commit, one per run, and everything else."""
    moves: dict[str, _Waiting] = {}
    others: list[_Waiting] = []
    for waiting in batch:
        if waiting.locking or cast(Transition, waiting.command).run_id in moves:
            others.append(waiting)
        else:
            moves[cast(Transition, waiting.command).run_id] = waiting
    return list(moves.values()), others


def _is_plain_start(command: BatchCommand) -> bool:
    return type(command) is StartRun and needs_no_reading(command)


class Reservations(Assign):
    """An `Assign` that is told what became of every place that it has reserved, except what is committed."""

    @abstractmethod
    def begin(self) -> None:
        """A decision begins; it waits for nothing, so no other is under way."""

    @abstractmethod
    def undo(self) -> None:
        """The decision that began last has failed: nobody gets anything of it."""

    @abstractmethod
    def release(self, event: RunLeased | TaskClaimed) -> None:
        """The commit failed: the session does not get this after all."""

    @abstractmethod
    def doubt(self, event: RunLeased | TaskClaimed) -> None:
        """The commit may have happened: the database may say that the session holds this, and nobody will tell it."""


class CellWriter:
    """See the module. `submit` from the event loop only; `run` is its one task.

    clock: this replica's estimate of the database's time, for what needs no exact one. on_journal: hears of the
    journal rows of sampled runs, of each run in order, with the records of new runs; None when nobody exports spans.
    on_decided: hears what was decided of commands, once that is committed.
    """

    def __init__(
        self,
        store: CellStore,
        reservations: Reservations,
        on_commit: Callable[[Sequence[Event]], None],
        clock: Callable[[], datetime],
        on_journal: OnJournal | None = None,
        metrics: "Metrics | None" = None,
        on_decided: OnDecided | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._reservations = reservations
        self._on_commit = on_commit
        self._on_journal = on_journal
        self._metrics = metrics
        self._on_decided = on_decided
        self._line: deque[_Waiting] = deque()
        self._news = asyncio.Event()
        self._closing = False

    def submit_all(self, commands: Sequence[BatchCommand]) -> asyncio.Future[list[Answer]]:
        """Puts commands into the line; the answers come when all of them are committed or refused.

        The future fails with CoordinatorUnavailable when a commit is impossible or its outcome unknown: repeat.
        """
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        if not commands:
            future.set_result([])
            return future
        if self._closing:
            future.set_exception(CoordinatorUnavailable("", "it is shutting down", is_reached=True))
            return future
        ticket = _Ticket(len(commands), future)
        self._line.extend(_Waiting(command, ticket, index) for index, command in enumerate(commands))
        self._news.set()
        return future

    async def submit(self, command: BatchCommand) -> Answer:
        """Submits one command; a refusal is raised."""
        (answer,) = await self.submit_all([command])
        if isinstance(answer, HoldfastError):
            raise answer
        return answer

    async def run(self) -> None:
        """Commits batches until `close` was called and the line is empty.

        However it ends, no command is left without an answer.
        """
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._line:
                    await self._write(self._take())
                if self._closing:
                    return
        finally:
            self._closing = True
            self._fail(self._line, "its writer has ended")
            self._line.clear()

    def close(self) -> None:
        """No more commands are taken; `run` ends after what is in the line."""
        self._closing = True
        self._news.set()

    def _take(self) -> list[_Waiting]:
        line = self._line
        count = batch_length([waiting.command for waiting in line], BATCH_COMMANDS_MAX)
        return [line.popleft() for _ in range(count)]

    async def _write(self, batch: list[_Waiting]) -> None:
        """Commits a batch, in one round trip where nothing has to be read for it, else in two."""
        moves, others = _split(batch)
        try:
            if not others:
                others = await self._move(moves)
            elif not moves and all(_is_plain_start(waiting.command) for waiting in others):
                others = await self._create(others)
            else:
                await self._transact(others, moves)
                return
            if others:
                await self._transact(others, [])
        except StoreError as error:
            log.warning("batch_failed", commands=len(batch), error=str(error))
            if self._metrics is not None:
                self._metrics.commit_failed()
            self._fail(batch, str(error))
        except BaseException as error:
            self._fail(batch, repr(error))
            raise

    async def _move(self, moves: list[_Waiting]) -> list[_Waiting]:
        """Commits transitions that need no decision; returns those that must take the locking path."""
        began_at = time.perf_counter()
        try:
            done = await self._store.move([cast(Transition, one.command) for one in moves], at=self._clock())
        except (SerializationConflict, DataRejected):
            return moves
        self._measure("append", began_at, len(moves))
        self._tell_moves(moves, done)
        return await self._answer_moves(moves, done)

    async def _answer_moves(self, moves: list[_Waiting], done: dict[str, Moved]) -> list[_Waiting]:
        """Answers the moves that are committed; returns the others."""
        missed, behind = [], []
        for waiting in moves:
            asked = cast(Transition, waiting.command)
            match done.get(asked.run_id):
                case None:
                    missed.append(waiting)
                case Closed() as closed:
                    waiting.answer(_COMMITTED)
                    self._on_commit(events_of_close(asked, closed))
                case Appended(mail_next=mail_next) if mail_next - 1 <= asked.mail_seen:
                    waiting.answer(_COMMITTED)
                case Appended():
                    behind.append(waiting)
        if behind:
            await self._answer_with_mail(behind)
        return missed

    async def _answer_with_mail(self, moves: list[_Waiting]) -> None:
        """Answers committed moves whose runs have mail that their workers have not seen."""
        asked = [cast(Transition, waiting.command) for waiting in moves]
        pages = await asyncio.gather(
            *(self._store.mail_after(one.run_id, one.mail_seen) for one in asked), return_exceptions=True
        )
        for waiting, page in zip(moves, pages, strict=True):
            if isinstance(page, list):
                waiting.answer(TransitionAnswer(TransitionStatus.COMMITTED, page))
            elif isinstance(page, StoreError):
                # It alone is asked to repeat, and its repeat brings the mail: what else is committed must be told.
                self._fail([waiting], str(page))
            else:
                raise page

    async def _create(self, starts: list[_Waiting]) -> list[_Waiting]:
        """Commits starts for which nothing has to be read; returns them when one of them was made before.

        Their time is this replica's estimate of the database's: no alarm hangs on it.
        """
        decided: Decided | None = None
        began_at = time.perf_counter()
        try:
            decided = self._decide([waiting.command for waiting in starts], Snapshot(now=self._clock()))
            await self._store.create(decided.changes)
        except (SerializationConflict, DataRejected) as error:
            self._give_up(decided, error)
            return starts
        except BaseException as error:
            self._give_up(decided, error)
            raise
        self._measure("start", began_at, len(starts))
        self._tell_changes(decided.changes)
        self._answer(starts, decided)
        return []

    async def _transact(self, batch: list[_Waiting], moves: list[_Waiting]) -> None:
        """Commits commands, and moves beside them, in one transaction."""
        commands = [waiting.command for waiting in batch]
        transitions = [cast(Transition, waiting.command) for waiting in moves]
        for _ in range(CONFLICT_REPEATS_MAX + 1):
            try:
                decided, done = await self._commit(commands, transitions)
            except SerializationConflict:
                continue
            except DataRejected as error:
                await self._halve([*moves, *batch], error)
                return
            self._tell_moves(moves, done)
            self._tell_changes(decided.changes)
            self._answer(batch, decided)
            if missed := await self._answer_moves(moves, done):
                await self._transact(missed, [])
            return
        raise StoreUnavailable("other transactions were in the way all the time")

    async def _commit(
        self, commands: Sequence[BatchCommand], moves: Sequence[Transition]
    ) -> tuple[Decided, dict[str, Moved]]:
        """Decides under the locks and commits. What it reserved is settled when that fails."""
        decided: Decided | None = None
        began_at = time.perf_counter()

        def decide_batch(snapshot: Snapshot) -> Changes:
            nonlocal decided
            decided = self._decide(commands, snapshot)
            return decided.changes

        try:
            done = await self._store.transact(reads_of(commands), decide_batch, moves, at=self._clock())
        except BaseException as error:
            self._give_up(decided, error)
            raise
        assert decided is not None, "the store has committed what nobody decided"
        self._measure("locked", began_at, len(commands) + len(moves))
        return decided, done

    def _decide(self, commands: Sequence[BatchCommand], snapshot: Snapshot) -> Decided:
        """What the core decides. Raises DataRejected when the core fails."""
        self._reservations.begin()
        try:
            return decide(commands, snapshot, self._reservations)
        except Exception as error:
            # A defect in the core: the command that meets it is refused alone, the replica goes on.
            self._reservations.undo()
            if len(commands) == 1:  # in a larger batch it is looked for, and found here
                log.exception("decision_failed", command=type(commands[0]).__name__)
            raise DataRejected(f"an internal error: {error!r}") from error

    def _answer(self, batch: list[_Waiting], decided: Decided) -> None:
        for waiting, answer in zip(batch, decided.answers, strict=True):
            waiting.answer(answer)
        self._on_commit(decided.events)
        if self._on_decided is not None:
            self._on_decided([waiting.command for waiting in batch], decided)

    def _measure(self, path: str, began_at: float, commands: int) -> None:
        if self._metrics is not None:
            self._metrics.committed(path, seconds=time.perf_counter() - began_at, commands=commands)

    def _tell_moves(self, moves: list[_Waiting], done: dict[str, Moved]) -> None:
        if self._on_journal is None:
            return
        rows = []
        for waiting in moves:
            asked = cast(Transition, waiting.command)
            moved = done.get(asked.run_id)
            if moved is not None and moved.is_traced:
                closing = [cast(Close, asked.asks[-1]).entry] if isinstance(moved, Closed) else []
                rows.append(
                    JournalRow(
                        asked.run_id, asked.expected_seq + asked.count, asked.count, asked.epoch, asked.transition_id,
                        [*cast(Sequence[bytes], asked.journal), *closing], True,
                    )
                )  # fmt: skip
        if rows:
            self._on_journal(rows, ())

    def _tell_changes(self, changes: Changes) -> None:
        if self._on_journal is None:
            return
        rows = [row for row in changes.journal if row.is_traced]
        if rows:
            self._on_journal(rows, changes.runs)

    async def _halve(self, batch: list[_Waiting], error: DataRejected) -> None:
        """Finds the command whose data the database refuses; its neighbours succeed."""
        if len(batch) == 1:
            log.error("command_rejected", command=type(batch[0].command).__name__, error=str(error))
            batch[0].answer(HoldfastError(f"this request cannot be recorded: {error}"))
            return
        middle = len(batch) // 2
        await self._transact(batch[:middle], [])
        await self._transact(batch[middle:], [])

    def _give_up(self, decided: Decided | None, error: BaseException) -> None:
        """Settles what a batch has reserved that failed, or that may have."""
        has_failed = isinstance(error, StoreError) and not isinstance(error, OutcomeUnknown)
        for event in decided.events if decided is not None else ():
            if isinstance(event, RunLeased | TaskClaimed):
                if has_failed:
                    self._reservations.release(event)
                else:
                    self._reservations.doubt(event)

    def _fail(self, batch: Iterable[_Waiting], why: str) -> None:
        for waiting in batch:
            if not waiting.ticket.future.done():
                waiting.ticket.future.set_exception(CoordinatorUnavailable("", f"its database: {why}", is_reached=True))
