"""Runs in process: the worker's own rules for attempts and retries, around a clock that jumps over waits.

One engine drives one run and its children, on the event loop that it is used in. It stores and sends
nothing.
"""

import asyncio
import contextvars
import heapq
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.codec import Codec
from holdfast.codec.failures import capture
from holdfast.definitions.business_ids import business_id
from holdfast.definitions.definitions import WorkflowDefinition
from holdfast.errors import LimitExceeded
from holdfast.ids import run_id, start_id
from holdfast.journal import (
    Arguments,
    AttemptEnded,
    AttemptStarted,
    CancelRequested,
    ChildClosed,
    Entry,
    Failure,
    Mail,
    MailBody,
    MailConsumed,
    Payload,
    RunClosed,
    RunStarted,
    Signal,
    StepFailed,
    TimerFired,
)
from holdfast.limits import DEFAULT_LIMITS, SPAN_MAX, nesting_problem
from holdfast.statuses import ClosePolicy, RunStatus
from holdfast.testing.clock import VirtualClock
from holdfast.testing.crashes import CrashPoints
from holdfast.testing.overrides import Overrides
from holdfast.worker.attempts import NO_DEPS, Attempt, AttemptCall, AttemptRunner
from holdfast.worker.command_entries import recorded, step_scheduled
from holdfast.worker.guards import Guards, guarded
from holdfast.worker.log_facts import facts_in_logs
from holdfast.worker.retries import Ended
from holdfast.worker.step_progress import RunProgress, StepState, WorkerIdentity
from holdfast.worker.threads import DaemonThreads
from holdfast.workflow import commands
from holdfast.workflow.current_run import RunInfo
from holdfast.workflow.instance import WorkflowInstance

__all__ = ["NO_DEPS", "EngineRun", "LocalEngine"]

_CELL = "00"
_THREADS = 32


