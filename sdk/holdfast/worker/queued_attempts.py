"""Attempts of queued steps: claims that this session holds, and the reports of how they ended.

The claim is the start of the attempt, so nothing is recorded before it runs; whether it is repeated is decided
here, by the process that saw the failure.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from holdfast.channel.leases import AttemptReport, AttemptReportResult, QueuedAttempt
from holdfast.definitions.definitions import StepDefinition
from holdfast.errors import CodecMissing
from holdfast.journal import AttemptRecord, Failure, Payload, StepOrigin
from holdfast.statuses import AttemptOutcome
from holdfast.worker.failure_lines import log_failed_attempt
from holdfast.worker.retries import (
    Ended,
    Expired,
    Lost,
    Raised,
    Returned,
    rules_of,
    timeout_error,
    timeout_failure,
    wait_before_retry,
)
from holdfast.worker.stall_reasons import missing_words
from holdfast.worker.step_progress import WorkerIdentity

log = logging.getLogger("holdfast.worker")

UNREADABLE_WAIT = timedelta(seconds=10)
"""How long a step waits that a worker cannot read, before it is offered again."""

Key = tuple[str, int]
"""A run and the number of one of its steps."""


class QueuedClaims:
    """The claims that have not been reported and acknowledged yet."""

    def __init__(
        self,
        definitions: Mapping[str, StepDefinition],
        *,
        now: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self.worker = WorkerIdentity()
        self._definitions = definitions
        self._now = now
        self._jitter = jitter
        self._claims: dict[Key, QueuedAttempt] = {}
        self._reports: dict[Key, AttemptReport] = {}
        self._sent: dict[Key, AttemptReport] = {}

    def __len__(self) -> int:
        return len(self._claims)

    @property
    def has_reports(self) -> bool:
        return bool(self._reports)

    def claim(self, key: Key) -> QueuedAttempt | None:
        """The claim held under this key, if any."""
        return self._claims.get(key)

    def running(self) -> list[QueuedAttempt]:
        """The claims whose attempts have not ended."""
        return [claim for key, claim in self._claims.items() if key not in self._reports and key not in self._sent]

    def accept(self, claim: QueuedAttempt) -> StepDefinition | None:
        """Holds a claim; returns the step to run, or None when it is settled without running."""
        key = (claim.run_id, claim.step)
        self._reports.pop(key, None)
        self._claims[key] = claim
        definition = self._definitions.get(claim.name)
        if definition is None:
            text = missing_words("step", claim.name)
            self._settle(claim, AttemptOutcome.FAILED_FINAL, failure=self._failure(claim, "UnknownStep", text))
            return None
        unreadable = next((one for one in _payloads(claim) if not one.is_readable), None)
        if unreadable is not None:
            # Another worker may have the codec. This one may get it again, and then gives it back again.
            log.error("step %d of run %s: %s", claim.step, claim.run_id, CodecMissing(unreadable.encoding))
            self._settle(claim, AttemptOutcome.HANDED_BACK, again_after=UNREADABLE_WAIT)
            return None
        if claim.failures > rules_of(definition.options, claim.retry).retries:
            # The last attempt was ended by the coordinator at its timeout, which leaves the decision to whoever
            # claims the next one.
            if claim.timeout is not None:
                failure = timeout_failure(Expired(claim.timeout), StepOrigin(claim.name, claim.step, claim.attempt - 1))
            else:
                failure = self._failure(claim, "TimeoutError", "the attempt before ran longer than its limit")
            self._settle(claim, AttemptOutcome.FAILED_FINAL, failure=failure)
            return None
        return definition

    def ended(self, claim: QueuedAttempt, how: Ended) -> bool:
        """Makes the report of an attempt that ended; False: the claim has moved on."""
        key = (claim.run_id, claim.step)
        if self._claims.get(key) is not claim:
            return False
        if isinstance(how, Returned):
            self._settle(claim, AttemptOutcome.COMPLETED, result=how.result)
        elif isinstance(how, Lost):
            self._settle(claim, AttemptOutcome.LOST, failure=how.failure, again_after=timedelta())
        else:
            self._failed(claim, how)
        return True

    def _failed(self, claim: QueuedAttempt, how: Raised | Expired) -> None:
        now = self._now()
        wait = wait_before_retry(
            how.error if isinstance(how, Raised) else timeout_error(how),
            rules_of(self._definitions[claim.name].options, claim.retry),
            failures=claim.failures + 1,
            now=now,
            jitter=self._jitter(),
        )
        if isinstance(how, Raised):
            failure = how.failure
            outcome = AttemptOutcome.FAILED_FINAL if wait is None else AttemptOutcome.FAILED_RETRYABLE
        else:
            failure = timeout_failure(how, StepOrigin(claim.name, claim.step, claim.attempt))
            outcome = AttemptOutcome.TIMED_OUT
        record = self._record(claim, outcome, at=now, failure=failure, retry_delay=wait)
        self._report(claim, record, None)

    def hand_back(self) -> list[QueuedAttempt]:
        """Reports every running attempt as handed back; returns them, to be cancelled."""
        running = self.running()
        for claim in running:
            # Also what may be started only once: the coordinator has what the call said of that, and fails it.
            self._settle(claim, AttemptOutcome.HANDED_BACK, again_after=timedelta())
        return running

    def forget(self, key: Key, epoch: int) -> QueuedAttempt | None:
        """Drops a claim that was cancelled or has ended elsewhere; returns it when it was held."""
        claim = self._claims.get(key)
        if claim is None or claim.epoch != epoch:
            return None
        self._reports.pop(key, None)
        return self._claims.pop(key)

    def forget_all(self) -> list[QueuedAttempt]:
        """Drops all claims: the session is gone."""
        claims = list(self._claims.values())
        self._claims.clear()
        self._reports.clear()
        self._sent.clear()
        return claims

    def take_reports(self, count: int) -> list[AttemptReport]:
        """Up to `count` reports to send; they count as sent until `answered`."""
        if not self._reports:
            return []
        keys = list(self._reports)[:count]
        sent = {key: self._reports.pop(key) for key in keys}
        self._sent |= sent
        return list(sent.values())

    def answered(self, results: tuple[AttemptReportResult, ...]) -> list[Key]:
        """Forgets what was reported; returns the keys that are no longer held."""
        done = []
        for result in results:
            key = (result.run_id, result.step)
            report, claim = self._sent.pop(key, None), self._claims.get(key)
            if report is not None and claim is not None and claim.epoch == report.epoch:
                del self._claims[key]
                done.append(key)
        return done

    def _settle(
        self,
        claim: QueuedAttempt,
        outcome: AttemptOutcome,
        *,
        result: Payload | None = None,
        failure: Failure | None = None,
        again_after: timedelta | None = None,
    ) -> None:
        record = self._record(claim, outcome, at=self._now(), failure=failure, retry_delay=again_after)
        self._report(claim, record, result)

    def _record(
        self,
        claim: QueuedAttempt,
        outcome: AttemptOutcome,
        *,
        at: datetime,
        failure: Failure | None,
        retry_delay: timedelta | None,
    ) -> AttemptRecord:
        return AttemptRecord(
            claim.attempt,
            outcome,
            claim.scheduled_at,
            claim.eligible_at,
            claim.started_at,
            max(at, claim.started_at),
            self.worker.session_id,
            self.worker.build,
            failure,
            retry_delay,
            claim.epoch,
        )

    def _report(self, claim: QueuedAttempt, record: AttemptRecord, result: Payload | None) -> None:
        if record.failure is not None:
            log_failed_attempt(record, run_id=claim.run_id, workflow=claim.workflow, step=claim.name, number=claim.step)
        self._reports[(claim.run_id, claim.step)] = AttemptReport(
            claim.run_id, claim.step, claim.attempt, claim.epoch, record, result
        )

    def _failure(self, claim: QueuedAttempt, error_type: str, text: str) -> Failure:
        return Failure(error_type, text, step=StepOrigin(claim.name, claim.step, claim.attempt))


def _payloads(claim: QueuedAttempt) -> Iterator[Payload]:
    yield from claim.arguments.positional
    yield from claim.arguments.named.values()
    if claim.saved is not None:
        yield claim.saved
