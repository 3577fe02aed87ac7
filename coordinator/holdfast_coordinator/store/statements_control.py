"""The statements of the control schema. They lock the rows they write, each for one statement only."""

from .connection import Statement
from .parameters import BIGINT, BIGINTS, INT, JSONS, TEXT, TEXTS, TIME
from .statements import columns
from .tables import known_workflows, namespaces, sessions

_CHANGES = tuple(column.name for column in sessions.c if column.name not in ("session_id", "attach_no"))


class ControlStatements:
    """The statements of one control schema."""

    def __init__(self, schema: str) -> None:
        all_sessions = f"SELECT {columns(sessions, 's')} FROM {schema}.sessions s"
        self.clock = Statement("clock", "SELECT clock_timestamp()")
        self.create_namespace = Statement(
            "create_namespace",
            f"INSERT INTO {schema}.{namespaces.name} (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            (TEXT, TIME),
        )
        self.namespaces = Statement("namespaces", f"SELECT n.name FROM {schema}.{namespaces.name} n")
        self.save_session = Statement(
            "save_session",
            f"INSERT INTO {schema}.sessions ({', '.join(column.name for column in sessions.c)}) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) "
            "ON CONFLICT (session_id) DO UPDATE SET "
            # Counted up here, so that attachments have an order that no replica's clock makes.
            + ", ".join(("attach_no = sessions.attach_no + 1", *(f"{name} = excluded.{name}" for name in _CHANGES)))
            + " WHERE sessions.namespace = excluded.namespace AND sessions.died_at IS NULL RETURNING attach_no",
            (TEXT, TEXT, TEXT, TEXT, BIGINT, TEXT, TEXT, BIGINT, INT, TIME, TIME, TEXTS, TEXTS, TIME),
        )
        self.save_heartbeats = Statement(
            "save_heartbeats",
            f"UPDATE {schema}.sessions s SET heartbeat_at = $3 FROM {_ATTACHMENTS} "
            f"WHERE {_SAME_ATTACHMENT} AND s.died_at IS NULL RETURNING s.session_id",
            (TEXTS, BIGINTS, TIME),
        )
        self.attached = Statement(
            "attached",
            f"SELECT s.session_id FROM {_ATTACHMENTS} JOIN {schema}.sessions s ON {_SAME_ATTACHMENT} "
            "WHERE s.died_at IS NULL",
            (TEXTS, BIGINTS),
        )
        # A row that somebody writes just now is not silent; and waiting for it could be a deadlock.
        self.bury_sessions = Statement(
            "bury_sessions",
            f"WITH silent AS (SELECT b.session_id FROM {schema}.sessions b WHERE b.died_at IS NULL "
            "AND b.heartbeat_at < CASE WHEN b.replica_id = $2 THEN $3 ELSE $4 END FOR UPDATE SKIP LOCKED) "
            f"UPDATE {schema}.sessions s SET died_at = $1 FROM silent WHERE s.session_id = silent.session_id "
            f"RETURNING {columns(sessions, 's')}",
            (TIME, TEXT, TIME, TIME),
        )
        self.latest_heartbeat = Statement("latest_heartbeat", f"SELECT max(s.heartbeat_at) FROM {schema}.sessions s")
        self.pull_back_heartbeats = Statement(
            "pull_back_heartbeats",
            f"WITH ahead AS (SELECT b.session_id FROM {schema}.sessions b WHERE b.heartbeat_at > $1 "
            f"FOR UPDATE SKIP LOCKED) UPDATE {schema}.sessions s SET heartbeat_at = $1 FROM ahead "
            "WHERE s.session_id = ahead.session_id",
            (TIME,),
        )
        self.bury_session = Statement(
            "bury_session",
            f"UPDATE {schema}.sessions s SET died_at = $2 WHERE s.session_id = $1 AND s.died_at IS NULL",
            (TEXT, TIME),
        )
        self.fates = Statement(
            "fates",
            f"SELECT s.session_id, s.heartbeat_at, s.died_at IS NULL FROM {schema}.sessions s "
            "WHERE s.session_id = ANY ($1::text[])",
            (TEXTS,),
        )
        self.sessions = Statement("sessions", f"{all_sessions} WHERE s.died_at IS NULL ORDER BY s.session_id")
        self.sessions_of = Statement(
            "sessions_of",
            f"{all_sessions} WHERE s.died_at IS NULL AND s.namespace = $1 ORDER BY s.session_id",
            (TEXT,),
        )
        self.prune_sessions = Statement(
            "prune_sessions", f"DELETE FROM {schema}.sessions s WHERE s.died_at < $1", (TIME,)
        )
        self.register_workflows = Statement(
            "register_workflows",
            f"INSERT INTO {schema}.{known_workflows.name} (namespace, name, digest, signature, registered_at) "
            "SELECT $1, t.name, t.digest, t.signature, $5 "
            "FROM unnest($2::text[], $3::text[], $4::jsonb[]) AS t (name, digest, signature) "
            f"LEFT JOIN {schema}.{known_workflows.name} x ON false "
            "ON CONFLICT (namespace, name, digest) DO UPDATE SET registered_at = excluded.registered_at "
            f"WHERE {known_workflows.name}.registered_at < $6",
            (TEXT, TEXTS, TEXTS, JSONS, TIME, TIME),
        )
        self.registered_since = Statement(
            "registered_since",
            f"SELECT k.namespace, k.name, k.signature, k.registered_at FROM {schema}.{known_workflows.name} k "
            "WHERE k.registered_at > $1 ORDER BY k.registered_at, k.namespace, k.name",
            (TIME,),
        )


_ATTACHMENTS = "unnest($1::text[], $2::int8[]) AS t (session_id, attach_no)"
_SAME_ATTACHMENT = "s.session_id = t.session_id AND s.attach_no = t.attach_no"
