"""The statements that show runs: one by one, by their keys, and in pages. They lock nothing.

IS NOT DISTINCT FROM stands for "=" where a condition must not choose the index: a table without statistics makes a
wrong one look as good as the right one.
"""

from collections.abc import Sequence

from holdfast.statuses import OPEN_STATUSES, RunStatus
from holdfast_coordinator.domain.rows import RunState, TaskState
from holdfast_coordinator.domain.starts import KEY

from .database_connection import Statement, StatementCall
from .parameters import BIGINT, INT, JSON, SMALLINTS, TEXT, TEXTS, TIME, Type
from .port import RunSelection
from .statements import columns
from .tables import open_runs, run_keys, run_results, runs

DEAD_LETTERS_SHOWN_MAX = 20
FAILING_ALARMS_SHOWN_MAX = 20

STATUS_OF_OPEN = f"""CASE
    WHEN o.state = {RunState.PAUSED} THEN {RunStatus.PAUSED.number}
    WHEN o.state = {RunState.STALLED} THEN {RunStatus.STALLED.number}
    WHEN o.epoch = 0 THEN {RunStatus.PENDING.number}
    WHEN o.state = {RunState.SUSPENDED} THEN {RunStatus.SUSPENDED.number}
    ELSE {RunStatus.RUNNING.number}
END"""
"""The status of an open run as people see it; a run waits for its first lease while its epoch is 0."""


class CellRuns:
    """The statements of one cell."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._listings: dict[str, Statement] = {}
        self.view = view(schema)
        self.records = records(schema)
        self.existing = existing(schema)
        self.run_of_key = run_of_key(schema)
        self.newest_of_chain = newest_of_chain(schema)
        self.dead_letters_of = dead_letters_of(schema)
        self.failing_alarms_of = failing_alarms_of(schema)
        self.queued_step = queued_step(schema)
        self.stalled_or_closed = stalled_or_closed(schema)
        self.open_or_closed = open_or_closed(schema)

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
        where = _Conditions()
        where.add("r.namespace = {0}", (TEXT, wanted.namespace))
        if run_ids is not None:
            where.add("r.run_id = ANY ({0}::text[])", (TEXTS, list(run_ids)))
        if wanted.workflow is not None:
            where.add("r.workflow = {0}", (TEXT, wanted.workflow))
        if wanted.statuses:
            numbers = sorted(status.number for status in wanted.statuses)
            where.add(f"coalesce(s.status, {STATUS_OF_OPEN}) = ANY ({{0}}::int2[])", (SMALLINTS, numbers))
        if wanted.metadata:
            where.add("r.metadata <> '{{}}'::jsonb AND r.metadata @> {0}", (JSON, wanted.metadata))
        if wanted.started_after is not None:
            where.add("r.created_at >= {0}", (TIME, wanted.started_after))
        if wanted.started_before is not None:
            where.add("r.created_at < {0}", (TIME, wanted.started_before))
        if wanted.text:
            found = " OR ".join(f"position({{0}} in {text}) > 0" for text in ("r.run_id", "r.workflow", "r.id"))
            where.add(f"({found})", (TEXT, wanted.text))
        if wanted.idempotency_key is not None:
            where.add(
                f"""r.run_id = (
                    SELECT k.run_id FROM {self._schema}.run_keys k
                    WHERE k.namespace = r.namespace AND k.kind = '{KEY}' AND k.key = {{0}}
                )""",
                (TEXT, wanted.idempotency_key),
            )
        if wanted.chain is not None:
            where.add("(r.run_id = {0} OR r.chain_run_id = {0})", (TEXT, wanted.chain))
        if wanted.before is not None:
            created_at, run_id = wanted.before
            where.add("(r.created_at, r.run_id) < ({0}, {1})", (TIME, created_at), (TEXT, run_id))
        return self._listing(where, wanted.limit)

    def _listing(self, where: "_Conditions", limit: int) -> StatementCall:
        sql = f"""
            {_views(self._schema)}
            WHERE {where.text}
            ORDER BY r.created_at DESC, r.run_id DESC LIMIT ${len(where.values) + 1}
        """
        statement = self._listings.get(sql)
        if statement is None:
            name = f"list_runs_{len(self._listings)}"
            statement = self._listings[sql] = Statement(name, sql, (*where.types, INT))
        return statement(*where.values, limit)


class _Conditions:
    """Conditions that must all hold, with their parameters numbered through."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.types: list[Type] = []
        self.values: list[object] = []

    def add(self, text: str, *parameters: tuple[Type, object]) -> None:
        """One more condition; {0}, {1}, ... in it are its parameters, each given with its type."""
        first = len(self.values) + 1
        self._texts.append(text.format(*(f"${first + place}" for place in range(len(parameters)))))
        for kind, value in parameters:
            self.types.append(kind)
            self.values.append(value)

    @property
    def text(self) -> str:
        """All of them as one."""
        return " AND ".join(self._texts)


def _views(schema: str, closed_length: str = "0") -> str:
    """closed_length: how many entries the journal of a closed run has, where that is asked for."""
    return f"""
        SELECT {columns(runs, "r")}, {columns(open_runs, "o")}, {columns(run_results, "s")}, {closed_length}
        FROM {schema}.runs r
        LEFT JOIN {schema}.open_runs o ON o.run_id = r.run_id
        LEFT JOIN {schema}.run_results s ON s.run_id = r.run_id
    """


