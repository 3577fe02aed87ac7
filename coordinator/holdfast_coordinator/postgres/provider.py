"""Which Postgres a coordinator uses: the one whose URL was given, or an embedded one.

Must not read the environment for the URL: the caller decides between options, variables and files.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast_coordinator.postgres import directory
from holdfast_coordinator.postgres.account import server_account
from holdfast_coordinator.postgres.embedded_server import EmbeddedPostgres
from holdfast_coordinator.store.database_url import described_database

ORIGINS = {"given": "HOLDFAST_POSTGRES_BIN", "system": "this system", "wheel": "the wheel"}


@dataclass(frozen=True, slots=True)
class ProvidedPostgres:
    """A database to use. url: for psycopg and SQLAlchemy. description: for people, never with a password.

    server: the embedded one, None for a given URL; `server.failure()` says when it ended by itself.
    """

    url: str
    description: str
    server: EmbeddedPostgres | None = None


@asynccontextmanager
async def provide(
    url: str | None, *, data_directory: Path | None, ephemeral: bool, tcp_port: int | None = None
) -> AsyncIterator[ProvidedPostgres]:
    """A Postgres for as long as the block runs. A given URL wins, and is not connected to.

    data_directory: default `.holdfast/postgres` in the current directory. For root, where the user that root
    drops to cannot enter the current directory, it is /var/lib/holdfast/<hash of the directory>/postgres.
    ephemeral: in a temporary directory that is gone afterwards. tcp_port: also listen on 127.0.0.1.
    Raises the errors of errors.py.
    """
    if url is not None:
        yield ProvidedPostgres(url=url, description=f"Postgres at {described_database(url)}")
        return
    home = None if ephemeral else data_directory
    if home is None and not ephemeral:
        project = Path.cwd()
        account = server_account(project / directory.PROJECT_DIRECTORY / "postgres" / "data")
        home = directory.default_home(project, account)
    async with EmbeddedPostgres(home, tcp_port=tcp_port) as server:
        assert server.installation is not None
        origin = ORIGINS[server.installation.source]
        place = f"data in {server.home}" if server.home is not None else "ephemeral"
        description = f"Postgres {server.installation.version} from {origin}, {place}"
        yield ProvidedPostgres(url=server.url(), description=description, server=server)
