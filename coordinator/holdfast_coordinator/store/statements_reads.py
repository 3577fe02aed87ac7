"""The statements that lock and read what a batch must see. They run in the order of the functions here.

Nothing here waits for a row that another transaction has locked, so that a batch is neither held up nor part of a
deadlock; reserve_keys alone waits for a key that another is making. A statement that locks answers each row that is
there by its key: with its columns when it is locked now, with NULLs when another transaction has it.
"""

from holdfast_coordinator.domain.starts import START

from . import parameters
from .connection import Statement
from .parameters import BIGINTS, INT, INTS, TEXT, TEXTS, TIMES
from .statements import columns
from .tables import alarms, children, mail, open_runs, requests, run_keys, run_results, runs, step_tasks

MAIL_MAX = 1_000
CLAIM_BYTES_MAX = 1024 * 1024
TASK_BYTES_MAX = 4 * 1024 * 1024
MAIL_PAGE_BYTES = 1024 * 1024


def lock_runs(schema: str) -> Statement:
    """Locks open runs. Locks: their rows, skipping locked ones. Index: open_runs_pkey.

    A run that is missing here closed before this statement began: what reads results comes later and sees it.
    """
    return Statement(
        "lock_runs",
        f"SELECT k.run_id, {columns(open_runs, 'o')} FROM {schema}.open_runs k LEFT JOIN LATERAL "
        f"(SELECT * FROM {schema}.open_runs x WHERE x.run_id = k.run_id FOR UPDATE SKIP LOCKED) o ON true "
        "WHERE k.run_id = ANY ($1::text[])",
        (TEXTS,),
    )


def mail_between(schema: str) -> Statement:
    """Mail of runs from a number to a number each. Locks: none, mail changes under its run's. Index: mail_pkey."""
    return Statement(
        "mail_between",
        f"SELECT {columns(mail, 'm')} FROM unnest($1::text[], $2::int8[], $3::int8[]) AS t (run_id, first, last) "
        f"CROSS JOIN LATERAL (SELECT * FROM {schema}.mail n WHERE n.run_id = t.run_id AND n.number >= t.first "
        "AND n.number <= t.last ORDER BY n.number) m ORDER BY m.run_id, m.number",
        (TEXTS, BIGINTS, BIGINTS),
    )


def mail_of_runs(schema: str) -> Statement:
    """A page of the mail of each run after a number: 1,000 pieces, and no more than the first beyond 1 MiB.

    Locks: none. Index: mail_pkey. octet_length does not read a body that is stored out of line.
    """
    return Statement(
        "mail_of_runs",
        f"SELECT {columns(mail, 'm')} FROM unnest($1::text[], $2::int8[]) AS t (run_id, after) CROSS JOIN LATERAL "
        "(SELECT * FROM (SELECT n.*, sum(octet_length(n.body)) OVER (ORDER BY n.number ROWS UNBOUNDED PRECEDING) "
        f"- octet_length(n.body) AS bytes_before FROM {schema}.mail n WHERE n.run_id = t.run_id "
        f"AND n.number > t.after ORDER BY n.number LIMIT {MAIL_MAX}) p WHERE p.bytes_before <= {MAIL_PAGE_BYTES}) m "
        "ORDER BY m.run_id, m.number",
        (TEXTS, BIGINTS),
    )


def lock_tasks(schema: str) -> Statement:
    """Locks queued steps: $1, $2 by key, $3 all of these runs. Locks: their rows, skipping locked ones.

    Index: step_tasks_pkey.
    """
    return Statement(
        "lock_tasks",
        f"SELECT k.run_id, k.number, {columns(step_tasks, 's')} FROM ("
        "SELECT b.run_id, b.number FROM unnest($1::text[], $2::int4[]) AS t (run_id, number) "
        f"JOIN {schema}.step_tasks b ON b.run_id = t.run_id AND b.number = t.number "
        f"UNION SELECT a.run_id, a.number FROM {schema}.step_tasks a WHERE a.run_id = ANY ($3::text[])"
        f") k LEFT JOIN LATERAL (SELECT * FROM {schema}.step_tasks x "
        "WHERE x.run_id = k.run_id AND x.number = k.number FOR UPDATE SKIP LOCKED) s ON true",
        (TEXTS, INTS, TEXTS),
    )


def open_children(schema: str) -> Statement:
    """Children of these runs that are not closed. Locks: none. Index: children_pkey."""
    return Statement(
        "open_children",
        f"SELECT {columns(children, 'c')} FROM {schema}.children c "
        "WHERE c.run_id = ANY ($1::text[]) AND NOT c.closed ORDER BY c.run_id, c.number",
        (TEXTS,),
    )


