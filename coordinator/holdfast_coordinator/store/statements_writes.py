"""The statements that write the difference a batch makes: one for each table and kind of change.

All rows are locked by the batch, or new. Writes by key use the primary key of their table and take no other locks.
"""

from . import parameters
from .connection import Statement
from .parameters import BIGINTS, BYTES, INTS, SMALLINTS, TEXTS, TIME
from .statements import delete_rows, insert_rows, sweep_rows, update_rows
from .tables import alarms, children, journal, mail, open_runs, requests, run_keys, run_results, runs, step_tasks

OPEN_RUN_CHANGES = tuple(
    column.name
    for column in open_runs.c
    if column.name not in ("run_id", "namespace", "queue", "workflow", "parent_run_id", "parent_number")
)
TASK_CHANGES = (
    "state", "ready_at", "priority", "attempt", "failures", "losses", "owner", "epoch", "started_at",
    "deadline_at", "attempts_ended",
)  # fmt: skip


class CellWrites:
    """The statements that write to one cell."""

    def __init__(self, schema: str) -> None:
        self.insert_runs = insert_rows(runs, schema, raced=True)
        self.insert_open_runs = insert_rows(open_runs, schema, raced=True)
        self.update_open_runs = update_rows(open_runs, schema, ("run_id",), OPEN_RUN_CHANGES)
        self.delete_open_runs = delete_rows(open_runs, schema, ("run_id",))
        self.insert_results = insert_rows(run_results, schema)
        self.insert_journal = insert_rows(journal, schema)
        self.insert_mail = insert_rows(mail, schema)
        self.delete_mail = delete_rows(mail, schema, ("run_id", "number"))
        self.set_alarms = insert_rows(
            alarms,
            schema,
            on_conflict=" ON CONFLICT (run_id, kind, ref) DO UPDATE SET due_at = excluded.due_at, body = excluded.body",
        )
        self.delete_alarms = delete_rows(alarms, schema, ("run_id", "kind", "ref"))
        self.insert_tasks = insert_rows(step_tasks, schema)
        self.update_tasks = update_rows(step_tasks, schema, ("run_id", "number"), TASK_CHANGES)
        self.delete_tasks = delete_rows(step_tasks, schema, ("run_id", "number"))
        self.insert_children = insert_rows(children, schema)
        self.close_children = update_rows(children, schema, ("run_id", "number"), ("closed",))
        self.insert_requests = insert_rows(requests, schema)
        self.point_keys = update_rows(run_keys, schema, ("namespace", "kind", "key"), _KEY_CHANGES)
        self.release_keys = release_keys(schema)
        self.sweep_mail = sweep_rows(mail, schema)
        # Alarms of the outbox kinds are promises to other runs; they outlive the run.
        self.sweep_alarms = sweep_rows(alarms, schema, "x.kind < 6")
        self.sweep_tasks = sweep_rows(step_tasks, schema)
        self.sweep_children = sweep_rows(children, schema)
        self.append = append(schema)
        self.close = close(schema)


_KEY_CHANGES = ("run_id", "arguments_hash", "workflow")


def release_keys(schema: str) -> Statement:
    """Deletes keys that still name the run they were reserved for. Locks: held. Index: run_keys_pkey."""
    return Statement(
        "release_keys",
        f"DELETE FROM {schema}.run_keys x "
        "USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t (namespace, kind, key, run_id) "
        "WHERE x.namespace = t.namespace AND x.kind = t.kind AND x.key = t.key AND x.run_id = t.run_id",
        (TEXTS, TEXTS, TEXTS, TEXTS),
    )


