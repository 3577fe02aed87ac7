"""One leased run: feeds its code, turns what the code asks for into entries, and makes transitions of them. Pure.

Everything that takes time or has effects (slots, attempts, waits, the network) belongs to the `Crew`, which
drives a holder: news in (`mail_arrived`, `attempt_ended`, `slot_granted`, `retry_due`), then `advance`, then
`take_transition`, then `settle` with its answer. An attempt starts only after the answer to the transition that
holds its start: `settle` returns what may be started.
"""

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum

from holdfast.channel.leases import Lease, Transition, TransitionResult
from holdfast.errors import LimitExceeded
from holdfast.journal import (
    AttemptEnded,
    AttemptStarted,
    Entry,
    Mail,
    MailConsumed,
    RetryDue,
    RunClosed,
    RunStalled,
    SignalSetAside,
    StepCompleted,
    StepFailed,
    StepScheduled,
)
from holdfast.limits import DEFAULT_LIMITS, Limits
from holdfast.statuses import AttemptOutcome, Then, TransitionStatus
from holdfast.worker.command_entries import recorded, step_scheduled
from holdfast.worker.failure_lines import (
    log_closed_run,
    log_failed_attempt,
    log_long_journal,
    log_signal_set_aside,
)
from holdfast.worker.lifecycle import RunEvents
from holdfast.worker.mailbox import Mailbox
from holdfast.worker.pending_entries import PendingEntries
from holdfast.worker.ports import Crew
from holdfast.worker.retries import Ended
from holdfast.worker.slot_holds import SlotHolds
from holdfast.worker.stall_reasons import StepUnknown, stall_reason
from holdfast.worker.step_progress import RunProgress, StepProgress, StepState, WorkerIdentity
from holdfast.worker.trace_context import RunPosition
from holdfast.workflow import commands, interrupts
from holdfast.workflow.calls import step_words
from holdfast.workflow.instance import WorkflowInstance


class Phase(Enum):
    """Where a holder is. Only an ACTIVE one advances."""

    ACTIVE = "active"
    LEAVING = "leaving"
    SUSPENDED = "suspended"
    GONE = "gone"


