"""The statements that lock and read what a batch must see. They run in the order of the functions here.

Nothing here waits for a row that another transaction has locked, so that a batch is neither held up nor part of a
deadlock; reserve_keys alone waits for a key that another is making. A statement that locks answers each row that is
there by its key: with its columns when it is locked now, with NULLs when another transaction has it.
"""

from holdfast_coordinator.domain.mail import MailKind
from holdfast_coordinator.domain.starts import START

from .database_connection import Statement
from .parameters import BIGINTS, BYTES, INTS, SMALLINTS, TEXTS
from .port import MAIL_PIECES_MAX
from .statements import columns
from .tables import alarms, children, mail, open_runs, requests, run_keys, run_results, step_tasks

MAIL_PAGE_BYTES = 1024 * 1024
STORED_BYTES_MIN = 4_096
"""From which size on the body of a signal that is journaled is copied by the database, and not read."""


def lock_runs(schema: str) -> Statement:
    """Locks open runs. Locks: their rows, skipping locked ones. Index: open_runs_pkey.

    A run that is missing here closed before this statement began: what reads results comes later and sees it.
    """
    sql = f"""
        SELECT wanted.run_id, {columns(open_runs, "o")}
        FROM {schema}.open_runs wanted
        LEFT JOIN LATERAL (
            SELECT * FROM {schema}.open_runs x WHERE x.run_id = wanted.run_id FOR UPDATE SKIP LOCKED
        ) o ON true
        WHERE wanted.run_id = ANY ($1::text[])
    """
    return Statement("lock_runs", sql, (TEXTS,))


def mail_between(schema: str) -> Statement:
    """Mail of runs from a number to a number each, to be journaled; the last column is the size of its body.

    Bodies of signals above STORED_BYTES_MIN are NULL: mail_to_journal copies them. octet_length does not read what is
    stored out of line. Locks: none, mail changes under its run's. Index: mail_pkey.
    """
    body = f"""CASE WHEN m.kind <> {MailKind.SIGNAL} OR octet_length(m.body) <= {STORED_BYTES_MIN} THEN m.body END"""
    sql = f"""
        SELECT m.run_id, m.number, m.kind, m.arrived_at, {body}, octet_length(m.body)
        FROM unnest($1::text[], $2::int8[], $3::int8[]) AS t (run_id, first, last)
        CROSS JOIN LATERAL (
            SELECT * FROM {schema}.mail n
            WHERE n.run_id = t.run_id AND n.number >= t.first AND n.number <= t.last ORDER BY n.number
        ) m
        ORDER BY m.run_id, m.number
    """
    return Statement("mail_between", sql, (TEXTS, BIGINTS, BIGINTS))


def mail_of_runs(schema: str) -> Statement:
    """A page of the mail of each run after a number: 1,000 pieces, and no more than the first beyond 1 MiB.

    Locks: none. Index: mail_pkey. octet_length does not read a body that is stored out of line.
    """
    sql = f"""
        SELECT {columns(mail, "m")}
        FROM unnest($1::text[], $2::int8[]) AS t (run_id, after)
        CROSS JOIN LATERAL (
            WITH page AS (
                SELECT n.*, sum(octet_length(n.body)) OVER (ORDER BY n.number ROWS UNBOUNDED PRECEDING)
                    - octet_length(n.body) AS bytes_before
                FROM {schema}.mail n
                WHERE n.run_id = t.run_id AND n.number > t.after ORDER BY n.number LIMIT {MAIL_PIECES_MAX}
            )
            SELECT * FROM page WHERE page.bytes_before <= {MAIL_PAGE_BYTES}
        ) m
        ORDER BY m.run_id, m.number
    """
    return Statement("mail_of_runs", sql, (TEXTS, BIGINTS))


def lock_tasks(schema: str) -> Statement:
    """Locks queued steps: $1, $2 by key, $3 all of these runs. Locks: their rows, skipping locked ones.

    Index: step_tasks_pkey.
    """
    sql = f"""
        WITH wanted AS (
            SELECT k.run_id, k.number FROM unnest($1::text[], $2::int4[]) AS t (run_id, number)
            JOIN {schema}.step_tasks k ON k.run_id = t.run_id AND k.number = t.number
            UNION
            SELECT a.run_id, a.number FROM {schema}.step_tasks a WHERE a.run_id = ANY ($3::text[])
        )
        SELECT wanted.run_id, wanted.number, {columns(step_tasks, "s")}
        FROM wanted
        LEFT JOIN LATERAL (
            SELECT * FROM {schema}.step_tasks x
            WHERE x.run_id = wanted.run_id AND x.number = wanted.number FOR UPDATE SKIP LOCKED
        ) s ON true
    """
    return Statement("lock_tasks", sql, (TEXTS, INTS, TEXTS))


def open_children(schema: str) -> Statement:
    """Children of these runs that are not closed. Locks: none. Index: children_pkey."""
    sql = f"""
        SELECT {columns(children, "c")}
        FROM {schema}.children c
        WHERE c.run_id = ANY ($1::text[]) AND NOT c.closed
        ORDER BY c.run_id, c.number
    """
    return Statement("open_children", sql, (TEXTS,))


