"""The statements of the control schema. They lock the rows they write, each for one statement only."""

from .database_connection import Statement
from .parameters import BIGINT, BIGINTS, INT, JSONS, TEXT, TEXTS, TIME
from .statements import columns
from .tables import known_workflows, namespaces, sessions


class ControlStatements:
    """The statements of one control schema."""

    def __init__(self, schema: str) -> None:
        self.clock = clock()
        self.create_namespace = create_namespace(schema)
        self.namespaces = all_namespaces(schema)
        self.save_session = save_session(schema)
        self.save_heartbeats = save_heartbeats(schema)
        self.attached = attached(schema)
        self.bury_sessions = bury_sessions(schema)
        self.bury_session = bury_session(schema)
        self.latest_heartbeat = latest_heartbeat(schema)
        self.pull_back_heartbeats = pull_back_heartbeats(schema)
        self.fates = fates(schema)
        self.sessions = live_sessions(schema)
        self.sessions_of = live_sessions_of(schema)
        self.prune_sessions = prune_sessions(schema)
        self.register_workflows = register_workflows(schema)
        self.registered_since = registered_since(schema)


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

    attach_no is counted up here, so that attachments have an order that no replica's clock makes.
    """
    names = [column.name for column in sessions.c]
    values = ", ".join(f"${number}" for number in range(1, len(names) + 1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in ("session_id", "attach_no"))
    sql = f"""
        INSERT INTO {schema}.sessions ({", ".join(names)})
        VALUES ({values})
        ON CONFLICT (session_id) DO UPDATE SET attach_no = sessions.attach_no + 1, {changes}
        WHERE sessions.namespace = excluded.namespace AND sessions.died_at IS NULL
        RETURNING attach_no
    """
    types = (TEXT, TEXT, TEXT, TEXT, BIGINT, TEXT, TEXT, BIGINT, INT, TIME, TIME, TEXTS, TEXTS, TIME)
    return Statement("save_session", sql, types)


def save_heartbeats(schema: str) -> Statement:
    """Sets the heartbeat of sessions that live and have these attachments to $3; answers those."""
    sql = f"""
        UPDATE {schema}.sessions s SET heartbeat_at = $3
        FROM {_ATTACHMENTS}
        WHERE {_SAME_ATTACHMENT} AND s.died_at IS NULL
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


def bury_sessions(schema: str) -> Statement:
    """Marks sessions dead at $1 whose last heartbeat was before $3, of replica $2, or before $4, of others.

    Skips locked rows: one that is being written right now is not silent, and waiting for it could be a deadlock.
    """
    sql = f"""
        WITH silent AS (
            SELECT b.session_id FROM {schema}.sessions b
            WHERE b.died_at IS NULL AND b.heartbeat_at < CASE WHEN b.replica_id = $2 THEN $3 ELSE $4 END
            FOR UPDATE SKIP LOCKED
        )
        UPDATE {schema}.sessions s SET died_at = $1
        FROM silent
        WHERE s.session_id = silent.session_id
        RETURNING {columns(sessions, "s")}
    """
    return Statement("bury_sessions", sql, (TIME, TEXT, TIME, TIME))


def bury_session(schema: str) -> Statement:
    """Marks one session dead at $2."""
    sql = f"UPDATE {schema}.sessions s SET died_at = $2 WHERE s.session_id = $1 AND s.died_at IS NULL"
    return Statement("bury_session", sql, (TEXT, TIME))


def latest_heartbeat(schema: str) -> Statement:
    """The latest heartbeat of any session, dead or alive."""
    return Statement("latest_heartbeat", f"SELECT max(s.heartbeat_at) FROM {schema}.sessions s")


def pull_back_heartbeats(schema: str) -> Statement:
    """Sets heartbeats after $1 to $1, skipping locked rows."""
    sql = f"""
        WITH ahead AS (
            SELECT b.session_id FROM {schema}.sessions b WHERE b.heartbeat_at > $1 FOR UPDATE SKIP LOCKED
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
    """Deletes sessions that died before $1."""
    return Statement("prune_sessions", f"DELETE FROM {schema}.sessions s WHERE s.died_at < $1", (TIME,))


# Workflows


def register_workflows(schema: str) -> Statement:
    """Inserts signatures of workflows in namespace $1 as of $5; those that are there, where registered before $6."""
    table = f"{schema}.{known_workflows.name}"
    sql = f"""
        INSERT INTO {table} (namespace, name, digest, signature, registered_at)
        SELECT $1, t.name, t.digest, t.signature, $5
        FROM unnest($2::text[], $3::text[], $4::jsonb[]) AS t (name, digest, signature)
        LEFT JOIN {table} x ON false
        ON CONFLICT (namespace, name, digest) DO UPDATE SET registered_at = excluded.registered_at
        WHERE {known_workflows.name}.registered_at < $6
    """
    return Statement("register_workflows", sql, (TEXT, TEXTS, TEXTS, JSONS, TIME, TIME))


def registered_since(schema: str) -> Statement:
    """Signatures that were registered after $1, oldest first."""
    sql = f"""
        SELECT k.namespace, k.name, k.signature, k.registered_at
        FROM {schema}.{known_workflows.name} k
        WHERE k.registered_at > $1
        ORDER BY k.registered_at, k.namespace, k.name
    """
    return Statement("registered_since", sql, (TIME,))
