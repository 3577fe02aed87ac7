"""The control schema in Postgres: namespaces, sessions, known workflows. Never in one transaction with a cell.

Times are read first and written as parameters, so that no write reads a clock of its own.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Self

from holdfast_coordinator.domain.hashed_calls import signature_digest

from .control_port import KnownWorkflow, SessionRow
from .database_connection import Row
from .migrate import CONTROL_SCHEMA, session_options
from .parameters import EPOCH
from .pool import OnWait, Pool
from .statements_control import ControlStatements
from .tables import sessions

REGISTERED_AGAIN = timedelta(hours=1)
"""How often a signature that is registered again counts as new: workers register at each attachment."""
WRITE_MARGIN = timedelta(seconds=30)
"""How long before it is visible a row may have taken its time."""

_session_values = attrgetter(*(column.name for column in sessions.c))


class PostgresControlStore:
    """Implements control_port.ControlStore. Made with open()."""

    def __init__(self, dsn: str, *, options: str = "", connections: int = 2, on_wait: OnWait | None = None) -> None:
        self._pool = Pool(dsn, size=connections, options=options, on_wait=on_wait)
        self._statements = ControlStatements(CONTROL_SCHEMA)

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, connections: int = 2, on_wait: OnWait | None = None) -> AsyncIterator[Self]:
        """The control store of a migrated database, for as long as the block runs. It connects when it must."""
        store = cls(dsn, options=await session_options(dsn), connections=connections, on_wait=on_wait)
        try:
            yield store
        finally:
            store.close()

    def close(self) -> None:
        """Closes all connections."""
        self._pool.close()

    async def now(self) -> datetime:
        """See control_port.ControlStore."""
        (answer,) = await self._pool.read(self._statements.clock())
        at: datetime = answer.value
        return at

    async def create_namespace(self, name: str) -> None:
        """See control_port.ControlStore."""
        await self._pool.write(self._statements.create_namespace(name, await self.now()))

    async def namespaces(self) -> set[str]:
        """See control_port.ControlStore."""
        (answer,) = await self._pool.read(self._statements.namespaces())
        return set(answer.values)

    async def save_session(self, session: SessionRow) -> int | None:
        """See control_port.ControlStore."""
        alive = replace(session, died_at=None)
        answer = await self._pool.write(self._statements.save_session(*_session_values(alive)))
        return next(iter(answer.values), None)

    async def attached(self, attachments: Mapping[str, int]) -> set[str]:
        """See control_port.ControlStore."""
        call = self._statements.attached(list(attachments), list(attachments.values()))
        (answer,) = await self._pool.read(call)
        return set(answer.values)

    async def save_heartbeats(self, attachments: Mapping[str, int], at: datetime) -> set[str]:
        """See control_port.ControlStore."""
        ordered = sorted(attachments)
        call = self._statements.save_heartbeats(ordered, [attachments[session_id] for session_id in ordered], at)
        return set((await self._pool.write(call)).values)

    async def bury_sessions(
        self, replica_id: str, *, own_before: datetime, others_before: datetime, at: datetime
    ) -> list[SessionRow]:
        """See control_port.ControlStore."""
        answer = await self._pool.write(self._statements.bury_sessions(at, replica_id, own_before, others_before))
        return [_session(row) for row in answer.rows]

    async def latest_heartbeat(self) -> datetime | None:
        """See control_port.ControlStore."""
        (answer,) = await self._pool.read(self._statements.latest_heartbeat())
        at: datetime | None = answer.value
        return at

    async def pull_back_heartbeats(self, now: datetime) -> int:
        """See control_port.ControlStore."""
        return (await self._pool.write(self._statements.pull_back_heartbeats(now))).affected

    async def bury_session(self, session_id: str) -> bool:
        """See control_port.ControlStore."""
        answer = await self._pool.write(self._statements.bury_session(session_id, await self.now()))
        return answer.affected == 1

    async def dead_or_unknown(self, session_ids: Sequence[str]) -> dict[str, datetime | None]:
        """See control_port.ControlStore."""
        (answer,) = await self._pool.read(self._statements.fates(list(session_ids)))
        fates = {session_id: (heartbeat_at, lives) for session_id, heartbeat_at, lives in answer.rows}
        unknown = (None, False)
        return {
            session_id: heartbeat_at
            for session_id in session_ids
            for heartbeat_at, lives in [fates.get(session_id, unknown)]
            if not lives
        }

    async def sessions(self, namespace: str | None = None) -> list[SessionRow]:
        """See control_port.ControlStore."""
        call = self._statements.sessions() if namespace is None else self._statements.sessions_of(namespace)
        (answer,) = await self._pool.read(call)
        return [_session(row) for row in answer.rows]

    async def prune_sessions(self, dead_for: timedelta) -> int:
        """See control_port.ControlStore."""
        now = await self.now()
        return (await self._pool.write(self._statements.prune_sessions(now - dead_for))).affected

    async def register_workflows(self, namespace: str, signatures: Mapping[str, Mapping[str, Any]]) -> None:
        """See control_port.ControlStore."""
        if not signatures:
            return
        names = sorted(signatures)
        wanted = [signatures[name] for name in names]
        now = await self.now()
        await self._pool.write(
            self._statements.register_workflows(
                namespace, names, [signature_digest(one) for one in wanted], wanted, now, now - REGISTERED_AGAIN
            )
        )

    async def registered_since(self, seen_until: datetime | None) -> list[KnownWorkflow]:
        """See control_port.ControlStore."""
        after = EPOCH if seen_until is None else seen_until - WRITE_MARGIN
        (answer,) = await self._pool.read(self._statements.registered_since(after))
        return [KnownWorkflow(*row) for row in answer.rows]


def _session(row: Row) -> SessionRow:
    session = SessionRow(*row)
    session.workflows, session.steps = tuple(session.workflows), tuple(session.steps)
    return session
