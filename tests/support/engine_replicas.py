"""A replica over stores in memory, without rpc and loops, and stores that fail or pause when a test says so."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from holdfast.ids import run_id, start_id
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import CommitTransition, StartRun
from holdfast_coordinator.domain.events import LeaseEnded, MailArrived, RunLeased, TaskClaimed
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail
from holdfast_coordinator.domain.rows import OpenRun, RunRow, TaskRow
from holdfast_coordinator.domain.snapshot import Reads, Snapshot
from holdfast_coordinator.engine.attachments import NO_MAIL, Attachment, Handed, Held
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.sessions import SessionOpening, SessionPolicy
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.store.port import RECORDS_BYTES_MAX, DataRejected, LockTimeout, Moved, Recalled
from holdfast_coordinator.telemetry.identity import Origins
from holdfast_coordinator.wire.children import child_start, mail_to_child
from holdfast_coordinator.wire.continuations import continuation
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.memory_control_store import MemoryControlStore
from tests.support.store_rows import T0, open_run, task

QUEUE = ("default", "default")
REFUSED = "refused by the database"
"""A workflow of this name cannot be stored."""


def run_named(number: int) -> str:
    """The run id of the run with this number."""
    return run_id("00", start_id(number, bytes(10)))


def start(number: int = 1, **changed: Any) -> StartRun:
    """The start of the run with this number."""
    values: dict[str, Any] = {
        "run_id": run_named(number), "namespace": "default", "workflow": "order", "queue": "default",
        "arguments": b"", "call_digest": b"same",
    }  # fmt: skip
    return StartRun(**{**values, **changed})


def attachment(session_id: str = "s1", *, runs: int = 1, slots: int = 1, **changed: Any) -> Attachment:
    """A session whose poll is open."""
    values: dict[str, Any] = {
        "namespace": "default", "queue": "default", "workflows": ["order"], "steps": ["charge"], "build": "b1",
    }  # fmt: skip
    made = Attachment(session_id, 1, **{**values, **changed})
    made.begin_poll(msg_no=1, free_slots=slots, free_runs=runs, received=[])
    return made


def leased(run: OpenRun, session_id: str = "s1") -> RunLeased:
    """The lease of a run under its epoch."""
    return RunLeased(session_id, run, run.epoch, run.length, [], None)


def lease(number: int = 1, *, session_id: str = "s1", epoch: int = 1) -> RunLeased:
    """A lease of the run with this number."""
    return leased(open_run(run_named(number), epoch=epoch), session_id)


def claim(number: int = 1, *, session_id: str = "s1", epoch: int = 1) -> TaskClaimed:
    """A claim of a step of run 1."""
    return TaskClaimed(session_id, task(run_named(1), number), epoch)


def ended(event: RunLeased) -> LeaseEnded:
    """The end of a lease."""
    return LeaseEnded(event.session_id, event.run.run_id, 0, event.epoch)


def mail(number: int, *, run: int = 1) -> MailArrived:
    """Mail of a leased run."""
    row = MailRow(run_named(run), number, MailKind.SIGNAL, T0, SignalMail("go", b""))
    return MailArrived("s1", row.run_id, 1, row)


class FailingCell(MemoryCellStore):
    """A cell whose database fails `before` or `after` the next commits or `at_reads`, and answers when it is to."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.at_reads: list[Exception] = []
        self.slow_signals_of = ""
        """A run into whose mail nothing can be written, because another transaction has a lock there."""
        self.commits = 0
        self.has_committed = asyncio.Event()
        self.answers_commits = _set_event()
        self.asked_for_held = asyncio.Event()
        self.answers_held = _set_event()

    async def transact(
        self,
        reads: Reads,
        decide: Callable[[Snapshot], Changes],
        moves: Sequence[CommitTransition] = (),
        *,
        at: datetime,
    ) -> dict[str, Moved]:
        """See port.CellStore."""

        def decide_or_fail(snapshot: Snapshot) -> Changes:
            changes = decide(snapshot)
            _raise_next(self.before)
            if any(one.workflow == REFUSED for one in changes.runs):
                raise DataRejected(REFUSED)
            if any(mail.run_id == self.slow_signals_of for mail in changes.mail_added):
                raise LockTimeout(self.slow_signals_of)
            return changes

        done = await super().transact(reads, decide_or_fail, moves, at=at)
        await self._committed()
        return done

    async def write_known(self, recalled: Recalled, changes: Changes) -> None:
        """See port.CellStore."""
        _raise_next(self.before)
        await super().write_known(recalled, changes)
        await self._committed()

    async def create(self, changes: Changes) -> None:
        """See port.CellStore."""
        _raise_next(self.before)
        if any(one.workflow == REFUSED for one in changes.runs):
            raise DataRejected(REFUSED)
        await super().create(changes)
        await self._committed()

    async def move(self, transitions: Sequence[CommitTransition], *, at: datetime) -> dict[str, Moved]:
        """See port.CellStore."""
        _raise_next(self.before)
        done = await super().move(transitions, at=at)
        await self._committed()
        return done

    async def mail_after(self, run_id: str, number: int) -> list[MailRow]:
        """See port.CellStore."""
        _raise_next(self.at_reads)
        return await super().mail_after(run_id, number)

    async def records(self, run_ids: Sequence[str], max_bytes: int = RECORDS_BYTES_MAX) -> dict[str, RunRow]:
        """See port.CellStore."""
        _raise_next(self.at_reads)
        return await super().records(run_ids, max_bytes)

    async def held_by(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        """See port.CellStore."""
        held = await super().held_by(session_ids, limit)
        self.asked_for_held.set()
        await self.answers_held.wait()
        return held

    async def _committed(self) -> None:
        self.commits += 1
        self.has_committed.set()
        await self.answers_commits.wait()
        _raise_next(self.after)


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def _raise_next(errors: list[Exception]) -> None:
    if errors:
        raise errors.pop(0)


class Codec:
    """What the engine must look into, as the app wires it."""

    child_start = staticmethod(child_start)
    mail_to_child = staticmethod(mail_to_child)
    continuation = staticmethod(continuation)


@asynccontextmanager
async def replica(
    cell: MemoryCellStore | None = None, control: MemoryControlStore | None = None, policy: SessionPolicy | None = None,
    metrics: Metrics | None = None, origins: Origins | None = None,
) -> AsyncIterator[Engine]:  # fmt: skip
    """A replica over one cell, "00", whose writer runs, and which writes heartbeats as they come."""
    engine = Engine(
        control or MemoryControlStore(),
        [("00", cell or FailingCell())],
        replica_id="r1",
        policy=policy or SessionPolicy(),
        codec=Codec(),
        metrics=metrics,
        origins=origins,
    )
    (only,) = engine.cells
    writing = asyncio.create_task(only.writer.run())
    beating = asyncio.create_task(_flush_on(engine))
    try:
        yield engine
    finally:
        beating.cancel()
        only.writer.close()
        await asyncio.gather(writing, beating, return_exceptions=True)
        await engine.close()


async def _flush_on(engine: Engine) -> None:
    """Heartbeats are durable at once: no test of these is about how often they are written."""
    while True:
        await engine.sessions.flush_heartbeats()
        await asyncio.sleep(0.001)


def introduction(session_id: str | None = None, held: Sequence[Held] = (), **changed: Any) -> SessionOpening:
    """A worker that knows the workflow and the step of these tests."""
    values: dict[str, Any] = {
        "namespace": "default", "queue": "default", "workflows": {"order": {}}, "steps": ("charge",), "build": "b1",
        "host": "h", "pid": 1, "slots": 1, "session_id": session_id, "held": frozenset(held),
    }  # fmt: skip
    return SessionOpening(**{**values, **changed})


async def poll(
    engine: Engine, session: Attachment, *, runs: int = 1, received: Sequence[Held] = (),
    mail_seen: Mapping[Held, int] = NO_MAIL,
) -> Handed:  # fmt: skip
    """What the next poll of a session brings."""
    delivery = await engine.polls.wait(
        session.session_id, session.attach_no, msg_no=session.msg_no + 1, free_slots=1, free_runs=runs,
        received=received, mail_seen=mail_seen,
    )  # fmt: skip
    return delivery.handed


def looked_at(matcher: Matcher) -> None:
    """The queue of these tests was looked at, and nothing waits in it."""
    matcher.take_backlog(QUEUE)
    matcher.end_claim(QUEUE, (), ())


async def settled(engine: Engine) -> None:
    """Waits until nothing runs in the background; then no session is believed to have a backlog."""
    async with asyncio.timeout(5):
        while engine._background._tasks:
            await asyncio.gather(*engine._background._tasks, return_exceptions=True)