def view(schema: str) -> Statement:
    """One run with what it is now; in one statement, so that it is never both open and closed.

    Indexes: runs_pkey, journal_pkey.
    """
    closed_length = f"""CASE WHEN o.run_id IS NULL THEN (
        SELECT max(j.seq) FROM {schema}.journal j WHERE j.run_id = r.run_id
    ) END"""
    sql = f"""
        {_views(schema, closed_length)}
        WHERE r.run_id = $2 AND r.namespace IS NOT DISTINCT FROM $1
    """
    return Statement("view", sql, (TEXT, TEXT))


def records(schema: str) -> Statement:
    """Rows of runs, in the order given, as long as the arguments before have at most $2 bytes. Index: runs_pkey."""
    sql = f"""
        WITH wanted AS (
            SELECT x.*, t.place,
                sum(octet_length(x.arguments)) OVER (ORDER BY t.place) - octet_length(x.arguments) AS bytes_before
            FROM unnest($1::text[]) WITH ORDINALITY AS t (run_id, place)
            JOIN {schema}.runs x ON x.run_id = t.run_id
        )
        SELECT {columns(runs, "wanted")}
        FROM wanted
        WHERE wanted.bytes_before <= $2
        ORDER BY wanted.place
    """
    return Statement("records", sql, (TEXTS, BIGINT))


def newest_of_chain(schema: str) -> Statement:
    """The newest run of a chain. Index: runs_by_chain."""
    sql = f"""
        SELECT r.run_id
        FROM {schema}.runs r
        WHERE r.chain_run_id = $1
        ORDER BY r.created_at DESC, r.run_id DESC LIMIT 1
    """
    return Statement("newest_of_chain", sql, (TEXT,))


def existing(schema: str) -> Statement:
    """Those of the runs that exist in a namespace. Index: runs_pkey."""
    sql = f"""
        SELECT r.run_id
        FROM {schema}.runs r
        WHERE r.run_id = ANY ($2::text[]) AND r.namespace IS NOT DISTINCT FROM $1
    """
    return Statement("existing", sql, (TEXT, TEXTS))


def run_of_key(schema: str) -> Statement:
    """The row of a key. Index: run_keys_pkey."""
    sql = f"""
        SELECT {columns(run_keys, "k")}
        FROM {schema}.run_keys k
        WHERE k.namespace = $1 AND k.kind = $2 AND k.key = $3
    """
    return Statement("run_of_key", sql, (TEXT, TEXT, TEXT))


def dead_letters_of(schema: str) -> Statement:
    """What of a run was given up, without its bodies, which can be large. Index: dead_letters_pkey."""
    sql = f"""
        SELECT d.run_id, d.kind, d.ref, d.died_at, ''::bytea, d.attempts, d.reason
        FROM {schema}.dead_letters d
        WHERE d.run_id = $1
        ORDER BY d.kind, d.ref LIMIT {DEAD_LETTERS_SHOWN_MAX}
    """
    return Statement("dead_letters_of", sql, (TEXT,))


def failing_alarms_of(schema: str) -> Statement:
    """What of a run has failed and is tried again, without its bodies, which can be large. Index: alarms_failing."""
    sql = f"""
        SELECT a.run_id, a.kind, a.ref, a.due_at, ''::bytea, a.attempts
        FROM {schema}.alarms a
        WHERE a.run_id = $1 AND a.attempts > 0
        ORDER BY a.kind, a.ref LIMIT {FAILING_ALARMS_SHOWN_MAX}
    """
    return Statement("failing_alarms_of", sql, (TEXT,))


def queued_step(schema: str) -> Statement:
    """Queue and name of the first queued step of a run that is not claimed. Index: step_tasks_pkey."""
    sql = f"""
        SELECT t.queue, t.name
        FROM {schema}.step_tasks t
        WHERE t.run_id = $1 AND t.state = {TaskState.READY}
        ORDER BY t.number LIMIT 1
    """
    return Statement("queued_step", sql, (TEXT,))


def stalled_or_closed(schema: str) -> Statement:
    """Runs of the statuses $2: up to $3 stalled and as many closed ones. See CellRuns.runs_of_statuses."""
    return Statement(
        "stalled_or_closed_runs",
        _of_statuses(schema, f"o.state = {RunState.STALLED} AND "),
        (TEXT, SMALLINTS, INT),
    )


def open_or_closed(schema: str) -> Statement:
    """Runs of the statuses $2: up to $3 open and as many closed ones. See CellRuns.runs_of_statuses."""
    return Statement("open_or_closed_runs", _of_statuses(schema), (TEXT, SMALLINTS, INT))


def _of_statuses(schema: str, condition: str = "") -> str:
    return f"""
        (
            SELECT o.run_id FROM {schema}.open_runs o
            WHERE o.namespace = $1 AND {condition}({STATUS_OF_OPEN}) = ANY ($2::int2[]) LIMIT $3
        )
        UNION ALL
        (
            SELECT s.run_id FROM {schema}.run_results s
            WHERE s.namespace = $1 AND s.status = ANY ($2::int2[]) AND s.status <> {RunStatus.COMPLETED.number} LIMIT $3
        )
    """
