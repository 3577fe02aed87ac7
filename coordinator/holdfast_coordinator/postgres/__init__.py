"""The database that needs nothing installed: finds Postgres, and runs a server for as long as we live.

Start at provider.py. What the database is used for is not its matter.
"""

from holdfast_coordinator.postgres.embedded_server import EmbeddedPostgres
from holdfast_coordinator.postgres.provider import ProvidedPostgres, provide

__all__ = ["EmbeddedPostgres", "ProvidedPostgres", "provide"]
