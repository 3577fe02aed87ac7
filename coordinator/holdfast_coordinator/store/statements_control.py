"""The statements of the control schema. They lock the rows they write, each for one statement only, in key order.

None waits for a row that somebody else has locked: it is skipped. What still waits, for a key that is being inserted or
for a locked table, waits for the time that its connection sets.
"""

from .database_connection import Statement
from .parameters import BIGINT, BIGINTS, INT, JSONS, TEXT, TEXTS, TIME, TIMES
from .statements import columns
from .tables import known_signals, known_workflows, namespaces, sessions


class ControlStatements:
    """The statements of one control schema."""

    def __init__(self, schema: str) -> None:
        self.clock = clock()
        self.create_namespace = create_namespace(schema)
        self.namespaces = all_namespaces(schema)
        self.save_session = save_session(schema)
        self.is_living = is_living(schema)
        self.save_heartbeats = save_heartbeats(schema)
        self.attached = attached(schema)
        self.silent_sessions = silent_sessions(schema)
        self.bury_sessions = bury_sessions(schema)
        self.bury_session = bury_session(schema)
        self.latest_heartbeat = latest_heartbeat(schema)
        self.pull_back_heartbeats = pull_back_heartbeats(schema)
        self.fates = fates(schema)
        self.sessions = live_sessions(schema)
        self.sessions_of = live_sessions_of(schema)
        self.prune_sessions = prune_sessions(schema)
        self.registered = registered(schema)
        self.register_workflows = register_workflows(schema)
        self.register_again = register_again(schema)
        self.registered_since = registered_since(schema)
        self.register_signals = register_signals(schema)
        self.signals_since = signals_since(schema)


def clock() -> Statement:
    """The database's time."""
    return Statement("clock", "SELECT clock_timestamp()")


def create_namespace(schema: str) -> Statement:
    """Inserts a namespace unless it is there."""
    sql = f"INSERT INTO {schema}.{namespaces.name} (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
    return Statement("create_namespace", sql, (TEXT, TIME))


def all_namespaces(schema: str) -> Statement:
    """The names of all namespaces."""
    return Statement("namespaces", f"SELECT n.name FROM {schema}.{namespaces.name} n")


# Sessions


_ATTACHMENTS = "unnest($1::text[], $2::int8[]) AS t (session_id, attach_no)"
_SAME_ATTACHMENT = "s.session_id = t.session_id AND s.attach_no = t.attach_no"


def save_session(schema: str) -> Statement:
    """Inserts a session, or attaches it again while it lives and has this namespace; answers its attachment.

    attach_no is counted up here, so that attachments have an order that no replica's clock makes. No row where the
    session is dead, or of another namespace, or locked.
    """
    names = [column.name for column in sessions.c]
    values = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    places = {name: number for number, name in enumerate(names, start=1)}
    kept = ("session_id", "attach_no", "namespace", "died_at")
    changes = ", ".join(f"{name} = ${number}" for name, number in places.items() if name not in kept)
    sql = f"""
        WITH living AS (
            SELECT b.session_id FROM {schema}.sessions b
            WHERE b.session_id = $1 AND b.namespace = $2 AND b.died_at IS NULL
            FOR UPDATE SKIP LOCKED
        ), again AS (
            UPDATE {schema}.sessions s SET attach_no = s.attach_no + 1, {changes}
            FROM living
            WHERE s.session_id = living.session_id
            RETURNING s.attach_no
        ), opened AS (
            INSERT INTO {schema}.sessions ({", ".join(names)})
            SELECT {values}
            WHERE NOT EXISTS (SELECT 1 FROM {schema}.sessions k WHERE k.session_id = $1)
            ON CONFLICT (session_id) DO NOTHING
            RETURNING attach_no
        )
        SELECT again.attach_no FROM again UNION ALL SELECT opened.attach_no FROM opened
    """
    assert (places["session_id"], places["namespace"]) == (1, 2)
    types = (TEXT, TEXT, TEXT, TEXT, BIGINT, TEXT, TEXT, BIGINT, INT, TIME, TIME, TEXTS, TEXTS, TIME, TEXTS)
    return Statement("save_session", sql, types)


def is_living(schema: str) -> Statement:
    """Whether a session lives and has this namespace."""
    sql = f"""
        SELECT EXISTS (
            SELECT 1 FROM {schema}.sessions s WHERE s.session_id = $1 AND s.namespace = $2 AND s.died_at IS NULL
        )
    """
    return Statement("is_living", sql, (TEXT, TEXT))


