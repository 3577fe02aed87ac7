"""Parts of reports that the coordinator could not record, because their runs were locked: sent again by themselves.

Each is repeated as it is, after a wait of its own, so that what other runs report is not held up. Pure.
"""

from dataclasses import dataclass

from holdfast.channel.leases import AttemptReport, ReportAnswer, Transition
from holdfast.channel.repeatable_calls import repeat_wait
from holdfast.statuses import TransitionStatus
from holdfast.worker.reports import Report

Key = tuple[str, int]
"""A run and the number of its queued step, 0 for a transition of the run."""


@dataclass(slots=True)
class _Part:
    part: Transition | AttemptReport
    due_at: float
    tries: int = 0
    is_sent: bool = False


class BusyReports:
    """See the module. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._parts: dict[Key, _Part] = {}

    def next_at(self) -> float | None:
        """When the next part is due."""
        return min((one.due_at for one in self._parts.values() if not one.is_sent), default=None)

    def with_due(self, report: Report | None, now: float) -> Report | None:
        """The report with the parts that are due now."""
        if not self._parts:
            return report
        due = [one for one in self._parts.values() if not one.is_sent and one.due_at <= now]
        if not due:
            return report
        for one in due:
            one.is_sent = True
        report = report or Report((), ())
        return Report(
            (*report.transitions, *(one.part for one in due if isinstance(one.part, Transition))),
            (*report.attempts, *(one.part for one in due if isinstance(one.part, AttemptReport))),
        )

    def keep_busy(self, report: Report, answer: ReportAnswer, now: float, *, jitter: float) -> ReportAnswer:
        """Keeps what the answer says is busy; the rest of the answer."""
        busy = {(one.run_id, 0) for one in answer.transitions if one.status is TransitionStatus.BUSY}
        busy |= {(one.run_id, one.step) for one in answer.attempts if one.busy}
        if not busy and not self._parts:
            return answer  # as nearly always
        sent: dict[Key, Transition | AttemptReport] = {(one.run_id, 0): one for one in report.transitions}
        sent |= {(one.run_id, one.step): one for one in report.attempts}
        for key in sent.keys() - busy:
            self._parts.pop(key, None)
        for key in sent.keys() & busy:
            part = self._parts.setdefault(key, _Part(sent[key], now))
            part.due_at = now + repeat_wait(part.tries, jitter=jitter)
            part.tries += 1
            part.is_sent = False
        if not busy:
            return answer
        return ReportAnswer(
            tuple(one for one in answer.transitions if one.status is not TransitionStatus.BUSY),
            tuple(one for one in answer.attempts if not one.busy),
        )

    def clear(self) -> None:
        """The session is gone, and with it what it had to report."""
        self._parts.clear()
