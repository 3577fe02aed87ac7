"""Attempts that the coordinator ended itself are stored and read beside those that workers reported."""

from datetime import UTC, datetime, timedelta

from holdfast.api.v1 import journal_pb2
from holdfast.statuses import AttemptOutcome
from holdfast_coordinator.domain.rows import EndedAttempt, Failure
from holdfast_coordinator.wire.entries import join_attempts, split_attempts, time_from

AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
SECOND = timedelta(seconds=1)


def test_a_lost_queued_attempt_is_stored_before_the_one_that_a_worker_reported() -> None:
    lost = EndedAttempt(1, AttemptOutcome.LOST, AT, AT + SECOND, AT + 2 * SECOND, AT + 3 * SECOND, "ses_1")
    reported = journal_pb2.AttemptRecord(attempt=2).SerializeToString()

    first, second = map(journal_pb2.AttemptRecord.FromString, split_attempts(join_attempts((lost, reported))))

    assert (first.attempt, first.outcome, first.session_id) == (1, AttemptOutcome.LOST, "ses_1")
    times = [first.scheduled_at, first.eligible_at, first.started_at, first.ended_at]
    assert [time_from(one) for one in times] == [AT, AT + SECOND, AT + 2 * SECOND, AT + 3 * SECOND]
    assert not first.HasField("failure")
    assert second.attempt == 2


def test_a_queued_attempt_that_timed_out_says_so() -> None:
    failure = Failure("TimeoutError", "Timeout after 5s")
    joined = join_attempts((EndedAttempt(1, AttemptOutcome.TIMED_OUT, AT, AT, AT, AT, "ses_1", failure),))
    stored = journal_pb2.StepResult.FromString(joined).attempts[0]
    assert (stored.failure.error_type, stored.failure.message) == ("TimeoutError", "Timeout after 5s")
