"""What the engine asks of the control schema: namespaces, sessions, known workflows.

Postgres implements it, and so does the small in-memory model of the tests. Errors are those of port.py. A row that
somebody has locked holds up only who needs that very row, and raises LockTimeout when that takes too long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol


@dataclass(slots=True, frozen=True)
class KnownWorkflow:
    """A signature of a workflow that workers have registered in a namespace; registered_at: within an hour."""

    namespace: str
    name: str
    signature: Mapping[str, Any]
    registered_at: datetime


@dataclass(slots=True, frozen=True)
class KnownSignal:
    """What the code of a workflow takes as signals of a name; type: "" for anything, see hints.schemas."""

    namespace: str
    workflow: str
    name: str
    type: str
    registered_at: datetime


@dataclass(slots=True)
class SessionRow:
    """A row of `sessions`. `died_at` is set once it is a tombstone.

    encodings: what of encodings its worker can read; empty when it did not say.
    """

    session_id: str
    namespace: str
    queue: str
    replica_id: str
    attach_no: int
    build: str
    host: str
    pid: int
    slots: int
    opened_at: datetime
    heartbeat_at: datetime
    workflows: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    died_at: datetime | None = None
    encodings: tuple[str, ...] = ()


class ControlStore(Protocol):
    """The control schema: namespaces, sessions, replicas, known workflows. Never in one transaction with a cell."""

    async def now(self) -> datetime:
        """The database's time."""

    async def create_namespace(self, name: str) -> None:
        """Creates a namespace unless it exists."""

    async def namespaces(self) -> set[str]:
        """All namespaces."""

    async def save_session(self, session: SessionRow) -> int | None:
        """Inserts a session, or attaches it again; its attachment. None, and nothing, when it is dead or not of the
        namespace. A new session keeps the attach_no that it brings, one that was there counts its own up.

        Raises LockTimeout when its row stays locked.
        """

    async def attached(self, attachments: Mapping[str, int]) -> set[str]:
        """Which of these sessions are alive and have this attachment."""

    async def save_heartbeats(self, attachments: Mapping[str, int], at: datetime) -> set[str]:
        """Sets heartbeat_at of those sessions that are alive and have this attachment, and answers them. Rows that are
        locked stay as they are.
        """

    async def silent_sessions(
        self, replica_id: str, *, own_before: datetime, others_before: datetime
    ) -> dict[str, datetime]:
        """Live sessions whose last heartbeat is older than that, with it; none whose row is locked.

        own_before: for sessions of this replica; others_before: for those of others.
        """

    async def bury_sessions(self, silent: Mapping[str, datetime], at: datetime) -> list[SessionRow]:
        """Marks sessions dead whose last heartbeat is still this one, and answers them. Locked rows stay."""

    async def latest_heartbeat(self) -> datetime | None:
        """The latest heartbeat of any session, dead or alive."""

    async def pull_back_heartbeats(self, now: datetime) -> int:
        """Sets heartbeats that are later than now to now; how many."""

    async def bury_session(self, session_id: str) -> bool:
        """Marks one session dead; False when it was dead or unknown already. Raises LockTimeout."""

    async def dead_or_unknown(self, session_ids: Sequence[str]) -> dict[str, datetime | None]:
        """Which of these sessions are dead, with their last heartbeat, or were never here, with None."""

    async def sessions(self, namespace: str | None = None) -> list[SessionRow]:
        """Live sessions."""

    async def prune_sessions(self, dead_for: timedelta) -> int:
        """Deletes tombstones older than this; how many. Locked ones stay for the next time."""

    async def register_workflows(self, namespace: str, signatures: Mapping[str, Mapping[str, Any]]) -> None:
        """Remembers that these workflows were registered in the namespace: name -> signature (JSON).

        Writes nothing of what was registered within an hour. Raises LockTimeout when another transaction, which does
        not end, inserts the same.
        """

    async def register_signals(self, namespace: str, signals: Sequence[tuple[str, str, str]]) -> None:
        """Remembers as what workflows of the namespace take signals: workflow, name and type. What is there stays.

        Raises LockTimeout when another transaction, which does not end, inserts the same.
        """

    async def signals_since(self, seen_until: datetime | None) -> list[KnownSignal]:
        """What was registered of signals after a time, less a margin for writes under way, oldest first; None: all."""

    async def registered_since(self, seen_until: datetime | None) -> list[KnownWorkflow]:
        """What was registered after a time, less a margin for writes under way, oldest first; None: all."""