class RunHolder:
    """A run under this worker's lease, or kept for its next one. position: in its trace; None when it has none.

    events: takes what happens to the run; None where nobody asks.
    """

    __slots__ = (
        "_build",
        "_crew",
        "_ended",
        "_events",
        "_fresh",
        "_is_long",
        "_mail",
        "_outbox",
        "_slots",
        "_slots_freed",
        "_stalled",
        "closed",
        "draining",
        "instance",
        "is_replayed",
        "lease",
        "phase",
        "position",
        "progress",
        "stall_cause",
    )

    def __init__(
        self,
        lease: Lease,
        *,
        instance: WorkflowInstance,
        progress: RunProgress,
        crew: Crew,
        build: str = "",
        limits: Limits = DEFAULT_LIMITS,
        position: RunPosition | None = None,
        events: RunEvents | None = None,
    ) -> None:
        self._events = events
        self.instance = instance
        self.position = position
        self.progress = progress
        self.draining = False
        self.is_replayed = False
        self.stall_cause: BaseException | None = None
        self._crew = crew
        self._build = build
        self._outbox = PendingEntries(limits)
        self._mail = Mailbox()
        self._slots = SlotHolds(crew, lease.run_id)
        self._slots_freed = 0
        self._is_long = False
        self._ended: deque[tuple[int, int, Ended]] = deque()
        self._adopt(lease)

    @property
    def run_id(self) -> str:
        return self.lease.run_id

    @property
    def is_in_flight(self) -> bool:
        """True while a transition has been sent and not answered."""
        return self._outbox.flight is not None

    @property
    def _goes_on(self) -> bool:
        """True when entries may still follow: not behind a close or a stall, which may wait to be reported."""
        return self.phase is Phase.ACTIVE and not self.closed and not self._stalled

    @property
    def flight_bytes(self) -> int:
        """An upper estimate of the size of the transition that was taken last."""
        return self._outbox.flight_bytes

    @property
    def mail_seen(self) -> int:
        """The number up to which all mail of the run has come. Also read by the heartbeat thread."""
        return self._mail.seen

    # The lease

    def _adopt(self, lease: Lease) -> None:
        self.lease = lease
        self._outbox.begin(lease)
        self.phase = Phase.ACTIVE
        self.closed = False
        self._stalled = False
        self._fresh = True
        self._mail.begin(lease.mail, taken=lease.mail_taken)

    def resume(self, lease: Lease) -> None:
        """Goes on with a suspended run under a new lease. The caller has checked `is_valid_for`."""
        assert self.phase is Phase.SUSPENDED, self.phase
        self._adopt(lease)

    def is_valid_for(self, lease: Lease) -> bool:
        """True when this suspended run was fed exactly the journal that the lease is about."""
        return self.phase is Phase.SUSPENDED and lease.journal_length == self._outbox.length

    def replay(self, entries: Iterable[Entry], *, more: bool = False) -> None:
        """Feeds committed entries, in order; nothing else happens before a part that has no `more` after it."""
        self.is_replayed = not more
        if self._stalled:
            return
        # A journal of one entry has never been run: what its code logs is new.
        self.instance.is_replaying = self._outbox.length > 1
        self.instance.expect(self._outbox.length)
        try:
            for entry in entries:
                self.progress.feed(entry)
                self.instance.feed(entry)
                self._outbox.replayed(entry)
                if self._events is not None:
                    self._events.replayed(entry)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and interrupts.can_be_from_outside():
                raise
            self._stall(error, kept=0)

    def _begin(self, at: datetime) -> None:
        self._mail.consumed_before(self.progress.mail_consumed)
        self.instance.check_replayed()
        if self.progress.steps:
            for call in self.instance.open_steps():
                self.progress.recall(call)
            for number, details in self.lease.progress.items():
                self.progress.saved(number, details)
        left = self.progress.in_state(StepState.WAITING) + self.progress.in_state(StepState.HELD)
        lease = self.lease
        lost = WorkerIdentity(lease.lost_session_id)
        outcome = AttemptOutcome.HANDED_BACK if lease.handed_back else AttemptOutcome.LOST
        losses = list(self.progress.losses(at=at, after_timeout=lease.after_timeout, lost=lost, outcome=outcome))
        self._take_commands(at)
        # What was lost is noted first: the code learns of none of it. What then fails a step may end all others.
        for entry in sorted(losses, key=lambda entry: isinstance(entry, StepFailed)):
            if self._is_open(entry.number):
                self._observe(entry, at)
        for entry in losses:
            if isinstance(entry, AttemptEnded) and self._is_open(entry.number):
                self._after_attempt(self.progress.steps[entry.number], entry, at)
        for step in left:
            if self._is_open(step.number):
                self._start_again(step, at)

    def _is_open(self, number: int) -> bool:
        """False when the code has cancelled the step meanwhile, or has ended without awaiting it."""
        return number in self.progress.steps and not self.closed

    # News

    def mail_arrived(self, mails: Iterable[Mail]) -> None:
        """Queues mail."""
        self._mail.arrived(mails)

    def attempt_ended(self, number: int, attempt: int, how: Ended) -> None:
        """Queues the end of an attempt that was started here."""
        self._ended.append((number, attempt, how))

    def slot_granted(self, number: int) -> bool:
        """Starts the next attempt of a step with a slot that was taken for it; False: it needs none any more."""
        step = self.progress.steps.get(number)
        if step is None or not self._goes_on or step.state not in (StepState.WAITING, StepState.HELD):
            return False
        self._start(step, self._at())
        return True

    def retry_due(self, number: int) -> None:
        """The held wait before a retry is over."""
        step = self.progress.steps.get(number)
        if step is not None and step.state is StepState.HELD and self._goes_on:
            self._ask_for_slot(step, self._at())

    def advance(self) -> None:
        """Feeds all news to the code and collects what it asks for. Call it from a loop callback only."""
        if self.phase is not Phase.ACTIVE or self._stalled or not self.is_replayed:
            return
        at = self._at()
        kept = len(self._outbox.entries)
        self._slots_freed = 0
        try:
            if self._fresh:
                self._begin(at)
                self._fresh = False
            while self._ended and not self.closed:
                kept = len(self._outbox.entries) + 1
                self._note_end(*self._ended.popleft(), at=at)
            while self._mail and not self.closed:
                kept = len(self._outbox.entries)
                self._consume(self._mail.take(), at)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and interrupts.can_be_from_outside():
                raise
            self._stall(error, kept=kept)

    def _note_end(self, number: int, attempt: int, how: Ended, *, at: datetime) -> None:
        if not self.progress.is_running(number, attempt):
            return
        self._slots.ended(number)
        self._slots_freed += 1
        step = self.progress.steps[number]
        entry = self.progress.ended(number, how, at=at, jitter=self._crew.jitter())
        if not isinstance(entry, StepCompleted) and entry.attempt is not None:
            log_failed_attempt(
                entry.attempt, run_id=self.run_id, workflow=self.lease.workflow, step=step.name, number=number
            )
        self._observe(entry, at)
        if isinstance(entry, AttemptEnded) and self._is_open(number):
            self._after_attempt(self.progress.steps[number], entry, at)

    def _consume(self, mail: Mail, at: datetime) -> None:
        # A worker whose estimate runs behind must not let the code see a time before the mail was sent.
        at = max(at, mail.arrived_at, self._outbox.last_at)
        since = self.instance.awaited_since(mail.body)
        self._outbox.append(MailConsumed(at, mail.number, awaited_since=since), mail_bytes=mail.body.size_bytes)
        if self._events is not None:
            self._events.consumed(mail)
        entry = MailConsumed(at, mail.number, mail)
        self.progress.feed(entry)
        self.instance.feed(entry)
        self._take_commands(at)
        if isinstance(mail.body, RetryDue):
            step = self.progress.steps.get(mail.body.number)
            if step is not None and step.state is StepState.WAITING and not self.closed:
                self._start_again(step, at)

    def _observe(self, entry: AttemptEnded | StepCompleted | StepFailed, at: datetime) -> None:
        self._outbox.append(entry)
        self.progress.feed(entry)
        self.instance.feed(entry)
        self._take_commands(at)

    # What the code asks for

    def _take_commands(self, at: datetime) -> None:
        for command in self.instance.take_commands():
            match command:
                case commands.CallStep():
                    self._schedule(command, at)
                case commands.CancelStep():
                    self._cancel_step(command.number, at)
                case _:
                    entry = recorded(command, at)
                    self._outbox.append(entry)
                    if isinstance(entry, RunClosed):
                        log_closed_run(entry, run_id=self.run_id, workflow=self.lease.workflow)
                        self.closed = True
                        self._slots.let_go()
                    elif isinstance(entry, SignalSetAside):
                        log_signal_set_aside(entry, run_id=self.run_id, workflow=self.lease.workflow)
        if not self.closed and self._outbox.is_long:
            self._check_length(at)

    def _check_length(self, at: datetime) -> None:
        """Says once that the journal has become long, and ends the run where it is too long."""
        problem = self._outbox.problem
        if problem:
            self.instance.fail(LimitExceeded(problem))
            self._take_commands(at)
        elif not self._is_long:
            self._is_long = True
            log_long_journal(self._outbox, run_id=self.run_id, workflow=self.lease.workflow)

    def _schedule(self, call: commands.CallStep, at: datetime) -> None:
        inline = self._crew.runs_inline(call)
        started = inline and not self.draining and self._crew.take_slot(keeps=self._slots_freed > 0)
        if started and self._slots_freed:
            self._slots_freed -= 1
        entry = step_scheduled(call, at, inline=inline, started=started, seed=self.instance.seed)
        self._outbox.append(entry)
        self.progress.scheduled(entry, call)
        if started:
            self._slots.reserve(call.number)
        elif inline:
            self._slots.wait(self, call.number)

    def _cancel_step(self, number: int, at: datetime) -> None:
        entry = self.progress.cancelled(number, at=at)
        self._outbox.append(entry)
        self.progress.feed(entry)
        self._slots.let_go_of(number)

    # Attempts

    def _after_attempt(self, step: StepProgress, entry: AttemptEnded, at: datetime) -> None:
        match step.state:
            case StepState.WAITING:
                self._start_again(step, at)
            case StepState.HELD:
                self._crew.hold_retry(self, step.number, entry.attempt.retry_delay or timedelta())
            case _:
                pass

    def _start_again(self, step: StepProgress, at: datetime) -> None:
        failure = step.recovery_failure()
        if failure is not None:
            self._observe(StepFailed(at, step.number, failure), at)
        elif step.definition is None:
            raise StepUnknown(step.name)
        else:
            self._ask_for_slot(step, at)

    def _ask_for_slot(self, step: StepProgress, at: datetime) -> None:
        if not self.draining and self._crew.take_slot():
            self._start(step, at)
        else:
            self._slots.wait(self, step.number)

    def _start(self, step: StepProgress, at: datetime) -> None:
        entry = AttemptStarted(at, step.number, step.attempt + 1)
        self._outbox.append(entry)
        self.progress.feed(entry)
        self._slots.reserve(step.number)

    def hand_back(self) -> None:
        """Gives up all running attempts, because the worker shuts down; their outcomes no longer count."""
        self.advance()
        if not self._goes_on:
            return  # also when this news has ended its code
        at = self._at()
        for step in self.progress.in_state(StepState.RUNNING):
            entry = self.progress.handed_back(step.number, at=at)
            self._outbox.append(entry)
            self.progress.feed(entry)
            self._slots.let_go_of(step.number)

    # Transitions

    def take_transition(self) -> Transition | None:
        """What is to be reported now; None when there is nothing or the last one is not answered yet."""
        if self.is_in_flight or self.phase is not Phase.ACTIVE or self._fresh or not self.is_replayed:
            return None
        then = self._then()
        if then is Then.CONTINUE and not self._outbox.entries:
            return None
        transition = self._outbox.take(
            self.lease,
            then,
            mail_seen=self._mail.seen,
            attempt_deadline=self.progress.attempt_deadline(self._at()) if self.progress.timed else None,
            waits=self._waits() if then is Then.SUSPEND else (),
        )
        if transition.then is not Then.CONTINUE:
            self.phase = Phase.LEAVING
        return transition

    def _then(self) -> Then:
        if self._stalled:
            return Then.STALL
        if self.closed:
            return Then.CLOSE
        if self.progress.running or self._mail or self._ended:
            return Then.CONTINUE
        if self.progress.pending:
            return Then.RELEASE if self.draining else Then.CONTINUE
        return Then.SUSPEND

    def _waits(self) -> tuple[str, ...]:
        """What would wake the code, in words; of a queued step also the queue, whose workers may not have the step."""
        run_queue = self.instance.info.queue
        queues = {
            step_words(step.name, number=step.number): step.scheduled.queue or run_queue
            for step in self.progress.in_state(StepState.QUEUED)
        }
        waits = self.instance.waits()
        return tuple(f"{words} in queue {queues[words]}" if words in queues else words for words in waits)

    def settle(self, result: TransitionResult) -> list[StepProgress]:
        """Takes the answer to the transition in flight; returns the steps whose attempts may now start.

        Afterwards `phase` says what became of the run; the caller forgets a GONE one.
        """
        status = result.status
        is_committed = status in (TransitionStatus.COMMITTED, TransitionStatus.COMMITTED_WITH_MAIL)
        flight = self._outbox.answered(committed=is_committed)
        if is_committed and self._events is not None:
            self._events.committed(flight)
        if self.phase is Phase.GONE:
            return []
        if status is TransitionStatus.REFUSED and flight.then is not Then.STALL:
            self._stall_refused(result.refusal)
            return []
        if not is_committed:
            self.drop()
            return []
        stays = flight.then is Then.SUSPEND and status is TransitionStatus.COMMITTED_WITH_MAIL
        if flight.then is Then.CONTINUE or stays:
            self.phase = Phase.ACTIVE
            if result.mail:
                self.mail_arrived(result.mail)
        elif flight.then is Then.SUSPEND:
            self.phase = Phase.SUSPENDED
        else:
            self.drop()
            return []
        return self._startable(flight.entries)

    def _startable(self, entries: tuple[Entry, ...]) -> list[StepProgress]:
        ready = []
        for entry in entries:
            if isinstance(entry, AttemptStarted) or (isinstance(entry, StepScheduled) and entry.started):
                number = entry.number
                if self._slots.launch(number):
                    ready.append(self.progress.steps[number])
        return ready

    def drop(self) -> None:
        """Forgets the run: the lease has moved on, or the cache needs the room. Nothing is reported."""
        if self.phase is not Phase.GONE:
            self.phase = Phase.GONE
            self._slots.let_go()
            self.instance.close()

    def _stall(self, error: BaseException, *, kept: int) -> None:
        """Ends this pass: entries after the first `kept` are taken back, known outcomes are kept."""
        at = self._at()
        self.stall_cause = error
        taken_back = {entry.number for entry in self._outbox.take_back(kept) if isinstance(entry, _OF_STEPS)}
        while self._ended:
            number, attempt, how = self._ended.popleft()
            if self.progress.is_running(number, attempt) and number not in taken_back:
                outcome = self.progress.ended(number, how, at=at, jitter=self._crew.jitter())
                self._outbox.append(outcome)
                self.progress.feed(outcome)
                self._slots.ended(number)
        for step in self.progress.in_state(StepState.RUNNING):
            if step.number not in taken_back and not self._fresh:
                entry = self.progress.handed_back(step.number, at=at)
                self._outbox.append(entry)
                self.progress.feed(entry)
        self._slots.let_go()
        self._outbox.append(
            RunStalled(at, stall_reason(error, recorded_by=self.progress.recorded_by, build=self._build), self._build)
        )
        self._stalled = True
        self._fresh = False

    def _stall_refused(self, refusal: str) -> None:
        """Stalls the run with the reason of the refusal; nothing of what was refused is on record."""
        self.phase = Phase.ACTIVE
        self.closed = False
        self._slots.let_go()
        self._ended.clear()
        self._outbox.clear()
        self._outbox.append(RunStalled(self._at(), f"the coordinator refused a report: {refusal}", self._build))
        self._stalled = True

    def _at(self) -> datetime:
        return max(self._crew.now(), self._outbox.last_at)


_OF_STEPS = (StepScheduled, AttemptStarted)
