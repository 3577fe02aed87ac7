"""Random commands, in random batches, late, repeated and out of order: the invariants hold after every batch."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from holdfast.ids import child_run_id
from holdfast.statuses import ClosePolicy, Then
from holdfast_coordinator.domain.asks import (
    Ask,
    CancelChildAsk,
    CancelStepAsk,
    CancelTimerAsk,
    ConsumeMail,
    SendMailAsk,
    SetRetryAsk,
    SetTimerAsk,
    StallAsk,
    StartChildAsk,
)
from holdfast_coordinator.domain.commands import (
    AlarmDue,
    ClaimRuns,
    ClaimTasks,
    Command,
    DeliverChildClosed,
    DeliverToChild,
    EndAttempt,
    EndLease,
    LeaseEnd,
    OfferStalled,
    OnConflict,
    ReportAttempt,
    RequestCancel,
    ResumeRun,
    Reuse,
    TerminateRun,
)
from holdfast_coordinator.domain.mail import ChildClosedMail, SignalMail
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, RunState, TaskState
from tests.support.core_cell import CoreCell
from tests.support.core_commands import (
    ENTRY,
    OTHER,
    RUN,
    WORKER,
    child_of,
    queue_step,
    run_named,
    signal,
    start,
    transition,
)
from tests.support.invariants import CellRows, check, check_step

PICK = st.integers(0, 1_000)
FEW_SECONDS = st.integers(0, 30).map(lambda seconds: timedelta(seconds=seconds))


class RandomCommands(RuleBasedStateMachine):
    """Commands wait in a line until a batch takes them, so that many are stale when their turn comes."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = CoreCell()
        self.cell.sessions.runs = {WORKER: 2, OTHER: 2}
        self.cell.sessions.tasks = {WORKER: 2, OTHER: 2}
        self.line: list[Command] = []
        self.sent: list[Command] = []
        self.number = 0
        self.before: CellRows = self.cell.rows()

    # What clients ask

    @rule(
        id=st.sampled_from([None, "a", "b"]),
        key=st.sampled_from([None, None, "k"]),
        on_conflict=st.sampled_from(OnConflict),
        reuse=st.sampled_from(Reuse),
        other=st.booleans(),
        delay=st.none() | FEW_SECONDS,
        lasts=st.none() | FEW_SECONDS,
    )
    def start(self, id: str | None, key: str | None, other: bool, lasts: timedelta | None, **changed: Any) -> None:
        self.number += 1
        call_digest = b"other" if other else b"same"
        self.ask(start(self.number, id=id, idempotency_key=key, call_digest=call_digest, max_duration=lasts, **changed))

    @rule(pick=PICK, request=st.integers(1, 5), once=st.booleans())
    def signal(self, pick: int, request: int, once: bool) -> None:
        self.ask(signal(request, run_id=self.some_run(pick), once=once))

    @rule(pick=PICK, how=st.sampled_from([RequestCancel, TerminateRun]))
    def end(self, pick: int, how: type[RequestCancel] | type[TerminateRun]) -> None:
        self.ask(how(self.some_run(pick), f"{how.__name__}-{pick % 3}", "why"))

    @rule(pick=PICK)
    def resume(self, pick: int) -> None:
        self.ask(ResumeRun(self.some_run(pick), f"resume-{pick}"))

    @rule(pick=PICK, build=st.sampled_from(["b1", "b2"]))
    def new_build(self, pick: int, build: str) -> None:
        self.ask(OfferStalled(self.some_run(pick), build))

    # What workers do

    @rule(data=st.data(), pick=PICK, then=st.sampled_from(Then), entries=st.integers(0, 2), consumed=st.integers(0, 3))
    def advance(self, data: st.DataObject, pick: int, then: Then, entries: int, consumed: int) -> None:
        runs = [run for run in self.cell.open_runs.values() if run.state is RunState.LEASED]
        if not runs:
            return
        run = runs[pick % len(runs)]
        mail = self.cell.waiting_mail(run.run_id)[:consumed]
        asks: list[Ask] = data.draw(st.lists(self.asks(), max_size=3)) if entries else []
        if then is Then.STALL:
            asks.append(StallAsk("the code does not match", "b1"))
        command = transition(
            run,
            *self.fresh(run.run_id, asks),
            journal=[*[ENTRY] * entries, *(ConsumeMail(one.number, self.cell.now) for one in mail)],
            then=then,
            mail_seen=max(run.mail_next - 1 - data.draw(st.integers(0, 1)), 0),
            attempt_deadline=data.draw(st.none() | FEW_SECONDS),
            waits=data.draw(st.sampled_from(["", "something"])),
        )
        self.number += 1
        self.ask(replace(command, transition_id=self.number))

    def asks(self) -> st.SearchStrategy[Ask]:
        number = st.integers(1, 9)
        return st.one_of(
            st.builds(SetTimerAsk, number, FEW_SECONDS, st.none()),
            st.builds(SetRetryAsk, number, FEW_SECONDS),
            st.builds(CancelTimerAsk, number),
            st.builds(CancelStepAsk, number),
            st.builds(CancelChildAsk, number),
            st.builds(SendMailAsk, number, st.just(RUN), st.just(b"spec")),
            st.builds(queue_step, number, recoveries=st.sampled_from([0, 1, None])),
            st.builds(child_of, number, policy=st.sampled_from(ClosePolicy)),
        )

    def fresh(self, run_id: str, asks: list[Ask]) -> list[Ask]:
        """A worker never uses a number twice; this one counts for all that is new."""
        new: list[Ask] = []
        for ask in asks:
            if isinstance(ask, CancelTimerAsk | CancelStepAsk | CancelChildAsk | StallAsk):
                new.append(ask)
                continue
            self.number += 1
            child = {"run_id": child_run_id(run_id, self.number)} if isinstance(ask, StartChildAsk) else {}
            new.append(replace(ask, number=self.number, **child))  # type: ignore[arg-type]
        return new

    @rule(pick=PICK, again=st.none() | FEW_SECONDS, back=st.booleans())
    def report(self, pick: int, again: timedelta | None, back: bool) -> None:
        tasks = [task for task in self.cell.tasks.values() if task.state is TaskState.CLAIMED]
        if tasks:
            one = tasks[pick % len(tasks)]
            values = (one.run_id, one.number, one.attempt, one.epoch, one.owner or "", b"record")
            self.ask(ReportAttempt(*values, again_after=again, handed_back=back and again is not None))

    @rule(pick=PICK)
    def claim(self, pick: int) -> None:
        for places in (self.cell.sessions.runs, self.cell.sessions.tasks):
            places[(WORKER, OTHER)[pick % 2]] = pick % 4
        self.ask(ClaimRuns("default", "default", ("order",), 3))
        self.ask(ClaimTasks("default", "default", ("charge",), 3))

    # What the coordinator does by itself

    @rule(pick=PICK, reason=st.sampled_from(LeaseEnd))
    def end_lease(self, pick: int, reason: LeaseEnd) -> None:
        runs = [run for run in self.cell.open_runs.values() if run.owner is not None]
        if runs:
            run = runs[pick % len(runs)]
            self.ask(EndLease(run.run_id, run.owner or "", run.epoch, reason))

    @rule(pick=PICK, timed_out=st.booleans(), undelivered=st.booleans())
    def end_attempt(self, pick: int, timed_out: bool, undelivered: bool) -> None:
        tasks = list(self.cell.tasks.values())
        if tasks:
            task = tasks[pick % len(tasks)]
            self.ask(EndAttempt(task.run_id, task.number, task.epoch, timed_out, undelivered))

    @precondition(lambda self: self.cell.alarms)
    @rule(pick=PICK)
    def fire(self, pick: int) -> None:
        alarms = list(self.cell.alarms.values())
        alarm = alarms[pick % len(alarms)]
        if alarm.kind < AlarmKind.OUTBOX_CHILD:
            self.ask(AlarmDue(alarm.run_id, alarm.kind, alarm.ref))
        else:
            self.ask(self.delivery(alarm, id="a" if pick % 3 else None))

    def delivery(self, alarm: AlarmRow, id: str | None) -> Command:
        child = child_run_id(alarm.run_id, alarm.ref)
        match alarm.kind:
            case AlarmKind.OUTBOX_CHILD:
                return start(run_id=child, id=id, parent_run_id=alarm.run_id, parent_number=alarm.ref, outbox=alarm)
            case AlarmKind.OUTBOX_CHILD_CLOSED:
                record, result = self.cell.runs[alarm.run_id], self.cell.run_results[alarm.run_id]
                mail = ChildClosedMail(record.parent_number, alarm.run_id, result.status)
                return DeliverChildClosed(record.parent_run_id or "", mail, alarm)
            case AlarmKind.OUTBOX_CHILD_MAIL:
                children = [one.child_run_id for one in self.cell.children.values() if one.run_id == alarm.run_id]
                return DeliverToChild(
                    children[0] if children else child, alarm, 0, SignalMail("go", b"") if id else None
                )
            case AlarmKind.OUTBOX_CHILD_CANCEL:
                return RequestCancel(child, f"{alarm.run_id}/cancel/{alarm.ref}", "parent closed", alarm)
            case _:
                return TerminateRun(child, f"{alarm.run_id}/terminate/{alarm.ref}", "parent closed", alarm)

    @rule(seconds=st.sampled_from([0.001, 1, 30]))
    def pass_time(self, seconds: float) -> None:
        self.cell.pass_time(seconds)

    # The line

    @precondition(lambda self: self.sent)
    @rule(pick=PICK)
    def repeat(self, pick: int) -> None:
        self.line.append(self.sent[-1 - pick % min(len(self.sent), 20)])

    @precondition(lambda self: self.line)
    @rule()
    def write(self) -> None:
        batch, self.line = self.line, []
        self.sent += batch
        self.cell.submit(*batch)
        after = self.cell.rows()
        check(after)
        check_step(self.before, after)
        self.before = after

    def ask(self, command: Command) -> None:
        self.line.append(command)
        if self.number % 3:
            self.write()

    def some_run(self, pick: int) -> str:
        runs = list(self.cell.runs)
        return runs[pick % len(runs)] if runs and pick % 7 else run_named(pick % 50)


RandomCommands.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestInvariantsHoldWhateverTheCommands = RandomCommands.TestCase
