"""Brings the schemas of a database up to date, by Alembic: one line of versions for the control schema, one for cells.

Versions expand first and contract releases later, so that the release before keeps working meanwhile.
"""
