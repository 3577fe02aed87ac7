"""The statements that read a cell outside of its transactions: alarms that are due, views of runs, journals.

They take no locks, except where a docstring says so. IS NOT DISTINCT FROM stands for "=" where a condition must
not choose the index: a table without statistics makes a wrong one look as good as the right one.
"""

from collections.abc import Sequence

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.rows import AlarmKind, TaskState
from holdfast_coordinator.store.port import MAIL_PIECES_MAX, RunSelection

from . import parameters
from .connection import Statement, StatementCall
from .parameters import BIGINT, BIGINTS, INT, INTERVAL, INTS, TEXT, TEXTS, TIME, Type
from .statements import columns
from .statements_reads import MAIL_MAX
from .statements_writes import delete_requests
from .tables import alarms, dead_letters, journal, mail, open_runs, requests, run_keys, run_results, runs, step_tasks

OWN_ALARMS = f"kind < {AlarmKind.OUTBOX_CHILD.value}"
DELIVERIES = f"kind >= {AlarmKind.OUTBOX_CHILD.value}"
DEAD_LETTERS_SHOWN_MAX = 20

# The status of an open run as people see it; a run waits for its first lease while its epoch is 0.
_STATUS = (
    "coalesce(s.status, CASE WHEN o.state IN (4, 5) THEN o.state WHEN o.epoch = 0 THEN 1 "
    "WHEN o.state = 3 THEN 3 ELSE 2 END)"
)


OPEN_STATUSES = frozenset(status for status in RunStatus if not status.is_closed)


