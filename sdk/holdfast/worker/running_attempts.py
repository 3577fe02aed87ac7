"""The attempts that run in this process, by the step they belong to, and those that wait to be sure of their lease."""

from collections.abc import Callable

from holdfast.channel.leases import QueuedAttempt
from holdfast.definitions.definitions import StepDefinition
from holdfast.worker.attempts import Attempt, AttemptCall, AttemptRunner
from holdfast.worker.clock import SessionClock
from holdfast.worker.holder import RunHolder
from holdfast.worker.step_progress import StepProgress
from holdfast.worker.trace_context import attempt_at

Key = tuple[str, int]
"""A run and the number of one of its steps."""


class RunningAttempts:
    """slot_freed: called for an attempt that gives up its slot without having been started. forget: called with the
    step of an attempt whose progress nobody needs any more."""

    def __init__(
        self,
        runner: AttemptRunner,
        clock: SessionClock,
        *,
        slot_freed: Callable[[], None],
        forget: Callable[[Key], None],
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._slot_freed = slot_freed
        self._forget = forget
        self._attempts: dict[Key, Attempt] = {}
        self._unsure: dict[Key, AttemptCall] = {}

    def __len__(self) -> int:
        return len(self._attempts) + len(self._unsure)

    def start(self, call: AttemptCall, *, is_sure: bool) -> None:
        """Starts an attempt whose start is committed. is_sure: of the session, by its clock, just now."""
        key = (call.run_id, call.number)
        if is_sure:
            self._attempts[key] = self._runner.start(call)
        else:
            # The session may be dead and the run with another worker. Nothing starts before a heartbeat is
            # acknowledged; that answer also says which leases have ended.
            self._unsure[key] = call

    def sure_again(self) -> None:
        """A sign of life was acknowledged: what waited for it may start."""
        if self._unsure and self._clock.is_sure():
            waiting, self._unsure = self._unsure, {}
            for call in waiting.values():
                self.start(call, is_sure=True)

    def stop(self, key: Key) -> None:
        """Cancels the attempt of a step, if one runs; of it only the slot is reported."""
        if self._unsure.pop(key, None) is not None:
            self._slot_freed()
        attempt = self._attempts.pop(key, None)
        if attempt is not None:
            self._forget(key)
            self._runner.cancel(attempt)

    def plain_keys(self) -> set[Key]:
        """What plain functions run for, which a blocked loop does not hold up: (run, step), step 0 under a lease."""
        return {
            (run_id, 0 if isinstance(attempt.call.owner, RunHolder) else number)
            for (run_id, number), attempt in tuple(self._attempts.items())
            if attempt.future is not None and not attempt.future.done()
        }

    def ended(self, attempt: Attempt) -> None:
        """Forgets an attempt that has ended by itself."""
        key = (attempt.call.run_id, attempt.call.number)
        if self._attempts.get(key) is attempt:
            del self._attempts[key]
            self._forget(key)


def call_of_step(holder: RunHolder, step: StepProgress) -> AttemptCall:
    """The attempt of a step under a lease that may start now."""
    definition = step.definition
    assert definition is not None, step.name
    lease, scheduled, position = holder.lease, step.scheduled, holder.position
    return AttemptCall(
        holder,
        lease.run_id,
        lease.workflow,
        scheduled.number,
        step.attempt,
        definition,
        scheduled.arguments,
        scheduled.timeout,
        scheduled.step_id,
        None if position is None else position.attempt(scheduled.number, step.attempt, step.scheduled_at),
        holder.instance.seed,
        step.saved,
    )


def call_of_claim(claim: QueuedAttempt, definition: StepDefinition) -> AttemptCall:
    """The attempt that a claim is."""
    return AttemptCall(
        claim,
        claim.run_id,
        claim.workflow,
        claim.step,
        claim.attempt,
        definition,
        claim.arguments,
        claim.timeout,
        claim.step_id,
        attempt_at(claim.trace),
        claim.seed,
        claim.saved,
    )
