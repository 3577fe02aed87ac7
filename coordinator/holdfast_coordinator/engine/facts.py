"""Logs what an operator needs to know of what was committed: leases taken away, runs stalled and resumed.

Only of what went wrong or was asked for by a person: a run that simply goes its way logs nothing, and costs nothing
here but a look at the types of what was decided.
"""

from collections.abc import Sequence

import structlog

from holdfast.journal import RunResumed, RunStalled
from holdfast.statuses import Then, TransitionStatus
from holdfast.traces import parse_traceparent
from holdfast_coordinator.domain.batch import BatchCommand, Decided
from holdfast_coordinator.domain.commands import AlarmDue, CommitTransition, EndAttempt, EndLease, LeaseEnd, StallAsk
from holdfast_coordinator.domain.events import LeaseEnded
from holdfast_coordinator.domain.rows import AlarmKind, RunResult
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.telemetry.identity import attempt_position, facts_of

from .run_rows import Records

log = structlog.get_logger(__name__)

REASONS = {LeaseEnd.LOST: "lost", LeaseEnd.UNDELIVERED: "undelivered", LeaseEnd.CLOSED_SESSION: "closed_session"}
OVERDUE = "overdue"

_COMMITTED = (TransitionStatus.COMMITTED, TransitionStatus.COMMITTED_WITH_MAIL)


class Facts:
    """See the module. Trace and span ids are logged where the record of the run is in memory and is traced."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def decided(self, commands: Sequence[BatchCommand], decided: Decided) -> None:
        """A batch was committed."""
        for command, answer in zip(commands, decided.answers, strict=True):
            if type(command) is CommitTransition:
                if command.then is Then.STALL:
                    self._stalled_by_worker(command, answer)
            elif answer is True:
                self._taken(command, decided)
        for row in decided.changes.journal:
            for entry in row.entries:
                if type(entry) is RunStalled:
                    self._stalled(row.run_id, entry.reason, entry.build)
                elif type(entry) is RunResumed:
                    log.info("run_resumed", run_id=row.run_id, reason=entry.reason, **self._run(row.run_id))

    def closed(self, result: RunResult) -> None:
        """A run has ended. On the way of every run: only who asks for debug gets it, and nothing is looked up."""
        log.debug("run_closed", run_id=result.run_id, status=result.status)

    def _taken(self, command: BatchCommand, decided: Decided) -> None:
        match command:
            case EndLease(run_id, session_id, epoch, reason):
                self._lease_lost(run_id, session_id, epoch, REASONS[reason])
            case AlarmDue(run_id, AlarmKind.ATTEMPT_DEADLINE):
                # The alarm is lazy: it may have fired only to be set again.
                if ended := _ended(decided, run_id, 0):
                    self._lease_lost(run_id, ended.session_id, ended.epoch, OVERDUE)
            case EndAttempt(run_id, number, epoch, timed_out, undelivered):
                ended = _ended(decided, run_id, number)
                log.warning(
                    "attempt_taken",
                    run_id=run_id,
                    step=number,
                    session_id=ended.session_id if ended is not None else "",
                    epoch=epoch,
                    reason=OVERDUE if timed_out else "undelivered" if undelivered else "lost",
                    **self._attempt(run_id, number, decided),
                )
            case _:
                pass

    def _lease_lost(self, run_id: str, session_id: str, epoch: int, reason: str) -> None:
        log.warning("lease_lost", run_id=run_id, session_id=session_id, epoch=epoch, reason=reason, **self._run(run_id))

    def _stalled_by_worker(self, asked: CommitTransition, answer: object) -> None:
        if isinstance(answer, TransitionAnswer) and answer.status in _COMMITTED:
            stall = next(ask for ask in asked.asks if isinstance(ask, StallAsk))
            self._stalled(asked.run_id, stall.reason, stall.build)

    def _stalled(self, run_id: str, reason: str, build: str) -> None:
        log.warning("run_stalled", run_id=run_id, reason=reason, build=build, **self._run(run_id))

    def _run(self, run_id: str) -> dict[str, str]:
        """The ids of the span of a run."""
        record = self._records.known(run_id)
        if record is None or not record.trace:
            return {}
        trace = facts_of(record).trace
        return {"trace_id": trace.trace_id.hex(), "span_id": trace.span_id.hex()}

    def _attempt(self, run_id: str, number: int, decided: Decided) -> dict[str, str | int]:
        """Which attempt of a queued step was taken, and the ids of its span; nothing when that ended its step."""
        task = decided.changes.tasks_updated.get((run_id, number))
        if task is None:
            return {}
        # The claim may have been followed by another one in the same batch: its session got the next attempt.
        attempt = len(task.attempts_ended)
        record = self._records.known(run_id)
        if record is None or not record.trace:
            return {"attempt": attempt}
        span = parse_traceparent(attempt_position(record, number, attempt, task.scheduled_at).traceparent)
        assert span is not None, record.trace
        return {"attempt": attempt, "trace_id": span.trace_id.hex(), "span_id": span.span_id.hex()}


def _ended(decided: Decided, run_id: str, number: int) -> LeaseEnded | None:
    ends = (event for event in decided.events if isinstance(event, LeaseEnded))
    return next((event for event in ends if (event.run_id, event.number) == (run_id, number)), None)
