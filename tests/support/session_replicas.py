"""Replicas of one database in this process whose sessions die soon, and what the database says of them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg

from holdfast_coordinator.app import Coordinator, coordinator
from holdfast_coordinator.config import Config

TTL_SECONDS = 2.0


@asynccontextmanager
async def replicas(*database_urls: str) -> AsyncIterator[list[Coordinator]]:
    """A replica for each URL."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                coordinator(Config(database_url=url, port=0, session_ttl=f"{TTL_SECONDS:g}s"))
            )
            for url in database_urls
        ]


class Rows:
    """What the database says."""

    def __init__(self, url: str) -> None:
        self._url = url

    def all(self, sql: str, *values: Any) -> list[Any]:
        """Executes a statement; its rows, if it has any."""
        with psycopg.connect(self._url) as connection:
            cursor = connection.execute(sql.encode(), values)
            return cursor.fetchall() if cursor.description else []

    async def owners(self, runs: Sequence[str]) -> list[str | None]:
        """Who holds these runs."""
        rows = self.all("SELECT run_id, owner FROM holdfast_c00.open_runs WHERE run_id = ANY (%s)", list(runs))
        owners = dict(rows)
        return [owners.get(run) for run in runs]

    def bury(self, session_id: str) -> None:
        """What another replica does first with a session that is dead."""
        self.all("UPDATE holdfast.sessions SET died_at = clock_timestamp() WHERE session_id = %s", session_id)

    async def dead(self) -> list[str]:
        """All sessions that are dead."""
        return [row[0] for row in self.all("SELECT session_id FROM holdfast.sessions WHERE died_at IS NOT NULL")]
