"""The statements of trace marks: how far the spans of runs are exported, and which are left for the relay.

None of them is part of a batch: they take the locks of single marks, in key order where there are several.
"""

from holdfast_coordinator.domain.rows import RunState

from .database_connection import Statement
from .parameters import BIGINTS, INT, TEXT, TEXTS, TIME
from .statements import columns
from .statements_moves import TRACED
from .tables import trace_marks


class CellTraces:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.mark = mark(schema)
        self.delete = delete(schema)
        self.claim = claim(schema)
        self.backlog = backlog(schema)
        self.exported = exported(schema)
        self.open_marks = open_marks(schema)


def mark(schema: str) -> Statement:
    """Says of runs that are open how far they are exported; a mark never goes back. Index: open_runs_pkey.

    A run that another replica has closed and exported meanwhile gets no mark: it would never be deleted.
    """
    sql = f"""
        INSERT INTO {schema}.trace_marks AS m (run_id, exported_seq)
        SELECT t.run_id, t.exported_seq
        FROM unnest($1::text[], $2::bigint[]) AS t (run_id, exported_seq)
        LEFT JOIN {schema}.trace_marks x ON false
        JOIN {schema}.open_runs o ON o.run_id = t.run_id
        ORDER BY t.run_id
        ON CONFLICT (run_id) DO UPDATE SET exported_seq = greatest(m.exported_seq, excluded.exported_seq)
    """
    return Statement("mark_traces", sql, (TEXTS, BIGINTS))


def delete(schema: str) -> Statement:
    """Deletes the marks of runs that are fully exported. Index: trace_marks_pkey."""
    return Statement("delete_traces", f"DELETE FROM {schema}.trace_marks x WHERE x.run_id = ANY ($1::text[])", (TEXTS,))


def claim(schema: str) -> Statement:
    """Takes up to $3 marks whose relay_at has come by time $1, oldest first, and leaves them alone until $2.

    Locks: the marks it takes; those that another relay takes now are passed over. Index: trace_marks_to_relay.
    """
    sql = f"""
        WITH due AS (
            SELECT m.run_id FROM {schema}.trace_marks m
            WHERE m.relay_at <= $1
            ORDER BY m.relay_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE {schema}.trace_marks x SET relay_at = $2
        FROM due
        WHERE x.run_id = due.run_id
        RETURNING {columns(trace_marks, "x")}
    """
    return Statement("claim_traces", sql, (TIME, TIME, INT))


def backlog(schema: str) -> Statement:
    """How many marks wait for the relay at time $1, counted up to $2. Index: trace_marks_to_relay."""
    sql = f"""
        WITH due AS (SELECT 1 FROM {schema}.trace_marks m WHERE m.relay_at <= $1 LIMIT $2)
        SELECT count(*) FROM due
    """
    return Statement("count_traces", sql, (TIME, INT))


def exported(schema: str) -> Statement:
    """How far a run is exported; no row when it has no mark. Index: trace_marks_pkey."""
    sql = f"SELECT m.exported_seq FROM {schema}.trace_marks m WHERE m.run_id = $1"
    return Statement("exported_trace", sql, (TEXT,))


def open_marks(schema: str) -> Statement:
    """The next $3 open runs after $1: run id, whether it is traced and idle since $2, length, how far it is exported.

    Indexes: open_runs_pkey, trace_marks_pkey.
    """
    sql = f"""
        WITH page AS (
            SELECT x.run_id, x.side, x.state, x.last_at, x.length FROM {schema}.open_runs x
            WHERE x.run_id > $1
            ORDER BY x.run_id LIMIT $3
        )
        SELECT page.run_id, (page.side & {TRACED}) <> 0 AND page.state <> {RunState.LEASED} AND page.last_at < $2,
            page.length, coalesce(m.exported_seq, 0)
        FROM page
        LEFT JOIN {schema}.trace_marks m ON m.run_id = page.run_id
        ORDER BY page.run_id
    """
    return Statement("open_traces", sql, (TEXT, TIME, INT))
