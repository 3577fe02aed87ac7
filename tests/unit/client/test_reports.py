"""The report of a run says of each task what its journal says, whatever part of a life the journal ends in."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast import journal as j
from holdfast.client import History, HistoryEntry, RunDescription, RunReport
from holdfast.client.reports import report_of
from holdfast.codec import Codec
from holdfast.statuses import AttemptOutcome, Placement, RunStatus

START = datetime(2026, 1, 1, tzinfo=UTC)
BOOM = j.Failure("ValueError", "boom")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(number: int, outcome: AttemptOutcome, failure: j.Failure | None = None) -> j.AttemptRecord:
    return j.AttemptRecord(number, outcome, at(0), at(0), at(number), at(number + 0.5), "s", "b", failure)


def report(*entries: j.Entry, status: RunStatus = RunStatus.RUNNING) -> RunReport:
    run = RunDescription(
        run_id="run_1", id=None, workflow="flow", status=status, reason=None, current_step=None, queue="default",
        created_at=START, updated_at=START, closed_at=None, args=(), kwargs={}, result=None, failure=None,
        metadata={"team": "backend"}, origin_run_id=None, parent_run_id=None, session_id=None,
        journal_length=len(entries), losses=0,
    )  # fmt: skip
    numbered = [
        HistoryEntry(number, 1, entry) for number, entry in enumerate((j.RunStarted(START, "flow"), *entries), 1)
    ]
    return report_of(run, History("run_1", j.Arguments(), tuple(numbered)), Codec())


def scheduled(number: int = 1, **options: Any) -> j.StepScheduled:
    return j.StepScheduled(at(0), number, "flow.t", j.Arguments(), step_id="t", **options)


@pytest.mark.feature("F116")
@pytest.mark.parametrize(
    ("entries", "status", "last", "started", "finished", "error", "result"),
    [
        ([scheduled()], "scheduled", 0, None, None, None, None),
        ([scheduled(started=True)], "running", 1, at(0), None, None, None),
        ([scheduled(), j.AttemptStarted(at(2), 1, 1)], "running", 1, at(2), None, None, None),
        (
            [scheduled(started=True), j.AttemptEnded(at(2), 1, attempt(1, AttemptOutcome.FAILED_RETRYABLE, BOOM))],
            "waiting_retry", 1, at(1), None, "ValueError: boom", None,
        ),
        (
            [
                scheduled(started=True),
                j.AttemptEnded(at(2), 1, attempt(1, AttemptOutcome.FAILED_RETRYABLE, BOOM)),
                j.AttemptStarted(at(3), 1, 2),
                j.StepCompleted(at(4), 1, j.Payload(b"[1]"), attempt(2, AttemptOutcome.COMPLETED)),
            ],
            "completed", 2, at(1), at(4), None, [1],
        ),
        (
            [scheduled(started=True), j.StepFailed(at(2), 1, BOOM, attempt(1, AttemptOutcome.FAILED_FINAL, BOOM))],
            "failed", 1, at(1), at(2), "ValueError: boom", None,
        ),
        (
            [
                scheduled(placement=Placement.QUEUED),
                j.MailConsumed(at(5), 1, j.Mail(1, at(5), j.StepResult(
                    1, (attempt(1, AttemptOutcome.LOST), attempt(2, AttemptOutcome.FAILED_FINAL, BOOM)), failure=BOOM,
                ))),
            ],
            "failed", 2, at(1), at(5), "ValueError: boom", None,
        ),
        ([scheduled(started=True), j.StepCancelled(at(2), 1)], "cancelled", 1, at(0), at(2), None, None),
        ([scheduled(started=True), j.RunClosed(at(2), RunStatus.CANCELLED)], "cancelled", 1, at(0), at(2), None, None),
        (
            [j.StepSkipped(at(2), 1, "flow.t", "t", j.Failure("UPSTREAM_FAILED", "task a failed"))],
            "skipped", 0, None, at(2), "UPSTREAM_FAILED: task a failed", None,
        ),
    ],
)  # fmt: skip
def test_a_task_stands_as_the_last_entry_about_it_says(
    entries: list[j.Entry], status: str, last: int, started: Any, finished: Any, error: Any, result: Any
) -> None:
    (task,) = report(*entries)
    assert (task.name, task.step, task.number) == ("t", "flow.t", 1)
    assert (task.status, task.attempt, task.started_at, task.finished_at) == (status, last, started, finished)
    assert (task.error, task.result) == (error, result)


@pytest.mark.feature("F116")
def test_the_journal_counts_where_it_is_ahead_of_the_description() -> None:
    found = report(j.RunClosed(at(2), RunStatus.COMPLETED))
    assert (found.status, found.metadata, len(found)) == ("completed", {"team": "backend"}, 0)
    assert report().status == "running"


@pytest.mark.feature("F116")
def test_a_task_is_found_by_its_name_and_a_repeated_one_as_it_stood_last() -> None:
    found = report(j.StepSkipped(at(1), 1, "flow.t", "t", BOOM), scheduled(2))
    assert (found["t"].number, found["t"].status) == (2, "scheduled")
    with pytest.raises(KeyError, match="run run_1 has come to no task 'x', but to t, t"):
        _ = found["x"]
    assert "<td style='text-align: left'>skipped</td>" in found._repr_html_()


def test_a_step_without_a_step_id_has_its_own_name() -> None:
    (task,) = report(j.StepScheduled(at(0), 1, "charge", j.Arguments()))
    assert task.name == task.step == "charge"
