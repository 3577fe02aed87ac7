"""What people see of runs in a terminal: nothing that matters is cut, however narrow it is."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from holdfast.cli import display
from holdfast.client import RunDescription
from holdfast.client.story import AttemptStory, Event, StepStory
from holdfast.journal import Failure
from holdfast.statuses import AttemptOutcome, RunStatus, StepStatus

AT = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
RUN = RunDescription(
    run_id="run_00" + "a" * 26, id="order-2026-0000017", workflow="order", status=RunStatus.RUNNING, reason=None,
    current_step="charge", queue="default", created_at=AT, updated_at=AT, closed_at=None, args=(), kwargs={},
    result=None, failure=None, metadata={}, origin_run_id=None, parent_run_id=None, session_id=None,
    journal_length=3, losses=0,
)  # fmt: skip


@pytest.fixture(params=[80, 200])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A terminal so wide."""
    made = Console(width=request.param, force_terminal=True, color_system=None)
    monkeypatch.setattr(display, "_console", lambda: made)
    return int(request.param)


def test_a_listing_keeps_ids_whole_dates_on_one_line_and_shows_the_step(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    display.print_runs([RUN, replace(RUN, id=None, current_step=None, status=RunStatus.TIMED_OUT)])
    shown = capsys.readouterr().out
    assert all(len(line) <= width for line in shown.splitlines())
    for whole in (RUN.run_id, "order-2026-0000017", "charge", "timed_out", f"{AT.astimezone():%Y-%m-%d %H:%M:%S}"):
        assert whole in shown
    assert len(shown.splitlines()) == (4 if width == 80 else 3)


def test_a_history_shows_errors_whole(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"word{number}" for number in range(60)]
    failure = Failure("ValueError", " ".join(words))
    attempts: dict[int, Any] = {1: AttemptStory(1, AttemptOutcome.FAILED_FINAL, AT, AT, failure)}
    step = StepStory(1, "charge", StepStatus.FAILED, AT, AT, attempts)
    display.print_story(RUN.run_id, [step, Event(AT, f"failed: ValueError: {' '.join(words)}")])
    shown = capsys.readouterr().out.split()
    assert [shown.count(word) for word in words] == [2] * len(words)


def test_a_history_says_why_a_step_was_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure("UPSTREAM_FAILED", "task fetch failed")
    display.print_story(RUN.run_id, [StepStory(2, "flow.mail", StepStatus.SKIPPED, AT, AT, failure=failure)])
    assert "2 flow.mail  skipped  UPSTREAM_FAILED: task fetch failed" in capsys.readouterr().out