class EngineRun:
    """One run: its journal so far and its code."""

    def __init__(
        self,
        engine: "LocalEngine",
        definition: WorkflowDefinition,
        info: RunInfo,
        arguments: Arguments,
        *,
        parent: "tuple[EngineRun, int] | None",
    ) -> None:
        self.info = info
        self.run_id = info.run_id
        self.queue = info.queue
        self.arguments = arguments
        self.history: list[Entry] = []
        self.closed: RunClosed | None = None
        self.children: dict[int, EngineRun] = {}
        self.successor: EngineRun | None = None
        self.info = info
        self.definition = definition
        self.parent = parent
        self.deadline_at: datetime | None = None
        self._engine = engine
        self.close_policy = ClosePolicy.CANCEL
        self.depth: int = parent[0].depth + 1 if parent is not None else 0
        self.definition = definition
        self._parent = parent
        self._begin_code()
        self._attempts: dict[int, Attempt] = {}
        self._timers: set[int] = set()
        self._saved: dict[int, Payload] = {}
        self._mail_last = 0

    def _begin_code(self) -> None:
        engine = self._engine
        self._instance = WorkflowInstance(
            self.definition, self.info, self.arguments, codec=engine.codec, is_guarded=engine.is_guarded
        )
        self._progress = RunProgress({}, worker=WorkerIdentity("local"), retry_hold=SPAN_MAX)

    @property
    def waits(self) -> list[str]:
        """What would wake the code."""
        return self._instance.waits()

    @property
    def is_running_steps(self) -> bool:
        """True while an attempt runs whose outcome counts."""
        return bool(self._attempts)

    @property
    def newest(self) -> "EngineRun":
        """The run that this one has gone on as, in the end; itself when it has not continued as new."""
        run = self
        while run.successor is not None:
            run = run.successor
        return run

    def begin(self, max_duration: timedelta | None) -> None:
        """Start the code."""
        problem = nesting_problem(self.definition.name, self.depth, DEFAULT_LIMITS.nesting)
        if problem:
            self.end_now(RunStatus.FAILED, capture(LimitExceeded(problem)))
            return
        if max_duration is not None:
            self.deadline_at = self._engine.now() + max_duration
            self._engine.at(self.deadline_at, self.end_now, RunStatus.TIMED_OUT)
        self._observe(RunStarted(self._engine.now(), self.definition.name))

    def post(self, body: MailBody) -> None:
        """Deliver one piece of mail now."""
        if not self.history:
            self._engine.post_later(self, body)  # it has not begun
        elif self.closed is None:
            self._mail_last += 1
            at = self._engine.now()
            since = self._instance.awaited_since(body)
            self._observe(MailConsumed(at, self._mail_last, Mail(self._mail_last, at, body), since))
        elif self.successor is not None:
            self.successor.post(body)

    def attempt_ended(self, attempt: Attempt, how: Ended) -> None:
        """Record how an attempt ended, and plan the next one where there is one."""
        number = attempt.call.number
        if self.closed is not None or self._attempts.get(number) is not attempt:
            return
        if self._engine.crash_points.are_met(attempt.call.definition.name, number, moment="after"):
            self._engine.crash()
            return
        del self._attempts[number]
        entry = self._progress.ended(number, how, at=self._engine.now(), jitter=0.0)
        self._observe(entry)
        if isinstance(entry, AttemptEnded) and self.closed is None:
            self._engine.at(self._progress.steps[number].eligible_at, self._start_again, number)

    def save_progress(self, number: int, details: Payload) -> None:
        """Keep what an attempt saves for those that may follow."""
        self._saved[number] = details

    def drop(self) -> None:
        """Forget the code and what it runs."""
        self._cancel_attempts()
        self._instance.close()

    def rebuild(self) -> None:
        """Replay the journal with new code, as a worker does that gets the run after the loss of another one."""
        if self.closed is not None:
            return
        self._begin_code()
        if not self.history:
            return
        instance = self._instance
        instance.is_replaying = len(self.history) > 1
        instance.expect(len(self.history))
        instance.foresee(self.history)
        for entry in self.history:
            self._progress.feed(entry)
            instance.feed(entry)
        instance.check_replayed()
        for call in instance.open_steps():
            self._progress.recall(call)
        at = self._engine.now()
        for lost in list(self._progress.losses(at=at, after_timeout=False, lost=WorkerIdentity("local"))):
            if self.closed is None:
                self._observe(lost)
                self._engine.at(at, self._start_again, lost.number)

    def _observe(self, entry: Entry) -> None:
        self.history.append(entry)
        self._progress.feed(entry)
        self._instance.feed(entry)
        called = []
        for command in self._instance.take_commands():
            self._carry_out(command, entry.at)
            if isinstance(command, commands.CallStep):
                called.append(command.number)
        # Afterwards, as on a worker: what the code leaves behind when it ends in the same breath never starts.
        for number in called:
            if self.closed is None:
                self._start(number)

    def _carry_out(self, command: commands.Command, at: datetime) -> None:
        match command:
            case commands.CallStep():
                scheduled = step_scheduled(command, at, inline=True, started=True)
                self.history.append(scheduled)
                self._progress.scheduled(scheduled, command)
                return
            case commands.CancelStep(number):
                self._cancel_step(number, at)
                return
        entry = recorded(command, at)
        self.history.append(entry)
        match command:
            case commands.SetTimer(number, _, delay, until):
                self._timers.add(number)
                due = at + delay if delay is not None else until
                assert due is not None, command
                self._engine.at(due, self._fire, number)
            case commands.CancelTimer(number):
                self._timers.discard(number)
            case commands.StartChild(number):
                child = self._engine.start_child(self, command, self._instance.child_workflow(number))
                self.children[number] = child
            case commands.CancelChild(number):
                self._engine.post_later(self.children[number], CancelRequested("no longer awaited"))
            case commands.SendMail(number, _, _, signal, payload, reason):
                body = Signal(signal, payload) if signal else CancelRequested(reason)
                self._engine.post_later(self.children[number], body)
            case commands.Close():
                assert isinstance(entry, RunClosed), entry
                self._close(entry)

    def _start(self, number: int) -> None:
        step = self._progress.steps[number]
        assert step.definition is not None, step
        if self._engine.crash_points.are_met(step.name, number, moment="before"):
            self._engine.at(self._engine.now(), self._engine.crash)
            return
        call = AttemptCall(
            owner=self,
            run_id=self.run_id,
            workflow=self.definition.name,
            number=number,
            attempt=step.attempt,
            definition=self._engine.overrides.applied_to(step.definition),
            arguments=step.scheduled.arguments,
            timeout=step.scheduled.timeout,
            step_id=step.scheduled.step_id,
            saved=self._saved.get(number),
        )
        self._attempts[number] = self._engine.runner.start(call)

    def _start_again(self, number: int) -> None:
        step = self._progress.steps.get(number)
        # After a crash two plans for one attempt may be due: that of the policy, and that of the loss.
        if step is None or self.closed is not None or step.state is StepState.RUNNING:
            return
        refusal = step.recovery_failure()
        if refusal is not None:
            self._observe(StepFailed(self._engine.now(), number, refusal))
        else:
            self._observe(AttemptStarted(self._engine.now(), number, step.attempt + 1))
            self._start(number)

    def _cancel_step(self, number: int, at: datetime) -> None:
        attempt = self._attempts.pop(number, None)
        if attempt is not None:
            self._engine.runner.cancel(attempt)
        entry = self._progress.cancelled(number, at=at)
        self.history.append(entry)
        self._progress.feed(entry)

    def _cancel_attempts(self) -> None:
        for attempt in self._attempts.values():
            self._engine.runner.cancel(attempt)
        self._attempts.clear()

    def _fire(self, number: int) -> None:
        if number in self._timers:
            self._timers.discard(number)
            self.post(TimerFired(number))

    def end_now(self, status: RunStatus, failure: Failure | None = None) -> None:
        """End the run, whatever its code does."""
        if self.closed is None:
            entry = RunClosed(self._engine.now(), status, failure=failure)
            self.history.append(entry)
            self._instance.close()
            self._close(entry)

    def _close(self, entry: RunClosed) -> None:
        self.closed = entry
        self._cancel_attempts()
        for child in self.children.values():
            match child.close_policy:
                case ClosePolicy.CANCEL:
                    self._engine.post_later(child, CancelRequested("the parent run has closed"))
                case ClosePolicy.TERMINATE:
                    self._engine.at(self._engine.now(), child.end_now, RunStatus.TERMINATED)
                case ClosePolicy.ABANDON:
                    pass
        if entry.status is RunStatus.CONTINUED_AS_NEW:
            self.successor = self._engine.go_on(self, entry)
        elif self._parent is not None:
            parent, number = self._parent
            closed = ChildClosed(number, self.run_id, entry.status, entry.result, entry.failure)
            self._engine.post_later(parent, closed)


