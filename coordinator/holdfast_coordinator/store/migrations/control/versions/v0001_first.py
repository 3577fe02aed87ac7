"""The control schema as it was first released.

Frozen: a later change is a migration of its own, so that this one always makes the same.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE known_workflows (
    namespace TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    signature JSONB NOT NULL,
    registered_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT known_workflows_pkey PRIMARY KEY (namespace, name, digest)
);

CREATE INDEX known_workflows_by_time ON known_workflows (registered_at);

CREATE TABLE namespaces (
    name TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT namespaces_pkey PRIMARY KEY (name)
);

CREATE TABLE sessions (
    session_id TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    replica_id TEXT COLLATE "C" NOT NULL,
    attach_no BIGINT NOT NULL,
    build TEXT COLLATE "C" NOT NULL,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    slots INTEGER NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    heartbeat_at TIMESTAMP WITH TIME ZONE NOT NULL,
    workflows TEXT[] COLLATE "C" NOT NULL,
    steps TEXT[] COLLATE "C" NOT NULL,
    died_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT sessions_pkey PRIMARY KEY (session_id)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);
"""


def upgrade() -> None:
    """Makes the tables in the schema that the environment has put first in the search path."""
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
