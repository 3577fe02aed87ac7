"""All the work that one session holds: runs, queued attempts, slots. It moves them on and collects what to report.

Everything here runs on the worker's loop. Workflow code is advanced in `_turn` only, a loop callback that takes
all runs with news at once; attempts and timers merely leave news and ask for a turn. It does no I/O itself: the
session brings answers and takes reports, and is asked for one when there is something to report.
"""

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from holdfast.channel.leases import (
    Held,
    Lease,
    Notice,
    ProgressReport,
    ProgressResult,
    QueuedAttempt,
    ReportAnswer,
    Work,
)
from holdfast.codec import Codec
from holdfast.definitions.definitions import StepDefinition, WorkflowDefinition
from holdfast.journal import Arguments, Payload
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import TransitionStatus
from holdfast.worker.attempts import Attempt, AttemptRunner
from holdfast.worker.clock import SessionClock
from holdfast.worker.code_guard import CodeGuard
from holdfast.worker.declared_signals import DeclaredSignals
from holdfast.worker.holder import Phase, RunHolder
from holdfast.worker.holder_factory import CrewOptions, HolderFactory
from holdfast.worker.leased_runs import LeasedRuns
from holdfast.worker.placement import StepPlacement
from holdfast.worker.progress_saves import ProgressSaves
from holdfast.worker.queued_attempts import QueuedClaims
from holdfast.worker.reports import Report as Report
from holdfast.worker.reports import take_report
from holdfast.worker.retries import Ended
from holdfast.worker.running_attempts import RunningAttempts, call_of_claim, call_of_step
from holdfast.worker.slots import Slots
from holdfast.worker.step_progress import WorkerIdentity
from holdfast.workflow.commands import CallStep

log = logging.getLogger("holdfast.worker")


class CrewTasks(Protocol):
    """What a crew leaves to its session: see SessionTasks."""

    def report_soon(self) -> None:
        """There is something to report."""

    def save_soon(self) -> None:
        """There is progress to save."""

    def read_journal(self, lease: Lease) -> None:
        """A leased run has to be rebuilt, and its journal is not at hand."""


