"""What the engine reports to the metrics of what it has committed. Only called when there are metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast_coordinator.domain.batch import BatchCommand, Decided
from holdfast_coordinator.domain.commands import AlarmDue, EndAttempt, EndLease
from holdfast_coordinator.domain.events import LeaseEnded
from holdfast_coordinator.domain.rows import AlarmKind

from .facts import OVERDUE, REASONS

if TYPE_CHECKING:  # prometheus_client is imported only where metrics are on
    from holdfast_coordinator.metrics.metrics import Metrics


def count_decided(metrics: "Metrics", commands: Sequence[BatchCommand], decided: Decided) -> None:
    """Counts the runs that a batch created and the leases that it took away, of the commands that did so."""
    for record in decided.changes.runs:
        metrics.run_started(record.namespace, record.workflow)
    for command, answer in zip(commands, decided.answers, strict=True):
        if answer is True:
            _count_lost(metrics, command, decided)


def _count_lost(metrics: "Metrics", command: BatchCommand, decided: Decided) -> None:
    match command:
        case EndLease(reason=reason):
            metrics.lease_lost("run", REASONS[reason])
        case EndAttempt(timed_out=True):
            metrics.lease_lost("attempt", OVERDUE)
        case EndAttempt(undelivered=undelivered):
            metrics.lease_lost("attempt", "undelivered" if undelivered else "lost")
        case AlarmDue(run_id=run_id, kind=AlarmKind.ATTEMPT_DEADLINE):
            # The alarm is lazy: it may have fired only to be set again.
            if any(isinstance(event, LeaseEnded) and event.run_id == run_id for event in decided.events):
                metrics.lease_lost("run", OVERDUE)
        case _:
            pass