def open_children_by_key(schema: str) -> Statement:
    """These children, those of them that are not closed. Locks: none. Index: children_pkey."""
    return Statement(
        "open_children_by_key",
        f"SELECT {columns(children, 'c')} FROM unnest($1::text[], $2::int4[]) AS t (run_id, number) "
        f"JOIN {schema}.children c ON c.run_id = t.run_id AND c.number = t.number "
        "WHERE NOT c.closed ORDER BY c.run_id, c.number",
        (TEXTS, INTS),
    )


def lock_alarms(schema: str) -> Statement:
    """Alarms by key. Locks: their rows, skipping locked ones. Index: alarms_pkey.

    Locked, because the run under whose lock an outbox alarm is delivered is not the run that it belongs to.
    """
    return Statement(
        "lock_alarms",
        f"SELECT k.run_id, k.kind, k.ref, {columns(alarms, 'a')} "
        "FROM unnest($1::text[], $2::int2[], $3::int4[]) AS t (run_id, kind, ref) "
        f"JOIN {schema}.alarms k ON k.run_id = t.run_id AND k.kind = t.kind AND k.ref = t.ref "
        f"LEFT JOIN LATERAL (SELECT * FROM {schema}.alarms x "
        "WHERE x.run_id = k.run_id AND x.kind = k.kind AND x.ref = k.ref FOR UPDATE SKIP LOCKED) a ON true",
        (TEXTS, parameters.SMALLINTS, INTS),
    )


def reserve_keys(schema: str) -> Statement:
    """Inserts keys that are free, given in key order; answers those. Locks: the new rows. Index: run_keys_pkey.

    Waits for a transaction that has inserted one of them and is not over yet, in key order.
    """
    names = [column.name for column in run_keys.c]
    return Statement(
        "reserve_keys",
        f"INSERT INTO {schema}.run_keys ({', '.join(names)}) SELECT {', '.join(f't.{name}' for name in names)} "
        "FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[]) "
        f"AS t ({', '.join(names)}) LEFT JOIN {schema}.run_keys x ON false "
        "ON CONFLICT (namespace, kind, key) DO NOTHING RETURNING namespace, kind, key",
        (TEXTS, TEXTS, TEXTS, TEXTS, parameters.BYTES, TEXTS),
        raced=True,
    )


def lock_keys(schema: str) -> Statement:
    """The rows of keys. Locks: those rows, skipping locked ones. Index: run_keys_pkey."""
    return Statement(
        "lock_keys",
        f"SELECT r.namespace, r.kind, r.key, {columns(run_keys, 'k')} FROM {_KEYS} JOIN {schema}.run_keys r "
        "ON r.namespace = t.namespace AND r.kind = t.kind AND r.key = t.key "
        f"LEFT JOIN LATERAL (SELECT * FROM {schema}.run_keys x WHERE x.namespace = r.namespace "
        "AND x.kind = r.kind AND x.key = r.key FOR UPDATE SKIP LOCKED) k ON true",
        (TEXTS, TEXTS, TEXTS),
    )


def statuses_of_keys(schema: str) -> Statement:
    """The closed status of the runs that keys stand for. Locks: none. Indexes: run_keys_pkey, run_results_pkey.

    A statement of its own after lock_keys: a join there could show the run of a key as it was before the wait.
    """
    return Statement(
        "statuses_of_keys",
        f"SELECT k.run_id, r.status FROM {_KEYS} JOIN {schema}.run_keys k ON {_SAME_KEY} "
        f"JOIN {schema}.run_results r ON r.run_id = k.run_id",
        (TEXTS, TEXTS, TEXTS),
    )


def earlier_starts(schema: str) -> Statement:
    """What became of starts that were made before: namespace, call digest, and the run that each made or joined.

    Locks: none. Indexes: runs_pkey, run_keys_pkey.
    """
    asked = "FROM unnest($1::text[], $2::text[]) AS t (run_id, namespace) JOIN"
    return Statement(
        "earlier_starts",
        f"SELECT r.run_id, r.namespace, r.call_digest, r.run_id {asked} {schema}.runs r ON r.run_id = t.run_id "
        f"UNION ALL SELECT t.run_id, k.namespace, k.call_digest, k.run_id {asked} {schema}.run_keys k "
        f"ON k.namespace = t.namespace AND k.kind = '{START}' AND k.key = t.run_id",
        (TEXTS, TEXTS),
    )


