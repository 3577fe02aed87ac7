"""The tables of a cell as they were first released.

Frozen: a later change is a migration of its own, so that this one always makes the same.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE alarms (
    run_id TEXT COLLATE "C" NOT NULL,
    kind SMALLINT NOT NULL,
    ref INTEGER NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    body BYTEA NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT alarms_pkey PRIMARY KEY (run_id, kind, ref),
    CONSTRAINT alarms_sound CHECK (kind BETWEEN 1 AND 10 AND attempts >= 0)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE INDEX alarms_failing ON alarms (run_id, kind, ref) WHERE attempts > 0;

CREATE INDEX alarms_by_time ON alarms (due_at) WHERE kind < 6;

CREATE INDEX alarms_to_deliver ON alarms (due_at) WHERE kind >= 6;

CREATE TABLE dead_letters (
    run_id TEXT COLLATE "C" NOT NULL,
    kind SMALLINT NOT NULL,
    ref INTEGER NOT NULL,
    died_at TIMESTAMP WITH TIME ZONE NOT NULL,
    body BYTEA NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT dead_letters_pkey PRIMARY KEY (run_id, kind, ref)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 100000
);

CREATE TABLE children (
    run_id TEXT COLLATE "C" NOT NULL,
    number INTEGER NOT NULL,
    child_run_id TEXT COLLATE "C" NOT NULL,
    close_policy SMALLINT NOT NULL,
    closed BOOLEAN NOT NULL,
    CONSTRAINT children_pkey PRIMARY KEY (run_id, number),
    CONSTRAINT children_sound CHECK (number >= 1 AND close_policy BETWEEN 1 AND 3)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE TABLE journal (
    run_id TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    count INTEGER NOT NULL,
    epoch BIGINT NOT NULL,
    transition_id BIGINT NOT NULL,
    entries BYTEA NOT NULL,
    CONSTRAINT journal_pkey PRIMARY KEY (run_id, seq)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 100000
);

CREATE TABLE mail (
    run_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    arrived_at TIMESTAMP WITH TIME ZONE NOT NULL,
    body BYTEA NOT NULL,
    CONSTRAINT mail_pkey PRIMARY KEY (run_id, number),
    CONSTRAINT mail_sound CHECK (number >= 1 AND kind BETWEEN 1 AND 6)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE TABLE open_runs (
    run_id TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    state SMALLINT NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE NOT NULL,
    build TEXT COLLATE "C",
    epoch BIGINT NOT NULL,
    owner TEXT COLLATE "C",
    sticky TEXT COLLATE "C",
    length BIGINT NOT NULL,
    transition_id BIGINT NOT NULL,
    mail_next BIGINT NOT NULL,
    mail_taken BIGINT NOT NULL,
    ready_at TIMESTAMP WITH TIME ZONE,
    priority INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    timed_out BOOLEAN NOT NULL,
    deadline_at TIMESTAMP WITH TIME ZONE,
    attempt_deadline_at TIMESTAMP WITH TIME ZONE,
    stall_reason TEXT,
    stall_build TEXT COLLATE "C",
    waits TEXT,
    side SMALLINT NOT NULL,
    parent_run_id TEXT COLLATE "C",
    parent_number INTEGER NOT NULL,
    chain_run_id TEXT COLLATE "C",
    CONSTRAINT open_runs_pkey PRIMARY KEY (run_id)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE INDEX open_runs_stalled ON open_runs (namespace, queue, workflow) WHERE state = 5;

CREATE INDEX open_runs_by_owner ON open_runs (owner) WHERE owner IS NOT NULL;

CREATE INDEX open_runs_to_claim ON open_runs (namespace, queue, workflow, priority, ready_at) WHERE state = 1;

CREATE TABLE published (
    run_id TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    value BYTEA NOT NULL,
    CONSTRAINT published_pkey PRIMARY KEY (run_id, key)
);

CREATE TABLE requests (
    run_id TEXT COLLATE "C" NOT NULL,
    request_id TEXT COLLATE "C" NOT NULL,
    answer BOOLEAN NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (run_id, request_id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE INDEX requests_by_expiry ON requests (expires_at);

CREATE TABLE step_progress (
    run_id TEXT COLLATE "C" NOT NULL,
    number INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    details BYTEA NOT NULL,
    CONSTRAINT step_progress_pkey PRIMARY KEY (run_id, number)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE TABLE trace_marks (
    run_id TEXT COLLATE "C" NOT NULL,
    exported_seq BIGINT NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    relay_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT trace_marks_pkey PRIMARY KEY (run_id)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE INDEX trace_marks_to_relay ON trace_marks (relay_at) WHERE relay_at IS NOT NULL;

CREATE TABLE run_keys (
    namespace TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    run_id TEXT COLLATE "C" NOT NULL,
    call_digest BYTEA NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    signature_digest TEXT COLLATE "C" NOT NULL,
    CONSTRAINT run_keys_pkey PRIMARY KEY (namespace, kind, key)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 100000
);

CREATE TABLE run_results (
    run_id TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    status SMALLINT NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    result BYTEA,
    failure BYTEA,
    CONSTRAINT run_results_pkey PRIMARY KEY (run_id),
    CONSTRAINT run_results_closed CHECK (status BETWEEN 6 AND 11)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 100000
);

CREATE INDEX run_results_by_close ON run_results (closed_at);
CREATE INDEX run_results_by_status ON run_results (namespace, status) WHERE status <> 6;

CREATE TABLE runs (
    run_id TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    arguments BYTEA NOT NULL,
    call_digest BYTEA NOT NULL,
    id TEXT COLLATE "C",
    idempotency_key TEXT COLLATE "C",
    priority INTEGER NOT NULL,
    deadline_at TIMESTAMP WITH TIME ZONE,
    metadata JSONB NOT NULL,
    trace BYTEA NOT NULL,
    origin_run_id TEXT COLLATE "C",
    parent_run_id TEXT COLLATE "C",
    parent_number INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    chain_run_id TEXT COLLATE "C",
    metadata_at_start JSONB,
    CONSTRAINT runs_pkey PRIMARY KEY (run_id)
) WITH (
    autovacuum_vacuum_insert_scale_factor = 0.0,
    autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 100000
);

CREATE INDEX runs_by_chain ON runs (chain_run_id, created_at, run_id) WHERE chain_run_id IS NOT NULL;

CREATE INDEX runs_by_creation ON runs (namespace, created_at, run_id);

CREATE INDEX runs_by_metadata ON runs USING gin (metadata jsonb_path_ops) WHERE metadata <> '{}'::jsonb;

CREATE INDEX runs_by_workflow ON runs (namespace, workflow, created_at, run_id);

CREATE TABLE step_tasks (
    run_id TEXT COLLATE "C" NOT NULL,
    number INTEGER NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    state SMALLINT NOT NULL,
    ready_at TIMESTAMP WITH TIME ZONE NOT NULL,
    scheduled_at TIMESTAMP WITH TIME ZONE NOT NULL,
    arguments BYTEA NOT NULL,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    owner TEXT COLLATE "C",
    epoch BIGINT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    deadline_at TIMESTAMP WITH TIME ZONE,
    timeout INTERVAL,
    recoveries INTEGER,
    retry BYTEA NOT NULL,
    step_id TEXT COLLATE "C" NOT NULL,
    seed TEXT COLLATE "C" NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    attempts_ended BYTEA NOT NULL,
    saved BYTEA,
    CONSTRAINT step_tasks_pkey PRIMARY KEY (run_id, number)
) WITH (
    fillfactor = 80,
    autovacuum_vacuum_scale_factor = 0.0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.0,
    autovacuum_analyze_threshold = 5000
);

CREATE INDEX step_tasks_by_deadline ON step_tasks (deadline_at) WHERE deadline_at IS NOT NULL;

CREATE INDEX step_tasks_by_owner ON step_tasks (owner) WHERE owner IS NOT NULL;

CREATE INDEX step_tasks_to_claim ON step_tasks (namespace, queue, name, priority, ready_at) WHERE state = 1;
"""


def upgrade() -> None:
    """Makes the tables in the schema that the environment has put first in the search path."""
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