class CellViews:
    """The reading statements of one cell."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._listings: dict[str, Statement] = {}
        self.due_alarms = due_alarms(schema, OWN_ALARMS)
        self.due_deliveries = due_alarms(schema, DELIVERIES)
        self.dead_letters_of = dead_letters_of(schema)
        self.dead_letters_count = dead_letters_count(schema)
        self.overdue_tasks = overdue_tasks(schema)
        self.run_owners = owners("open_runs", schema)
        self.task_owners = owners("step_tasks", schema)
        self.runs_held = runs_held(schema)
        self.tasks_held = tasks_held(schema)
        self.leases_differ = leases_differ(schema)
        self.claims_differ = claims_differ(schema)
        self.mail_of = mail_of(schema)
        self.leases_unknown = leases_unknown(schema)
        self.claims_unknown = claims_unknown(schema)
        self.pull_back_tasks = pull_back_tasks(schema)
        self.pull_back_deliveries = pull_back_deliveries(schema)
        self.stalled_by_others = stalled_by_others(schema)
        self.has_transition = has_transition(schema)
        self.existing = existing(schema)
        self.run_of_key = run_of_key(schema)
        self.view = view(schema)
        self.records = records(schema)
        self.journal_page = journal_page(schema)
        self.newest_rows = newest_rows(schema)
        self.queued_step = queued_step(schema)
        self.mail_after = mail_after(schema)
        self.stalled_or_closed = runs_of_statuses(schema, only_stalled=True)
        self.open_or_closed = runs_of_statuses(schema, only_stalled=False)
        self.expired_requests = expired_requests(schema)
        self.delete_requests = delete_requests(schema)

    def runs_of_statuses(self, wanted: RunSelection, limit: int) -> StatementCall:
        """Runs that have one of some statuses, "completed" not among them; at most `limit` open and as many closed.

        Indexes: open_runs_stalled where no other open status is wanted, run_results_by_status.
        """
        is_only_stalled = wanted.statuses & OPEN_STATUSES <= {RunStatus.STALLED}
        statement = self.stalled_or_closed if is_only_stalled else self.open_or_closed
        return statement(wanted.namespace, sorted(status.number for status in wanted.statuses), limit)

    def list_runs(self, wanted: RunSelection, run_ids: Sequence[str] | None = None) -> StatementCall:
        """Runs of a namespace, newest first. Indexes: runs_by_creation, runs_by_workflow or runs_by_metadata.

        A status or a text is compared row by row in that order, so a rare one is found slowly.
        run_ids: only of these. Index: runs_pkey.
        """
        conditions: list[tuple[str, tuple[Type, ...], tuple[object, ...]]] = [
            ("r.namespace = {0}", (TEXT,), (wanted.namespace,))
        ]

        def add(condition: str, types: tuple[Type, ...], *values: object) -> None:
            conditions.append((condition, types, values))

        if run_ids is not None:
            add("r.run_id = ANY ({0}::text[])", (TEXTS,), list(run_ids))
        if wanted.workflow is not None:
            add("r.workflow = {0}", (TEXT,), wanted.workflow)
        if wanted.statuses:
            numbers = sorted(status.number for status in wanted.statuses)
            add(_STATUS + " = ANY ({0}::int2[])", (parameters.SMALLINTS,), numbers)
        if wanted.metadata:
            add("r.metadata <> '{{}}'::jsonb AND r.metadata @> {0}", (parameters.JSON,), wanted.metadata)
        if wanted.started_after is not None:
            add("r.created_at >= {0}", (TIME,), wanted.started_after)
        if wanted.started_before is not None:
            add("r.created_at < {0}", (TIME,), wanted.started_before)
        if wanted.text:
            add("(position({0} in r.run_id) > 0 OR position({0} in coalesce(r.id, '')) > 0 "
                "OR position({0} in r.workflow) > 0)", (TEXT,), wanted.text)  # fmt: skip
        if wanted.idempotency_key is not None:
            add(f"r.run_id = (SELECT k.run_id FROM {self._schema}.run_keys k "
                "WHERE k.namespace = r.namespace AND k.kind = 'key' AND k.key = {0})", (TEXT,),
                wanted.idempotency_key)  # fmt: skip
        if wanted.before is not None:
            add("(r.created_at, r.run_id) < ({0}, {1})", (TIME, TEXT), *wanted.before)
        return self._listing(conditions, wanted.limit)

    def _listing(self, conditions: list[tuple[str, tuple[Type, ...], tuple[object, ...]]], limit: int) -> StatementCall:
        texts: list[str] = []
        types: list[Type] = []
        values: list[object] = []
        for condition, kinds, given in conditions:
            numbers = [f"${len(types) + place}" for place in range(1, len(kinds) + 1)]
            texts.append(condition.format(*numbers))
            types.extend(kinds)
            values.extend(given)
        sql = (
            f"{_views(self._schema)} WHERE {' AND '.join(texts)} "
            f"ORDER BY r.created_at DESC, r.run_id DESC LIMIT ${len(types) + 1}"
        )
        statement = self._listings.get(sql)
        if statement is None:
            name = f"list_runs_{len(self._listings)}"
            statement = self._listings[sql] = Statement(name, sql, (*types, INT))
        return statement(*values, limit)


def runs_of_statuses(schema: str, *, only_stalled: bool) -> Statement:
    """Runs of some statuses: $3 open and $3 closed ones. See CellViews.runs_of_statuses."""
    status = "CASE WHEN o.state IN (4, 5) THEN o.state WHEN o.epoch = 0 THEN 1 WHEN o.state = 3 THEN 3 ELSE 2 END"
    is_open = f"({status}) = ANY ($2::int2[])"
    return Statement(
        "stalled_or_closed_runs" if only_stalled else "open_or_closed_runs",
        f"(SELECT o.run_id FROM {schema}.open_runs o WHERE o.namespace = $1 AND "
        f"{'o.state = 5 AND ' if only_stalled else ''}{is_open} LIMIT $3) UNION ALL "
        f"(SELECT s.run_id FROM {schema}.run_results s WHERE s.namespace = $1 AND s.status = ANY ($2::int2[]) "
        f"AND s.status <> {RunStatus.COMPLETED.number} LIMIT $3)",
        (TEXT, parameters.SMALLINTS, INT),
    )


def _views(schema: str, closed_length: str = "0") -> str:
    """closed_length: how many entries the journal of a closed run has, where that is asked for."""
    return (
        f"SELECT {columns(runs, 'r')}, {columns(open_runs, 'o')}, {columns(run_results, 's')}, {closed_length} "
        f"FROM {schema}.runs r LEFT JOIN {schema}.open_runs o ON o.run_id = r.run_id "
        f"LEFT JOIN {schema}.run_results s ON s.run_id = r.run_id"
    )


def due_alarms(schema: str, kinds: str) -> Statement:
    """The database's time, when the next alarm after it is due, and those that are due now, oldest first.

    kinds: a condition of a partial index. At most $1 that were due at $2 or later. Index: alarms_by_time or
    alarms_to_deliver. Dead entries of alarms that have fired stay in the index while something holds the vacuum
    horizon back; $2 lies behind them. The clock is read once and bounds the scan.
    """
    name = "due_alarms" if kinds == OWN_ALARMS else "due_deliveries"
    return Statement(
        name,
        "WITH c AS MATERIALIZED (SELECT clock_timestamp() AS now) SELECT c.now, (SELECT n.due_at "
        f"FROM {schema}.alarms n WHERE n.{kinds} AND n.due_at > c.now ORDER BY n.due_at LIMIT 1), "
        f"{columns(alarms, 'a')} FROM c LEFT JOIN LATERAL (SELECT * FROM {schema}.alarms x "
        f"WHERE x.{kinds} AND x.due_at >= $2 AND x.due_at <= c.now ORDER BY x.due_at LIMIT $1) a ON true "
        "ORDER BY a.due_at",
        (INT, TIME),
    )


def dead_letters_of(schema: str) -> Statement:
    """What of a run was given up. Index: dead_letters_pkey."""
    return Statement(
        "dead_letters_of",
        f"SELECT {columns(dead_letters, 'd')} FROM {schema}.dead_letters d WHERE d.run_id = $1 "
        f"ORDER BY d.kind, d.ref LIMIT {DEAD_LETTERS_SHOWN_MAX}",
        (TEXT,),
    )


def dead_letters_count(schema: str) -> Statement:
    """How many alarms were given up, counted up to $1. Index: dead_letters_pkey."""
    return Statement(
        "count_dead_letters",
        f"SELECT count(*) FROM (SELECT 1 FROM {schema}.dead_letters d ORDER BY d.run_id, d.kind, d.ref LIMIT $1) c",
        (BIGINT,),
    )


def overdue_tasks(schema: str) -> Statement:
    """Claimed steps whose deadline passed more than $1 ago. Index: step_tasks_by_deadline."""
    return Statement(
        "overdue_tasks",
        f"SELECT {columns(step_tasks, 's')} FROM {schema}.step_tasks s WHERE s.state = 2 "
        "AND s.deadline_at < (SELECT clock_timestamp() - $1) ORDER BY s.deadline_at LIMIT $2",
        (INTERVAL, INT),
    )


def owners(table: str, schema: str) -> Statement:
    """The distinct owners in a table, one index probe for each. Index: open_runs_by_owner, step_tasks_by_owner."""
    return Statement(
        f"owners_in_{table}",
        f"WITH RECURSIVE walk AS ((SELECT o.owner FROM {schema}.{table} o WHERE o.owner IS NOT NULL "
        "ORDER BY o.owner LIMIT 1) UNION ALL "
        f"SELECT (SELECT o.owner FROM {schema}.{table} o WHERE o.owner IS NOT NULL AND o.owner > walk.owner "
        "ORDER BY o.owner LIMIT 1) FROM walk WHERE walk.owner IS NOT NULL) "
        "SELECT walk.owner FROM walk WHERE walk.owner IS NOT NULL",
    )


def runs_held(schema: str) -> Statement:
    """Leased runs of these sessions. Index: open_runs_by_owner."""
    return Statement(
        "runs_held",
        f"SELECT {columns(open_runs, 'o')} FROM {schema}.open_runs o "
        "WHERE o.owner = ANY ($1::text[]) AND o.owner IS NOT NULL AND o.state = 2 LIMIT $2",
        (TEXTS, INT),
    )


def tasks_held(schema: str) -> Statement:
    """Claimed steps of these sessions. Index: step_tasks_by_owner."""
    return Statement(
        "tasks_held",
        f"SELECT {columns(step_tasks, 's')} FROM {schema}.step_tasks s "
        "WHERE s.owner = ANY ($1::text[]) AND s.owner IS NOT NULL AND s.state IS NOT DISTINCT FROM 2 LIMIT $2",
        (TEXTS, INT),
    )


def leases_differ(schema: str) -> Statement:
    """Which of these leases, by place, are still held and have mail after $4, and which are not. Index: open_runs_pkey.

    $1 to $4: runs, sessions, epochs, mail seen. A later epoch than a row has says nothing: its commit may be under
    way. LIMIT keeps the lateral one probe for each, however large the table is.
    """
    return Statement(
        "leases_differ",
        "SELECT t.place, coalesce(o.epoch = t.epoch AND o.owner IS NOT DISTINCT FROM t.owner, false) "
        "FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[]) "
        "WITH ORDINALITY AS t (run_id, owner, epoch, mail_seen, place) LEFT JOIN LATERAL ("
        "SELECT x.epoch, x.owner, x.mail_next, x.mail_taken "
        f"FROM {schema}.open_runs x WHERE x.run_id = t.run_id LIMIT 1"
        ") o ON true WHERE o.epoch IS NULL OR o.epoch > t.epoch OR (o.epoch = t.epoch AND ("
        "o.owner IS DISTINCT FROM t.owner OR o.mail_next - 1 > greatest(o.mail_taken, t.mail_seen)))",
        (TEXTS, TEXTS, BIGINTS, BIGINTS),
    )


def claims_differ(schema: str) -> Statement:
    """Which of these claims, by place, are held no longer, and whether their step is gone. Index: step_tasks_pkey.

    $1 to $4: runs, steps, sessions, epochs; as leases_differ.
    """
    return Statement(
        "claims_differ",
        "SELECT t.place, s.epoch IS NULL "
        "FROM unnest($1::text[], $2::int4[], $3::text[], $4::int8[]) "
        "WITH ORDINALITY AS t (run_id, number, owner, epoch, place) LEFT JOIN LATERAL ("
        f"SELECT x.epoch, x.owner FROM {schema}.step_tasks x WHERE x.run_id = t.run_id AND x.number = t.number LIMIT 1"
        ") s ON true WHERE s.epoch IS NULL OR s.epoch > t.epoch "
        "OR (s.epoch = t.epoch AND s.owner IS DISTINCT FROM t.owner)",
        (TEXTS, INTS, TEXTS, BIGINTS),
    )


def mail_of(schema: str) -> Statement:
    """Mail of runs after a number each, as long as the pieces before it have at most $3 bytes. Index: mail_pkey.

    octet_length does not read a body that is stored out of line.
    """
    return Statement(
        "mail_of",
        f"SELECT {columns(mail, 'm')} FROM (SELECT n.*, t.place, sum(octet_length(n.body)) OVER (ORDER BY t.place, "
        "n.number ROWS UNBOUNDED PRECEDING) - octet_length(n.body) AS bytes_before "
        "FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS t (run_id, after, place) CROSS JOIN LATERAL ("
        f"SELECT * FROM {schema}.mail x WHERE x.run_id = t.run_id AND x.number > t.after "
        f"ORDER BY x.number LIMIT {MAIL_PIECES_MAX}) n) m WHERE m.bytes_before <= $3 ORDER BY m.place, m.number",
        (TEXTS, BIGINTS, BIGINT),
    )


def leases_unknown(schema: str) -> Statement:
    """Leases of the sessions $1 besides the runs $2 under the epochs $3. Index: open_runs_by_owner."""
    return Statement(
        "leases_unknown",
        f"SELECT o.owner, o.run_id, 0, o.epoch FROM {schema}.open_runs o "
        "LEFT JOIN unnest($2::text[], $3::int8[]) AS t (run_id, epoch) ON t.run_id = o.run_id AND t.epoch = o.epoch "
        "WHERE o.owner = ANY ($1::text[]) AND o.owner IS NOT NULL AND o.state = 2 AND t.run_id IS NULL LIMIT $4",
        (TEXTS, TEXTS, BIGINTS, INT),
    )


def claims_unknown(schema: str) -> Statement:
    """Claims of the sessions $1 besides the steps $2, $3 under the epochs $4. Index: step_tasks_by_owner."""
    return Statement(
        "claims_unknown",
        f"SELECT s.owner, s.run_id, s.number, s.epoch FROM {schema}.step_tasks s "
        "LEFT JOIN unnest($2::text[], $3::int4[], $4::int8[]) AS t (run_id, number, epoch) "
        "ON t.run_id = s.run_id AND t.number = s.number AND t.epoch = s.epoch "
        "WHERE s.owner = ANY ($1::text[]) AND s.owner IS NOT NULL AND s.state IS NOT DISTINCT FROM 2 "
        "AND t.run_id IS NULL LIMIT $5",
        (TEXTS, TEXTS, INTS, BIGINTS, INT),
    )


def pull_back_tasks(schema: str) -> Statement:
    """Makes ready steps that were due by $2 due at $1. Locks: up to $3 rows, skipping locked ones.

    Reads all ready steps: it runs when a clock has stepped back.
    """
    return Statement(
        "pull_back_tasks",
        f"WITH ahead AS (SELECT b.run_id, b.number FROM {schema}.step_tasks b WHERE b.state = 1 "
        "AND b.ready_at > $1 AND b.ready_at <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED) "
        f"UPDATE {schema}.step_tasks s SET ready_at = $1 FROM ahead WHERE s.run_id = ahead.run_id "
        "AND s.number = ahead.number",
        (TIME, TIME, INT),
    )


def pull_back_deliveries(schema: str) -> Statement:
    """Makes deliveries to other runs that were due by $2 due at $1; as pull_back_tasks. Index: alarms_to_deliver."""
    return Statement(
        "pull_back_deliveries",
        f"WITH ahead AS (SELECT b.run_id, b.kind, b.ref FROM {schema}.alarms b WHERE b.due_at > $1 "
        f"AND b.due_at <= $2 AND b.kind >= {int(AlarmKind.OUTBOX_CHILD)} LIMIT $3 FOR UPDATE SKIP LOCKED) "
        f"UPDATE {schema}.alarms a SET due_at = $1 FROM ahead WHERE a.run_id = ahead.run_id "
        "AND a.kind = ahead.kind AND a.ref = ahead.ref",
        (TIME, TIME, INT),
    )


def stalled_by_others(schema: str) -> Statement:
    """Runs of some workflows that another build stalled. Index: open_runs_stalled."""
    return Statement(
        "stalled_by_others",
        f"SELECT o.run_id FROM {schema}.open_runs o WHERE o.state = 5 AND o.namespace = $1 AND o.queue = $2 "
        "AND o.workflow = ANY ($3::text[]) AND o.stall_build <> $4 ORDER BY o.run_id LIMIT $5",
        (TEXT, TEXT, TEXTS, TEXT, INT),
    )


def has_transition(schema: str) -> Statement:
    """A row when the journal has this transition after an entry. Index: journal_pkey."""
    return Statement(
        "has_transition",
        f"SELECT j.seq FROM {schema}.journal j "
        "WHERE j.run_id = $1 AND j.seq > $2 AND j.epoch = $3 AND j.transition_id = $4 LIMIT 1",
        (TEXT, BIGINT, BIGINT, BIGINT),
    )


def existing(schema: str) -> Statement:
    """Those of the runs that exist in a namespace. Index: runs_pkey."""
    return Statement(
        "existing",
        f"SELECT r.run_id FROM {schema}.runs r "
        "WHERE r.run_id = ANY ($2::text[]) AND r.namespace IS NOT DISTINCT FROM $1",
        (TEXT, TEXTS),
    )


def run_of_key(schema: str) -> Statement:
    """The row of a key. Index: run_keys_pkey."""
    return Statement(
        "run_of_key",
        f"SELECT {columns(run_keys, 'k')} FROM {schema}.run_keys k "
        "WHERE k.namespace = $1 AND k.kind = $2 AND k.key = $3",
        (TEXT, TEXT, TEXT),
    )


def view(schema: str) -> Statement:
    """One run with what it is now; in one statement, so that it is never both open and closed.

    Indexes: runs_pkey, journal_pkey.
    """
    closed_length = (
        f"CASE WHEN o.run_id IS NULL THEN (SELECT max(j.seq) FROM {schema}.journal j WHERE j.run_id = r.run_id) END"
    )
    return Statement(
        "view",
        f"{_views(schema, closed_length)} WHERE r.run_id = $2 AND r.namespace IS NOT DISTINCT FROM $1",
        (TEXT, TEXT),
    )


def records(schema: str) -> Statement:
    """Rows of runs, in the order given, as long as the arguments before have at most $2 bytes. Index: runs_pkey."""
    return Statement(
        "records",
        f"SELECT {columns(runs, 'r')} FROM (SELECT x.*, t.place, "
        "sum(octet_length(x.arguments)) OVER (ORDER BY t.place) - octet_length(x.arguments) AS bytes_before "
        "FROM unnest($1::text[]) WITH ORDINALITY AS t (run_id, place) "
        f"JOIN {schema}.runs x ON x.run_id = t.run_id) r WHERE r.bytes_before <= $2 ORDER BY r.place",
        (TEXTS, BIGINT),
    )


def journal_page(schema: str) -> Statement:
    """Journal rows after $2, as long as those before them have at most $3 bytes; and whether one follows each.

    Index: journal_pkey, read in order and only as far as the LIMIT.
    """
    return Statement(
        "journal_page",
        f"SELECT {columns(journal, 'p')}, p.next_seq IS NOT NULL FROM (SELECT j.*, "
        "lead(j.seq) OVER (ORDER BY j.seq) AS next_seq, sum(octet_length(j.entries)) OVER (ORDER BY j.seq "
        "ROWS UNBOUNDED PRECEDING) - octet_length(j.entries) AS bytes_before "
        f"FROM {schema}.journal j WHERE j.run_id = $1 AND j.seq > $2 ORDER BY j.seq LIMIT {JOURNAL_ROWS_MAX}) p "
        "WHERE p.bytes_before <= $3 ORDER BY p.seq",
        (TEXT, BIGINT, BIGINT),
    )


JOURNAL_ROWS_MAX = 10_000


NEWEST_ROWS = 8
NEWEST_ROW_BYTES_MAX = 65_536


def newest_rows(schema: str) -> Statement:
    """The last 8 journal rows of each run, without those above 64 KiB. Index: journal_pkey, backward."""
    return Statement(
        "newest_rows",
        f"SELECT {columns(journal, 'p')} FROM unnest($1::text[]) AS t (run_id) CROSS JOIN LATERAL "
        f"(SELECT j.* FROM {schema}.journal j WHERE j.run_id = t.run_id ORDER BY j.seq DESC LIMIT {NEWEST_ROWS}) p "
        f"WHERE octet_length(p.entries) <= {NEWEST_ROW_BYTES_MAX} ORDER BY p.run_id, p.seq",
        (TEXTS,),
    )


def queued_step(schema: str) -> Statement:
    """Queue and name of the first queued step of a run that is not claimed. Index: step_tasks_pkey."""
    return Statement(
        "queued_step",
        f"SELECT t.queue, t.name FROM {schema}.step_tasks t WHERE t.run_id = $1 "
        f"AND t.state = {TaskState.READY.value} ORDER BY t.number LIMIT 1",
        (TEXT,),
    )


def mail_after(schema: str) -> Statement:
    """The next 1,000 pieces of mail of a run. Index: mail_pkey."""
    return Statement(
        "mail_after",
        f"SELECT {columns(mail, 'm')} FROM {schema}.mail m WHERE m.run_id = $1 AND m.number > $2 "
        f"ORDER BY m.number LIMIT {MAIL_MAX}",
        (TEXT, BIGINT),
    )


def expired_requests(schema: str) -> Statement:
    """Answers that have expired, and the database's time. Index: requests_by_expiry."""
    return Statement(
        "expired_requests",
        f"SELECT {columns(requests, 'q')}, clock_timestamp() FROM {schema}.requests q "
        "WHERE q.expires_at <= (SELECT clock_timestamp()) ORDER BY q.expires_at LIMIT $1",
        (INT,),
    )
