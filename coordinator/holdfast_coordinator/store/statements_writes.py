"""The statements that write the difference a batch makes: one for each table and kind of change.

All rows are locked by the batch, or new. Writes by key use the primary key of their table and take no other locks.
"""

from holdfast_coordinator.domain.rows import AlarmKind

from .database_connection import Statement
from .parameters import BIGINT, BIGINTS, BYTES, INT, JSONS, TEXT, TEXTS, TIME
from .statements import delete_rows, hold_rows, insert_rows, sweep_rows, update_rows
from .statements_moves import append, close
from .tables import (
    alarms,
    children,
    dead_letters,
    journal,
    mail,
    open_runs,
    published,
    requests,
    run_keys,
    run_results,
    runs,
    step_progress,
    step_tasks,
    trace_marks,
)

OPEN_RUN_CHANGES = tuple(
    column.name
    for column in open_runs.c
    if column.name not in ("run_id", "namespace", "queue", "workflow", "parent_run_id", "parent_number", "chain_run_id")
)
TASK_CHANGES = (
    "state", "ready_at", "priority", "attempt", "failures", "losses", "owner", "epoch", "started_at",
    "deadline_at", "attempts_ended", "saved",
)  # fmt: skip
KEY_CHANGES = ("run_id", "call_digest", "workflow", "signature_digest")


class CellWrites:
    """The statements that write to one cell."""

    def __init__(self, schema: str) -> None:
        self.insert_runs = insert_rows(runs, schema, raced=True)
        self.set_metadata = set_metadata(schema)
        self.insert_open_runs = insert_rows(open_runs, schema, raced=True)
        self.update_open_runs = update_rows(open_runs, schema, ("run_id",), OPEN_RUN_CHANGES, versioned=True)
        self.delete_open_runs = delete_rows(open_runs, schema, ("run_id",))
        self.insert_results = insert_rows(run_results, schema)
        self.insert_journal = insert_rows(journal, schema)
        self.copy_journal = copy_journal(schema)
        self.mail_to_journal = mail_to_journal(schema)
        self.move_mail = move_mail(schema)
        self.insert_mail = insert_rows(mail, schema)
        self.delete_mail = delete_rows(mail, schema, ("run_id", "number"))
        self.set_alarms = insert_rows(alarms, schema, replaced=("due_at", "body", "attempts"))
        self.insert_dead_letters = insert_rows(dead_letters, schema)
        self.delete_alarms = delete_rows(alarms, schema, ("run_id", "kind", "ref"))
        self.insert_tasks = insert_rows(step_tasks, schema)
        self.update_tasks = update_rows(step_tasks, schema, ("run_id", "number"), TASK_CHANGES, versioned=True)
        self.delete_tasks = delete_rows(step_tasks, schema, ("run_id", "number"))
        self.insert_children = insert_rows(children, schema)
        self.close_children = update_rows(children, schema, ("run_id", "number"), ("closed",))
        self.set_progress = insert_rows(step_progress, schema, replaced=("attempt", "details"))
        self.set_published = insert_rows(published, schema, replaced=("value",))
        self.insert_requests = insert_rows(requests, schema)
        self.point_keys = update_rows(run_keys, schema, ("namespace", "kind", "key"), KEY_CHANGES)
        self.insert_joins = insert_rows(run_keys, schema, raced=True)
        self.release_keys = release_keys(schema)
        self.sweep_mail = sweep_rows(mail, schema)
        # Alarms of the outbox kinds are promises to other runs; they outlive the run.
        self.sweep_alarms = sweep_rows(alarms, schema, f"x.kind < {AlarmKind.OUTBOX_CHILD}")
        self.sweep_tasks = sweep_rows(step_tasks, schema)
        self.expire_requests = expire_requests(schema)
        self.sweep_children = sweep_rows(children, schema)
        self.sweep_progress = sweep_rows(step_progress, schema)
        self.close_traces = insert_rows(trace_marks, schema, replaced=("closed_at", "relay_at"))
        self.hold_runs = hold_rows(open_runs, schema, ("run_id",))
        self.hold_tasks = hold_rows(step_tasks, schema, ("run_id", "number"))
        self.append = append(schema)
        self.close = close(schema)


