"""The statements behind the gauges: how much waits in a cell. They lock nothing and count no further than a limit.

What they cost does not grow with the cell: they read as many index entries as there are names, and up to the limit
for each.
"""

from .connection import Statement
from .parameters import BIGINT, INT, TIME

GROUPS_MAX = 200
"""So many (namespace, queue, name, priority) are looked at in each table."""


class CellGauges:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.ready_runs = ready("open_runs", "workflow", schema)
        self.ready_tasks = ready("step_tasks", "name", schema)
        self.open_run_states = open_run_states(schema)
        self.estimates = estimates(schema)


def ready(table: str, name: str, schema: str) -> Statement:
    """What is ready at time $1, by namespace, queue, name and priority: how many, up to $2, and since when.

    A loose scan: one index probe for each group, one for its oldest row, and the count. Index: open_runs_to_claim,
    step_tasks_to_claim.
    """
    group = f"namespace, queue, {name}, priority"
    columns = f"o.namespace, o.queue, o.{name}, o.priority"
    first = f"SELECT {columns} FROM {schema}.{table} o WHERE o.state = 1"
    order = f"ORDER BY {columns} LIMIT 1"
    same = (
        f"FROM {schema}.{table} o WHERE o.state = 1 AND o.namespace = walk.namespace AND o.queue = walk.queue "
        f"AND o.{name} = walk.{name} AND o.priority = walk.priority AND o.ready_at <= $1"
    )
    return Statement(
        f"ready_in_{table}",
        f"WITH RECURSIVE walk AS (({first} {order}) UNION ALL "
        f"SELECT n.* FROM walk CROSS JOIN LATERAL ({first} AND ({columns}) > "
        f"(walk.namespace, walk.queue, walk.{name}, walk.priority) {order}) n), "
        f"few AS (SELECT {group} FROM walk LIMIT {GROUPS_MAX}) "
        f"SELECT walk.namespace, walk.queue, (SELECT count(*) FROM (SELECT 1 {same} LIMIT $2) c), "
        f"(SELECT o.ready_at {same} ORDER BY o.ready_at LIMIT 1) FROM few walk",
        (TIME, INT),
    )


def open_run_states(schema: str) -> Statement:
    """How many open runs are ready, leased, stalled, and how many there are, each counted up to $1.

    Suspended runs are in no index but the primary key, and there may be millions: they are what is left.
    Indexes: open_runs_to_claim, open_runs_by_owner, open_runs_stalled, open_runs_pkey.
    """
    counts = (
        _count(schema, "o.state = 1", "o.namespace, o.queue, o.workflow, o.priority, o.ready_at"),
        _count(schema, "o.owner IS NOT NULL", "o.owner"),
        _count(schema, "o.state = 5", "o.namespace, o.queue, o.workflow"),
        _count(schema, "true", "o.run_id"),
    )
    return Statement("open_run_states", f"SELECT {', '.join(counts)}", (BIGINT,))


def _count(schema: str, condition: str, order: str) -> str:
    # The order names the index that is meant: what a planner believes of a table without statistics may be anything.
    where = f"WHERE {condition} " if condition != "true" else ""
    return f"(SELECT count(*) FROM (SELECT 1 FROM {schema}.open_runs o {where}ORDER BY {order} LIMIT $1) c)"


def estimates(schema: str) -> Statement:
    """How many entries Postgres believes to be in the indexes of `open_run_states`, in its order; -1 for unknown.

    As of the last vacuum or analyze, which come after some thousand changes. Index: pg_class_oid_index.
    """
    names = ("open_runs_to_claim", "open_runs_by_owner", "open_runs_stalled", "open_runs")
    believed = (
        f"(SELECT c.reltuples::bigint FROM pg_catalog.pg_class c WHERE c.oid = '{schema}.{name}'::regclass)"
        for name in names
    )
    return Statement("open_run_estimates", f"SELECT {', '.join(believed)}", ())
