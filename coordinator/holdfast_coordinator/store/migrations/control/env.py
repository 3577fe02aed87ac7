"""Alembic's entry: runs the versions beside this file."""

from holdfast_coordinator.store.migrations.environment import run

run()
