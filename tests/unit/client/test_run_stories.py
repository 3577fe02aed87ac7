"""A journal is told as steps with their attempts, and as plain JSON, whatever is in it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast import journal as j
from holdfast.client import HistoryEntry
from holdfast.client.story import Event, StepStory, story_of
from holdfast.replay.files import entry_values
from holdfast.statuses import AttemptOutcome, Placement, RunStatus, StepStatus

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(number: int, outcome: AttemptOutcome, failure: j.Failure | None = None) -> j.AttemptRecord:
    return j.AttemptRecord(number, outcome, at(0), at(0), at(number), at(number + 0.5), "s", "b", failure)


def numbered(*entries: j.Entry) -> list[HistoryEntry]:
    return [HistoryEntry(number, 1, entry) for number, entry in enumerate(entries, start=1)]


def test_a_step_that_failed_once_and_then_completed_shows_both_attempts() -> None:
    boom = j.Failure("ValueError", "boom")
    story = story_of(
        numbered(
            j.RunStarted(at(0), "order"),
            j.StepScheduled(at(0), 1, "charge", j.Arguments(), started=True),
            j.AttemptEnded(at(1), 1, attempt(1, AttemptOutcome.FAILED_RETRYABLE, boom)),
            j.AttemptStarted(at(2), 1, 2),
            j.StepCompleted(at(3), 1, j.Payload(b"1"), attempt(2, AttemptOutcome.COMPLETED)),
            j.RunClosed(at(4), RunStatus.COMPLETED, j.Payload(b"1")),
        )
    )
    started, step, closed = story
    assert isinstance(started, Event)
    assert isinstance(step, StepStory)
    assert isinstance(closed, Event)
    assert (started.text, closed.text) == ("started order", "completed")
    assert (step.name, step.status, step.closed_at) == ("charge", StepStatus.COMPLETED, at(3))
    assert [one.outcome for one in step.attempts.values()] == [
        AttemptOutcome.FAILED_RETRYABLE,
        AttemptOutcome.COMPLETED,
    ]
    assert step.attempts[1].failure == boom


def test_a_queued_step_takes_its_attempts_from_its_result_mail() -> None:
    records = (attempt(1, AttemptOutcome.LOST), attempt(2, AttemptOutcome.COMPLETED))
    result = j.Mail(1, at(5), j.StepResult(1, records, result=j.Payload(b"1")))
    story = story_of(
        numbered(
            j.StepScheduled(at(0), 1, "render", j.Arguments(), placement=Placement.QUEUED),
            j.MailConsumed(at(5), 1, result),
        )
    )
    (step,) = story
    assert isinstance(step, StepStory)
    assert step.status is StepStatus.COMPLETED
    assert [one.outcome for one in step.attempts.values()] == [AttemptOutcome.LOST, AttemptOutcome.COMPLETED]


def test_a_step_that_runs_shows_a_running_attempt() -> None:
    (step,) = story_of(numbered(j.StepScheduled(at(0), 1, "charge", j.Arguments(), started=True)))
    assert isinstance(step, StepStory)
    assert (step.status, step.attempts[1].outcome) == (StepStatus.RUNNING, None)


def test_a_part_of_the_code_that_was_named_is_told_with_its_length_and_its_error() -> None:
    story = story_of(
        numbered(
            j.UserSpan(at(90), 2, "payment", at(30), 1, "StepFailed"),
            j.UserSpan(at(90), 1, "checkout", at(0)),
        )
    )
    assert [event.text for event in story if isinstance(event, Event)] == [
        "span payment: 1m, left by StepFailed",
        "span checkout: 90s",
    ]


def test_signals_timers_and_children_are_told_in_words() -> None:
    story = story_of(
        numbered(
            j.TimerSet(at(0), 1, "reminder", delay=timedelta(days=1)),
            j.ChildStarted(at(1), 1, "ship", "run_x", j.Arguments()),
            j.MailConsumed(at(2), 1, j.Mail(1, at(2), j.Signal("approval"))),
            j.MailUndelivered(at(3), 2, j.Mail(2, at(3), j.CancelRequested("late"))),
        )
    )
    texts = [event.text for event in story if isinstance(event, Event)]
    assert texts == [
        "timer 1 (reminder) set: 1d",
        "child 1: ship run_x",
        "signal approval",
        "cancel requested: late (not delivered)",
    ]


def test_an_entry_as_json_has_its_number_its_type_and_readable_values() -> None:
    entry = j.StepScheduled(at(0), 4, "charge", j.Arguments((j.Payload(b'{"a":[1]}'),)), timeout=timedelta(seconds=30))
    plain: dict[str, Any] = json.loads(json.dumps(entry_values(2, 7, entry)))
    assert plain["seq"] == 2
    assert plain["type"] == "StepScheduled"
    assert plain["at"] == "2026-01-01T00:00:00+00:00"
    assert plain["arguments"] == {"args": [{"a": [1]}], "kwargs": {}}
    assert (plain["timeout"], plain["placement"], plain["number"]) == ("30s", "inline", 4)
