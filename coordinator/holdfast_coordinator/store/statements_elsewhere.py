"""The statements by which a replica finds what others did: work that waits, runs that closed. They lock nothing."""

from .connection import Statement
from .parameters import INT, TEXTS, TIME


class CellElsewhere:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.waiting_runs = waiting("open_runs", "workflow", schema)
        self.waiting_tasks = waiting("step_tasks", "name", schema, "AND c.ready_at <= (SELECT clock_timestamp()) ")
        self.closed_since = closed_since(schema)


def waiting(table: str, name: str, schema: str, condition: str = "") -> Statement:
    """Which of these names, by place, have ready rows. $1 to $3: namespaces, queues, names.

    condition: steps that wait for their retry are not ready yet; runs are, whatever the clock says.
    One index probe for each, from the start: what other replicas left may be before any floor. Index:
    open_runs_to_claim, step_tasks_to_claim.
    """
    return Statement(
        f"waiting_in_{table}",
        "SELECT t.place FROM unnest($1::text[], $2::text[], $3::text[]) "
        "WITH ORDINALITY AS t (namespace, queue, name, place) CROSS JOIN LATERAL ("
        f"SELECT 1 FROM {schema}.{table} c WHERE c.namespace = t.namespace "
        f"AND c.queue = t.queue AND c.{name} = t.name AND c.state = 1 {condition}"
        "ORDER BY c.priority, c.ready_at LIMIT 1) o",
        (TEXTS, TEXTS, TEXTS),
    )


def closed_since(schema: str) -> Statement:
    """Runs that closed at $1 or later, oldest first, at most $2. Index: run_results_by_close."""
    return Statement(
        "closed_since",
        f"SELECT r.run_id, r.closed_at FROM {schema}.run_results r "
        "WHERE r.closed_at >= $1 ORDER BY r.closed_at LIMIT $2",
        (TIME, INT),
    )
