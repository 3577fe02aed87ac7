"""What `holdfast trace show` makes of spans: the tree for the terminal, and JSON."""

import io
import json
import re

import pytest
from rich.console import Console
from test_span_trees import check

from holdfast.api.v1 import run_service_pb2
from holdfast.channel.run_records import TraceSpan
from holdfast.channel.trace_messages import trace_span
from holdfast.cli import plain_values
from holdfast.cli.trace_tree import trace_tree
from holdfast.statuses import AttemptOutcome, RunStatus
from holdfast.traces import child_context
from holdfast_coordinator.rpc.run_traces import span_message
from holdfast_coordinator.telemetry.spans import Span
from tests.support.golden_journals import (
    CHILD_RUN,
    SCENARIOS,
    Scenario,
    child_run,
    queued_step,
    retry_with_back_off,
    run_of_three_days,
    worker_lost,
)
from tests.support.written_journals import (
    RUN,
    TRACE,
    attempt,
    child,
    closed,
    completed,
    facts,
    failed,
    failure,
    mail,
    rows,
    scheduled,
    spans_of,
    started,
)


def received(spans: list[Span]) -> list[TraceSpan]:
    """What the command line gets of them, through the bytes of an answer."""
    answer = run_service_pb2.GetTraceResponse(spans=[span_message(span) for span in spans])
    sent = run_service_pb2.GetTraceResponse.FromString(answer.SerializeToString())
    return [trace_span(message) for message in sent.spans]


def shown(spans: list[Span]) -> str:
    console = Console(file=io.StringIO(), width=160, color_system=None, legacy_windows=False)
    console.print(trace_tree(received(spans)))
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


def test_times_of_an_open_run_count_from_its_beginning_too() -> None:
    journal = worker_lost()[1]
    closed_run, open_run = shown(spans_of(facts(), journal)), shown(spans_of(facts(), journal[:-1]))
    begins = re.compile(r"(step \w+  \+\S+)")
    assert begins.findall(open_run) == begins.findall(closed_run)[:1] == ["step reserve  +100ms"]


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


def test_the_id_of_a_worker_is_shortened() -> None:
    long = attempt(1, AttemptOutcome.COMPLETED, 1, 2, session="ses_0123456789abcdef0123")
    journal = rows(started(), (1, [scheduled(1, 1, "a", begins=True), completed(2, 1, long)]))
    assert "completed, ses_012345\n" in shown(spans_of(facts(), journal))


@pytest.mark.parametrize("scenario", [one() for one in SCENARIOS], ids=[one.__name__ for one in SCENARIOS])
def test_the_command_line_gets_the_spans_as_they_were_built(scenario: Scenario) -> None:
    built = spans_of(*scenario)
    for was, got in zip(built, received(built), strict=True):
        assert (got.trace_id, got.span_id, got.parent_id) == (was.trace_id, was.span_id, was.parent_id)
        assert (got.name, got.kind, got.status) == (was.name, was.kind.name.lower(), was.status.name.lower())
        assert (got.start_ns, got.end_ns) == (was.start_ns, was.end_ns)
        assert tuple(got.attributes.items()) == was.attributes
        linked = [(link.context.trace_id, link.context.span_id, link.relation) for link in was.links]
        assert [(link.trace_id, link.span_id, link.relation) for link in got.links] == linked


def test_as_json_a_span_has_its_ids_in_hex_and_its_times_as_iso_texts() -> None:
    (*_, run) = received(spans_of(*retry_with_back_off()))
    found = json.loads(json.dumps(plain_values.trace_span(run)))
    assert found | {"attributes": {}} == {
        "trace_id": TRACE.trace_id.hex(),
        "span_id": TRACE.span_id.hex(),
        "parent_span_id": None,
        "name": "run order",
        "kind": "server",
        "started_at": "2026-03-01T12:00:00+00:00",
        "ended_at": "2026-03-01T12:01:03+00:00",
        "status": "ok",
        "attributes": {},
        "links": [{"trace_id": "ca" * 16, "span_id": "fe" * 8, "relation": "caller"}],
    }
    assert found["attributes"]["holdfast.workflow.id"] == "order-17"
    assert found["attributes"]["holdfast.run.status"] == "completed"