class WorkCrew:
    """See the module. tasks: what it leaves to the session."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: CrewOptions,
        *,
        workflows: Mapping[str, WorkflowDefinition],
        steps: Mapping[str, StepDefinition],
        codec: Codec,
        clock: SessionClock,
        make_runner: Callable[["WorkCrew", contextvars.Context], AttemptRunner],
        tasks: CrewTasks,
        on_unusable: Callable[[], None] = lambda: None,
    ) -> None:
        self.options = options
        self.limits: Limits = DEFAULT_LIMITS
        self.worker = WorkerIdentity(build=options.build)
        self.slots = Slots(options.slots)
        self.draining = False
        self.guard = CodeGuard(loop)
        self._loop = loop
        self.declared_signals = DeclaredSignals()
        self._make_holder = HolderFactory(
            options, workflows, steps, codec, crew=self, declared_signals=self.declared_signals
        )
        self._clock = clock
        self._tasks = tasks
        self._on_unusable = on_unusable
        # Turns and attempts begin with the variables of the worker, never with those of whoever asked for them.
        self._context = contextvars.copy_context()
        self._runner = make_runner(self, self._context)
        self.runs = LeasedRuns(self, workflows, cached_max=options.cached_runs_max)
        self._queued = QueuedClaims(steps, now=clock.now, jitter=random.random)
        self._claims: dict[tuple[str, int], Held] = {}
        self.saves = ProgressSaves()
        self._running = RunningAttempts(self._runner, clock, slot_freed=self.slot_freed, forget=self.saves.forget)
        self._dirty: dict[RunHolder, None] = {}
        self._outgoing: dict[RunHolder, None] = {}
        self._placement = StepPlacement(options.queue, steps, self.slots)
        self._turn_is_due = False
        self.emptied = asyncio.Event()

    # What the session asks

    @property
    def held(self) -> tuple[Held, ...]:
        """All that the session holds, and how far the mail of its runs has come.

        Also read by the heartbeat thread: atomic copies, then looks at single values.
        """
        return (*map(self.runs.with_mail_seen, tuple(self.runs.held.values())), *tuple(self._claims.values()))

    @property
    def free_slots(self) -> int:
        return 0 if self.draining else self.slots.offered

    @property
    def free_runs(self) -> int:
        return 0 if self.draining else max(0, self.options.runs_max - len(self.runs))

    @property
    def running_attempts(self) -> int:
        return len(self._running)

    def session_opened(self, session_id: str, limits: Limits) -> None:
        """From now on attempts are recorded as those of this session."""
        self.worker = WorkerIdentity(session_id, self.options.build)
        self._queued.worker = self.worker
        self.limits = limits
        self._runner.limits = limits

    def work_arrived(self, work: Work) -> list[Held]:
        """Takes what a poll brought; returns what to acknowledge with the next one."""
        received = []
        for lease in work.leases:
            self.runs.lease_arrived(lease)
            received.append(self.runs.with_mail_seen(Held(lease.run_id, 0, lease.epoch)))
        for claim in work.attempts:
            self._claim_arrived(claim)
            received.append(Held(claim.run_id, claim.step, claim.epoch))
        with_mail = [notice.held for notice in work.notices if self._notice_arrived(notice)]
        received.extend(map(self.runs.with_mail_seen, with_mail))
        return received

    # LeaseHost, for the runs

    def make_holder(self, lease: Lease, arguments: Arguments) -> RunHolder:
        return self._make_holder(lease, arguments, self.worker, self.limits)

    def read_journal(self, lease: Lease) -> None:
        self._tasks.read_journal(lease)

    def taken_in(self, holder: RunHolder) -> None:
        holder.progress.worker = self.worker
        holder.draining = self.draining
        self.news(holder)

    def news(self, holder: RunHolder) -> None:
        self._dirty[holder] = None
        self.ask_for_turn()

    def left(self, holder: RunHolder) -> None:
        self._dirty.pop(holder, None)
        self._outgoing.pop(holder, None)

    # What ends elsewhere

    def ended_elsewhere(self, ended: Iterable[Held]) -> None:
        """Drops what the coordinator says that the session no longer holds."""
        for held in ended:
            if held.step:
                self._claim_gone(held)
            else:
                self.runs.ended_elsewhere(held)

    def _notice_arrived(self, notice: Notice) -> bool:
        """Takes a notice; True when it brought mail that is to be acknowledged."""
        held = notice.held
        if notice.ended:
            self.ended_elsewhere((held,))
        elif notice.cancelled:
            self._claim_gone(held)
        elif notice.mail:
            return self.runs.mail_arrived(held, notice.mail)
        return False

    def guilty(self) -> list[Held]:
        """The run or the step whose code the loop is in, or was in when something ended it.

        Of a step under the lease of its run, that run: its next holder counts the loss of the attempt.
        """
        running = self.guard.running
        if running is not None:
            held = self.runs.held.get(running.run_id)
        else:
            attempt = self.guard.running_attempt
            if attempt is None:
                return []
            held = self._claims.get((attempt.run_id, attempt.number)) or self.runs.held.get(attempt.run_id)
        return [] if held is None else [held]

    def give_up(self) -> tuple[list[Held], list[Held]]:
        """Gives up what the loop holds up; with it that part whose code is the reason. Called from another thread.

        Plain functions run on, and what they run for stays: it would be done twice.
        """
        lost = self.guilty()
        kept = self._running.plain_keys()
        all_held = (*tuple(self.runs.held.values()), *tuple(self._claims.values()))
        given_up = [held for held in all_held if (held.run_id, held.step) not in kept or held in lost]
        self._loop.call_soon_threadsafe(self._gave_up, given_up)
        return given_up, lost

    def _gave_up(self, given_up: list[Held]) -> None:
        """The loop is back. It may have a report in flight, but what that says is of no use any more."""
        for held in given_up:
            if held.step:
                self._claim_gone(held)
            else:
                self.runs.give_up(held)

    def drop_everything(self) -> None:
        """The session is dead: nothing of it may be reported or started any more."""
        self.runs.drop_all()
        for claim in self._queued.forget_all():
            self._running.stop((claim.run_id, claim.step))
        self._claims.clear()
        self.saves.forget_all()
        self.ask_for_turn()

    # Turns

    def ask_for_turn(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._turn_is_due = False
        if self.runs.replay_some(self.guard):
            self.ask_for_turn()
        while True:
            while self._dirty:
                dirty, self._dirty = self._dirty, {}
                for holder in dirty:
                    self.guard.running = holder
                    holder.advance()
                    self.guard.leave()
                    self._outgoing[holder] = None
                    if holder.stall_cause is not None:
                        self._say_stalled(holder)
            granted = () if self.draining else self.slots.grant()
            if not granted:
                break
            for holder in granted:
                self._outgoing[holder] = None
        if self._outgoing or self._queued.has_reports:
            self._tasks.report_soon()
        if self.draining and not self.runs.held and not self._claims:
            self.emptied.set()

    def _say_stalled(self, holder: RunHolder) -> None:
        cause, holder.stall_cause = holder.stall_cause, None
        log.error("run %s is stalled: its code cannot go on in this worker", holder.run_id, exc_info=cause)

    # Reports

    def take_report(self) -> Report | None:
        """What is to be reported now; None when there is nothing. One report is in flight at a time."""
        return take_report(self._outgoing, self._queued)

    def report_answered(self, answer: ReportAnswer) -> None:
        """Settles what was reported, and starts the attempts whose starts are now committed."""
        is_sure = self._clock.is_sure()
        for ended in answer.attempts:
            if ended.refusal:
                log.error(
                    "run %s: the coordinator refused the end of step %d: %s", ended.run_id, ended.step, ended.refusal
                )
        for result in answer.transitions:
            holder = self.runs.holders.get(result.run_id)
            if holder is None or not holder.is_in_flight:
                continue
            if result.status is TransitionStatus.REFUSED:
                log.error("run %s: the coordinator refused a transition: %s", result.run_id, result.refusal)
            for step in holder.settle(result):
                self._running.start(call_of_step(holder, step), is_sure=is_sure)
            if holder.phase is Phase.ACTIVE:
                # The turn comes after the first steps of the attempts that start here: what they do at once
                # goes with the next report, for all runs alike.
                self._dirty[holder] = None
            self.runs.settled(holder)
        for run_id, step_number in self._queued.answered(answer.attempts):
            self._claims.pop((run_id, step_number), None)
        self.ask_for_turn()

    # Attempts

    def sure_again(self) -> None:
        """A sign of life was acknowledged: what waited for it may start."""
        self._running.sure_again()

    def attempt_ended(self, attempt: Attempt, how: Ended) -> None:
        """AttemptListener: leaves the outcome with the run or claim it belongs to."""
        call = attempt.call
        self._running.ended(attempt)
        owner = call.owner
        if isinstance(owner, RunHolder):
            owner.attempt_ended(call.number, call.attempt, how)
            if owner.phase is not Phase.GONE:
                self.news(owner)
        elif self._queued.ended(owner, how):
            self.ask_for_turn()

    def save_progress(self, attempt: Attempt, details: Payload) -> "asyncio.Future[None]":
        """AttemptListener: keeps what an attempt saves for those that may follow."""
        call, owner = attempt.call, attempt.call.owner
        is_queued = not isinstance(owner, RunHolder)
        epoch = owner.epoch if is_queued else owner.lease.epoch
        saving = self.saves.add(ProgressReport(call.run_id, call.number, call.attempt, epoch, is_queued, details))
        self._tasks.save_soon()
        return saving

    def progress_kept(self, results: tuple[ProgressResult, ...]) -> int:
        """Takes what came of saved progress; how often was tried what is to be tried again, 0 for nothing."""
        kept, tries = self.saves.answered(results)
        for report in kept:
            holder = None if report.is_queued else self.runs.holders.get(report.run_id)
            if holder is not None and holder.lease.epoch == report.epoch:
                holder.progress.saved(report.step, report.details)
        return tries

    def executor_broken(self, error: BaseException) -> None:
        """AttemptListener: takes and starts nothing more, so that no step fails for a lack of threads or processes."""
        if not self.draining:
            log.error("the executor of this worker takes no calls any more, so the worker leaves: %s", error)
            self.drain()
            self._on_unusable()

    def slot_freed(self) -> None:
        """AttemptListener: gives the slot to whoever waits."""
        self.slots.release()
        self.ask_for_turn()

    # Queued attempts

    def _claim_arrived(self, claim: QueuedAttempt) -> None:
        key = (claim.run_id, claim.step)
        held = self._claims.get(key)
        if held is not None and held.epoch >= claim.epoch:
            return
        self._running.stop(key)
        self._claims[key] = Held(claim.run_id, claim.step, claim.epoch)
        definition = self._queued.accept(claim)
        if definition is not None:
            self.slots.take_promised()
            self._running.start(call_of_claim(claim, definition), is_sure=self._clock.is_sure())
        self.ask_for_turn()

    def _claim_gone(self, held: Held) -> None:
        key = (held.run_id, held.step)
        if self._queued.forget(key, held.epoch) is not None:
            self._claims.pop(key, None)
            self._running.stop(key)

    # Draining

    def drain(self) -> None:
        """Takes and starts nothing new; runs leave as soon as their running attempts have ended."""
        self.draining = True
        for holder in self.runs.holders.values():
            holder.draining = True
            self.news(holder)
        self.ask_for_turn()

    def hand_back(self) -> None:
        """Gives back everything that is still held, running attempts too."""
        self.drain()
        for holder in self.runs.holders.values():
            self.guard.running = holder
            holder.hand_back()
            self.guard.leave()
        for claim in self._queued.hand_back():
            self._running.stop((claim.run_id, claim.step))
        self.runs.hand_back_rebuilds()
        self.ask_for_turn()

    # Crew, for the holders

    def now(self) -> datetime:
        return self._clock.now()

    def jitter(self) -> float:
        return random.random()

    def take_slot(self, *, keeps: bool = False) -> bool:
        return self.slots.take(keeps=keeps)

    def free_slot(self) -> None:
        self.slot_freed()

    def wait_for_slot(self, holder: RunHolder, number: int) -> None:
        self.slots.wait(holder, number)

    def stop_waiting_for_slot(self, run_id: str, number: int) -> None:
        self.slots.stop_waiting(run_id, number)

    def hold_retry(self, holder: RunHolder, number: int, wait: timedelta) -> None:
        self._loop.call_later(wait.total_seconds(), self._retry_due, holder, number, context=self._context)

    def _retry_due(self, holder: RunHolder, number: int) -> None:
        holder.retry_due(number)
        self.news(holder)

    def cancel_attempt(self, run_id: str, number: int) -> None:
        self._running.stop((run_id, number))

    def runs_inline(self, call: CallStep) -> bool:
        return self._placement.runs_inline(call)
