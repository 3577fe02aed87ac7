"""How versions are run: in one transaction, on the connection and in the schema that the caller gives."""

from alembic import context
from sqlalchemy import text

from holdfast_coordinator.store.statements import checked_schema


def run() -> None:
    """Called by the env.py of each line of versions."""
    connection = context.config.attributes["connection"]
    schema = checked_schema(context.config.attributes["schema"])
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
    connection.execute(text(f"SET LOCAL search_path TO {schema}"))
    context.configure(connection=connection, version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()
