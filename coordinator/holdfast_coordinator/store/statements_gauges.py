"""The statements behind the gauges: how much waits in a cell. They lock nothing and count no further than a limit.

What they cost does not grow with the cell: they read as many index entries as there are names, and up to the limit
for each.
"""

from holdfast_coordinator.domain.rows import RunState, TaskState

from .database_connection import Statement
from .parameters import BIGINT, INT, TIME

GROUPS_MAX = 200
"""How many (namespace, queue, name, priority) are looked at in each table."""


class CellGauges:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.ready_runs = ready("open_runs", "workflow", RunState.READY, schema)
        self.ready_tasks = ready("step_tasks", "name", TaskState.READY, schema)
        self.open_run_states = open_run_states(schema)
        self.estimates = estimates(schema)


def ready(table: str, name: str, state: RunState | TaskState, schema: str) -> Statement:
    """What is ready at time $1, by namespace, queue, name and priority: how many, up to $2, and since when.

    A loose scan: one index probe for each group, one for its oldest row, and the count. Index: open_runs_to_claim,
    step_tasks_to_claim.
    """
    group = f"o.namespace, o.queue, o.{name}, o.priority"
    first = f"SELECT {group} FROM {schema}.{table} o WHERE o.state = {state}"
    of_group = f"""
        FROM {schema}.{table} o
        WHERE o.state = {state} AND o.namespace = few.namespace AND o.queue = few.queue
            AND o.{name} = few.{name} AND o.priority = few.priority AND o.ready_at <= $1
    """
    sql = f"""
        WITH RECURSIVE walk AS (
            ({first} ORDER BY {group} LIMIT 1)
            UNION ALL
            SELECT next.* FROM walk CROSS JOIN LATERAL (
                {first} AND ({group}) > (walk.namespace, walk.queue, walk.{name}, walk.priority)
                ORDER BY {group} LIMIT 1
            ) next
        ), few AS (
            SELECT * FROM walk LIMIT {GROUPS_MAX}
        )
        SELECT few.namespace, few.queue,
            (SELECT count(*) FROM (SELECT 1 {of_group} LIMIT $2) counted),
            (SELECT o.ready_at {of_group} ORDER BY o.ready_at LIMIT 1)
        FROM few
    """
    return Statement(f"ready_in_{table}", sql, (TIME, INT))


def open_run_states(schema: str) -> Statement:
    """How many open runs are ready, leased, stalled, and how many there are, each counted up to $1.

    Suspended runs are in no index but the primary key, and there may be millions: they are what is left.
    Indexes: open_runs_to_claim, open_runs_by_owner, open_runs_stalled, open_runs_pkey. Each order names the index that
    is meant: what a planner believes of a table without statistics may be anything.
    """
    sql = f"""
        WITH ready AS (
            SELECT 1 FROM {schema}.open_runs o WHERE o.state = {RunState.READY}
            ORDER BY o.namespace, o.queue, o.workflow, o.priority, o.ready_at LIMIT $1
        ), leased AS (
            SELECT 1 FROM {schema}.open_runs o WHERE o.owner IS NOT NULL ORDER BY o.owner LIMIT $1
        ), stalled AS (
            SELECT 1 FROM {schema}.open_runs o WHERE o.state = {RunState.STALLED}
            ORDER BY o.namespace, o.queue, o.workflow LIMIT $1
        ), open AS (
            SELECT 1 FROM {schema}.open_runs o ORDER BY o.run_id LIMIT $1
        )
        SELECT (SELECT count(*) FROM ready), (SELECT count(*) FROM leased), (SELECT count(*) FROM stalled),
            (SELECT count(*) FROM open)
    """
    return Statement("open_run_states", sql, (BIGINT,))


def estimates(schema: str) -> Statement:
    """How many entries Postgres believes to be in the indexes of `open_run_states`, in its order; -1 for unknown.

    As of the last vacuum or analyze, which come after some thousand changes. Index: pg_class_oid_index.
    """
    names = ("open_runs_to_claim", "open_runs_by_owner", "open_runs_stalled", "open_runs")
    believed = (
        f"(SELECT c.reltuples::bigint FROM pg_catalog.pg_class c WHERE c.oid = '{schema}.{name}'::regclass)"
        for name in names
    )
    return Statement("open_run_estimates", f"SELECT {', '.join(believed)}")
