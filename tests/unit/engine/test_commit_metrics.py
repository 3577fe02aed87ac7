"""What recorded reports make of the metrics: attempts and retries, by the names that this replica knows."""

from datetime import timedelta
from typing import Any

import pytest

from holdfast.api.v1 import journal_pb2, status_pb2
from holdfast.api.v1.value_pb2 import RunTrace, TraceContext
from holdfast.statuses import Then
from holdfast_coordinator.domain.commands import CommitTransition, ReportAttempt
from holdfast_coordinator.domain.events import TaskClaimed
from holdfast_coordinator.domain.rows import RunRow
from holdfast_coordinator.engine import commit_metrics
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.cells import Cells
from holdfast_coordinator.engine.commit_metrics import CommitMetrics
from holdfast_coordinator.engine.committed import Committed
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.run_rows import Records
from holdfast_coordinator.metrics.metrics import Metrics
from tests.support.store_rows import T0, record, task

COMPLETED = status_pb2.ATTEMPT_OUTCOME_COMPLETED
RETRYABLE = status_pb2.ATTEMPT_OUTCOME_FAILED_RETRYABLE
HANDED_BACK = status_pb2.ATTEMPT_OUTCOME_HANDED_BACK
LOST = status_pb2.ATTEMPT_OUTCOME_LOST
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


