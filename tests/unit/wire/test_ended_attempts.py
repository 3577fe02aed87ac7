"""Attempts that the coordinator ended itself are stored and read beside those that workers reported."""

from datetime import UTC, datetime, timedelta

from holdfast.api.v1 import journal_pb2
from holdfast.journal import AttemptRecord, Failure
from holdfast.statuses import AttemptOutcome
from holdfast.wire import time_from
from holdfast_coordinator.domain.rows import StepCancelledEntry
from holdfast_coordinator.wire.entries import join_attempts, join_entries, split_attempts

AT = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
SECOND = timedelta(seconds=1)


def test_a_lost_queued_attempt_is_stored_before_the_one_that_a_worker_reported() -> None:
    lost = AttemptRecord(1, AttemptOutcome.LOST, AT, AT + SECOND, AT + 2 * SECOND, AT + 3 * SECOND, "ses_1")
    reported = journal_pb2.AttemptRecord(attempt=2).SerializeToString()

    first, second = map(journal_pb2.AttemptRecord.FromString, split_attempts(join_attempts((lost, reported))))

    assert (first.attempt, first.outcome, first.session_id) == (1, AttemptOutcome.LOST, "ses_1")
    times = [first.scheduled_at, first.eligible_at, first.started_at, first.ended_at]
    assert [time_from(one) for one in times] == [AT, AT + SECOND, AT + 2 * SECOND, AT + 3 * SECOND]
    assert not first.HasField("failure")
    assert second.attempt == 2


def test_a_queued_attempt_that_timed_out_says_so() -> None:
    failure = Failure("TimeoutError", "Timeout after 5s")
    joined = join_attempts((AttemptRecord(1, AttemptOutcome.TIMED_OUT, AT, AT, AT, AT, "ses_1", failure=failure),))
    stored = journal_pb2.StepResult.FromString(joined).attempts[0]
    assert (stored.failure.error_type, stored.failure.message) == ("TimeoutError", "Timeout after 5s")


def test_an_attempt_that_the_coordinator_ended_says_under_which_claim_it_ran() -> None:
    ended = AttemptRecord(1, AttemptOutcome.LOST, AT, AT, AT, AT, "ses_1", epoch=7)
    assert journal_pb2.StepResult.FromString(join_attempts((ended,))).attempts[0].epoch == 7


def test_a_cancelled_queued_step_is_journaled_with_its_attempts_as_the_worker_wrote_it() -> None:
    written = journal_pb2.Entry(step_cancelled={"number": 4})
    written.at.FromDatetime(AT)
    framed = journal_pb2.JournalRow(entries=[written]).SerializeToString()
    reported = journal_pb2.AttemptRecord(attempt=1, session_id="ses_1").SerializeToString()
    running = AttemptRecord(2, AttemptOutcome.CANCELLED, AT, AT, AT, AT + SECOND, "ses_2", epoch=3)

    row = journal_pb2.JournalRow.FromString(join_entries([framed, StepCancelledEntry(framed, (reported, running))]))

    as_written, stored = row.entries
    assert as_written == written
    assert (time_from(stored.at), stored.step_cancelled.number) == (AT, 4)
    attempts = [(one.attempt, one.session_id, one.epoch) for one in stored.step_cancelled.attempts]
    assert attempts == [(1, "ses_1", 0), (2, "ses_2", 3)]
