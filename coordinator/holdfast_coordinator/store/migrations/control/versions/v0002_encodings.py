"""Sessions say what of encodings their workers can read."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; it stays empty for what coordinators of the release before write."""
    op.execute("ALTER TABLE sessions ADD COLUMN encodings TEXT[] COLLATE \"C\" NOT NULL DEFAULT '{}'")
