"""Claims of queued steps: what is reported of their attempts, and what is not."""

from datetime import UTC, datetime, timedelta

from holdfast.authoring.apps import App
from holdfast.backoff import constant
from holdfast.channel.leases import AttemptReportResult, QueuedAttempt
from holdfast.journal import Arguments, Failure, RetryPolicy
from holdfast.statuses import AttemptOutcome
from holdfast.worker.queued_attempts import QueuedClaims
from holdfast.worker.retries import Expired, Lost
from tests.support.worker_driving import raised, returned

NOW = datetime(2030, 1, 1, tzinfo=UTC)
app = App("queued")


@app.step(retries=1, backoff=constant(4))
async def far() -> int:
    return 1


@app.step(recoveries=0)
async def once() -> int:
    return 1


def claims_with(**changes):
    facts = {
        "run_id": "run_1",
        "step": 3,
        "attempt": 1,
        "epoch": 7,
        "name": "far",
        "arguments": Arguments(),
        "workflow": "flow",
        "scheduled_at": NOW - timedelta(seconds=9),
        "eligible_at": NOW - timedelta(seconds=5),
        "started_at": NOW - timedelta(seconds=2),
    }
    claim = QueuedAttempt(**{**facts, **changes})
    claims = QueuedClaims(app.steps, now=lambda: NOW, jitter=lambda: 0.0)
    return claims, claim, claims.accept(claim)


def only(claims):
    (report,) = claims.take_reports(10)
    return report


def test_a_result_is_reported_with_the_epoch_of_the_claim():
    claims, claim, definition = claims_with()
    assert definition is app.steps["far"]
    assert claims.ended(claim, returned(5))
    report = only(claims)
    assert (report.run_id, report.step, report.attempt, report.epoch) == ("run_1", 3, 1, 7)
    assert (report.record.outcome, report.result.data) == (AttemptOutcome.COMPLETED, b"5")
    assert report.record.epoch == 7


def test_a_report_says_since_when_the_attempt_waited():
    claims, claim, _ = claims_with()
    claims.ended(claim, returned(5))
    record = only(claims).record
    waited = (record.scheduled_at, record.eligible_at, record.started_at, record.ended_at)
    assert waited == (NOW - timedelta(seconds=9), NOW - timedelta(seconds=5), NOW - timedelta(seconds=2), NOW)


def test_a_failure_says_after_which_wait_to_repeat():
    claims, claim, _ = claims_with()
    claims.ended(claim, raised(KeyError("k")))
    record = only(claims).record
    assert (record.outcome, record.retry_delay) == (AttemptOutcome.FAILED_RETRYABLE, timedelta(seconds=4))


def test_failures_of_earlier_attempts_count():
    claims, claim, _ = claims_with(attempt=2, failures=1)
    claims.ended(claim, raised(KeyError("k")))
    record = only(claims).record
    assert (record.outcome, record.retry_delay) == (AttemptOutcome.FAILED_FINAL, None)


def test_the_policy_of_the_call_goes_before_the_definition():
    claims, claim, _ = claims_with(attempt=2, failures=1, retry=RetryPolicy(5, constant(1)))
    claims.ended(claim, Expired(timedelta(seconds=9)))
    record = only(claims).record
    assert (record.outcome, record.retry_delay) == (AttemptOutcome.TIMED_OUT, timedelta(seconds=1))
    assert record.failure.message == "Timeout after 9s"


def test_a_claim_after_the_last_timeout_ends_the_step_without_running_it():
    claims, _, definition = claims_with(attempt=3, failures=2, timeout=timedelta(seconds=9))
    assert definition is None
    report = only(claims)
    assert report.record.outcome is AttemptOutcome.FAILED_FINAL
    assert report.record.failure.message == "Timeout after 9s"


def test_a_cancelled_claim_reports_nothing():
    claims, claim, _ = claims_with()
    assert claims.forget(("run_1", 3), 6) is None, "another epoch"
    assert claims.forget(("run_1", 3), 7) is claim
    assert not claims.ended(claim, returned(5))
    assert claims.take_reports(10) == []


def test_a_claim_is_held_until_its_report_is_answered():
    claims, claim, _ = claims_with()
    claims.ended(claim, returned(5))
    only(claims)
    assert len(claims) == 1
    assert claims.answered((AttemptReportResult("run_1", 3, True),)) == [("run_1", 3)]
    assert len(claims) == 0


def test_what_runs_is_handed_back_to_be_repeated_at_once():
    claims, claim, _ = claims_with()
    assert claims.hand_back() == [claim]
    record = only(claims).record
    assert (record.outcome, record.retry_delay) == (AttemptOutcome.HANDED_BACK, timedelta())


def test_whether_a_step_that_is_handed_back_may_start_again_is_left_to_the_coordinator():
    claims, _, _ = claims_with(name="once")
    claims.hand_back()
    record = only(claims).record
    assert (record.outcome, record.retry_delay, record.failure) == (AttemptOutcome.HANDED_BACK, timedelta(), None)


def test_an_attempt_whose_process_died_is_reported_as_lost_and_to_be_repeated_at_once():
    claims, claim, _ = claims_with()
    claims.ended(claim, Lost(Failure("ProcessLost", "it died")))
    record = only(claims).record
    assert (record.outcome, record.retry_delay) == (AttemptOutcome.LOST, timedelta())
    assert record.failure.message == "it died"


def test_a_claim_of_a_step_that_the_worker_has_not_fails_and_says_which_worker_it_needs():
    claims, _, definition = claims_with(name="elsewhere")
    assert definition is None
    failure = only(claims).record.failure
    assert failure.error_type == "UnknownStep"
    assert failure.message == "this worker has no step elsewhere; start a worker whose modules define it"
