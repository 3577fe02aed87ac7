"""The statements by which a replica finds what others did: work that waits, runs that closed. They lock nothing."""

from holdfast_coordinator.domain.rows import RunState, TaskState

from .database_connection import Statement
from .parameters import INT, TEXTS, TIME


class CellElsewhere:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.waiting_runs = waiting_runs(schema)
        self.waiting_tasks = waiting_tasks(schema)
        self.closed_since = closed_since(schema)


def waiting_runs(schema: str) -> Statement:
    """Which of these workflows, by place, have ready runs. $1 to $3: namespaces, queues, names.

    One index probe for each, from the start: what other replicas left may be before any floor. Index:
    open_runs_to_claim. No clock: a run that is ready is ready, whatever the clock says.
    """
    sql = f"""
        SELECT t.place
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t (namespace, queue, name, place)
        CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.open_runs c
            WHERE c.namespace = t.namespace AND c.queue = t.queue AND c.workflow = t.name
                AND c.state = {RunState.READY}
            ORDER BY c.priority, c.ready_at LIMIT 1
        ) first
    """
    return Statement("waiting_in_open_runs", sql, (TEXTS, TEXTS, TEXTS))


def waiting_tasks(schema: str) -> Statement:
    """Which of these steps, by place, have ready rows; as waiting_runs. Index: step_tasks_to_claim.

    Steps that wait for their retry are not ready yet.
    """
    sql = f"""
        SELECT t.place
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS t (namespace, queue, name, place)
        CROSS JOIN LATERAL (
            SELECT 1 FROM {schema}.step_tasks c
            WHERE c.namespace = t.namespace AND c.queue = t.queue AND c.name = t.name
                AND c.state = {TaskState.READY} AND c.ready_at <= (SELECT clock_timestamp())
            ORDER BY c.priority, c.ready_at LIMIT 1
        ) first
    """
    return Statement("waiting_in_step_tasks", sql, (TEXTS, TEXTS, TEXTS))


def closed_since(schema: str) -> Statement:
    """Runs that closed at $1 or later, oldest first, at most $2. Index: run_results_by_close."""
    sql = f"""
        SELECT r.run_id, r.closed_at
        FROM {schema}.run_results r
        WHERE r.closed_at >= $1
        ORDER BY r.closed_at LIMIT $2
    """
    return Statement("closed_since", sql, (TIME, INT))
