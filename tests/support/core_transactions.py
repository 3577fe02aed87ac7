"""The core transactions on one run, as two replicas on one Postgres make them, and what is to be seen afterwards."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.api.v1 import journal_pb2
from holdfast.errors import HoldfastError
from holdfast.ids import is_run_id, start_id
from holdfast.session_refusals import SessionExpired
from holdfast.statuses import RunStatus, Then
from holdfast_coordinator.domain.commands import (
    AlarmDue,
    ClaimRuns,
    CloseAsk,
    CommitTransition,
    QueueStepAsk,
    ReportAttempt,
    RequestCancel,
    Reuse,
    SendSignal,
    SetTimerAsk,
    TerminateRun,
)
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.domain.rows import AlarmKind, JournalRow
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.database_clock import boot_seconds
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.sessions import SessionPolicy
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.control import PostgresControlStore
from holdfast_coordinator.wire.entries import join_entries
from tests.support.engine_replicas import Codec, introduction, run_named, settled, start
from tests.support.gates import Gate, behind
from tests.support.invariants import CellRows

CLAIMER = "ses_claimer"
TTL = timedelta(hours=1)
"""Nobody sends heartbeats here."""
NEVER = timedelta(days=1)
STEP = journal_pb2.JournalRow(
    entries=[journal_pb2.Entry(step_scheduled=journal_pb2.StepScheduled(number=1, name="charge"))]
).SerializeToString()
TIMER = journal_pb2.JournalRow(
    entries=[journal_pb2.Entry(timer_set=journal_pb2.TimerSet(number=1))]
).SerializeToString()
RECORD = journal_pb2.AttemptRecord(attempt=1, epoch=1).SerializeToString()
BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
END = journal_pb2.JournalRow(entries=[journal_pb2.Entry(run_closed=journal_pb2.RunClosed())]).SerializeToString()
_numbers = itertools.count(1)


@dataclass(slots=True)
class Replica:
    """An engine whose writer runs behind a gate."""

    engine: Engine
    gate: Gate

    @property
    def writer(self) -> Any:
        """The writer of its only cell."""
        (only,) = self.engine.cells
        return only.writer

    @property
    def has_parked(self) -> bool:
        """True when a command waits there for rows that another transaction has locked."""
        return self.writer._line.next_try_at() is not None


@asynccontextmanager
async def gated_replica(database_url: str, name: str) -> AsyncIterator[Replica]:
    """A replica on Postgres, without rpc and loops."""
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(PostgresControlStore.open(database_url))
        cell = await stack.enter_async_context(PostgresCellStore.open(database_url, "00"))
        engine = Engine(control, [("00", cell)], replica_id=name, policy=SessionPolicy(ttl=TTL), codec=Codec())
        replica = Replica(engine, Gate())
        with behind(replica.gate):
            writing = asyncio.create_task(replica.writer.run())
        try:
            yield replica
        finally:
            replica.writer.close()
            await writing
            await engine.close()


@dataclass(slots=True)
class Case:
    """One run, which a session of the first replica has or had, and how far it is."""

    number: int
    run_id: str
    holder: Attachment
    epoch: int = 1
    length: int = 1
    names: dict[str, str] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        """The queue of its run, which no other case has."""
        return f"queue-{self.number}"

    @property
    def id(self) -> str:
        """The business id of its run."""
        return f"id-{self.number}"

    def start(self, place: int) -> int:
        """The number of another start of the same id."""
        return 10_000 * place + self.number

    def transition(self, *asks: Any, entries: bytes = STEP, then: Then = Then.CONTINUE, **changed: Any) -> Any:
        """What the session reports of the run."""
        count = 2 if then is Then.CLOSE else 1
        values: dict[str, Any] = {
            "run_id": self.run_id, "session_id": self.holder.session_id, "epoch": self.epoch,
            "expected_seq": self.length, "transition_id": self.length, "count": count, "journal": [entries],
            "asks": list(asks), "mail_seen": 0, "then": then,
        }  # fmt: skip
        return CommitTransition(**{**values, **changed})

    async def take(self, replica: Replica, transition: CommitTransition) -> None:
        """The transition is committed, and the run that much longer."""
        await replica.writer.submit(transition)
        self.length += transition.count


Situation = Callable[[Case, Replica], Awaitable[None]]


async def leased(case: Case, replica: Replica) -> None:
    """The session holds the run, which has a timer that is due."""
    await replica.engine.start_runs([start(case.number, id=case.id, queue=case.queue)])
    await _claimed(case, replica, case.holder)
    await case.take(replica, case.transition(SetTimerAsk(1, timedelta(0), None), entries=TIMER))


async def ready(case: Case, replica: Replica) -> None:
    """The session has given the run back, and nobody has it."""
    await leased(case, replica)
    await case.take(replica, case.transition(then=Then.RELEASE))


async def suspended(case: Case, replica: Replica) -> None:
    """The code of the run waits for a signal and for the timer."""
    await leased(case, replica)
    await case.take(replica, case.transition(then=Then.SUSPEND, waits="signal go"))


async def queued(case: Case, replica: Replica) -> None:
    """The code of the run waits for a queued step, which the session runs."""
    await leased(case, replica)
    await _queue(case, replica)


async def ended(case: Case, replica: Replica) -> None:
    """The run was terminated, and may be continued."""
    await leased(case, replica)
    await replica.writer.submit(TerminateRun(case.run_id, "", "why"))


@asynccontextmanager
async def case_of(situation: Situation, one: Replica, two: Replica) -> AsyncIterator[Case]:
    """A new run in a situation, with sessions of its own."""
    number = next(_numbers)
    queue = f"queue-{number}"
    holder, _ = await one.engine.open_session(introduction(queue=queue))
    case = Case(number, run_named(number), holder)
    case.names = {
        case.run_id: "run", run_named(case.start(1)): "started", run_named(case.start(2)): "continued by a start",
        run_named(case.start(3)): "continued", holder.session_id: "holder", CLAIMER: "claimer",
    }  # fmt: skip
    await situation(case, one)
    holder.draining = True  # what it gives back must not bring it other work, behind the test
    try:
        yield case
    finally:
        for replica in (one, two):
            replica.engine.matcher.detach(holder.session_id)


async def _claimed(case: Case, replica: Replica, session: Attachment) -> None:
    # There, and with room, only while it claims: nothing else is to give it work.
    matcher = replica.engine.matcher
    if session is not case.holder:
        matcher.attach(session)
    session.begin_poll(msg_no=session.msg_no + 1, free_slots=0, free_runs=1, received=[])
    try:
        await replica.writer.submit(ClaimRuns("default", case.queue, ("order",), 10))
    finally:
        session.free_runs = 0
        if session is not case.holder:
            matcher.detach(session.session_id)


# The transactions


async def _start(case: Case, replica: Replica) -> Any:
    """A start of the same id, which makes another run when this one has closed."""
    asked = start(case.start(1), id=case.id, queue=case.queue, reuse=Reuse.NEW)
    (answer,) = await replica.engine.start_runs([asked])
    return answer


async def _restart(case: Case, replica: Replica) -> Any:
    """A start of the same id, which continues the run that has it when that may be."""
    asked = start(case.start(2), id=case.id, queue=case.queue, reuse=Reuse.RETRY_FAILED, idempotency_key=case.id)
    (answer,) = await replica.engine.start_runs([asked])
    return answer


async def _retry(case: Case, replica: Replica) -> Any:
    """A retry by the id, which stood for this run when it was looked up."""
    return await replica.engine.retry(case.run_id, start_id(case.start(3), bytes(10)), by_id=True)


async def _append(case: Case, replica: Replica) -> Any:
    return await replica.writer.submit(case.transition())


async def _suspend(case: Case, replica: Replica) -> Any:
    asked = case.transition(SetTimerAsk(2, NEVER, None), entries=TIMER, then=Then.SUSPEND, waits="signal go")
    return await replica.writer.submit(asked)


async def _queue(case: Case, replica: Replica) -> Any:
    """The code queues a step and waits for it; the session that has the run takes it, whichever replica decides."""
    holder, matcher, place = case.holder, replica.engine.matcher, ("default", case.queue)
    is_elsewhere = matcher.attachment(holder.session_id) is None
    if is_elsewhere:
        matcher.attach(holder)
    holder.draining, holder.free_slots = False, 1
    matcher.end_claim(place, *[()] * len(matcher.take_backlog(place)))  # nothing waits before it
    ask = QueueStepAsk(1, "charge", b"", "", 0, None, 3, b"", "", BEGINNING)
    try:
        return await replica.writer.submit(case.transition(ask, then=Then.SUSPEND, waits="step charge (1)"))
    finally:
        holder.draining, holder.free_slots = True, 0
        if is_elsewhere:
            matcher.detach(holder.session_id)


async def _report(case: Case, replica: Replica) -> Any:
    """The attempt of the queued step has ended, for good."""
    asked = ReportAttempt(case.run_id, 1, 1, 1, case.holder.session_id, RECORD)
    return await replica.writer.submit(asked)


async def _close(case: Case, replica: Replica) -> Any:
    return await replica.writer.submit(case.transition(CloseAsk(RunStatus.COMPLETED, b"", None, END), then=Then.CLOSE))


async def _mail(case: Case, replica: Replica) -> Any:
    return await replica.writer.submit(SendSignal(case.run_id, "request-1", SignalMail("go", b"")))


async def _cancel(case: Case, replica: Replica) -> Any:
    return await replica.writer.submit(RequestCancel(case.run_id, "request-2", "why"))


async def _terminate(case: Case, replica: Replica) -> Any:
    return await replica.writer.submit(TerminateRun(case.run_id, "request-3", "why"))


async def _alarm(case: Case, replica: Replica) -> Any:
    return await replica.writer.submit(AlarmDue(case.run_id, AlarmKind.TIMER, 1))


async def _claim(case: Case, replica: Replica) -> Any:
    session = Attachment(
        CLAIMER, 1, namespace="default", queue=case.queue, workflows=["order"], steps=[], build="b1",
        heard_at=boot_seconds(),
    )  # fmt: skip
    await _claimed(case, replica, session)
    return len(session.take().leases)


async def _reap(case: Case, replica: Replica) -> Any:
    """The session is dead: the row says so, then it is detached, then its lease ends."""
    session_id = case.holder.session_id
    buried = await replica.engine.control.bury_session(session_id)
    replica.engine.matcher.detach(session_id)
    await replica.engine.sessions.sweep({session_id})
    return buried


async def _attach(case: Case, replica: Replica) -> Any:
    """The session comes to this replica, with the run."""
    held = (case.run_id, 0, case.epoch)
    try:
        _, ended = await replica.engine.open_session(introduction(case.holder.session_id, [held], queue=case.queue))
    except SessionExpired:
        return "expired"
    return "attached", ended == [held]


TRANSACTIONS: Mapping[str, Callable[[Case, Replica], Awaitable[Any]]] = {
    "start": _start, "restart": _restart, "retry": _retry, "append": _append, "suspend": _suspend, "mail": _mail,
    "cancel": _cancel, "claim": _claim, "reap": _reap, "attach": _attach, "alarm": _alarm, "close": _close,
    "terminate": _terminate, "queue": _queue, "report": _report,
}  # fmt: skip
OF_SEVERAL = frozenset({"reap", "attach"})
"""They are more than one transaction each, and others may come in between."""


async def answer_of(name: str, case: Case, replica: Replica) -> Any:
    """What comes of a transaction, in words that do not depend on the case."""
    try:
        answer = await TRANSACTIONS[name](case, replica)
    except HoldfastError as refused:
        answer = refused
    await settled(replica.engine)
    match answer:
        case Started(run_id, attached):
            return case.names[run_id], attached
        case TransitionAnswer():
            return answer.status.name, answer.refusal
        case HoldfastError():
            return type(answer).__name__
        case _:
            return answer


def left_by(case: Case, rows: CellRows) -> dict[str, Any]:
    """What is to be seen of the runs of a case, in words that do not depend on it, and without times."""
    seen: dict[str, Any] = {}
    for run_id in filter(is_run_id, case.names):
        run = rows.open_runs.get(run_id)
        closed = [result.status.name for result in rows.results if result.run_id == run_id]
        seen[case.names[run_id]] = {
            "open": run
            and (
                run.state.name, case.names.get(run.owner or ""), run.epoch, run.length, run.mail_taken, run.mail_next,
                run.losses, run.waits,
            ),
            "closed": closed,
            "journal": [kind for row in rows.journals.get(run_id, ()) for kind in _kinds(row)],
            "mail": [mail.kind.name for mail in rows.mail.get(run_id, ())],
            "alarms": sorted((kind.name, ref) for of_run, kind, ref in rows.alarms if of_run == run_id),
            "steps": [
                (number, task.state.name, case.names.get(task.owner or ""), task.epoch, task.losses)
                for (of_run, number), task in rows.tasks.items()
                if of_run == run_id
            ],
        }  # fmt: skip
    key = rows.keys.get(("default", "id", case.id))
    return {**{name: run for name, run in seen.items() if run["journal"]}, "id": key and case.names[key.run_id]}


def _kinds(row: JournalRow) -> list[str]:
    entries = journal_pb2.JournalRow.FromString(join_entries(row.entries)).entries
    return [entry.WhichOneof("body") or "" for entry in entries]