class LocalEngine:
    """Drives a run and its children. Use it as an async context manager around `run_until_idle`.

    Its clock goes while it waits for a step, so a timeout around a step that hangs still takes its time; else it
    stands, and is moved to what is due next.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        deps: Any = NO_DEPS,
        guards: Guards = "on",
        overrides: Overrides | None = None,
        crash_points: CrashPoints | None = None,
    ) -> None:
        self.codec = codec
        self.is_guarded = guarded(guards)
        self._executor = DaemonThreads(_THREADS)
        self.runner = AttemptRunner(
            asyncio.get_running_loop(),
            codec=codec,
            executor=self._executor,
            listener=self,
            context=contextvars.copy_context(),
            deps=deps,
        )
        self.overrides = overrides or Overrides()
        self.crash_points = crash_points or CrashPoints()
        self.clock = VirtualClock(datetime.now(UTC))
        self.runs: list[EngineRun] = []
        self._due: list[tuple[datetime, int, Callable[..., None], tuple[Any, ...]]] = []
        self._planned = 0
        self._changed = asyncio.Event()
        self._logs = facts_in_logs()

    async def __aenter__(self) -> "LocalEngine":
        self._logs.__enter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for run in self.runs:
            run.drop()
        # Cancelled steps get one turn of the loop to unwind; threads that go on are left alone, as by a worker.
        await asyncio.sleep(0)
        self._logs.__exit__(None, None, None)
        self._executor.shutdown(wait=False)

    def now(self) -> datetime:
        """The virtual time."""
        return self.clock.now()

    def at(self, due: datetime, act: Callable[..., None], *args: Any) -> None:
        """Call `act` when the virtual clock shows `due`; calls due at one moment keep their order."""
        self._planned += 1
        heapq.heappush(self._due, (due, self._planned, act, args))

    def start(self, definition: WorkflowDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> EngineRun:
        """A new run, begun when the engine runs."""
        what = f"workflow {definition.name}"
        arguments = self.codec.encode_arguments(definition.signature, args, kwargs, what=what, hashed=True)
        id = business_id(definition, *self.codec.decode_arguments(definition.signature, arguments, what=what))
        new_run_id = run_id(_CELL, start_id(int(self.now().timestamp() * 1000), os.urandom(10)))
        info = RunInfo(new_run_id, definition.name, id, definition.queue or "default", created_at=self.now())
        return self._add(definition, info, arguments, parent=None, max_duration=definition.max_duration)

    def start_child(self, parent: EngineRun, command: commands.StartChild, definition: WorkflowDefinition) -> EngineRun:
        """A run that a run of this engine has started."""
        info = RunInfo(
            command.run_id,
            definition.name,
            command.id,
            command.queue or parent.queue,
            parent_run_id=parent.run_id,
            created_at=self.now(),
        )
        origin = (parent, command.number)
        run = self._add(definition, info, command.arguments, parent=origin, max_duration=command.max_duration)
        run.close_policy = command.close_policy
        return run

    def go_on(self, run: EngineRun, closed: RunClosed) -> EngineRun:
        """The run that goes on where one has continued as new."""
        assert closed.arguments is not None, closed
        info = replace(run.info, run_id=closed.successor_run_id, created_at=self.now())
        left = None if run.deadline_at is None else run.deadline_at - self.now()
        new = self._add(run.definition, info, closed.arguments, parent=run.parent, max_duration=left)
        new.close_policy = run.close_policy
        if run.parent is not None:
            parent, number = run.parent
            parent.children[number] = new
        for mail in closed.signals:
            self.post_later(new, mail.body)
        return new

    def post_later(self, run: EngineRun, body: MailBody, after: timedelta = timedelta(0)) -> None:
        """Deliver mail to a run when `after` has passed."""
        self.at(self.now() + after, run.post, body)

    def forget(self, run: EngineRun) -> None:
        """A run that was not begun never is."""
        assert not run.history, run.run_id
        self.runs.remove(run)
        self._due = [plan for plan in self._due if plan[2] != run.begin]
        heapq.heapify(self._due)
        run.drop()

    def crash(self) -> None:
        """Lose all code and running attempts, as with their worker, and go on from the journals."""
        for run in self.runs:
            run.drop()
        for run in self.runs:
            run.rebuild()

    async def run_until_idle(self, run: EngineRun | None, until: datetime | None = None) -> None:
        """Drive everything until `run` has closed, or nothing can happen any more.

        until: where the clock stops; what is due then happens. None: it has no limit.
        """
        while run is None or run.newest.closed is None:
            if self._due and self._due[0][0] <= self.now():
                _, _, act, args = heapq.heappop(self._due)
                act(*args)
            elif any(one.is_running_steps for one in self.runs):
                await self._wait_for_a_step()
            elif self._due and (until is None or self._due[0][0] <= until):
                self.clock.move_to(self._due[0][0])
            else:
                if until is not None:
                    self.clock.move_to(until)
                return

    async def _wait_for_a_step(self) -> None:
        left = (self._due[0][0] - self.now()).total_seconds() if self._due else None
        self._changed.clear()
        try:
            with self.clock.going():
                async with asyncio.timeout(left):
                    await self._changed.wait()
        except TimeoutError:
            return

    def _add(
        self,
        definition: WorkflowDefinition,
        info: RunInfo,
        arguments: Arguments,
        *,
        parent: tuple[EngineRun, int] | None,
        max_duration: timedelta | None,
    ) -> EngineRun:
        run = EngineRun(self, definition, info, arguments, parent=parent)
        self.runs.append(run)
        self.at(self.now(), run.begin, max_duration)
        return run

    # AttemptListener

    def attempt_ended(self, attempt: Attempt, how: Ended) -> None:
        """What came of an attempt; recorded in turn with everything else."""
        self.at(self.now(), attempt.call.owner.attempt_ended, attempt, how)
        self._changed.set()

    def save_progress(self, attempt: Attempt, details: Payload) -> "asyncio.Future[None]":
        """What an attempt saves; it is kept at once."""
        attempt.call.owner.save_progress(attempt.call.number, details)
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        saved.set_result(None)
        return saved

    def executor_broken(self, error: BaseException) -> None:
        """Its threads take calls to the end; what is lost with them is the failure of nothing."""

    def slot_freed(self) -> None:
        """An attempt uses nothing any more."""
        self._changed.set()