def answers_of_requests(schema: str) -> Statement:
    """The answers that requests got. Locks: none. Index: requests_pkey."""
    return Statement(
        "answers_of_requests",
        f"SELECT {columns(requests, 'q')} FROM unnest($1::text[], $2::text[]) AS t (run_id, request_id) "
        f"JOIN {schema}.requests q ON q.run_id = t.run_id AND q.request_id = t.request_id",
        (TEXTS, TEXTS),
    )


def results_of_runs(schema: str) -> Statement:
    """How runs have closed. Locks: none. Index: run_results_pkey."""
    return Statement(
        "results_of_runs",
        f"SELECT {columns(run_results, 'r')} FROM {schema}.run_results r WHERE r.run_id = ANY ($1::text[])",
        (TEXTS,),
    )


def claim_runs(schema: str) -> Statement:
    """Ready runs of one queue and some workflows, most urgent first, with what they were started with.

    $3 to $5: workflows with their floors, $7: the build that each is not for. Locks: the runs, skipping locked ones;
    at most $6 for each workflow. Indexes: open_runs_to_claim, runs_pkey. The floor as a row comparison begins the
    index scan there, behind the entries of runs that were claimed before and that a held vacuum horizon keeps.
    No clock: what is ready is ready, also when the clock has stepped back since. Arguments are NULL behind the first
    CLAIM_BYTES_MAX bytes of them: they are read when a poll takes the run.
    """
    record = columns(runs, "r").replace(
        "r.arguments,",
        "CASE WHEN sum(octet_length(r.arguments)) OVER (ORDER BY o.priority, o.ready_at, o.run_id) "
        f"<= {CLAIM_BYTES_MAX} THEN r.arguments END,",
    )
    return Statement(
        "claim_runs",
        f"SELECT {columns(open_runs, 'o')}, {record} "
        "FROM unnest($3::text[], $4::int4[], $5::timestamptz[], $7::text[]) "
        "AS w (workflow, floor_priority, floor_at, not_build) "
        f"CROSS JOIN LATERAL (SELECT * FROM {schema}.open_runs c "
        "WHERE c.namespace = $1 AND c.queue = $2 AND c.workflow = w.workflow AND c.state = 1 "
        "AND c.stall_build IS DISTINCT FROM w.not_build "
        "AND (c.priority, c.ready_at) >= (w.floor_priority, w.floor_at) "
        "ORDER BY c.priority, c.ready_at LIMIT $6 FOR UPDATE SKIP LOCKED) o "
        f"JOIN {schema}.runs r ON r.run_id = o.run_id ORDER BY o.priority, o.ready_at LIMIT $6",
        (TEXT, TEXT, TEXTS, INTS, TIMES, INT, TEXTS),
    )


def claim_tasks(schema: str) -> Statement:
    """Ready queued steps of one queue and some names, most urgent first; like claim_runs.

    Locks: the steps, skipping locked ones; at most $6 for each name. Index: step_tasks_to_claim. Those behind the
    first TASK_BYTES_MAX bytes of arguments stay for the next claim; the last column says how many were found.
    """
    return Statement(
        "claim_tasks",
        f"SELECT {columns(step_tasks, 's')}, s.found FROM (SELECT s.*, count(*) OVER () AS found, "
        "sum(octet_length(s.arguments)) OVER (ORDER BY s.priority, s.ready_at, s.run_id, s.number) "
        "- octet_length(s.arguments) AS bytes_before "
        "FROM unnest($3::text[], $4::int4[], $5::timestamptz[]) AS w (name, floor_priority, floor_at) "
        f"CROSS JOIN LATERAL (SELECT * FROM {schema}.step_tasks c "
        "WHERE c.namespace = $1 AND c.queue = $2 AND c.name = w.name AND c.state = 1 "
        "AND (c.priority, c.ready_at) >= (w.floor_priority, w.floor_at) "
        "AND c.ready_at <= (SELECT clock_timestamp()) "
        "ORDER BY c.priority, c.ready_at LIMIT $6 FOR UPDATE SKIP LOCKED) s "
        f"ORDER BY s.priority, s.ready_at LIMIT $6) s WHERE s.bytes_before <= {TASK_BYTES_MAX} "
        "ORDER BY s.priority, s.ready_at",
        (TEXT, TEXT, TEXTS, INTS, TIMES, INT),
    )


def clock() -> Statement:
    """The database's time; after the locks, so that it is later than whatever was waited for."""
    return Statement("clock", "SELECT clock_timestamp()")


_KEYS = "unnest($1::text[], $2::text[], $3::text[]) AS t (namespace, kind, key)"
_SAME_KEY = "k.namespace = t.namespace AND k.kind = t.kind AND k.key = t.key"
