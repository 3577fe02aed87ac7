"""The tree of a trace in the terminal."""

import io

import pytest
from golden_journals import CHILD_RUN, Scenario, child_run, queued_step, run_of_three_days, worker_lost
from rich.console import Console
from test_span_trees import check
from written_journals import RUN, TRACE, child, closed, facts, failed, failure, mail, rows, scheduled, started

from holdfast.statuses import RunStatus
from holdfast.traces import child_context
from holdfast_coordinator.telemetry.run_trace import spans_of
from holdfast_coordinator.telemetry.spans import Span
from holdfast_coordinator.telemetry.tree import trace_tree


def shown(spans: list[Span]) -> str:
    console = Console(file=io.StringIO(), width=160, color_system=None, legacy_windows=False)
    console.print(trace_tree(spans))
    written = console.file
    assert isinstance(written, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


@pytest.mark.parametrize(
    ("name", "scenario"),
    [("worker_lost", worker_lost()), ("queued_step", queued_step()), ("run_of_three_days", run_of_three_days())],
)
def test_the_tree_says_what_happened_when_and_for_how_long(name: str, scenario: Scenario) -> None:
    check(f"terminal_{name}", shown(spans_of(*scenario)))


def test_the_runs_of_awaited_children_hang_below_their_parents() -> None:
    journal = rows(
        started(),
        (1, [child(0, 1, "ship", CHILD_RUN)]),
        (1, [mail(3, 1, arrived=2.5, child_closed={"number": 1, "status": 6}), closed(3, RunStatus.COMPLETED)]),
    )
    child_facts, child_rows = child_run()
    above = child_context(TRACE, RUN, 1)
    below = type(child_facts)(
        CHILD_RUN, "shop", "ship", child_facts.created_at, child_facts.trace, parent=above, parent_run_id=RUN
    )
    check("terminal_parent_and_child", shown(spans_of(facts(), journal) + spans_of(below, child_rows)))


def test_an_open_run_is_shown_without_its_run_span() -> None:
    journal = worker_lost()[1]
    tree = shown(spans_of(facts(), journal[:-1]))
    assert "run accepted" in tree
    assert "step reserve" in tree
    assert "attempt charge" in tree
    assert "run order" not in tree


def test_texts_of_users_are_no_markup_and_no_control_characters() -> None:
    nasty = failure("[bold]E", "one\n\x1b[31mtwo[/]")
    journal = rows(
        started(),
        (1, [scheduled(1, 1, "[red]a", begins=True), failed(2, 1, nasty), closed(2, RunStatus.FAILED, nasty)]),
    )
    tree = shown(spans_of(facts(), journal))
    assert "step [red]a" in tree
    assert "[bold]E: one  [31mtwo[/]" in tree
    assert "\x1b" not in tree
