"""The control schema in Postgres: namespaces, sessions, known workflows. Never in one transaction with a cell.

Times are read first and written as parameters, so that no write reads a clock of its own. Heartbeats and burials,
sessions that open and close, and what is registered have connections of their own; none is kept while a row is locked.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Self, TypeVar

from holdfast_coordinator.domain.hashed_calls import signature_digest

from .control_port import KnownSignal, KnownWorkflow, SessionRow
from .database_connection import Row
from .migrate import CONTROL_SCHEMA, session_options
from .parameters import EPOCH
from .pool import OnWait, Pool
from .port import LockTimeout
from .statements_control import ControlStatements
from .tables import sessions

REGISTERED_AGAIN = timedelta(hours=1)
"""How often a signature that is registered again counts as new: workers register at each attachment."""
WRITE_MARGIN = timedelta(seconds=30)
"""How long before it is visible a row may have taken its time."""

LANE_CONNECTIONS = 2
"""For each of the three lanes."""
LANE_WAIT_SECONDS = 5.0
"""How long a call waits for a connection of its lane. Less than workers wait for an answer."""
LOCK_WAIT_MS = 50
"""How long a connection is kept for a key that is being inserted elsewhere, or for a locked table: longer than a commit
takes. Heartbeats have only the time limit of the role: a short lock of the table must not look like an outage."""
LOCKED_SECONDS = 5.0
"""How long a call is tried again and again while its row is locked, without a connection in between."""
AGAIN_SECONDS = 0.005
AGAIN_SECONDS_MAX = 0.25

Answered = TypeVar("Answered")

_session_values = attrgetter(*(column.name for column in sessions.c))


class PostgresControlStore:
    """Implements control_port.ControlStore. Made with open()."""

    def __init__(self, dsn: str, *, options: str = "", on_wait: OnWait | None = None) -> None:
        def lane(more: str = "") -> Pool:
            return Pool(
                dsn, size=LANE_CONNECTIONS, options=f"{options}{more}", on_wait=on_wait, wait_seconds=LANE_WAIT_SECONDS
            )

        briefly = f" -c lock_timeout={LOCK_WAIT_MS}ms"
        self._signs = lane()
        self._sessions = lane(briefly)
        self._registry = lane(briefly)
        self._statements = ControlStatements(CONTROL_SCHEMA)

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, *, on_wait: OnWait | None = None) -> AsyncIterator[Self]:
        """The control store of a migrated database, for as long as the block runs. It connects when it must."""
        store = cls(dsn, options=await session_options(dsn), on_wait=on_wait)
        try:
            yield store
        finally:
            store.close()

    def close(self) -> None:
        """Closes all connections."""
        for lane in (self._signs, self._sessions, self._registry):
            lane.close()

    async def now(self) -> datetime:
        """See control_port.ControlStore."""
        (answer,) = await self._signs.read(self._statements.clock())
        at: datetime = answer.value
        return at

    async def create_namespace(self, name: str) -> None:
        """See control_port.ControlStore."""
        # Asked first: to insert what is there would wait for who changes it.
        if name not in await self.namespaces():
            await self._registry.write(self._statements.create_namespace(name, await self.now()))

    async def namespaces(self) -> set[str]:
        """See control_port.ControlStore."""
        (answer,) = await self._registry.read(self._statements.namespaces())
        return set(answer.values)

    async def save_session(self, session: SessionRow) -> int | None:
        """See control_port.ControlStore."""
        values = _session_values(replace(session, died_at=None))

        async def save() -> Sequence[int] | None:
            attach_nos = (await self._sessions.write(self._statements.save_session(*values))).values
            if attach_nos:
                return attach_nos
            lives = await self._sessions.read(self._statements.is_living(session.session_id, session.namespace))
            return None if lives[0].value else ()

        return next(iter(await _unlocked(f"the row of session {session.session_id}", save)), None)

    async def attached(self, attachments: Mapping[str, int]) -> set[str]:
        """See control_port.ControlStore."""
        call = self._statements.attached(list(attachments), list(attachments.values()))
        (answer,) = await self._signs.read(call)
        return set(answer.values)

    async def save_heartbeats(self, attachments: Mapping[str, int], at: datetime) -> set[str]:
        """See control_port.ControlStore."""
        call = self._statements.save_heartbeats(list(attachments), list(attachments.values()), at)
        return set((await self._signs.write(call)).values)

    async def silent_sessions(
        self, replica_id: str, *, own_before: datetime, others_before: datetime
    ) -> dict[str, datetime]:
        """See control_port.ControlStore."""
        (answer,) = await self._signs.read(self._statements.silent_sessions(replica_id, own_before, others_before))
        return dict(answer.rows)

    async def bury_sessions(self, silent: Mapping[str, datetime], at: datetime) -> list[SessionRow]:
        """See control_port.ControlStore."""
        call = self._statements.bury_sessions(list(silent), list(silent.values()), at)
        return [_session(row) for row in (await self._signs.write(call)).rows]

    async def latest_heartbeat(self) -> datetime | None:
        """See control_port.ControlStore."""
        (answer,) = await self._signs.read(self._statements.latest_heartbeat())
        at: datetime | None = answer.value
        return at

    async def pull_back_heartbeats(self, now: datetime) -> int:
        """See control_port.ControlStore."""
        return (await self._signs.write(self._statements.pull_back_heartbeats(now))).affected

    async def bury_session(self, session_id: str) -> bool:
        """See control_port.ControlStore."""
        now = await self.now()

        async def bury() -> bool | None:
            if (await self._sessions.write(self._statements.bury_session(session_id, now))).affected:
                return True
            return False if await self.dead_or_unknown([session_id]) else None

        return await _unlocked(f"the row of session {session_id}", bury)

    async def dead_or_unknown(self, session_ids: Sequence[str]) -> dict[str, datetime | None]:
        """See control_port.ControlStore."""
        (answer,) = await self._sessions.read(self._statements.fates(list(session_ids)))
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
        (answer,) = await self._registry.read(call)
        return [_session(row) for row in answer.rows]

    async def prune_sessions(self, dead_for: timedelta) -> int:
        """See control_port.ControlStore."""
        now = await self.now()
        return (await self._signs.write(self._statements.prune_sessions(now - dead_for))).affected

    async def register_workflows(self, namespace: str, signatures: Mapping[str, Mapping[str, Any]]) -> None:
        """See control_port.ControlStore."""
        if not signatures:
            return
        digests = {name: signature_digest(signatures[name]) for name in sorted(signatures)}
        call = self._statements.registered(namespace, list(digests), list(digests.values()))
        now = await self.now()
        (answer,) = await self._registry.read(call)
        registered_at: dict[str, datetime] = dict(answer.rows)
        if missing := [name for name in digests if name not in registered_at]:
            await self._register(namespace, missing, digests, signatures)
        again_before = now - REGISTERED_AGAIN
        if again := [name for name, at in registered_at.items() if at < again_before]:
            call = self._statements.register_again(namespace, again, [digests[name] for name in again], now)
            await self._registry.write(call)

    async def _register(
        self, namespace: str, names: Sequence[str], digests: Mapping[str, str], signatures: Mapping[str, Any]
    ) -> None:
        async def register() -> bool:
            wanted = [signatures[name] for name in names]
            # The time is read each time: what is registered must not take its time long before it is visible.
            call = self._statements.register_workflows(
                namespace, names, [digests[name] for name in names], wanted, await self.now()
            )
            await self._registry.write(call)
            return True

        await _unlocked(f"the registration of {', '.join(names)[:200]}", register)

    async def register_signals(self, namespace: str, signals: Sequence[tuple[str, str, str]]) -> None:
        """See control_port.ControlStore."""
        rows = sorted((*one, hashlib.sha256(one[2].encode()).hexdigest()) for one in signals)
        workflows, names, types, digests = ([row[part] for row in rows] for part in range(4))

        async def register() -> bool:
            # The time is read each time: what is registered must not take its time long before it is visible.
            call = self._statements.register_signals(namespace, workflows, names, digests, types, await self.now())
            await self._registry.write(call)
            return True

        await _unlocked(f"the registration of signals of {', '.join(workflows)[:200]}", register)

    async def signals_since(self, seen_until: datetime | None) -> list[KnownSignal]:
        """See control_port.ControlStore."""
        after = EPOCH if seen_until is None else seen_until - WRITE_MARGIN
        (answer,) = await self._registry.read(self._statements.signals_since(after))
        return [KnownSignal(*row) for row in answer.rows]

    async def registered_since(self, seen_until: datetime | None) -> list[KnownWorkflow]:
        """See control_port.ControlStore."""
        after = EPOCH if seen_until is None else seen_until - WRITE_MARGIN
        (answer,) = await self._registry.read(self._statements.registered_since(after))
        return [KnownWorkflow(*row) for row in answer.rows]


def _session(row: Row) -> SessionRow:
    session = SessionRow(*row)
    session.workflows, session.steps = tuple(session.workflows), tuple(session.steps)
    session.encodings = tuple(session.encodings)
    return session


async def _unlocked(what: str, attempt: Callable[[], Awaitable[Answered | None]]) -> Answered:
    """What the attempt answers once it is not None. In between no connection is held. Raises LockTimeout."""
    began, pause = time.monotonic(), AGAIN_SECONDS
    while True:
        try:
            answer = await attempt()
        except LockTimeout:
            answer = None
        if answer is not None:
            return answer
        if time.monotonic() - began >= LOCKED_SECONDS:
            raise LockTimeout(f"{what} has been locked by another transaction for {LOCKED_SECONDS:g} s")
        await asyncio.sleep(pause)
        pause = min(2 * pause, AGAIN_SECONDS_MAX)