def open_children_by_key(schema: str) -> Statement:
    """These children, those of them that are not closed. Locks: none. Index: children_pkey."""
    sql = f"""
        SELECT {columns(children, "c")}
        FROM unnest($1::text[], $2::int4[]) AS t (run_id, number)
        JOIN {schema}.children c ON c.run_id = t.run_id AND c.number = t.number
        WHERE NOT c.closed
        ORDER BY c.run_id, c.number
    """
    return Statement("open_children_by_key", sql, (TEXTS, INTS))


def lock_alarms(schema: str) -> Statement:
    """Alarms by key. Locks: their rows, skipping locked ones. Index: alarms_pkey.

    Locked, because the run under whose lock an outbox alarm is delivered is not the run that it belongs to.
    """
    sql = f"""
        SELECT k.run_id, k.kind, k.ref, {columns(alarms, "a")}
        FROM unnest($1::text[], $2::int2[], $3::int4[]) AS t (run_id, kind, ref)
        JOIN {schema}.alarms k ON k.run_id = t.run_id AND k.kind = t.kind AND k.ref = t.ref
        LEFT JOIN LATERAL (
            SELECT * FROM {schema}.alarms x
            WHERE x.run_id = k.run_id AND x.kind = k.kind AND x.ref = k.ref FOR UPDATE SKIP LOCKED
        ) a ON true
    """
    return Statement("lock_alarms", sql, (TEXTS, SMALLINTS, INTS))


def reserve_keys(schema: str) -> Statement:
    """Inserts keys that are free, given in key order; answers those. Locks: the new rows. Index: run_keys_pkey.

    Waits for a transaction that has inserted one of them and is not over yet, in key order.
    """
    names = ", ".join(column.name for column in run_keys.c)
    sql = f"""
        INSERT INTO {schema}.run_keys ({names})
        SELECT {columns(run_keys, "t")}
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[])
            AS t ({names})
        LEFT JOIN {schema}.run_keys x ON false
        ON CONFLICT (namespace, kind, key) DO NOTHING
        RETURNING namespace, kind, key
    """
    return Statement("reserve_keys", sql, (TEXTS, TEXTS, TEXTS, TEXTS, BYTES, TEXTS, TEXTS), raced=True)


_KEYS = "unnest($1::text[], $2::text[], $3::text[]) AS t (namespace, kind, key)"


def lock_keys(schema: str) -> Statement:
    """The rows of keys. Locks: those rows, skipping locked ones. Index: run_keys_pkey."""
    sql = f"""
        SELECT wanted.namespace, wanted.kind, wanted.key, {columns(run_keys, "k")}
        FROM {_KEYS}
        JOIN {schema}.run_keys wanted
            ON wanted.namespace = t.namespace AND wanted.kind = t.kind AND wanted.key = t.key
        LEFT JOIN LATERAL (
            SELECT * FROM {schema}.run_keys x
            WHERE x.namespace = wanted.namespace AND x.kind = wanted.kind AND x.key = wanted.key
            FOR UPDATE SKIP LOCKED
        ) k ON true
    """
    return Statement("lock_keys", sql, (TEXTS, TEXTS, TEXTS))


def statuses_of_keys(schema: str) -> Statement:
    """The closed status of the runs that keys stand for. Locks: none. Indexes: run_keys_pkey, run_results_pkey.

    A statement of its own after lock_keys: a join there could show the run of a key as it was before the wait.
    """
    sql = f"""
        SELECT k.run_id, r.status
        FROM {_KEYS}
        JOIN {schema}.run_keys k ON k.namespace = t.namespace AND k.kind = t.kind AND k.key = t.key
        JOIN {schema}.run_results r ON r.run_id = k.run_id
    """
    return Statement("statuses_of_keys", sql, (TEXTS, TEXTS, TEXTS))


def earlier_starts(schema: str) -> Statement:
    """What became of starts that were made before: namespace, call digest, and the run that each made or joined.

    Locks: none. Indexes: runs_pkey, run_keys_pkey.
    """
    sql = f"""
        WITH asked AS (SELECT t.run_id, t.namespace FROM unnest($1::text[], $2::text[]) AS t (run_id, namespace))
        SELECT r.run_id, r.namespace, r.call_digest, r.run_id
        FROM asked JOIN {schema}.runs r ON r.run_id = asked.run_id
        UNION ALL
        SELECT asked.run_id, k.namespace, k.call_digest, k.run_id
        FROM asked JOIN {schema}.run_keys k
            ON k.namespace = asked.namespace AND k.kind = '{START}' AND k.key = asked.run_id
    """
    return Statement("earlier_starts", sql, (TEXTS, TEXTS))


def answers_of_requests(schema: str) -> Statement:
    """The answers that requests got. Locks: none. Index: requests_pkey."""
    sql = f"""
        SELECT {columns(requests, "q")}
        FROM unnest($1::text[], $2::text[]) AS t (run_id, request_id)
        JOIN {schema}.requests q ON q.run_id = t.run_id AND q.request_id = t.request_id
    """
    return Statement("answers_of_requests", sql, (TEXTS, TEXTS))


def results_of_runs(schema: str) -> Statement:
    """How runs have closed. Locks: none. Index: run_results_pkey."""
    sql = f"""
        SELECT {columns(run_results, "r")}
        FROM {schema}.run_results r
        WHERE r.run_id = ANY ($1::text[])
    """
    return Statement("results_of_runs", sql, (TEXTS,))


def clock() -> Statement:
    """The database's time; after the locks, so that it is later than whatever was waited for."""
    return Statement("clock", "SELECT clock_timestamp()")
