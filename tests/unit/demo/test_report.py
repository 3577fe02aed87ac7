"""The report stays short however long the trace is that it draws, and says how to see more of it."""

from dataclasses import replace

import pytest
from rich.console import Console

from holdfast.channel.run_records import TraceSpan
from holdfast_coordinator.demo.audit import Findings
from holdfast_coordinator.demo.driver import DemoOutcome
from holdfast_coordinator.demo.report import SPANS_SHOWN, print_report, shortened
from holdfast_coordinator.demo.tally import Tally

TRACE_ID = bytes(range(16))


def span(number: int, parent: int, name: str, outcome: str = "") -> TraceSpan:
    facts: dict[str, str | int] = {"holdfast.attempt": 1, "holdfast.attempt.outcome": outcome} if outcome else {}
    ids = number.to_bytes(8), parent.to_bytes(8) if parent else b""
    return TraceSpan(TRACE_ID, *ids, name, "internal", number * 1_000, 10**9, "unset", facts)


def run_with(steps: int, *, lost: set[int]) -> list[TraceSpan]:
    """A run of so many steps, whose numbers are those of their spans divided by 10."""
    spans = [span(1, 900_000, "run audit_distribution"), span(2, 1, "run accepted")]
    for number in range(1, steps + 1):
        spans.append(span(number * 10, 1, "step verify_chunk"))
        outcomes = ("lost", "completed") if number in lost else ("completed",)
        spans += [span(number * 10 + at, number * 10, "attempt", one) for at, one in enumerate(outcomes, start=1)]
    return spans


def steps_of(spans: list[TraceSpan]) -> list[int]:
    return sorted(int.from_bytes(one.span_id) // 10 for one in spans if one.name == "step verify_chunk")


def test_a_short_trace_is_drawn_whole() -> None:
    spans = run_with(4, lost={2})
    assert sorted(shortened(spans), key=spans.index) == spans


def test_of_a_long_trace_the_first_step_and_those_with_lost_attempts_are_drawn() -> None:
    spans = run_with(100, lost={50, 90})
    shown = shortened(spans)
    assert len(shown) <= SPANS_SHOWN
    assert steps_of(shown)[0] == 1
    assert {50, 90} <= set(steps_of(shown))
    known = {one.span_id for one in shown}
    assert [one for one in shown[1:] if one.parent_id not in known] == []


def outcome(spans: list[TraceSpan]) -> DemoOutcome:
    return DemoOutcome(Findings(), 1.0, Tally(2, 10, 5, 1, 1), "made-1.0", spans, collector=None)


def printed(given: DemoOutcome, capsys: pytest.CaptureFixture[str]) -> str:
    print_report(Console(), given, direct_seconds=1.0)
    return capsys.readouterr().out


def test_it_says_how_to_see_the_whole_audit_in_jaeger(capsys: pytest.CaptureFixture[str]) -> None:
    output = printed(outcome(run_with(100, lost={50})), capsys)
    assert f"{len(run_with(100, lost={50})) - SPANS_SHOWN + 1} more spans of this run are left out" in output
    assert "docker run" in output
    assert "holdfast demo --otlp http://localhost:4317" in output


def test_it_says_where_the_exported_trace_is(capsys: pytest.CaptureFixture[str]) -> None:
    exported = replace(outcome(run_with(3, lost={2})), collector="http://collector:4317")
    output = printed(exported, capsys)
    assert "http://collector:4317" in output
    assert f"http://localhost:16686/trace/{TRACE_ID.hex()}" in output
    assert "docker run" not in output
