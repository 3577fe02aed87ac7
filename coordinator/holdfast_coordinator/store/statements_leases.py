"""The statements about what sessions hold by the rows: leases of runs and claims of queued steps. They lock nothing.

IS NOT DISTINCT FROM stands for "=" where a condition must not choose the index: a table without statistics makes a
wrong one look as good as the right one.
"""

from holdfast_coordinator.domain.rows import RunState, TaskState

from .database_connection import Statement
from .parameters import BIGINTS, INT, INTS, TEXT, TEXTS
from .statements import columns
from .tables import open_runs, step_tasks


class CellLeases:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.run_owners = owners("open_runs", schema)
        self.task_owners = owners("step_tasks", schema)
        self.runs_held = runs_held(schema)
        self.tasks_held = tasks_held(schema)
        self.leases_differ = leases_differ(schema)
        self.claims_differ = claims_differ(schema)
        self.leases_unknown = leases_unknown(schema)
        self.claims_unknown = claims_unknown(schema)
        self.stalled_by_others = stalled_by_others(schema)


def owners(table: str, schema: str) -> Statement:
    """The distinct owners in a table, one index probe for each. Index: open_runs_by_owner, step_tasks_by_owner."""
    sql = f"""
        WITH RECURSIVE walk AS (
            (SELECT o.owner FROM {schema}.{table} o WHERE o.owner IS NOT NULL ORDER BY o.owner LIMIT 1)
            UNION ALL
            SELECT (
                SELECT o.owner FROM {schema}.{table} o
                WHERE o.owner IS NOT NULL AND o.owner > walk.owner
                ORDER BY o.owner LIMIT 1
            )
            FROM walk WHERE walk.owner IS NOT NULL
        )
        SELECT walk.owner FROM walk WHERE walk.owner IS NOT NULL
    """
    return Statement(f"owners_in_{table}", sql)


def runs_held(schema: str) -> Statement:
    """Leased runs of these sessions. Index: open_runs_by_owner."""
    sql = f"""
        SELECT {columns(open_runs, "o")}
        FROM {schema}.open_runs o
        WHERE o.owner = ANY ($1::text[]) AND o.owner IS NOT NULL AND o.state = {RunState.LEASED}
        LIMIT $2
    """
    return Statement("runs_held", sql, (TEXTS, INT))


def tasks_held(schema: str) -> Statement:
    """Claimed steps of these sessions. Index: step_tasks_by_owner."""
    sql = f"""
        SELECT {columns(step_tasks, "s")}
        FROM {schema}.step_tasks s
        WHERE s.owner = ANY ($1::text[]) AND s.owner IS NOT NULL
            AND s.state IS NOT DISTINCT FROM {TaskState.CLAIMED}
        LIMIT $2
    """
    return Statement("tasks_held", sql, (TEXTS, INT))


def leases_differ(schema: str) -> Statement:
    """Which of these leases, by place, are still held and have mail after $4, and which are not. Index: open_runs_pkey.

    $1 to $4: runs, sessions, epochs, mail seen. A later epoch than a row has says nothing: its commit may be under
    way. LIMIT keeps the lateral one probe for each, however large the table is.
    """
    sql = f"""
        SELECT t.place, coalesce(o.epoch = t.epoch AND o.owner IS NOT DISTINCT FROM t.owner, false)
        FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[])
            WITH ORDINALITY AS t (run_id, owner, epoch, mail_seen, place)
        LEFT JOIN LATERAL (
            SELECT x.epoch, x.owner, x.mail_next, x.mail_taken FROM {schema}.open_runs x
            WHERE x.run_id = t.run_id LIMIT 1
        ) o ON true
        WHERE o.epoch IS NULL OR o.epoch > t.epoch OR (
            o.epoch = t.epoch
            AND (o.owner IS DISTINCT FROM t.owner OR o.mail_next - 1 > greatest(o.mail_taken, t.mail_seen))
        )
    """
    return Statement("leases_differ", sql, (TEXTS, TEXTS, BIGINTS, BIGINTS))


def claims_differ(schema: str) -> Statement:
    """Which of these claims, by place, are held no longer, and whether their step is gone. Index: step_tasks_pkey.

    $1 to $4: runs, steps, sessions, epochs; as leases_differ.
    """
    sql = f"""
        SELECT t.place, s.epoch IS NULL
        FROM unnest($1::text[], $2::int4[], $3::text[], $4::int8[])
            WITH ORDINALITY AS t (run_id, number, owner, epoch, place)
        LEFT JOIN LATERAL (
            SELECT x.epoch, x.owner FROM {schema}.step_tasks x
            WHERE x.run_id = t.run_id AND x.number = t.number LIMIT 1
        ) s ON true
        WHERE s.epoch IS NULL OR s.epoch > t.epoch OR (s.epoch = t.epoch AND s.owner IS DISTINCT FROM t.owner)
    """
    return Statement("claims_differ", sql, (TEXTS, INTS, TEXTS, BIGINTS))


def leases_unknown(schema: str) -> Statement:
    """Leases of the sessions $1 besides the runs $2 under the epochs $3. Index: open_runs_by_owner."""
    sql = f"""
        SELECT o.owner, o.run_id, o.epoch
        FROM {schema}.open_runs o
        LEFT JOIN unnest($2::text[], $3::int8[]) AS t (run_id, epoch) ON t.run_id = o.run_id AND t.epoch = o.epoch
        WHERE o.owner = ANY ($1::text[]) AND o.owner IS NOT NULL AND o.state = {RunState.LEASED} AND t.run_id IS NULL
        LIMIT $4
    """
    return Statement("leases_unknown", sql, (TEXTS, TEXTS, BIGINTS, INT))


def claims_unknown(schema: str) -> Statement:
    """Claims of the sessions $1 besides the steps $2, $3 under the epochs $4. Index: step_tasks_by_owner."""
    sql = f"""
        SELECT s.owner, s.run_id, s.number, s.epoch
        FROM {schema}.step_tasks s
        LEFT JOIN unnest($2::text[], $3::int4[], $4::int8[]) AS t (run_id, number, epoch)
            ON t.run_id = s.run_id AND t.number = s.number AND t.epoch = s.epoch
        WHERE s.owner = ANY ($1::text[]) AND s.owner IS NOT NULL
            AND s.state IS NOT DISTINCT FROM {TaskState.CLAIMED} AND t.run_id IS NULL
        LIMIT $5
    """
    return Statement("claims_unknown", sql, (TEXTS, TEXTS, INTS, BIGINTS, INT))


def stalled_by_others(schema: str) -> Statement:
    """Runs of some workflows that another build stalled. Index: open_runs_stalled."""
    sql = f"""
        SELECT o.run_id
        FROM {schema}.open_runs o
        WHERE o.state = {RunState.STALLED} AND o.namespace = $1 AND o.queue = $2 AND o.workflow = ANY ($3::text[])
            AND o.stall_build <> $4
        ORDER BY o.run_id LIMIT $5
    """
    return Statement("stalled_by_others", sql, (TEXT, TEXT, TEXTS, TEXT, INT))