def save_heartbeats(schema: str) -> Statement:
    """Sets the heartbeat of sessions that live and have these attachments to $3; answers those. Skips locked rows."""
    sql = f"""
        WITH beating AS (
            SELECT s.session_id
            FROM {_ATTACHMENTS} JOIN {schema}.sessions s ON {_SAME_ATTACHMENT}
            WHERE s.died_at IS NULL
            ORDER BY s.session_id
            FOR UPDATE OF s SKIP LOCKED
        )
        UPDATE {schema}.sessions s SET heartbeat_at = $3
        FROM beating
        WHERE s.session_id = beating.session_id
        RETURNING s.session_id
    """
    return Statement("save_heartbeats", sql, (TEXTS, BIGINTS, TIME))


def attached(schema: str) -> Statement:
    """Which of these sessions live and have these attachments."""
    sql = f"""
        SELECT s.session_id
        FROM {_ATTACHMENTS} JOIN {schema}.sessions s ON {_SAME_ATTACHMENT}
        WHERE s.died_at IS NULL
    """
    return Statement("attached", sql, (TEXTS, BIGINTS))


def silent_sessions(schema: str) -> Statement:
    """Sessions whose last heartbeat was before $2, of replica $1, or before $3, of others: id and that heartbeat.

    Skips locked rows: the heartbeat of a session cannot be written while somebody has its row.
    """
    sql = f"""
        SELECT s.session_id, s.heartbeat_at
        FROM {schema}.sessions s
        WHERE s.died_at IS NULL AND s.heartbeat_at < CASE WHEN s.replica_id = $1 THEN $2 ELSE $3 END
        ORDER BY s.session_id
        FOR UPDATE SKIP LOCKED
    """
    return Statement("silent_sessions", sql, (TEXT, TIME, TIME))


def bury_sessions(schema: str) -> Statement:
    """Marks sessions $1 dead at $3 whose last heartbeat is still the one of $2; answers them. Skips locked rows."""
    sql = f"""
        WITH silent AS (
            SELECT s.session_id
            FROM unnest($1::text[], $2::timestamptz[]) AS t (session_id, heartbeat_at)
            JOIN {schema}.sessions s ON s.session_id = t.session_id AND s.heartbeat_at = t.heartbeat_at
            WHERE s.died_at IS NULL
            ORDER BY s.session_id
            FOR UPDATE OF s SKIP LOCKED
        )
        UPDATE {schema}.sessions s SET died_at = $3
        FROM silent
        WHERE s.session_id = silent.session_id
        RETURNING {columns(sessions, "s")}
    """
    return Statement("bury_sessions", sql, (TEXTS, TIMES, TIME))


def bury_session(schema: str) -> Statement:
    """Marks one session dead at $2. Skips a locked row."""
    sql = f"""
        WITH living AS (
            SELECT b.session_id FROM {schema}.sessions b
            WHERE b.session_id = $1 AND b.died_at IS NULL
            FOR UPDATE SKIP LOCKED
        )
        UPDATE {schema}.sessions s SET died_at = $2
        FROM living
        WHERE s.session_id = living.session_id
    """
    return Statement("bury_session", sql, (TEXT, TIME))


def latest_heartbeat(schema: str) -> Statement:
    """The latest heartbeat of any session, dead or alive."""
    return Statement("latest_heartbeat", f"SELECT max(s.heartbeat_at) FROM {schema}.sessions s")


def pull_back_heartbeats(schema: str) -> Statement:
    """Sets heartbeats after $1 to $1, skipping locked rows."""
    sql = f"""
        WITH ahead AS (
            SELECT b.session_id FROM {schema}.sessions b WHERE b.heartbeat_at > $1
            ORDER BY b.session_id
            FOR UPDATE SKIP LOCKED
        )
        UPDATE {schema}.sessions s SET heartbeat_at = $1
        FROM ahead
        WHERE s.session_id = ahead.session_id
    """
    return Statement("pull_back_heartbeats", sql, (TIME,))


def fates(schema: str) -> Statement:
    """The last heartbeat of sessions, and whether they live."""
    sql = f"""
        SELECT s.session_id, s.heartbeat_at, s.died_at IS NULL
        FROM {schema}.sessions s
        WHERE s.session_id = ANY ($1::text[])
    """
    return Statement("fates", sql, (TEXTS,))


def live_sessions(schema: str) -> Statement:
    """All live sessions."""
    sql = f"SELECT {columns(sessions, 's')} FROM {schema}.sessions s WHERE s.died_at IS NULL ORDER BY s.session_id"
    return Statement("sessions", sql)


