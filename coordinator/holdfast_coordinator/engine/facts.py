"""Logs what an operator needs to know of what was committed: leases taken away, runs stalled and resumed.

Only of what went wrong or was asked for by a person: a run that simply goes its way logs nothing.
"""

import structlog

from holdfast.traces import parse_traceparent
from holdfast_coordinator.domain.commands import LeaseEnd
from holdfast_coordinator.domain.events import LeaseLost, ResumedRun, StalledRun
from holdfast_coordinator.domain.rows import RunResult
from holdfast_coordinator.telemetry.identity import attempt_position, facts_of

from .run_rows import Records

log = structlog.get_logger(__name__)

REASONS = {reason: reason.name.lower() for reason in LeaseEnd}
"""Why a lease was taken away, as logs and metrics name it."""


class Facts:
    """See the module. Trace and span ids are logged where the record of the run is in memory and is traced."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def lost(self, event: LeaseLost) -> None:
        """A run or a queued attempt was taken from its session."""
        known = {"session_id": event.session_id, "epoch": event.epoch, "reason": REASONS[event.reason]}
        if event.number:
            log.warning("attempt_taken", run_id=event.run_id, step=event.number, **known, **self._attempt(event))
        else:
            log.warning("lease_lost", run_id=event.run_id, **known, **self._run(event.run_id))

    def stalled(self, event: StalledRun) -> None:
        """A run cannot go on."""
        run_id = event.run_id
        log.warning("run_stalled", run_id=run_id, reason=event.reason, build=event.build, **self._run(run_id))

    def resumed(self, event: ResumedRun) -> None:
        """A stalled run may go on."""
        log.info("run_resumed", run_id=event.run_id, reason=event.reason, **self._run(event.run_id))

    def closed(self, result: RunResult) -> None:
        """A run has ended. On the way of every run: only who asks for debug gets it, and nothing is looked up."""
        log.debug("run_closed", run_id=result.run_id, status=result.status)

    def _run(self, run_id: str) -> dict[str, str]:
        """The ids of the span of a run."""
        record = self._records.known(run_id)
        if record is None or not record.trace:
            return {}
        trace = facts_of(record).trace
        return {"trace_id": trace.trace_id.hex(), "span_id": trace.span_id.hex()}

    def _attempt(self, event: LeaseLost) -> dict[str, str | int]:
        """Which attempt of a queued step was taken, and the ids of its span."""
        record = self._records.known(event.run_id)
        if record is None or not record.trace or event.scheduled_at is None:
            return {"attempt": event.attempt}
        position = attempt_position(record, event.number, event.attempt, event.scheduled_at)
        span = parse_traceparent(position.traceparent)
        assert span is not None, record.trace
        return {"attempt": event.attempt, "trace_id": span.trace_id.hex(), "span_id": span.span_id.hex()}