def release_keys(schema: str) -> Statement:
    """Deletes keys that still name the run they were reserved for. Locks: held. Index: run_keys_pkey."""
    sql = f"""
        DELETE FROM {schema}.run_keys x
        USING unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS t (namespace, kind, key, run_id)
        WHERE x.namespace = t.namespace AND x.kind = t.kind AND x.key = t.key AND x.run_id = t.run_id
    """
    return Statement("release_keys", sql, (TEXTS, TEXTS, TEXTS, TEXTS))


def copy_journal(schema: str) -> Statement:
    """Copies rows $3 to $4 of the journal of run $2, which is closed, to run $1, $5 entries earlier.

    Locks: none but the new rows. Index: journal_pkey.
    """
    sql = f"""
        INSERT INTO {schema}.journal (run_id, seq, count, epoch, transition_id, entries)
        SELECT $1, j.seq - $5, j.count, 0, 0, j.entries
        FROM {schema}.journal j
        WHERE j.run_id = $2 AND j.seq >= $3 AND j.seq <= $4
    """
    return Statement("copy_journal", sql, (TEXT, TEXT, BIGINT, BIGINT, BIGINT))


def mail_to_journal(schema: str) -> Statement:
    """Inserts one journal row, with bodies of mail that are copied from where they are stored.

    $6, $7: bytes, in order, and the number of the mail whose body follows each, NULL for none. Divides by zero when a
    piece is not there. Locks: none but the new row; mail changes under its run's. Index: mail_pkey.
    """
    sql = f"""
        INSERT INTO {schema}.journal (run_id, seq, count, epoch, transition_id, entries)
        SELECT $1, $2, $3, $4, $5, string_agg(t.bytes || coalesce(m.body, ''::bytea), ''::bytea ORDER BY t.place)
        FROM unnest($6::bytea[], $7::int8[]) WITH ORDINALITY AS t (bytes, number, place)
        LEFT JOIN {schema}.journal x ON false
        LEFT JOIN {schema}.mail m ON m.run_id = $1 AND m.number = t.number
        HAVING 1 / (count(m.number) = count(t.number))::int = 1
    """
    return Statement("mail_to_journal", sql, (TEXT, BIGINT, INT, BIGINT, BIGINT, BYTES, BIGINTS))


def set_metadata(schema: str) -> Statement:
    """Puts facts over the metadata of open runs, and keeps what that was when they began.

    Locks: the rows it updates; each changes under the lock of its open run only. Index: runs_pkey.
    """
    sql = f"""
        UPDATE {schema}.runs x
        SET metadata = x.metadata || t.facts, metadata_at_start = coalesce(x.metadata_at_start, x.metadata)
        FROM unnest($1::text[], $2::jsonb[]) AS t (run_id, facts)
        WHERE x.run_id = t.run_id
    """
    return Statement("set_metadata", sql, (TEXTS, JSONS))


def move_mail(schema: str) -> Statement:
    """Copies mail of runs that are closing to other runs: $1, $2 from, $3, $4 to, each a run and a number.

    Before the sweep that deletes it. Locks: none but the new rows; mail changes under its run's. Index: mail_pkey.
    """
    sql = f"""
        INSERT INTO {schema}.mail (run_id, number, kind, arrived_at, body)
        SELECT t.to_run, t.to_number, m.kind, m.arrived_at, m.body
        FROM unnest($1::text[], $2::int8[], $3::text[], $4::int8[]) AS t (of_run, of_number, to_run, to_number)
        JOIN {schema}.mail m ON m.run_id = t.of_run AND m.number = t.of_number
        LEFT JOIN {schema}.mail x ON false
    """
    return Statement("move_mail", sql, (TEXTS, BIGINTS, TEXTS, BIGINTS))


def expire_requests(schema: str) -> Statement:
    """Lets requests of runs that were kept for as long as those are open expire at $2. Index: requests_pkey."""
    sql = f"""
        UPDATE {schema}.requests x SET expires_at = $2
        WHERE x.run_id = ANY ($1::text[]) AND x.expires_at > $2
    """
    return Statement("expire_requests", sql, (TEXTS, TIME))