def append(schema: str) -> Statement:
    """Appends to the journals of leased runs whose epoch, owner and length match; answers those that did.

    Locks: the rows it updates, in the order given. Index: open_runs_pkey. The update stays HOT.
    IS NOT DISTINCT FROM, because the planner may use the index by owner for "=" while a table has no statistics.
    """
    return Statement(
        "append",
        "WITH t AS (SELECT * FROM unnest("
        "$1::text[], $2::int8[], $3::text[], $4::int8[], $5::int8[], $6::int4[], $7::int8[], $8::bytea[]"
        ") AS a (run_id, epoch, owner, expected, length, count, transition_id, entries)), "
        f"u AS (UPDATE {schema}.open_runs x SET length = t.length, transition_id = t.transition_id, losses = 0, "
        "timed_out = false, attempt_deadline_at = NULL "
        "FROM t WHERE x.run_id = t.run_id AND x.epoch = t.epoch AND x.owner IS NOT DISTINCT FROM t.owner "
        "AND x.length = t.expected AND x.state = 2 RETURNING t.*, x.mail_next, x.mail_taken), "
        f"j AS (INSERT INTO {schema}.journal (run_id, seq, count, epoch, transition_id, entries) "
        "SELECT u.run_id, u.length, u.count, u.epoch, u.transition_id, u.entries FROM u) "
        "SELECT u.run_id, u.mail_next, u.mail_taken FROM u",
        (TEXTS, BIGINTS, TEXTS, BIGINTS, BIGINTS, INTS, BIGINTS, BYTES),
    )


def close(schema: str) -> Statement:
    """Closes leased runs whose epoch, owner and length match, without mail and rows in other tables.

    Locks: the rows it deletes, in the order given. Index: open_runs_pkey. $12 is the time of the close.
    """
    return Statement(
        "close",
        "WITH t AS (SELECT * FROM unnest("
        "$1::text[], $2::int8[], $3::text[], $4::int8[], $5::int8[], $6::int4[], $7::int8[], $8::bytea[], "
        "$9::int2[], $10::bytea[], $11::bytea[]) "
        "AS a (run_id, epoch, owner, expected, length, count, transition_id, entries, status, result, failure)), "
        f"d AS (DELETE FROM {schema}.open_runs x USING t "
        "WHERE x.run_id = t.run_id AND x.epoch = t.epoch AND x.owner IS NOT DISTINCT FROM t.owner "
        "AND x.length = t.expected AND x.state = 2 AND x.side = 0 AND x.mail_next = x.mail_taken + 1 "
        "RETURNING t.*, x.namespace, greatest(x.last_at, $12) AS closed_at, x.parent_run_id, x.parent_number), "
        f"j AS (INSERT INTO {schema}.journal (run_id, seq, count, epoch, transition_id, entries) "
        "SELECT d.run_id, d.length, d.count, d.epoch, d.transition_id, d.entries FROM d), "
        f"r AS (INSERT INTO {schema}.run_results (run_id, namespace, status, closed_at, result, failure) "
        "SELECT d.run_id, d.namespace, d.status, d.closed_at, d.result, d.failure FROM d), "
        f"o AS (INSERT INTO {schema}.alarms (run_id, kind, ref, due_at, body) "
        "SELECT d.run_id, 7, 0, d.closed_at, ''::bytea FROM d WHERE d.parent_run_id IS NOT NULL) "
        "SELECT d.run_id, d.namespace, d.closed_at, d.parent_run_id, d.parent_number FROM d",
        (TEXTS, BIGINTS, TEXTS, BIGINTS, BIGINTS, INTS, BIGINTS, BYTES, SMALLINTS, BYTES, BYTES, TIME),
    )


def delete_requests(schema: str) -> Statement:
    """Deletes expired answers by key; those that another replica deleted are not there. Index: requests_pkey."""
    return Statement(
        "prune_requests",
        f"DELETE FROM {schema}.requests x USING unnest($1::text[], $2::text[]) AS t (run_id, request_id) "
        "WHERE x.run_id = t.run_id AND x.request_id = t.request_id AND x.expires_at <= $3",
        (TEXTS, TEXTS, parameters.TIME),
    )
