"""The control schema in memory: what the Postgres control store must do, in the fewest words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from holdfast_coordinator.store.control import WRITE_MARGIN
from holdfast_coordinator.store.control_port import KnownSignal, KnownWorkflow, SessionRow
from holdfast_coordinator.store.port import LockTimeout
from tests.support.memory_cell_store import system_clock


class MemoryControlStore:
    """Implements control_port.ControlStore with dicts. clock: the time of the database.

    locked: sessions whose rows somebody else has locked.
    """

    def __init__(self, clock: Callable[[], datetime] = system_clock) -> None:
        self.clock = clock
        self.names: set[str] = {"default"}
        self.rows: dict[str, SessionRow] = {}
        self.workflows: list[KnownWorkflow] = []
        self.signals: list[KnownSignal] = []
        self.locked: set[str] = set()

    async def now(self) -> datetime:
        """See control_port.ControlStore."""
        return self.clock()

    async def create_namespace(self, name: str) -> None:
        """See control_port.ControlStore."""
        self.names.add(name)

    async def namespaces(self) -> set[str]:
        """See control_port.ControlStore."""
        return set(self.names)

    async def save_session(self, session: SessionRow) -> int | None:
        """See control_port.ControlStore."""
        before = self.rows.get(session.session_id)
        if before is not None and (before.died_at is not None or before.namespace != session.namespace):
            return None
        self._require_free(session.session_id)
        attach_no = session.attach_no if before is None else before.attach_no + 1
        self.rows[session.session_id] = replace(session, attach_no=attach_no)
        return attach_no

    async def attached(self, attachments: Mapping[str, int]) -> set[str]:
        """See control_port.ControlStore."""
        return {row.session_id for row in self._attached(attachments)}

    async def save_heartbeats(self, attachments: Mapping[str, int], at: datetime) -> set[str]:
        """See control_port.ControlStore."""
        beating = [row for row in self._attached(attachments) if row.session_id not in self.locked]
        for row in beating:
            row.heartbeat_at = at
        return {row.session_id for row in beating}

    async def silent_sessions(
        self, replica_id: str, *, own_before: datetime, others_before: datetime
    ) -> dict[str, datetime]:
        """See control_port.ControlStore."""
        return {
            row.session_id: row.heartbeat_at
            for row in self._living()
            if row.heartbeat_at < (own_before if row.replica_id == replica_id else others_before)
            and row.session_id not in self.locked
        }

    async def bury_sessions(self, silent: Mapping[str, datetime], at: datetime) -> list[SessionRow]:
        """See control_port.ControlStore."""
        dead = [
            row
            for row in self._living()
            if silent.get(row.session_id) == row.heartbeat_at and row.session_id not in self.locked
        ]
        for row in dead:
            row.died_at = at
        return [replace(row) for row in dead]

    async def latest_heartbeat(self) -> datetime | None:
        """See control_port.ControlStore."""
        return max((row.heartbeat_at for row in self.rows.values()), default=None)

    async def pull_back_heartbeats(self, now: datetime) -> int:
        """See control_port.ControlStore."""
        ahead = [row for row in self.rows.values() if row.heartbeat_at > now and row.session_id not in self.locked]
        for row in ahead:
            row.heartbeat_at = now
        return len(ahead)

    async def bury_session(self, session_id: str) -> bool:
        """See control_port.ControlStore."""
        row = self.rows.get(session_id)
        if row is None or row.died_at is not None:
            return False
        self._require_free(session_id)
        row.died_at = self.clock()
        return True

    async def dead_or_unknown(self, session_ids: Sequence[str]) -> dict[str, datetime | None]:
        """See control_port.ControlStore."""
        living = {row.session_id for row in self._living()}
        return {
            one: self.rows[one].heartbeat_at if one in self.rows else None for one in session_ids if one not in living
        }

    async def sessions(self, namespace: str | None = None) -> list[SessionRow]:
        """See control_port.ControlStore."""
        return [replace(row) for row in self._living() if namespace in (None, row.namespace)]

    async def prune_sessions(self, dead_for: timedelta) -> int:
        """See control_port.ControlStore."""
        before = self.clock() - dead_for
        old = [
            row
            for row in self.rows.values()
            if row.died_at is not None and row.died_at < before and row.session_id not in self.locked
        ]
        for row in old:
            del self.rows[row.session_id]
        return len(old)

    async def register_workflows(self, namespace: str, signatures: Mapping[str, Mapping[str, Any]]) -> None:
        """See control_port.ControlStore."""
        for name, signature in signatures.items():
            row = (namespace, name, signature)
            if all((one.namespace, one.name, one.signature) != row for one in self.workflows):
                self.workflows.append(KnownWorkflow(namespace, name, dict(signature), self.clock()))

    async def register_signals(self, namespace: str, signals: Sequence[tuple[str, str, str]]) -> None:
        """See control_port.ControlStore."""
        for workflow, name, type in signals:
            row = (namespace, workflow, name, type)
            if all((one.namespace, one.workflow, one.name, one.type) != row for one in self.signals):
                self.signals.append(KnownSignal(*row, self.clock()))

    async def signals_since(self, seen_until: datetime | None) -> list[KnownSignal]:
        """See control_port.ControlStore."""
        return [one for one in self.signals if seen_until is None or one.registered_at > seen_until - WRITE_MARGIN]

    async def registered_since(self, seen_until: datetime | None) -> list[KnownWorkflow]:
        """See control_port.ControlStore."""
        return [one for one in self.workflows if seen_until is None or one.registered_at > seen_until - WRITE_MARGIN]

    def _attached(self, attachments: Mapping[str, int]) -> list[SessionRow]:
        return [row for row in self._living() if attachments.get(row.session_id) == row.attach_no]

    def _require_free(self, session_id: str) -> None:
        if session_id in self.locked:
            raise LockTimeout(f"the row of session {session_id} is locked")

    def _living(self) -> list[SessionRow]:
        return [row for row in self.rows.values() if row.died_at is None]
