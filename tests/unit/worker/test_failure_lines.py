"""What a worker's log says of failures: one line each, whatever the message holds."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.journal import AttemptRecord, Failure, RunClosed
from holdfast.statuses import AttemptOutcome, RunStatus
from holdfast.worker.failure_lines import log_closed_run, log_failed_attempt

AT = datetime(2026, 3, 1, tzinfo=UTC)
WHOSE: dict[str, Any] = {"run_id": "run_1", "workflow": "order"}


def attempt(outcome: AttemptOutcome, message: str = "kaput", retry_delay: timedelta | None = None) -> AttemptRecord:
    failure = Failure("ValueError", message)
    return AttemptRecord(2, outcome, AT, AT, AT, AT, "ses_1", "build", failure, retry_delay, 1)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (
            attempt(AttemptOutcome.FAILED_RETRYABLE, retry_delay=timedelta(seconds=2)),
            "run run_1 (order): step charge (4), attempt 2 failed with ValueError: kaput; attempt 3 in 2s",
        ),
        (
            attempt(AttemptOutcome.FAILED_RETRYABLE, retry_delay=timedelta(microseconds=1_500_700)),
            "run run_1 (order): step charge (4), attempt 2 failed with ValueError: kaput; attempt 3 in 1500ms",
        ),
        (
            attempt(AttemptOutcome.TIMED_OUT, retry_delay=timedelta()),
            "run run_1 (order): step charge (4), attempt 2 failed with ValueError: kaput; attempt 3 at once",
        ),
        (
            attempt(AttemptOutcome.FAILED_FINAL, "two\nlines"),
            "run run_1 (order): step charge (4), attempt 2 failed with ValueError: two lines; for good",
        ),
    ],
)
def test_a_failed_attempt_is_one_line_with_what_follows(
    record: AttemptRecord, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    log_failed_attempt(record, step="charge", number=4, **WHOSE)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [("WARNING", line)]


def test_attempts_that_nobody_failed_and_runs_that_completed_are_not_mentioned(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    for outcome in (AttemptOutcome.LOST, AttemptOutcome.HANDED_BACK, AttemptOutcome.CANCELLED):
        log_failed_attempt(attempt(outcome), step="charge", number=4, **WHOSE)
    log_closed_run(RunClosed(AT, RunStatus.COMPLETED, None, None), **WHOSE)
    log_closed_run(RunClosed(AT, RunStatus.CANCELLED, None, Failure("CancelledError")), **WHOSE)
    assert caplog.records == []


def test_a_failed_run_is_one_line_of_bounded_length(caplog: pytest.LogCaptureFixture) -> None:
    log_closed_run(RunClosed(AT, RunStatus.FAILED, None, Failure("ValueError", "x" * 10_000)), **WHOSE)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("run run_1 (order) failed with ValueError: xxx")
    assert len(record.getMessage()) < 600
