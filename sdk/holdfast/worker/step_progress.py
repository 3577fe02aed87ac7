"""What the journal says of the open steps of one run, and what follows when an attempt ends. Pure.

Every entry is fed, on replay and live alike, so a rebuilt run has exactly the state of the lost one. Nothing is
written here: the decisions come out as entries, and take effect when they are fed back.

    WAITING -> RUNNING -> HELD -> RUNNING ...       a short wait before a retry, kept by the worker
                       -> ALARM -> WAITING          a long one, kept by the coordinator
                       -> WAITING                   lost or handed back
    QUEUED                                          the coordinator has it; its result comes as mail
    any of them -> gone                             completed, failed, cancelled
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from holdfast.definitions.definitions import StepDefinition
from holdfast.journal import (
    AttemptEnded,
    AttemptRecord,
    AttemptStarted,
    Failure,
    MailConsumed,
    Payload,
    RetryDue,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepOrigin,
    StepResult,
    StepScheduled,
)
from holdfast.record import record
from holdfast.statuses import AttemptOutcome, Placement
from holdfast.worker.retries import (
    Ended,
    Expired,
    Lost,
    Raised,
    RetryRules,
    Returned,
    rules_of,
    timeout_error,
    timeout_failure,
    wait_before_retry,
)
from holdfast.workflow.commands import CallStep

RETRY_HOLD = timedelta(seconds=1)
"""The longest wait before a retry that stays with the worker; longer ones are kept by the coordinator."""


class StepState(IntEnum):
    """Where an open step is."""

    WAITING = 0
    RUNNING = 1
    HELD = 2
    ALARM = 3
    QUEUED = 4


@record
class WorkerIdentity:
    """Whose attempts these are, as their records say."""

    session_id: str = ""
    build: str = ""


class StepProgress:
    """One open step: what it is called with and how its attempts went so far."""

    __slots__ = (
        "attempt",
        "definition",
        "eligible_at",
        "failures",
        "last_loss",
        "last_outcome",
        "losses",
        "options",
        "rules",
        "saved",
        "scheduled",
        "scheduled_at",
        "started_at",
        "state",
    )

    def __init__(self, scheduled: StepScheduled, definition: StepDefinition | None) -> None:
        self.scheduled = scheduled
        self.definition = definition
        self.options = definition.options if definition is not None else None
        self.rules: RetryRules | None = None
        self.state = StepState.WAITING
        self.attempt = 0
        self.failures = 0
        self.losses = 0
        self.last_outcome: AttemptOutcome | None = None
        self.last_loss: Failure | None = None
        self.saved: Payload | None = None
        self.scheduled_at = scheduled.at
        self.eligible_at = scheduled.at
        self.started_at = scheduled.at

    @property
    def number(self) -> int:
        return self.scheduled.number

    @property
    def name(self) -> str:
        return self.scheduled.name

    def record(
        self,
        outcome: AttemptOutcome,
        ended_at: datetime,
        worker: WorkerIdentity,
        *,
        failure: Failure | None = None,
        retry_delay: timedelta | None = None,
    ) -> AttemptRecord:
        """The record of the current attempt, ended now."""
        return AttemptRecord(
            self.attempt,
            outcome,
            self.scheduled_at,
            self.eligible_at,
            self.started_at,
            ended_at,
            worker.session_id,
            worker.build,
            failure,
            retry_delay,
        )

    def recovery_failure(self) -> Failure | None:
        """Why the step may not be started again after its last attempt was lost or handed back; None: it may."""
        recoveries = self.scheduled.recoveries
        if recoveries is None:
            return None
        if self.last_outcome is AttemptOutcome.LOST and self.losses > recoveries:
            times = "time" if self.losses == 1 else "times"
            last = "" if self.last_loss is None else f"; the last time {self.last_loss.message}"
            text = (
                f"max recovery attempts ({recoveries}) exceeded: "
                f"the worker was lost {self.losses} {times} while running step {self.name}{last}"
            )
        elif self.last_outcome is AttemptOutcome.HANDED_BACK and recoveries == 0:
            text = (
                "max recovery attempts (0) exceeded: "
                f"the worker was shut down while running step {self.name}, which may be started only once"
            )
        else:
            return None
        return Failure("MaxRecoveryAttempts", text, step=self.origin())

    def origin(self) -> StepOrigin:
        """What a failure of this step says of it."""
        return StepOrigin(self.scheduled.name, self.scheduled.number, self.attempt)

    def is_overdue(self, now: datetime) -> bool:
        """True when the running attempt is past its timeout."""
        timeout = self.scheduled.timeout
        return timeout is not None and now - self.started_at >= timeout


class RunProgress:
    """The open steps of one run.

    definitions: the steps of this worker, by name. retry_hold: the longest wait kept by the worker.
    recorded_by: the build that ran the attempt which ended last; "" when none did.
    """

    __slots__ = ("_definitions", "_in_state", "_retry_hold", "mail_consumed", "recorded_by", "steps", "timed", "worker")

    def __init__(
        self,
        definitions: Mapping[str, StepDefinition],
        *,
        worker: WorkerIdentity,
        retry_hold: timedelta = RETRY_HOLD,
    ) -> None:
        self.steps: dict[int, StepProgress] = {}
        self.worker = worker
        self.mail_consumed = 0
        self.recorded_by = ""
        self.timed = 0
        self._definitions = definitions
        self._retry_hold = retry_hold
        self._in_state = [0] * len(StepState)

    # What is known

    @property
    def running(self) -> int:
        """How many attempts have been started under the lease and have not ended."""
        return self._in_state[StepState.RUNNING]

    @property
    def pending(self) -> int:
        """How many steps this worker has yet to start: those that wait for a slot or for a held retry."""
        return self._in_state[StepState.WAITING] + self._in_state[StepState.HELD]

    def in_state(self, state: StepState) -> list[StepProgress]:
        """The steps in this state, in the order of their numbers."""
        if not self._in_state[state]:
            return []
        return sorted((step for step in self.steps.values() if step.state is state), key=_number)

    def is_running(self, number: int, attempt: int) -> bool:
        """True when this very attempt is the one that counts."""
        step = self.steps.get(number)
        return step is not None and step.state is StepState.RUNNING and step.attempt == attempt

    def attempt_deadline(self, now: datetime) -> timedelta | None:
        """How long until the first running attempt passes its timeout; None when none has one."""
        if not self.timed:
            return None
        left = [
            step.started_at + step.scheduled.timeout - now
            for step in self.steps.values()
            if step.state is StepState.RUNNING and step.scheduled.timeout is not None
        ]
        return max(min(left), timedelta()) if left else None

    # Entries

    def feed(self, entry: Any) -> None:
        """Takes note of one entry; the kinds that do not concern steps pass by."""
        handler = _HANDLERS.get(type(entry))
        if handler is not None:
            handler(self, entry)

    def scheduled(self, entry: StepScheduled, call: CallStep | None = None) -> StepProgress:
        """Takes note of a new step. call: the live call; absent on replay, then the name says which step it is."""
        step = StepProgress(entry, self._definitions.get(entry.name) if call is None else call.definition)
        if call is not None:
            step.options = call.options
        self.steps[entry.number] = step
        self._in_state[StepState.WAITING] += 1
        if entry.timeout is not None:
            self.timed += 1
        if entry.placement is Placement.QUEUED:
            self._move(step, StepState.QUEUED)
        elif entry.started:
            self._start(step, 1, entry.at)
        return step

    def recall(self, call: CallStep) -> None:
        """Takes note of what the code said when it made a replayed call: not all of it is in the journal."""
        step = self.steps.get(call.number)
        if step is not None:
            step.definition = call.definition
            step.options = call.options

    def saved(self, number: int, details: Payload) -> None:
        """Takes note of what an attempt of a step has saved for those that may follow."""
        step = self.steps.get(number)
        if step is not None:
            step.saved = details

    def _start(self, step: StepProgress, attempt: int, at: datetime) -> None:
        step.attempt = attempt
        step.started_at = at
        self._move(step, StepState.RUNNING)

    def _attempt_started(self, entry: AttemptStarted) -> None:
        self._start(self.steps[entry.number], entry.attempt, entry.at)

    def _attempt_ended(self, entry: AttemptEnded) -> None:
        step = self.steps[entry.number]
        record = entry.attempt
        self.recorded_by = record.build
        step.last_outcome = record.outcome
        step.eligible_at = entry.at
        match record.outcome:
            case AttemptOutcome.LOST:
                step.losses += 1
                step.last_loss = record.failure
                self._move(step, StepState.WAITING)
            case AttemptOutcome.HANDED_BACK:
                self._move(step, StepState.WAITING)
            case _:
                step.failures += 1
                step.eligible_at = entry.at + (record.retry_delay or timedelta())
                self._move(step, StepState.ALARM if entry.retry_by_alarm else StepState.HELD)

    def _gone(self, entry: StepCompleted | StepFailed | StepCancelled) -> None:
        if entry.attempt is not None:
            self.recorded_by = entry.attempt.build
        self._forget(entry.number)

    def _mail(self, entry: MailConsumed) -> None:
        self.mail_consumed = entry.number
        body = entry.mail.body if entry.mail is not None else None
        if isinstance(body, StepResult):
            if body.attempts:
                self.recorded_by = body.attempts[-1].build
            self._forget(body.number)
        elif isinstance(body, RetryDue):
            step = self.steps.get(body.number)
            if step is not None and step.state is StepState.ALARM and entry.mail is not None:
                step.eligible_at = entry.mail.arrived_at
                self._move(step, StepState.WAITING)

    def _forget(self, number: int) -> None:
        step = self.steps.pop(number, None)
        if step is not None:
            self._in_state[step.state] -= 1
            if step.scheduled.timeout is not None:
                self.timed -= 1

    def _move(self, step: StepProgress, state: StepState) -> None:
        self._in_state[step.state] -= 1
        step.state = state
        self._in_state[state] += 1

    # Decisions

    def ended(
        self, number: int, how: Ended, *, at: datetime, jitter: float
    ) -> StepCompleted | StepFailed | AttemptEnded:
        """The entry for a running attempt that ended: the end of the step, or a wait for its next attempt."""
        step = self.steps[number]
        if isinstance(how, Returned):
            record = step.record(AttemptOutcome.COMPLETED, at, self.worker)
            return StepCompleted(at, number, how.result, record)
        if isinstance(how, Lost):
            return AttemptEnded(at, number, step.record(AttemptOutcome.LOST, at, self.worker, failure=how.failure))
        return self._failed(step, how, at=at, jitter=jitter, worker=self.worker)

    def _failed(
        self, step: StepProgress, how: Raised | Expired, *, at: datetime, jitter: float, worker: WorkerIdentity
    ) -> StepFailed | AttemptEnded:
        number = step.number
        wait = wait_before_retry(
            how.error if isinstance(how, Raised) else timeout_error(how),
            self._rules(step),
            failures=step.failures + 1,
            now=at,
            jitter=jitter,
        )
        if isinstance(how, Raised):
            failure = how.failure
            outcome = AttemptOutcome.FAILED_FINAL if wait is None else AttemptOutcome.FAILED_RETRYABLE
        else:
            failure = timeout_failure(how, step.origin())
            outcome = AttemptOutcome.TIMED_OUT
        record = step.record(outcome, at, worker, failure=failure, retry_delay=wait)
        if wait is None:
            return StepFailed(at, number, failure, record)
        return AttemptEnded(at, number, record, retry_by_alarm=wait > self._retry_hold)

    def handed_back(self, number: int, *, at: datetime) -> AttemptEnded:
        """The entry for a running attempt that its worker gives up because it shuts down."""
        record = self.steps[number].record(AttemptOutcome.HANDED_BACK, at, self.worker)
        return AttemptEnded(at, number, record)

    def cancelled(self, number: int, *, at: datetime) -> StepCancelled:
        """The entry for a step that the code no longer awaits."""
        step = self.steps.get(number)
        if step is None or step.state is not StepState.RUNNING:
            return StepCancelled(at, number)
        return StepCancelled(at, number, step.record(AttemptOutcome.CANCELLED, at, self.worker))

    def losses(
        self,
        *,
        at: datetime,
        after_timeout: bool,
        lost: WorkerIdentity,
        outcome: AttemptOutcome = AttemptOutcome.LOST,
    ) -> Iterator[AttemptEnded | StepFailed]:
        """The entries for attempts that a former holder started and never ended.

        after_timeout: its lease ended because attempts were overdue; those then count as failures of their steps.
        lost: that holder, where the coordinator names it. outcome: of the others, LOST or HANDED_BACK.
        """
        for step in self.in_state(StepState.RUNNING):
            timeout = step.scheduled.timeout
            if after_timeout and timeout is not None and step.is_overdue(at):
                yield self._failed(step, Expired(timeout), at=at, jitter=0.0, worker=lost)
            else:
                yield AttemptEnded(at, step.number, step.record(outcome, at, lost))

    def _rules(self, step: StepProgress) -> RetryRules:
        if step.rules is None:
            policy = step.scheduled.retry
            if step.options is not None:
                step.rules = rules_of(step.options, policy)
            elif policy is not None:
                step.rules = RetryRules(policy.retries, policy.backoff)
            else:
                # Met only when a worker without the step finds a lost attempt of it: to give the step
                # one more attempt is safe, the queue then brings it to a worker that has the real rules.
                step.rules = RetryRules(step.failures + 1, _at_once)
        return step.rules


def _number(step: StepProgress) -> int:
    return step.scheduled.number


def _at_once(_: int) -> float:
    return 0.0


_HANDLERS: dict[type, Callable[[RunProgress, Any], object]] = {
    StepScheduled: RunProgress.scheduled,
    AttemptStarted: RunProgress._attempt_started,
    AttemptEnded: RunProgress._attempt_ended,
    StepCompleted: RunProgress._gone,
    StepFailed: RunProgress._gone,
    StepCancelled: RunProgress._gone,
    MailConsumed: RunProgress._mail,
}
