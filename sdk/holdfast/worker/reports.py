"""What is reported together: transitions of runs and ends of queued attempts, as much as fits one message. Pure."""

from holdfast.channel.leases import AttemptReport, Transition
from holdfast.record import record
from holdfast.worker.holder import RunHolder
from holdfast.worker.queued_attempts import QueuedClaims

REPORT_BYTES = 8 * 1024 * 1024
REPORTS_OF_ATTEMPTS = 500


@record
class Report:
    """What is sent together. The same report is repeated until it is answered."""

    transitions: tuple[Transition, ...]
    attempts: tuple[AttemptReport, ...]


def take_report(outgoing: dict[RunHolder, None], queued: QueuedClaims) -> Report | None:
    """What is to be reported now; None when there is nothing. Takes from `outgoing` the runs that it has asked."""
    transitions = []
    size = 0
    for holder in list(outgoing):
        if size >= REPORT_BYTES:
            break
        del outgoing[holder]
        transition = holder.take_transition()
        if transition is not None:
            transitions.append(transition)
            size += holder.flight_bytes
    attempts = queued.take_reports(REPORTS_OF_ATTEMPTS if size < REPORT_BYTES else 0)
    return Report(tuple(transitions), tuple(attempts)) if transitions or attempts else None
