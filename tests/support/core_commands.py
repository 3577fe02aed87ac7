"""Commands for tests of the pure core, with everything that a test does not care about filled in."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

from holdfast.api.v1 import journal_pb2, status_pb2
from holdfast.ids import child_run_id, run_id, start_id
from holdfast.statuses import ClosePolicy, RunStatus, Then, TransitionStatus
from holdfast_coordinator.domain.asks import Ask, CloseAsk, ConsumeMail, QueueStepAsk, StartChildAsk
from holdfast_coordinator.domain.commands import (
    AlarmDue,
    CommitTransition,
    EndAttempt,
    ReportAttempt,
    SendSignal,
    StartRun,
)
from holdfast_coordinator.domain.mail import MailKind, SignalMail
from holdfast_coordinator.domain.rows import AlarmKind, OpenRun, RunState, TaskRow
from holdfast_coordinator.domain.transitions import TransitionAnswer
from tests.support.core_cell import T0, CoreCell

ENTRY = journal_pb2.JournalRow(
    entries=[journal_pb2.Entry(step_scheduled=journal_pb2.StepScheduled(number=1, name="charge"))]
).SerializeToString()

WORKER = "ses_worker"
OTHER = "ses_other"


def run_named(number: int) -> str:
    """The run id of the run with this number."""
    return run_id("00", start_id(number, bytes(10)))


RUN = run_named(1)


def start(number: int = 1, **changed: Any) -> StartRun:
    """The start of the run with this number."""
    values: dict[str, Any] = {
        "run_id": run_named(number), "namespace": "default", "workflow": "order", "queue": "default",
        "arguments": b"", "call_digest": b"same",
    }  # fmt: skip
    return StartRun(**{**values, **changed})


def leased(cell: CoreCell, command: StartRun | None = None, *, session_id: str = WORKER) -> OpenRun:
    """A new run, leased to the worker."""
    command = command or start()
    offer(cell, session_id)
    cell.ask(command)
    withdraw(cell)
    return cell.open_runs[command.run_id]


def offer(cell: CoreCell, session_id: str, *, runs: int = 1, tasks: int = 0) -> None:
    """The session has room, and no other has."""
    cell.sessions.runs = {session_id: runs}
    cell.sessions.tasks = {session_id: tasks}


def withdraw(cell: CoreCell) -> None:
    """No session has room."""
    cell.sessions.runs, cell.sessions.tasks = {}, {}


def transition(
    run: OpenRun,
    *asks: Ask,
    journal: Sequence[bytes | ConsumeMail] = (ENTRY,),
    then: Then = Then.CONTINUE,
    **changed: Any,
) -> CommitTransition:
    """What the holder of a run reports next; the close of a closing one is added."""
    count = len(journal)
    if then is Then.CLOSE:
        asks = (*asks, close())
        count += 1
    values: dict[str, Any] = {
        "run_id": run.run_id, "session_id": run.owner or WORKER, "epoch": run.epoch, "expected_seq": run.length,
        "transition_id": (run.epoch << 24) + run.length + run.mail_taken + 1, "count": count, "journal": list(journal),
        "asks": list(asks), "mail_seen": run.mail_next - 1, "then": then,
    }  # fmt: skip
    return CommitTransition(**{**values, **changed})


def take(cell: CoreCell, *asks: Ask, run_id: str = RUN, **changed: Any) -> TransitionAnswer:
    """The next transition of a leased run, which is committed."""
    answer = cell.ask(transition(cell.open_runs[run_id], *asks, **changed))
    assert isinstance(answer, TransitionAnswer)
    assert answer.status in (TransitionStatus.COMMITTED, TransitionStatus.COMMITTED_WITH_MAIL), answer
    return answer


def suspend(cell: CoreCell, *asks: Ask, run_id: str = RUN, waits: str = "signal go") -> None:
    """The holder gives a run back, which waits for something."""
    take(cell, *asks, run_id=run_id, then=Then.SUSPEND, waits=waits)
    assert cell.open_runs[run_id].state is RunState.SUSPENDED


def close(status: RunStatus = RunStatus.COMPLETED) -> CloseAsk:
    """A RunClosed entry of a worker."""
    entry = journal_pb2.Entry(run_closed=journal_pb2.RunClosed(status=cast(status_pb2.RunStatus, status.number)))
    return CloseAsk(status, None, None, journal_pb2.JournalRow(entries=[entry]).SerializeToString())


def signal(number: int = 1, *, run_id: str = RUN, name: str = "go", once: bool = False) -> SendSignal:
    """A signal with its own request id."""
    return SendSignal(run_id, f"req-{number}", SignalMail(name, b""), once=once)


def queue_step(number: int = 1, **changed: Any) -> QueueStepAsk:
    """A queued step."""
    step = QueueStepAsk(number, "charge", b"", "default", 0, timedelta(seconds=60), 3, b"", "", T0)
    return replace(step, **changed)


def queued(cell: CoreCell, **changed: Any) -> TaskRow:
    """A queued step of a suspended run, claimed by the worker."""
    leased(cell)
    offer(cell, WORKER, runs=0, tasks=1)
    suspend(cell, queue_step(**changed), waits="step charge (1)")
    withdraw(cell)
    return cell.tasks[RUN, 1]


def report(task: TaskRow, **changed: Any) -> ReportAttempt:
    """The outcome of a claimed attempt."""
    values: dict[str, Any] = {
        "run_id": task.run_id, "number": task.number, "attempt": task.attempt, "epoch": task.epoch,
        "session_id": task.owner, "record": b"record %d" % task.attempt,
    }  # fmt: skip
    return ReportAttempt(**{**values, **changed})


def lose(task: TaskRow, **changed: Any) -> EndAttempt:
    """The session that has the attempt is dead, unless told otherwise."""
    return EndAttempt(task.run_id, task.number, task.epoch, **changed)


def child_of(number: int = 1, *, parent: str = RUN, policy: ClosePolicy = ClosePolicy.CANCEL) -> StartChildAsk:
    """A ChildStarted entry."""
    return StartChildAsk(number, child_run_id(parent, number), policy, b"spec")


def child_start(cell: CoreCell, number: int = 1, *, parent: str = RUN, **changed: Any) -> StartRun:
    """The delivery of a child's start."""
    alarm = cell.alarms[parent, AlarmKind.OUTBOX_CHILD, number]
    child = child_run_id(parent, number)
    return start(run_id=child, parent_run_id=parent, parent_number=number, outbox=alarm, **changed)


def fire(cell: CoreCell, kind: AlarmKind, ref: int = 0, *, run_id: str = RUN) -> bool:
    """What the alarm loop asks for when it has seen an alarm; whether it did anything."""
    return bool(cell.ask(AlarmDue(run_id, kind, ref)))


def mail_kinds(cell: CoreCell) -> list[MailKind]:
    """The kinds of the mail that waits for the run."""
    return [mail.kind for mail in cell.waiting_mail(RUN)]
