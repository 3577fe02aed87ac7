"""What notebooks show of runs: tables, in which nothing that a user can name becomes markup."""

from dataclasses import replace
from datetime import UTC, datetime

from holdfast.client import RunDescription, RunPage
from holdfast.client.history import History, HistoryEntry
from holdfast.journal import Arguments, Failure, StepScheduled
from holdfast.statuses import RunStatus

AT = datetime(2026, 3, 1, tzinfo=UTC)
RUN = RunDescription(
    run_id="run_1", id="<b>o-1</b>", workflow="order", status=RunStatus.FAILED, reason=None, current_step=None,
    queue="default", created_at=AT, updated_at=AT, closed_at=AT, args=("x",), kwargs={}, result=None,
    failure=Failure("ValueError", "<script>"), metadata={}, origin_run_id=None, parent_run_id=None, session_id=None,
    journal_length=3, losses=0,
)  # fmt: skip


def test_a_description_is_a_table_of_what_is_known() -> None:
    shown = RUN._repr_html_()
    assert "&lt;b&gt;o-1&lt;/b&gt;" in shown
    assert "ValueError: &lt;script&gt;" in shown
    assert "session_id" not in shown


def test_a_page_has_a_row_for_each_run() -> None:
    shown = RunPage((RUN, replace(RUN, run_id="run_2")), None)._repr_html_()
    assert shown.count("<tr>") == 3
    assert "run_2" in shown


def test_a_history_has_a_row_for_each_entry() -> None:
    entries = (HistoryEntry(1, 1, StepScheduled(AT, 1, "charge <i>", Arguments())),)
    assert "charge &lt;i&gt;" in History("run_1", Arguments(), entries)._repr_html_()
