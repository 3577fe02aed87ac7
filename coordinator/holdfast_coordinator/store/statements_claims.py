"""The statements by which a batch takes ready work for sessions that wait for it. Both lock what they take.

They skip what another transaction has locked, and begin their index scans at a floor: behind the entries of work that
was claimed before, which a held vacuum horizon keeps. See floors.py.
"""

from holdfast_coordinator.domain.rows import RunState, TaskState

from .database_connection import Statement
from .parameters import INT, INTS, TEXT, TEXTS, TIMES
from .statements import columns
from .tables import open_runs, runs, step_tasks

CLAIM_BYTES_MAX = 1024 * 1024
"""Arguments of runs in one answer."""
TASK_BYTES_MAX = 4 * 1024 * 1024
"""Arguments of queued steps in one answer."""


def claim_runs(schema: str) -> Statement:
    """Ready runs of one queue and some workflows, most urgent first, with what they were started with.

    $3 to $5: workflows with their floors, $7: the build that each is not for. Locks: the runs, skipping locked ones;
    at most $6 for each workflow. Indexes: open_runs_to_claim, runs_pkey. The floor is a row comparison, so that the
    index scan begins there.
    No clock: what is ready is ready, also when the clock has stepped back since. Arguments are NULL behind the first
    CLAIM_BYTES_MAX bytes of them: they are read when a poll takes the run.
    """
    record = columns(runs, "r").replace(
        "r.arguments,",
        f"""CASE WHEN sum(octet_length(r.arguments)) OVER (ORDER BY o.priority, o.ready_at, o.run_id)
            <= {CLAIM_BYTES_MAX} THEN r.arguments END,""",
    )
    sql = f"""
        SELECT {columns(open_runs, "o")}, {record}
        FROM unnest($3::text[], $4::int4[], $5::timestamptz[], $7::text[])
            AS w (workflow, floor_priority, floor_at, not_build)
        CROSS JOIN LATERAL (
            SELECT * FROM {schema}.open_runs c
            WHERE c.namespace = $1 AND c.queue = $2 AND c.workflow = w.workflow AND c.state = {RunState.READY}
                AND c.stall_build IS DISTINCT FROM w.not_build
                AND (c.priority, c.ready_at) >= (w.floor_priority, w.floor_at)
            ORDER BY c.priority, c.ready_at LIMIT $6 FOR UPDATE SKIP LOCKED
        ) o
        JOIN {schema}.runs r ON r.run_id = o.run_id
        ORDER BY o.priority, o.ready_at LIMIT $6
    """
    return Statement("claim_runs", sql, (TEXT, TEXT, TEXTS, INTS, TIMES, INT, TEXTS))


def claim_tasks(schema: str) -> Statement:
    """Ready queued steps of one queue and some names, most urgent first; like claim_runs.

    Locks: the steps, skipping locked ones; at most $6 for each name. Index: step_tasks_to_claim. Those behind the
    first TASK_BYTES_MAX bytes of arguments stay for the next claim; the last column says how many were found.
    """
    sql = f"""
        WITH ready AS (
            SELECT s.*, count(*) OVER () AS found,
                sum(octet_length(s.arguments)) OVER (ORDER BY s.priority, s.ready_at, s.run_id, s.number)
                    - octet_length(s.arguments) AS bytes_before
            FROM unnest($3::text[], $4::int4[], $5::timestamptz[]) AS w (name, floor_priority, floor_at)
            CROSS JOIN LATERAL (
                SELECT * FROM {schema}.step_tasks c
                WHERE c.namespace = $1 AND c.queue = $2 AND c.name = w.name AND c.state = {TaskState.READY}
                    AND (c.priority, c.ready_at) >= (w.floor_priority, w.floor_at)
                    AND c.ready_at <= (SELECT clock_timestamp())
                ORDER BY c.priority, c.ready_at LIMIT $6 FOR UPDATE SKIP LOCKED
            ) s
            ORDER BY s.priority, s.ready_at LIMIT $6
        )
        SELECT {columns(step_tasks, "s")}, s.found
        FROM ready s
        WHERE s.bytes_before <= {TASK_BYTES_MAX}
        ORDER BY s.priority, s.ready_at
    """
    return Statement("claim_tasks", sql, (TEXT, TEXT, TEXTS, INTS, TIMES, INT))
