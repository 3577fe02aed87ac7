"""What the coordinator could not record because a run was locked: reported again by itself, later and later."""

from datetime import UTC, datetime, timedelta

from holdfast.channel.leases import AttemptReport, AttemptReportResult, ReportAnswer, Transition, TransitionResult
from holdfast.journal import AttemptRecord
from holdfast.statuses import AttemptOutcome, Then, TransitionStatus
from holdfast.worker.busy_parts import BusyReports
from holdfast.worker.reports import Report

T0 = datetime(2030, 1, 1, tzinfo=UTC)
BUSY, COMMITTED = TransitionStatus.BUSY, TransitionStatus.COMMITTED


def transition(run_id: str) -> Transition:
    """Any transition of a run."""
    return Transition(run_id, 1, 0, 1, (), 0, Then.CONTINUE)


def attempt(run_id: str) -> AttemptReport:
    """Any report of a queued attempt of a run."""
    record = AttemptRecord(1, AttemptOutcome.COMPLETED, T0, T0, T0, T0 + timedelta(1), "s1", "b1")
    return AttemptReport(run_id, 1, 1, 1, record)


def test_what_is_busy_is_sent_again_as_it_was_and_the_rest_is_answered() -> None:
    busy = BusyReports()
    report = Report((transition("a"), transition("b")), (attempt("c"), attempt("d")))
    answer = ReportAnswer(
        (TransitionResult("a", BUSY), TransitionResult("b", COMMITTED)),
        (AttemptReportResult("c", 1, recorded=False, busy=True), AttemptReportResult("d", 1, recorded=True)),
    )
    rest = busy.keep_busy(report, answer, 0.0, jitter=1.0)
    assert [one.run_id for one in rest.transitions] == ["b"]
    assert [one.run_id for one in rest.attempts] == ["d"]
    assert busy.with_due(None, 0.0) is None
    again = busy.with_due(Report((transition("e"),), ()), busy.next_at() or 0.0)
    assert again == Report((transition("e"), transition("a")), (attempt("c"),))
    assert busy.with_due(None, 10.0) is None, "it is under way"


def test_it_waits_longer_each_time_and_is_forgotten_once_it_is_answered() -> None:
    busy = BusyReports()
    report = Report((transition("a"),), ())
    waits = []
    now = 0.0
    for _ in range(4):
        busy.keep_busy(report, ReportAnswer((TransitionResult("a", BUSY),)), now, jitter=1.0)
        again_at = busy.next_at()
        assert again_at is not None
        waits.append(again_at - now)
        now = again_at
        assert busy.with_due(None, now) == report
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    answer = ReportAnswer((TransitionResult("a", COMMITTED),))
    assert busy.keep_busy(report, answer, now, jitter=1.0) == answer
    assert busy.next_at() is None
