"""The sessions of a replica, alive by two clocks that a test moves: that of the database and that of the replica."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast_coordinator.domain.commands import Command
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.engine.attachments import Attachment, Held
from holdfast_coordinator.engine.database_clock import ClockStep
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.sessions import SessionPolicy, Sessions
from tests.support.engine_replicas import introduction, run_named
from tests.support.memory_control_store import MemoryControlStore
from tests.support.store_rows import T0, open_run

TTL = timedelta(seconds=10)


class Liveness:
    """Sessions whose two clocks the test moves: that of the database and that of the replica."""

    def __init__(self, control: MemoryControlStore | None = None, *, replica_id: str = "r1") -> None:
        self.seconds = 100.0
        self.has_turn = True
        self.database_ahead = timedelta(0)
        self.control = control or HangingControl(self.now)
        self.ended: list[Command] = []
        self.matcher = Matcher(lambda: self.seconds, silent_max_seconds=TTL.total_seconds() / 2)
        self.steps: list[ClockStep] = []
        self.spawned: list[asyncio.Task[None]] = []
        self.held: list[OpenRun] = [open_run(run_named(1), owner="s")]
        self.sessions = Sessions(
            self.control, self.matcher, replica_id=replica_id, policy=SessionPolicy(ttl=TTL), submit=self._submit,
            find_held=self._held, spawn=self._spawn, on_step=self.steps.append, clock=lambda: self.seconds,
            has_turn=lambda _: self.has_turn,
        )  # fmt: skip

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds) + self.database_ahead

    async def turn(self, seconds: float = 1.0) -> None:
        """So much later, what the loops do."""
        self.seconds += seconds
        await self.sessions.flush_heartbeats()
        await self.sessions.reap()
        await asyncio.gather(*self.spawned)

    async def beat(self, session: Attachment, *held: Held) -> "asyncio.Task[list[Held]]":
        """A heartbeat, which the next turn answers."""
        beating = asyncio.create_task(
            self.sessions.heartbeat(
                session.session_id, session.attach_no, msg_no=session.heartbeat_no + 1, held=frozenset(held),
                lag=timedelta(0), draining=False,
            )
        )  # fmt: skip
        await asyncio.sleep(0)
        return beating

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        self.spawned.append(asyncio.create_task(coroutine))
        return self.spawned[-1]

    async def _submit(self, _: str, commands: object) -> None:
        assert isinstance(commands, list)
        self.ended += commands

    async def _held(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        return ([] if self.ended else [run for run in self.held if run.owner in session_ids], [])


class HangingControl(MemoryControlStore):
    """A control store that does not answer while `hangs` is set."""

    hangs = False
    looks = 0
    """How often the rows of all sessions were looked through."""

    async def silent_sessions(
        self, replica_id: str, *, own_before: datetime, others_before: datetime
    ) -> dict[str, datetime]:
        """See control_port.ControlStore."""
        self.looks += 1
        return await super().silent_sessions(replica_id, own_before=own_before, others_before=others_before)

    async def attached(self, attachments: Mapping[str, int]) -> set[str]:
        """See control_port.ControlStore."""
        if self.hangs:
            await asyncio.Event().wait()
        return await super().attached(attachments)


async def flush_in_vain(live: Liveness) -> None:
    """A turn in which the database does not answer."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await live.sessions.flush_heartbeats()
    live.sessions.heartbeats.send_away()


async def two_replicas() -> tuple[Liveness, Liveness, Attachment]:
    """Two replicas of one database whose clocks run together, and a session that is attached to the first."""
    first = Liveness()
    second = Liveness(first.control, replica_id="r2")
    session, _ = await first.sessions.open(introduction())
    for live in (first, second):
        live.held[0].owner = session.session_id
    return first, second, session
