"""The tables of states: where each trigger leads, and that what a table does not have is refused."""

import ast
from dataclasses import fields, replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from holdfast_coordinator import domain
from holdfast_coordinator.domain.commands import TerminateRun
from holdfast_coordinator.domain.rows import OpenRun, RunState, TaskRow, TaskState
from holdfast_coordinator.domain.states import (
    NEW_RUN,
    RUN_EDGES,
    RUN_FIELDS,
    TASK_EDGES,
    TASK_FIELDS,
    Edge,
    MoveRefused,
    RunTrigger,
    TaskTrigger,
    move_run,
    move_task,
)
from tests.support.core_cell import T0, CoreCell
from tests.support.core_commands import RUN, leased, start

FULL_RUN = OpenRun(
    RUN, "default", "default", "order", RunState.READY, T0, "build", epoch=3, owner="s1", sticky="s1", length=4,
    transition_id=5, ready_at=T0, attempt_deadline_at=T0, stall_reason="poison", stall_build="build", waits="signal go",
)  # fmt: skip
FULL_TASK = TaskRow(
    RUN, 1, "default", "default", "charge", TaskState.READY, T0, T0, b"", attempt=2, owner="s1", epoch=3, started_at=T0,
    deadline_at=T0, timeout=timedelta(seconds=1),
)  # fmt: skip
EDGES: list[tuple[Any, Edge[Any], Any]] = [
    *((state, edge, RUN_FIELDS) for (state, _), edge in RUN_EDGES.items()),
    *((state, edge, TASK_FIELDS) for (state, _), edge in TASK_EDGES.items()),
]


def changed(before: Any, after: Any) -> dict[str, Any]:
    """The columns that differ, with their new values."""
    pairs = ((one.name, getattr(before, one.name), getattr(after, one.name)) for one in fields(before))
    return {name: new for name, old, new in pairs if new != old}


@pytest.mark.parametrize(("state", "trigger"), [*product(RunState, RunTrigger)], ids=str)
def test_a_trigger_moves_a_run_as_its_table_says_or_is_refused(state: RunState, trigger: RunTrigger) -> None:
    before = replace(FULL_RUN, state=state)
    run = before.copy()
    edge = RUN_EDGES.get((state, trigger))
    if edge is None:
        with pytest.raises(MoveRefused, match=f"run {RUN} is {state.name.lower()}, where it cannot"):
            move_run(run, trigger)
        assert run == before
    else:
        move_run(run, trigger)
        assert changed(before, run) == ({"state": edge.to, **dict.fromkeys(edge.clears)} if edge.to is not None else {})


@pytest.mark.parametrize(("state", "trigger"), [*product(TaskState, TaskTrigger)], ids=str)
def test_a_trigger_moves_a_queued_step_as_its_table_says_or_is_refused(state: TaskState, trigger: TaskTrigger) -> None:
    before = replace(FULL_TASK, state=state)
    task = before.copy()
    edge = TASK_EDGES.get((state, trigger))
    if edge is None:
        with pytest.raises(MoveRefused, match=f"step 1 of run {RUN} is {state.name.lower()}, where it cannot"):
            move_task(task, trigger)
        assert task == before
    else:
        move_task(task, trigger)
        assert changed(before, task) == (
            {"state": edge.to, **dict.fromkeys(edge.clears)} if edge.to is not None else {}
        )


@pytest.mark.parametrize(("state", "edge", "held"), EDGES, ids=str)
def test_after_an_edge_a_row_holds_what_its_new_state_has(state: Any, edge: Edge[Any], held: Any) -> None:
    """Whatever the old state may have held: so the rows, and the CHECK constraints, agree with the table."""
    if edge.to is None:
        return
    always = {name for name, one in held.items() if one.always and state in one.states}
    at_most = {name for name, one in held.items() if state in one.states}
    for before, set_too in product((always, at_most), ((), edge.may_set)):
        after = (before - {*edge.clears, *edge.may_set}) | ({*edge.sets, *set_too} & held.keys())
        assert {name for name, one in held.items() if one.always and edge.to in one.states} <= after
        assert after <= {name for name, one in held.items() if edge.to in one.states}


def test_every_state_but_the_reserved_one_is_reached_and_ends() -> None:
    reached = {NEW_RUN, *(edge.to for edge in RUN_EDGES.values() if edge.to is not None)}
    ends = {state for (state, _), edge in RUN_EDGES.items() if edge.to is None}
    assert reached == ends == {*RunState} - {RunState.PAUSED}


def test_what_a_state_does_not_have_refuses_its_command_and_records_nothing(cell: CoreCell) -> None:
    leased(cell)
    cell.open_runs[RUN] = paused = replace(cell.open_runs[RUN], state=RunState.PAUSED, owner=None)
    before = len(cell.journals[RUN])
    with pytest.raises(MoveRefused, match=f"run {RUN} is paused, where it cannot end"):
        cell.ask(TerminateRun(RUN, "req-1", "reason"))
    assert (cell.open_runs[RUN], len(cell.journals[RUN])) == (paused, before)
    cell.ask(start(2))


def test_nothing_in_the_core_sets_a_state_but_the_tables() -> None:
    """What sets one itself would set and clear columns itself too, and refuse nothing."""
    setters = {
        path.name
        for path in Path(domain.__path__[0]).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "state" and isinstance(node.ctx, ast.Store)
    }
    assert setters == {"states.py"}