def live_sessions_of(schema: str) -> Statement:
    """The live sessions of a namespace."""
    sql = f"""
        SELECT {columns(sessions, "s")}
        FROM {schema}.sessions s
        WHERE s.died_at IS NULL AND s.namespace = $1
        ORDER BY s.session_id
    """
    return Statement("sessions_of", sql, (TEXT,))


def prune_sessions(schema: str) -> Statement:
    """Deletes sessions that died before $1, skipping locked rows."""
    sql = f"""
        WITH old AS (
            SELECT b.session_id FROM {schema}.sessions b WHERE b.died_at < $1
            ORDER BY b.session_id
            FOR UPDATE SKIP LOCKED
        )
        DELETE FROM {schema}.sessions s USING old WHERE s.session_id = old.session_id
    """
    return Statement("prune_sessions", sql, (TIME,))


# Workflows


def registered(schema: str) -> Statement:
    """Which of these signatures, by name and digest, are there in namespace $1: the name and when it was registered."""
    sql = f"""
        SELECT k.name, k.registered_at
        FROM unnest($2::text[], $3::text[]) AS t (name, digest)
        JOIN {schema}.{known_workflows.name} k ON k.namespace = $1 AND k.name = t.name AND k.digest = t.digest
    """
    return Statement("registered", sql, (TEXT, TEXTS, TEXTS))


def register_workflows(schema: str) -> Statement:
    """Inserts signatures of workflows in namespace $1 as of $5, unless they are there.

    Waits for who inserts the same one right now, in order of the arrays.
    """
    table = f"{schema}.{known_workflows.name}"
    sql = f"""
        INSERT INTO {table} (namespace, name, digest, signature, registered_at)
        SELECT $1, t.name, t.digest, t.signature, $5
        FROM unnest($2::text[], $3::text[], $4::jsonb[]) AS t (name, digest, signature)
        LEFT JOIN {table} x ON false
        ON CONFLICT (namespace, name, digest) DO NOTHING
    """
    return Statement("register_workflows", sql, (TEXT, TEXTS, TEXTS, JSONS, TIME))


def register_again(schema: str) -> Statement:
    """Makes signatures of namespace $1, by name and digest, registered as of $4. Skips locked rows."""
    table = f"{schema}.{known_workflows.name}"
    sql = f"""
        WITH old AS (
            SELECT k.name, k.digest
            FROM unnest($2::text[], $3::text[]) AS t (name, digest)
            JOIN {table} k ON k.namespace = $1 AND k.name = t.name AND k.digest = t.digest
            WHERE k.registered_at < $4
            ORDER BY k.name, k.digest
            FOR UPDATE OF k SKIP LOCKED
        )
        UPDATE {table} w SET registered_at = $4
        FROM old
        WHERE w.namespace = $1 AND w.name = old.name AND w.digest = old.digest
    """
    return Statement("register_again", sql, (TEXT, TEXTS, TEXTS, TIME))


def registered_since(schema: str) -> Statement:
    """Signatures that were registered after $1, oldest first."""
    sql = f"""
        SELECT k.namespace, k.name, k.signature, k.registered_at
        FROM {schema}.{known_workflows.name} k
        WHERE k.registered_at > $1
        ORDER BY k.registered_at, k.namespace, k.name
    """
    return Statement("registered_since", sql, (TIME,))


def register_signals(schema: str) -> Statement:
    """Inserts as what workflows of namespace $1 take signals, as of $6, unless it is there.

    Waits for who inserts the same one right now, in order of the arrays.
    """
    table = f"{schema}.{known_signals.name}"
    sql = f"""
        INSERT INTO {table} (namespace, workflow, name, digest, type, registered_at)
        SELECT $1, t.workflow, t.name, t.digest, t.type, $6
        FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS t (workflow, name, digest, type)
        LEFT JOIN {table} x ON false
        ON CONFLICT (namespace, workflow, name, digest) DO NOTHING
    """
    return Statement("register_signals", sql, (TEXT, TEXTS, TEXTS, TEXTS, TEXTS, TIME))


def signals_since(schema: str) -> Statement:
    """As what workflows take signals, as far as it was registered after $1, oldest first."""
    sql = f"""
        SELECT k.namespace, k.workflow, k.name, k.type, k.registered_at
        FROM {schema}.{known_signals.name} k
        WHERE k.registered_at > $1
        ORDER BY k.registered_at, k.namespace, k.workflow, k.name
    """
    return Statement("signals_since", sql, (TIME,))
