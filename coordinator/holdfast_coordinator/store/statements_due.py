"""The statements that find what the time has come for: alarms, overdue attempts, answers that have expired.

They take no locks, except where a docstring says so.
"""

from holdfast_coordinator.domain.rows import AlarmKind, TaskState

from .database_connection import Statement
from .parameters import BIGINT, INT, INTERVAL, TEXTS, TIME
from .statements import columns
from .tables import alarms, step_tasks

OWN_ALARMS = f"kind < {AlarmKind.OUTBOX_CHILD}"
DELIVERIES = f"kind >= {AlarmKind.OUTBOX_CHILD}"


class CellDue:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self.due_alarms = due_alarms("due_alarms", OWN_ALARMS, schema)
        self.due_deliveries = due_alarms("due_deliveries", DELIVERIES, schema)
        self.dead_letters_count = dead_letters_count(schema)
        self.overdue_tasks = overdue_tasks(schema)
        self.pull_back_tasks = pull_back_tasks(schema)
        self.pull_back_deliveries = pull_back_deliveries(schema)
        self.expired_requests = expired_requests(schema)
        self.prune_requests = prune_requests(schema)


def due_alarms(name: str, kinds: str, schema: str) -> Statement:
    """The database's time, when the next alarm after it is due, and those that are due now, oldest first.

    kinds: a condition of a partial index. At most $1 that were due at $2 or later. Index: alarms_by_time or
    alarms_to_deliver. Dead entries of alarms that have fired stay in the index while something holds the vacuum
    horizon back; $2 lies behind them. The clock is read once and bounds the scan.
    """
    sql = f"""
        WITH clock AS MATERIALIZED (
            SELECT clock_timestamp() AS now
        )
        SELECT clock.now,
            (SELECT n.due_at FROM {schema}.alarms n WHERE n.{kinds} AND n.due_at > clock.now ORDER BY n.due_at LIMIT 1),
            {columns(alarms, "a")}
        FROM clock
        LEFT JOIN LATERAL (
            SELECT * FROM {schema}.alarms x
            WHERE x.{kinds} AND x.due_at >= $2 AND x.due_at <= clock.now
            ORDER BY x.due_at LIMIT $1
        ) a ON true
        ORDER BY a.due_at
    """
    return Statement(name, sql, (INT, TIME))


def dead_letters_count(schema: str) -> Statement:
    """How many alarms were given up, counted up to $1. Index: dead_letters_pkey."""
    sql = f"""
        WITH first AS (SELECT 1 FROM {schema}.dead_letters d ORDER BY d.run_id, d.kind, d.ref LIMIT $1)
        SELECT count(*) FROM first
    """
    return Statement("count_dead_letters", sql, (BIGINT,))


def overdue_tasks(schema: str) -> Statement:
    """Claimed steps whose deadline passed more than $1 ago. Index: step_tasks_by_deadline."""
    sql = f"""
        SELECT {columns(step_tasks, "s")}
        FROM {schema}.step_tasks s
        WHERE s.state = {TaskState.CLAIMED} AND s.deadline_at < (SELECT clock_timestamp() - $1)
        ORDER BY s.deadline_at LIMIT $2
    """
    return Statement("overdue_tasks", sql, (INTERVAL, INT))


def pull_back_tasks(schema: str) -> Statement:
    """Makes ready steps that were due by $2 due at $1. Locks: up to $3 rows, skipping locked ones.

    Reads all ready steps: it runs when a clock has stepped back.
    """
    sql = f"""
        WITH ahead AS (
            SELECT b.run_id, b.number FROM {schema}.step_tasks b
            WHERE b.state = {TaskState.READY} AND b.ready_at > $1 AND b.ready_at <= $2
            LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE {schema}.step_tasks s SET ready_at = $1
        FROM ahead
        WHERE s.run_id = ahead.run_id AND s.number = ahead.number
    """
    return Statement("pull_back_tasks", sql, (TIME, TIME, INT))


def pull_back_deliveries(schema: str) -> Statement:
    """Makes deliveries to other runs that were due by $2 due at $1; as pull_back_tasks. Index: alarms_to_deliver."""
    sql = f"""
        WITH ahead AS (
            SELECT b.run_id, b.kind, b.ref FROM {schema}.alarms b
            WHERE b.{DELIVERIES} AND b.due_at > $1 AND b.due_at <= $2
            LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE {schema}.alarms a SET due_at = $1
        FROM ahead
        WHERE a.run_id = ahead.run_id AND a.kind = ahead.kind AND a.ref = ahead.ref
    """
    return Statement("pull_back_deliveries", sql, (TIME, TIME, INT))


def expired_requests(schema: str) -> Statement:
    """The keys of answers that have expired, and the database's time. Index: requests_by_expiry."""
    sql = f"""
        SELECT q.run_id, q.request_id, clock_timestamp()
        FROM {schema}.requests q
        WHERE q.expires_at <= (SELECT clock_timestamp())
        ORDER BY q.expires_at LIMIT $1
    """
    return Statement("expired_requests", sql, (INT,))


def prune_requests(schema: str) -> Statement:
    """Deletes answers by key that have expired by $3; those that another replica deleted are not there.

    Index: requests_pkey.
    """
    sql = f"""
        DELETE FROM {schema}.requests x
        USING unnest($1::text[], $2::text[]) AS t (run_id, request_id)
        WHERE x.run_id = t.run_id AND x.request_id = t.request_id AND x.expires_at <= $3
    """
    return Statement("prune_requests", sql, (TEXTS, TEXTS, TIME))
