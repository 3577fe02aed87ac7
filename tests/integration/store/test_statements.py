"""Every statement against the rules for SQL, and the plans of those that must use an index."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from holdfast.statuses import RunStatus
from holdfast_coordinator.store.batch_reads import CellReads
from holdfast_coordinator.store.database_connection import Statement
from holdfast_coordinator.store.port import RunSelection
from holdfast_coordinator.store.statements import RowWrite
from holdfast_coordinator.store.statements_control import ControlStatements
from holdfast_coordinator.store.statements_due import CellDue
from holdfast_coordinator.store.statements_elsewhere import CellElsewhere
from holdfast_coordinator.store.statements_gauges import CellGauges
from holdfast_coordinator.store.statements_journals import CellJournals
from holdfast_coordinator.store.statements_leases import CellLeases
from holdfast_coordinator.store.statements_runs import CellRuns
from holdfast_coordinator.store.statements_traces import CellTraces
from holdfast_coordinator.store.statements_writes import CellWrites
from tests.support.store_rows import T0

SCHEMA = "holdfast_c00"
LISTING = RunSelection(
    "default", workflow="w", statuses=frozenset({RunStatus.FAILED}), metadata={"a": "b"}, started_after=T0,
    started_before=T0, text="x", idempotency_key="k", before=(T0, "r"),
)  # fmt: skip


def _statements(*holders: object) -> Iterator[Statement]:
    for holder in holders:
        for _, value in inspect.getmembers(holder):
            if isinstance(value, Statement):
                yield _on_one_line(value)
            elif isinstance(value, RowWrite):
                yield _on_one_line(value.one)
                yield _on_one_line(value.many)


def _on_one_line(statement: Statement) -> Statement:
    return replace(statement, sql=" ".join(statement.sql.split()))


CELL = [
    *_statements(CellReads(SCHEMA), CellWrites(SCHEMA), CellDue(SCHEMA), CellLeases(SCHEMA), CellJournals(SCHEMA)),
    *_statements(CellRuns(SCHEMA), CellGauges(SCHEMA), CellTraces(SCHEMA), CellElsewhere(SCHEMA)),
    _on_one_line(CellRuns(SCHEMA).list_runs(LISTING).statement),
]
CONTROL = [*_statements(ControlStatements("holdfast"))]
ALL = [*CELL, *CONTROL]
WRITE = re.compile(r"\b(INSERT INTO|(?<!FOR )UPDATE |DELETE FROM)")
FROM_ARRAYS = re.compile(r"INSERT INTO (\S+) .*?SELECT .*? FROM unnest\(")


@pytest.fixture(scope="module")
def database(module_database: str) -> str:
    """One database for all: only listings write, and only runs of their own."""
    return module_database


def _name(statement: Statement) -> str:
    return statement.name


@pytest.mark.parametrize("statement", ALL, ids=_name)
def test_a_statement_touches_one_schema_only(statement: Statement) -> None:
    schemas = set(re.findall(r"\b(holdfast\w*)\.", statement.sql))
    assert len(schemas) <= 1
    named = re.findall(
        r"\b(?:FROM|JOIN|INTO|USING|UPDATE) (?!unnest|LATERAL|SET|OF|SKIP|\d|\$|\()([\w.]+)", statement.sql
    )
    own = set(re.findall(r"(\w+) AS (?:MATERIALIZED )?\(", statement.sql))
    assert all("." in name or name in own for name in named), named


@pytest.mark.parametrize("statement", [s for s in ALL if WRITE.search(s.sql)], ids=_name)
def test_a_write_calls_no_volatile_function(statement: Statement, database: str) -> None:
    called = {name.lower() for name in re.findall(r"\b([a-z_]+) ?\(", statement.sql)}
    with psycopg.connect(database) as connection:
        volatile = connection.execute(
            "SELECT proname FROM pg_proc WHERE provolatile = 'v' AND proname = ANY (%s)", [list(called)]
        ).fetchall()
    assert volatile == []


@pytest.mark.parametrize("statement", [s for s in ALL if FROM_ARRAYS.search(s.sql)], ids=_name)
def test_an_insert_from_arrays_joins_its_target_on_false(statement: Statement) -> None:
    match = FROM_ARRAYS.search(statement.sql)
    assert match is not None
    assert f"LEFT JOIN {match[1]} x ON false" in statement.sql
    assert "WHERE" not in statement.sql.split("ON false")[0]


@pytest.mark.parametrize("statement", ALL, ids=_name)
def test_a_statement_is_valid_and_every_parameter_is_used(statement: Statement, database: str) -> None:
    numbers = {int(number) for number in re.findall(r"\$(\d+)", statement.sql)}
    assert numbers == set(range(1, len(statement.types) + 1))
    types = ", ".join(kind.name for kind in statement.types)
    with psycopg.connect(database) as connection:
        connection.execute(f"PREPARE it{f' ({types})' if types else ''} AS {statement.sql}".encode())


def test_statements_have_different_names() -> None:
    for statements in (CELL, CONTROL):
        names = [statement.name for statement in statements]
        assert len(names) == len(set(names))


PLANS = {
    "lock_runs": ("open_runs_pkey",),
    "mail_between": ("mail_pkey",),
    "mail_of_runs": ("mail_pkey",),
    "lock_tasks": ("step_tasks_pkey",),
    "open_children": ("children_pkey",),
    "open_children_by_key": ("children_pkey",),
    "lock_alarms": ("alarms_pkey",),
    "lock_keys": ("run_keys_pkey",),
    "statuses_of_keys": ("run_keys_pkey", "run_results_pkey"),
    "earlier_starts": ("runs_pkey",),
    "answers_of_requests": ("requests_pkey",),
    "results_of_runs": ("run_results_pkey",),
    "claim_runs": ("open_runs_to_claim", "runs_pkey"),
    "claim_tasks": ("step_tasks_to_claim",),
    "update_open_runs": ("open_runs_pkey",),
    "delete_open_runs": ("open_runs_pkey",),
    "copy_journal": ("journal_pkey",),
    "mail_to_journal": ("mail_pkey",),
    "move_mail": ("mail_pkey",),
    "set_metadata": ("runs_pkey",),
    "newest_of_chain": ("runs_by_chain",),
    "delete_mail": ("mail_pkey",),
    "delete_alarms": ("alarms_pkey",),
    "update_step_tasks": ("step_tasks_pkey",),
    "delete_step_tasks": ("step_tasks_pkey",),
    "update_children": ("children_pkey",),
    "update_run_keys": ("run_keys_pkey",),
    "release_keys": ("run_keys_pkey",),
    "sweep_step_progress": ("step_progress_pkey",),
    "sweep_mail": ("mail_pkey",),
    "sweep_alarms": ("alarms_pkey",),
    "sweep_step_tasks": ("step_tasks_pkey",),
    "sweep_children": ("children_pkey",),
    "hold_open_runs": ("open_runs_pkey",),
    "hold_step_tasks": ("step_tasks_pkey",),
    "append": ("open_runs_pkey",),
    "close": ("open_runs_pkey",),
    "due_alarms": ("alarms_by_time",),
    "due_deliveries": ("alarms_to_deliver",),
    "dead_letters_of": ("dead_letters_pkey",),
    "count_dead_letters": ("dead_letters_pkey",),
    "failing_alarms_of": ("alarms_failing",),
    "overdue_tasks": ("step_tasks_by_deadline",),
    "owners_in_open_runs": ("open_runs_by_owner",),
    "owners_in_step_tasks": ("step_tasks_by_owner",),
    "runs_held": ("open_runs_by_owner",),
    "tasks_held": ("step_tasks_by_owner",),
    "waiting_in_open_runs": ("open_runs_to_claim",),
    "waiting_in_step_tasks": ("step_tasks_to_claim",),
    "closed_since": ("run_results_by_close",),
    "leases_differ": ("open_runs_pkey",),
    "claims_differ": ("step_tasks_pkey",),
    "mail_of": ("mail_pkey",),
    "leases_unknown": ("open_runs_by_owner",),
    "claims_unknown": ("step_tasks_by_owner",),
    "pull_back_tasks": ("step_tasks_to_claim", "step_tasks_pkey"),
    "pull_back_deliveries": ("alarms_to_deliver", "alarms_pkey"),
    "stalled_by_others": ("open_runs_stalled",),
    "has_transition": ("journal_pkey",),
    "existing": ("runs_pkey",),
    "run_of_key": ("run_keys_pkey",),
    "view": ("runs_pkey", "open_runs_pkey", "run_results_pkey"),
    "records": ("runs_pkey",),
    "journal_page": ("journal_pkey",),
    "journal_page_before": ("journal_pkey",),
    "journal_beginnings": ("open_runs_pkey", "journal_pkey"),
    "mail_after": ("mail_pkey",),
    "progress_of": ("step_progress_pkey",),
    "published_value": ("published_pkey",),
    "stalled_or_closed_runs": ("open_runs_stalled", "run_results_by_status"),
    "newest_rows": ("journal_pkey",),
    "queued_step": ("step_tasks_pkey",),
    "ready_in_open_runs": ("open_runs_to_claim",),
    "ready_in_step_tasks": ("step_tasks_to_claim",),
    "open_run_states": ("open_runs_to_claim", "open_runs_by_owner", "open_runs_stalled", "open_runs_pkey"),
    "open_run_estimates": ("pg_class_oid_index",),
    "mark_traces": ("open_runs_pkey",),
    "delete_traces": ("trace_marks_pkey",),
    "claim_traces": ("trace_marks_to_relay", "trace_marks_pkey"),
    "count_traces": ("trace_marks_to_relay",),
    "exported_trace": ("trace_marks_pkey",),
    "open_traces": ("open_runs_pkey", "trace_marks_pkey"),
    "expired_requests": ("requests_by_expiry",),
    "expire_requests": ("requests_pkey",),
    "prune_requests": ("requests_pkey",),
}
UNINDEXED = {"open_or_closed_runs", "clock", "list_runs_0", "reserve_keys"}


@pytest.mark.parametrize(
    "statement", [s for s in CELL if s.name not in UNINDEXED and not s.name.startswith("insert_")], ids=_name
)
def test_a_statement_uses_its_index_and_never_scans_a_table(statement: Statement, database: str) -> None:
    plan = _plan(database, statement)
    nodes = list(_nodes(plan))
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"], plan
    used = {node["Index Name"] for node in nodes if "Index Name" in node}
    assert set(PLANS[statement.name.replace("_one_of", "").removesuffix("_one")]) <= used, plan


def test_a_claim_begins_its_index_scan_at_the_floor_and_sorts_no_table(database: str) -> None:
    statement = next(s for s in CELL if s.name == "claim_runs")
    (scan,) = [node for node in _nodes(_plan(database, statement)) if node.get("Index Name") == "open_runs_to_claim"]
    assert "(ROW(priority, ready_at) >= ROW(" in scan["Index Cond"]
    # Locking reads check the predicate of a partial index again.
    assert scan["Filter"] == "((stall_build IS DISTINCT FROM w.not_build) AND (state = 1))"


@pytest.mark.parametrize(
    ("wanted", "values", "index"),
    [
        (RunSelection("default"), "'default', 100", "runs_by_creation"),
        (RunSelection("default", before=(T0, "r")), "'default', now(), 'r', 100", "runs_by_creation"),
        (RunSelection("default", workflow="w"), "'default', 'w7', 100", "runs_by_workflow"),
        (RunSelection("default", metadata={"a": "b"}), """'default', '{"a": "77"}', 100""", "runs_by_metadata"),
        (RunSelection("default", chain="r77"), "'default', 'r77', 100", "runs_by_chain"),
        (RunSelection("default", idempotency_key="k"), "'default', 'k', 100", "run_keys_pkey"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_a_listing_uses_an_index(wanted: RunSelection, values: str, index: str, database: str) -> None:
    _fill_runs(database)
    nodes = list(_nodes(_plan(database, CellRuns(SCHEMA).list_runs(wanted).statement, values=values)))
    assert index in {node.get("Index Name") for node in nodes}
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "runs"]


def _fill_runs(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO holdfast_c00.runs (run_id, namespace, workflow, queue, created_at, arguments, "
            "call_digest, priority, metadata, trace, parent_number, depth) SELECT 'r' || n, 'default', 'w' || n % 50, "
            "'q', now() + n * interval '1 s', '', '', 0, jsonb_build_object('a', n::text), '', 0, 0 "
            "FROM generate_series(1, 5000) n ON CONFLICT DO NOTHING"
        )
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE holdfast_c00.runs")


def _plan(database: str, statement: Statement, *, values: str | None = None) -> dict[str, Any]:
    """The plan for these values. Without values the generic one, on empty tables, which tempt the planner to scan
    them: so scans and hashes are made dear."""
    types = ", ".join(kind.name for kind in statement.types)
    settings = ["plan_cache_mode = force_custom_plan"]
    if values is None:
        values = ", ".join("NULL" for _ in statement.types)
        settings = [f"enable_{kind} = off" for kind in ("seqscan", "hashjoin", "mergejoin", "bitmapscan")]
        settings.append("plan_cache_mode = force_generic_plan")
    with psycopg.connect(database) as connection:
        for setting in settings:
            connection.execute(f"SET {setting}".encode())
        connection.execute(f"PREPARE it{f' ({types})' if types else ''} AS {statement.sql}".encode())
        arguments = f" ({values})" if values else ""
        row = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE it{arguments}".encode()).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)
