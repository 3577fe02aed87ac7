"""Workers register as what the code of their workflows takes signals."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table."""
    op.execute(
        """
        CREATE TABLE known_signals (
            namespace TEXT COLLATE "C" NOT NULL,
            workflow TEXT COLLATE "C" NOT NULL,
            name TEXT COLLATE "C" NOT NULL,
            digest TEXT COLLATE "C" NOT NULL,
            type TEXT NOT NULL,
            registered_at TIMESTAMP WITH TIME ZONE NOT NULL,
            CONSTRAINT known_signals_pkey PRIMARY KEY (namespace, workflow, name, digest)
        )
        """
    )
    op.execute("CREATE INDEX known_signals_by_time ON known_signals (registered_at)")
