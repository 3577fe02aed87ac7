"""Commits the batches of a cell: in one round trip where nothing has to be read for them, else in two.

Answers and events go out only after the commit. A command that another transaction is in the way of is parked; one
that the database or the core cannot take is found and refused, so that its neighbours succeed. Never decides anything
itself: the core does. When the database fails, the batch is left to the writer.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

import structlog

from holdfast.errors import HoldfastError, RunBusy
from holdfast.statuses import Then, TransitionStatus
from holdfast_coordinator.domain.asks import CloseAsk
from holdfast_coordinator.domain.batch import BatchCommand, Decided, decide, held_up, reads_of
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt, StartRun
from holdfast_coordinator.domain.events import Closed, RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import JournalRow, ParsedRow
from holdfast_coordinator.domain.snapshot import Reads, Snapshot
from holdfast_coordinator.domain.starts import needs_no_reading
from holdfast_coordinator.domain.transitions import TransitionAnswer, events_of_close
from holdfast_coordinator.store.port import (
    CellStore,
    DataRejected,
    LockTimeout,
    Moved,
    OutcomeUnknown,
    SerializationConflict,
    StoreError,
)

from .background_tasks import Background
from .committed import Committed, OnCommit
from .line import Line, Waiting
from .load_limits import Shedding
from .reservations import Reservations

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics

log = structlog.get_logger(__name__)

_COMMITTED = TransitionAnswer(TransitionStatus.COMMITTED)

CONFLICT_REPEATS_MAX = 3
"""How often a batch is repeated at once when another transaction was in the way, before that command is looked for."""
LOCK_WAITS_MAX = 12
"""How many locks are waited for in vain to find the commands of a batch that need them; the others are then tried
one by one, later."""


def refusal(error: Exception) -> HoldfastError:
    """The answer to a command that cannot be recorded, however often it is repeated."""
    return HoldfastError(f"this request cannot be recorded: {error}")


class Commits:
    """See the module. One batch at a time.

    on_commit: takes what a transaction has committed, once for each. clock: this replica's estimate of the database's
    time, for what needs no exact one. line: where commands are parked. shedding: is given how much is committed.
    with_rows: whether the journal rows of sampled runs belong to what on_commit takes.
    """

    def __init__(
        self, store: CellStore, reservations: Reservations, on_commit: OnCommit, clock: Callable[[], datetime], *,
        line: Line, shedding: Shedding, with_rows: bool, metrics: "Metrics | None",
    ) -> None:  # fmt: skip
        self._store = store
        self._clock = clock
        self._reservations = reservations
        self._on_commit = on_commit
        self._line = line
        self._shedding = shedding
        self._with_rows = with_rows
        self._metrics = metrics
        self._lock_waits = 0
        self._answering = Background()

    async def close(self) -> None:
        """Ends the answers that still wait for mail."""
        await self._answering.close()

    async def commit(self, batch: list[Waiting]) -> None:
        """Commits a batch; each of its commands is answered or parked then. Raises StoreError."""
        self._lock_waits = 0
        moves, others = _split(batch)
        if not others:
            others = await self._move(moves)
        elif not moves and all(_is_plain_start(waiting.command) for waiting in others):
            others = await self._create(others)
        elif not moves and all(map(_may_be_known, others)):
            others = await self._commit_known(others)
        else:
            await self._transact(others, moves)
            return
        if others:
            await self._transact(others, [])

    async def _move(self, moves: list[Waiting]) -> list[Waiting]:
        """Commits transitions that need no decision; returns those that must take the locking path."""
        began_at = time.perf_counter()
        try:
            done = await self._store.move([cast(CommitTransition, one.command) for one in moves], at=self._clock())
        except (SerializationConflict, DataRejected):
            return moves
        self._measure("append", began_at, len(moves))
        return self._answer_moves(moves, done)

    def _answer_moves(self, moves: list[Waiting], done: dict[str, Moved]) -> list[Waiting]:
        """Answers the moves that are committed; returns the others."""
        missed, behind = [], []
        committed, with_rows = Committed(), self._with_rows
        for waiting in moves:
            asked = cast(CommitTransition, waiting.command)
            moved = done.get(asked.run_id)
            if moved is None:
                missed.append(waiting)
                continue
            committed.reports.append(asked)
            if with_rows and moved.is_traced:
                committed.rows.append(_row_of(asked, moved))
            if isinstance(moved, Closed):
                waiting.answer(_COMMITTED)
                committed.events += events_of_close(asked, moved)
            elif moved.mail_next - 1 <= asked.mail_seen:
                waiting.answer(_COMMITTED)
            else:
                behind.append(waiting)
        self._pass_on(committed)
        if behind:
            # Beside the next batches: who reads slowly must not hold up who writes.
            self._answering.spawn(self._answer_with_mail(behind))
        return missed

    async def _answer_with_mail(self, moves: list[Waiting]) -> None:
        """Answers committed moves whose runs have mail that their workers have not seen."""
        asked = [cast(CommitTransition, waiting.command) for waiting in moves]
        try:
            pages = await asyncio.gather(
                *(self._store.mail_after(one.run_id, one.mail_seen) for one in asked), return_exceptions=True
            )
        except BaseException as error:  # the replica stops
            for waiting in moves:
                waiting.fail(repr(error))
            raise
        for waiting, page in zip(moves, pages, strict=True):
            if isinstance(page, list):
                waiting.answer(TransitionAnswer(TransitionStatus.COMMITTED, page))
            else:
                # It alone is asked to repeat, and its repeat brings the mail: what else is committed is answered.
                waiting.fail(str(page))

    async def _create(self, starts: list[Waiting]) -> list[Waiting]:
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
        self._answer(starts, decided)
        return []

    async def _commit_known(self, batch: list[Waiting]) -> list[Waiting]:
        """Commits commands for which nothing has to be read, since this writer wrote last what they need to see.

        Returns them where that is not so, and where a time that they write has to be by the database's clock.
        """
        decided: Decided | None = None
        began_at = time.perf_counter()
        try:
            commands = [waiting.command for waiting in batch]
            recalled = self._store.recall(_reads_of(commands), at=self._clock())
            if recalled is None:
                return batch
            decided = self._decide(commands, recalled.snapshot)
            if decided.changes.has_times_to_come:
                self._reservations.undo()
                return batch
            await self._store.write_known(recalled, decided.changes)
        except (SerializationConflict, DataRejected) as error:
            self._give_up(decided, error)
            return batch
        except BaseException as error:
            self._give_up(decided, error)
            raise
        self._measure("known", began_at, len(batch))
        self._answer(batch, decided)
        return []

    async def _transact(self, batch: list[Waiting], moves: list[Waiting], repeats: int = 0) -> None:
        """Commits commands, and moves beside them, in one transaction; parks those whose rows are locked."""
        try:
            decided, taken, done = await self._commit(batch, moves)
        except _KeysLocked as error:
            self._park_held_up(batch, error.held)
            if left := [waiting for place, waiting in enumerate(batch) if place not in error.held]:
                await self._transact(left, moves)
            elif moves:
                await self._transact(moves, [])
            return
        except LockTimeout as error:
            self._lock_waits += 1
            await self._look_for_locked([*moves, *batch], error)
            return
        except SerializationConflict as error:
            if repeats < CONFLICT_REPEATS_MAX:
                await self._transact(batch, moves, repeats + 1)
            else:
                await self._look_for_locked([*moves, *batch], error)
            return
        except DataRejected as error:
            await self._halve([*moves, *batch], error)
            return
        missed = self._answer_moves(moves, done)  # first: so they were committed
        self._answer(taken, decided)
        if missed:
            await self._transact(missed, [])

    async def _commit(
        self, batch: list[Waiting], moves: Sequence[Waiting]
    ) -> tuple[Decided, list[Waiting], dict[str, Moved]]:
        """Decides under the locks and commits; with what was decided the commands that it was about.

        What it reserved is settled when that fails.
        """
        decided: Decided | None = None
        taken = batch
        held: dict[int, bool] = {}
        began_at = time.perf_counter()
        commands = [waiting.command for waiting in batch]

        def decide_batch(snapshot: Snapshot) -> Changes:
            nonlocal decided, taken, held
            if snapshot.locked:
                held = held_up(commands, snapshot.locked)
                if snapshot.locked.keys:
                    # What this transaction has reserved for them must not stay.
                    raise _KeysLocked(held)
                taken = [waiting for place, waiting in enumerate(batch) if place not in held]
            decided = self._decide([waiting.command for waiting in taken], snapshot)
            return decided.changes

        try:
            reads = _reads_of(commands)
            transitions = [cast(CommitTransition, waiting.command) for waiting in moves]
            done = await self._store.transact(reads, decide_batch, transitions, at=self._clock())
        except BaseException as error:
            self._give_up(decided, error)
            raise
        assert decided is not None, "the store has committed without a decision"
        self._measure("locked", began_at, len(taken) + len(moves))
        self._park_held_up(batch, held)
        return decided, taken, done

    async def _look_for_locked(self, batch: list[Waiting], error: SerializationConflict) -> None:
        """Finds the commands that another transaction is in the way of, and parks them; their neighbours succeed."""
        if len(batch) == 1 or self._lock_waits > LOCK_WAITS_MAX:
            if not all(waiting.parked_until for waiting in batch):
                log.warning("commands_wait_for_locks", commands=len(batch), error=str(error))
            for waiting in batch:
                waiting.is_alone = True
                self._park(waiting, with_run=False)
            return
        middle = len(batch) // 2
        await self._transact(batch[:middle], [])
        await self._transact(batch[middle:], [])

    def _park_held_up(self, batch: Sequence[Waiting], held: dict[int, bool]) -> None:
        for place, with_run in held.items():
            self._park(batch[place], with_run=with_run)

    def _park(self, waiting: Waiting, *, with_run: bool) -> None:
        """Puts a command aside until its rows are free, or answers that they are not."""
        now = asyncio.get_running_loop().time()
        waiting.begin_to_park(now)
        if waiting.parked_until <= now:
            waiting.answer(RunBusy(waiting.run_id))
        else:
            self._line.park(waiting, now, with_run=with_run)

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
            why = str(error) if isinstance(error, HoldfastError) else f"an internal error: {error!r}"
            raise DataRejected(why) from error

    def _answer(self, batch: list[Waiting], decided: Decided) -> None:
        for waiting, answer in zip(batch, decided.answers, strict=True):
            waiting.answer(answer)
        changes = decided.changes
        rows = [row for row in changes.journal if row.is_traced] if self._with_rows else []
        self._pass_on(Committed(decided.events, decided.reports, changes.runs, rows))

    def _pass_on(self, committed: Committed) -> None:
        """Gives the replica what was committed. What it makes of it must not be taken for a failure of the commit."""
        try:
            self._on_commit(committed)
        except Exception:
            log.exception("commit_not_taken", events=len(committed.events))

    def _measure(self, path: str, began_at: float, commands: int) -> None:
        self._shedding.committed(commands, time.monotonic())
        if self._metrics is not None:
            self._metrics.committed(path, seconds=time.perf_counter() - began_at, commands=commands)

    async def _halve(self, batch: list[Waiting], error: DataRejected) -> None:
        """Finds the command whose data the database refuses; its neighbours succeed."""
        if len(batch) == 1:
            log.error("command_rejected", command=type(batch[0].command).__name__, error=str(error))
            batch[0].answer(refusal(error))
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


def _split(batch: list[Waiting]) -> tuple[list[Waiting], list[Waiting]]:
    """Transitions that a compare-and-set can commit, one per run, and everything else."""
    moves: dict[str, Waiting] = {}
    others: list[Waiting] = []
    for waiting in batch:
        if waiting.locking or cast(CommitTransition, waiting.command).run_id in moves:
            others.append(waiting)
        else:
            moves[cast(CommitTransition, waiting.command).run_id] = waiting
    return list(moves.values()), others


def _reads_of(commands: Sequence[BatchCommand]) -> Reads:
    """What they must see. Raises DataRejected when the core fails."""
    try:
        return reads_of(commands)
    except Exception as error:
        raise DataRejected(f"an internal error: {error!r}") from error


def _row_of(asked: CommitTransition, moved: Moved) -> JournalRow:
    """The journal row of a transition that was committed without a decision."""
    closing = [cast(CloseAsk, asked.asks[-1]).entry] if isinstance(moved, Closed) else []
    entries = [*cast(Sequence[bytes], asked.journal), *closing]
    known = (asked.run_id, asked.expected_seq + asked.count, asked.count, asked.epoch, asked.transition_id, entries)
    return ParsedRow(*known, True, asked.parsed) if asked.parsed else JournalRow(*known, True)


def _may_be_known(waiting: Waiting) -> bool:
    """Whether it is worth asking if all that the command must see is known."""
    command = waiting.command
    if type(command) is CommitTransition:
        return command.then is Then.SUSPEND or command.then is Then.CONTINUE
    return type(command) is ReportAttempt


def _is_plain_start(command: BatchCommand) -> bool:
    return type(command) is StartRun and needs_no_reading(command)


class _KeysLocked(StoreError):
    """Keys that some commands of a batch need are locked; held: see held_up."""

    def __init__(self, held: dict[int, bool]) -> None:
        super().__init__("keys are locked by another transaction")
        self.held = held