class Measured:
    """A measure with the metrics that it feeds."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.records = Records(Cells([]))
        self.now = 1.0
        self.matcher = Matcher()
        self.matcher.attach(Attachment("s1", 1, namespace="default", queue="gpu", workflows=[], steps=[], build="b1"))
        self.measure = CommitMetrics(self.metrics, self.records, self.matcher, clock=lambda: self.now)

    async def knows(self, *records: RunRow) -> None:
        """The replica has these records in memory."""
        await self.records.of(records)

    def transition(self, *entries: journal_pb2.Entry) -> None:
        """A transition of run r1 was recorded."""
        asked = CommitTransition("r1", "s1", 1, 1, 2, len(entries), [b""], [], 0, Then.CONTINUE, parsed=entries)
        self.measure.committed(Committed(reports=[asked]))

    def attempt(self, attempt: journal_pb2.AttemptRecord, *, run_id: str = "r1") -> None:
        """A queued attempt of step 1 was recorded."""
        again_after = attempt.retry_delay.ToTimedelta() if attempt.HasField("retry_delay") else None
        data = attempt.SerializeToString()
        asked = ReportAttempt(run_id, 1, attempt.attempt, 1, "s1", data, again_after=again_after, parsed=attempt)
        self.measure.committed(Committed(reports=[asked]))

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        samples = [one for family in self.metrics.registry.collect() for one in family.samples]
        return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


@pytest.fixture
async def measured() -> Measured:
    """A measure that knows run r1."""
    made = Measured()
    await made.knows(record("r1"))
    return made


def ended(outcome: Any = COMPLETED, *, waited: float = 0.5, ran: float = 2.0, **more: Any) -> journal_pb2.AttemptRecord:
    """How an attempt went: when it could start, started and ended."""
    made = journal_pb2.AttemptRecord(attempt=1, outcome=outcome, **more)
    made.eligible_at.FromDatetime(T0)
    made.started_at.FromDatetime(T0 + timedelta(seconds=waited))
    made.ended_at.FromDatetime(T0 + timedelta(seconds=waited + ran))
    return made


def scheduled(name: str = "charge") -> journal_pb2.Entry:
    """The entry that schedules step 1."""
    return journal_pb2.Entry(step_scheduled=journal_pb2.StepScheduled(number=1, name=name))


def completed(attempt: journal_pb2.AttemptRecord | None = None) -> journal_pb2.Entry:
    """The entry that completes step 1."""
    return journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=1, attempt=attempt or ended()))


def repeated(outcome: Any) -> journal_pb2.Entry:
    """The entry that ends an attempt of step 1 which is not the last."""
    return journal_pb2.Entry(attempt_ended=journal_pb2.AttemptEnded(number=1, attempt=ended(outcome)))


DURATION = "holdfast_step_duration_seconds"
WAIT = "holdfast_schedule_to_start_seconds"


def test_an_attempt_is_counted_under_the_name_that_an_earlier_report_gave_its_step(measured: Measured) -> None:
    measured.transition(scheduled())
    measured.transition(completed())
    labels = {"namespace": "default", "workflow": "order", "step": "charge", "outcome": "completed"}
    assert measured.value(f"{DURATION}_count", **labels) == 1
    assert measured.value(f"{DURATION}_sum", **labels) == 2.0
    assert measured.value(f"{WAIT}_sum", queue="gpu", placement="inline") == 0.5


def test_a_step_that_another_replica_scheduled_has_no_name_here(measured: Measured) -> None:
    measured.transition(completed())
    assert measured.value(f"{DURATION}_count", step="unknown", workflow="order") == 1


def test_a_run_that_is_not_in_memory_is_counted_without_its_workflow() -> None:
    measured = Measured()
    measured.transition(scheduled(), completed())
    assert measured.value(f"{DURATION}_count", step="charge", workflow="unknown") == 1


def test_the_names_of_ended_steps_are_forgotten(measured: Measured) -> None:
    measured.transition(scheduled(), completed())
    assert not measured.measure._names


def test_the_oldest_names_are_forgotten_first(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_metrics, "NAMES_MAX", 2)
    for number in range(5):
        measured.measure.committed(Committed(events=[TaskClaimed("s1", task("r1", number), 1)]))
    assert list(measured.measure._names) == [("r1", 3), ("r1", 4)]


@pytest.mark.parametrize(
    ("outcome", "retries"), [(RETRYABLE, 1), (status_pb2.ATTEMPT_OUTCOME_TIMED_OUT, 1), (LOST, 0), (HANDED_BACK, 0)]
)
def test_a_retry_is_an_attempt_that_failed_and_is_repeated(outcome: Any, retries: int, measured: Measured) -> None:
    measured.transition(scheduled(), repeated(outcome))
    assert measured.value("holdfast_retries_total", step="charge", workflow="order") == retries
    assert measured.value(f"{DURATION}_count", step="charge") == 1


def test_a_result_without_an_attempt_is_no_attempt(measured: Measured) -> None:
    kept = journal_pb2.Entry(step_completed=journal_pb2.StepCompleted(number=1))
    measured.transition(scheduled(), kept)
    assert measured.value(f"{DURATION}_count") == 0


def test_a_queued_attempt_has_the_name_that_it_was_claimed_by(measured: Measured) -> None:
    measured.measure.committed(Committed(events=[TaskClaimed("s1", task("r1", 1), 1)]))
    again = ended(RETRYABLE)
    again.retry_delay.FromTimedelta(timedelta(seconds=1))
    measured.attempt(again)
    measured.attempt(ended())
    assert measured.value(f"{DURATION}_count", step="charge", outcome="failed_retryable") == 1
    assert measured.value(f"{DURATION}_count", step="charge", outcome="completed") == 1
    assert measured.value("holdfast_retries_total", step="charge") == 1
    assert measured.value(f"{WAIT}_count", placement="queued", queue="gpu") == 2


@pytest.mark.parametrize(("flags", "expected"), [("01", {TRACE_ID}), ("03", {TRACE_ID}), ("00", set())])
async def test_only_sampled_runs_leave_exemplars(flags: str, expected: set[str]) -> None:
    measured = Measured()
    trace = RunTrace(context=TraceContext(traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-{flags}"))
    await measured.knows(record("r1", trace=trace.SerializeToString()))
    measured.transition(scheduled(), completed())
    assert _exemplars(measured) == expected


async def test_of_quick_successes_only_some_leave_exemplars_of_failures_all() -> None:
    measured = Measured()
    for number in range(1, 5):
        trace = RunTrace(context=TraceContext(traceparent=f"00-{number:032x}-b7ad6b7169203331-01"))
        await measured.knows(record(f"r{number}", trace=trace.SerializeToString()))

    def ends(run: int, attempt: journal_pb2.AttemptRecord) -> set[str]:
        measured.attempt(attempt, run_id=f"r{run}")
        return _exemplars(measured)

    assert ends(1, ended(ran=0.001)) == {f"{1:032x}"}
    assert ends(2, ended(ran=0.002)) == {f"{1:032x}"}
    assert ends(3, ended(LOST, ran=0.003)) >= {f"{3:032x}"}
    measured.now += 0.2
    assert ends(4, ended(ran=0.004)) >= {f"{4:032x}"}


async def test_an_attempt_of_a_later_segment_names_the_trace_of_that_segment() -> None:
    measured = Measured()
    trace = RunTrace(context=TraceContext(traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01"))
    trace.segment.FromTimedelta(timedelta(hours=24))
    await measured.knows(record("r1", trace=trace.SerializeToString(), created_at=T0 - timedelta(hours=30)))
    measured.transition(scheduled(), completed())
    (trace_id,) = _exemplars(measured)
    assert trace_id != TRACE_ID


@pytest.mark.parametrize("seconds", [-(2**62), 2**62])
async def test_an_attempt_that_ended_at_no_time_there_is_fails_no_report(seconds: int) -> None:
    measured = Measured()
    trace = RunTrace(context=TraceContext(traceparent=f"00-{TRACE_ID}-b7ad6b7169203331-01"))
    trace.segment.FromTimedelta(timedelta(hours=24))
    await measured.knows(record("r1", trace=trace.SerializeToString()))
    attempt = ended()
    attempt.ended_at.seconds = seconds
    measured.transition(scheduled(), completed(attempt))
    assert measured.value(f"{DURATION}_count") == 1


def _exemplars(measured: Measured) -> set[str]:
    samples = [one for family in measured.metrics.registry.collect() for one in family.samples]
    return {one.exemplar.labels["trace_id"] for one in samples if one.exemplar is not None}


def test_an_attempt_of_a_session_that_has_left_counts_under_no_queue(measured: Measured) -> None:
    measured.matcher.detach("s1")
    measured.transition(scheduled(), completed())
    assert measured.value(f"{DURATION}_count", workflow="order", namespace="unknown") == 1
