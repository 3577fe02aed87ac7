"""Sessions of workers: opened, kept alive by heartbeats, declared dead, reconciled.

A session's row is committed before its first poll is answered. This replica declares sessions dead only after it
could itself write heartbeats for one whole TTL, so that an outage of the database kills nobody.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from holdfast_coordinator.domain.commands import Command, EndAttempt, EndLease, LeaseEnd
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.store.port import ControlStore, SessionRow, StoreError

from .attachments import Attachment, Held
from .matcher import Matcher
from .refusals import Reattach, SessionExpired

log = structlog.get_logger(__name__)

LAG_MAX = timedelta(seconds=1)
"""A worker whose event loop is later than this gets no new work."""
TOMBSTONE_KEPT_FOR = timedelta(hours=1)


@dataclass(slots=True, frozen=True)
class SessionPolicy:
    """How long a silent session lives, and how often it is to speak."""

    ttl: timedelta = timedelta(seconds=10)
    heartbeat_interval: timedelta = timedelta(seconds=2.5)
    poll_wait: timedelta = timedelta(seconds=30)


@dataclass(slots=True)
class Introduction:
    """What a worker says of itself. `workflows` are names with their signatures (JSON)."""

    namespace: str
    queue: str
    workflows: Mapping[str, Mapping[str, Any]]
    steps: tuple[str, ...]
    build: str
    host: str
    pid: int
    slots: int
    session_id: str | None
    held: frozenset[Held]


Submit = Callable[[str, Sequence[Command]], Awaitable[object]]
"""Submits commands of one run: (run id, commands)."""
FindHeld = Callable[[Sequence[str]], Awaitable[tuple[list[OpenRun], list[TaskRow]]]]
"""Leased runs and claimed tasks of sessions, over all cells."""


class Sessions:
    """See the module."""

    def __init__(
        self, control: ControlStore, matcher: Matcher, *, replica_id: str, policy: SessionPolicy, submit: Submit,
        find_held: FindHeld,
    ) -> None:  # fmt: skip
        self._control = control
        self._matcher = matcher
        self._replica_id = replica_id
        self.policy = policy
        self._submit = submit
        self._find_held = find_held
        self._attach_no = time.time_ns()
        self._beating: set[str] = set()
        self._heartbeats_work_since: float | None = None
        self._flushed = asyncio.Event()
        self._clock_read = (datetime.now(UTC), time.monotonic())

    def database_time(self) -> datetime:
        """The database's time by this replica's estimate."""
        then, at = self._clock_read
        return then + timedelta(seconds=time.monotonic() - at)

    async def read_clock(self) -> datetime:
        """Reads the database's time, which `database_time` goes on from."""
        now = await self._control.now()
        self._clock_read = (now, time.monotonic())
        return now

    async def open(self, worker: Introduction) -> tuple[Attachment, list[Held]]:
        """Opens or re-attaches a session; with it what the worker holds no longer."""
        now = await self.read_clock()
        session_id = await self._living(worker.session_id) or f"ses_{secrets.token_hex(10)}"
        self._attach_no += 1
        row = SessionRow(
            session_id=session_id,
            namespace=worker.namespace,
            queue=worker.queue,
            replica_id=self._replica_id,
            attach_no=self._attach_no,
            build=worker.build,
            host=worker.host,
            pid=worker.pid,
            slots=worker.slots,
            opened_at=now,
            heartbeat_at=now,
            workflows=tuple(worker.workflows),
            steps=worker.steps,
        )
        if not await self._control.save_session(row):
            raise SessionExpired(session_id)
        if worker.workflows:
            await self._control.register_workflows(worker.namespace, worker.workflows)
        ended = await self._reconcile(session_id, worker.held) if worker.held or worker.session_id else []
        attachment = Attachment(
            session_id,
            row.attach_no,
            namespace=worker.namespace,
            queue=worker.queue,
            workflows=worker.workflows,
            steps=worker.steps,
            build=worker.build,
        )
        attachment.granted.update(worker.held.difference(ended))
        self._matcher.attach(attachment)
        log.info("session_opened", session_id=session_id, queue=worker.queue, host=worker.host, pid=worker.pid)
        return attachment, ended

    def attached(self, session_id: str, attach_no: int) -> Attachment:
        """The attachment that a call names. Raises Reattach when this replica does not know it."""
        attachment = self._matcher.attachment(session_id)
        if attachment is None or attachment.attach_no != attach_no:
            raise Reattach(session_id)
        return attachment

    async def heartbeat(
        self, session_id: str, attach_no: int, *, msg_no: int, held: frozenset[Held], lag: timedelta, draining: bool
    ) -> list[Held]:
        """Notes a sign of life; what the worker holds no longer. Raises Reattach, SessionExpired."""
        attachment = self.attached(session_id, attach_no)
        self._beating.add(session_id)
        if msg_no <= attachment.heartbeat_no:
            return []
        attachment.heartbeat_no = msg_no
        attachment.draining = draining
        attachment.lagging = lag > LAG_MAX
        lost = attachment.missing_from(held, time.monotonic(), self.policy.ttl.total_seconds())
        for run_id, number, epoch in lost:
            attachment.forget((run_id, number, epoch))
            await self._submit(run_id, [_undelivered(session_id, run_id, number, epoch)])
        return sorted(attachment.ended)

    async def close(self, session_id: str, attach_no: int) -> None:
        """Ends a session; what it still holds is offered to others at once."""
        self.attached(session_id, attach_no)
        self._matcher.detach(session_id)
        await self._control.bury_session(session_id)
        await self.end_leases_of([session_id], LeaseEnd.CLOSED_SESSION)
        log.info("session_closed", session_id=session_id)

    # Loops

    async def flush_heartbeats(self) -> None:
        """Writes all heartbeats since the last flush in one statement; detaches sessions that are dead there."""
        beating, self._beating = self._beating, set()
        try:
            alive = await self._control.save_heartbeats(sorted(beating), self._replica_id)
            await self.read_clock()
        except StoreError:
            self._beating |= beating
            self._heartbeats_work_since = None
            raise
        if self._heartbeats_work_since is None:
            self._heartbeats_work_since = time.monotonic()
        for session_id in beating - alive:
            self._matcher.detach(session_id)

    async def reap(self) -> None:
        """Declares silent sessions dead and ends their leases; does nothing until heartbeats could be written."""
        since = self._heartbeats_work_since
        if since is None or time.monotonic() - since < self.policy.ttl.total_seconds():
            return
        dead = [row.session_id for row in await self._control.bury_sessions(self.policy.ttl)]
        if dead:
            log.warning("sessions_died", session_ids=dead)
            for session_id in dead:
                self._matcher.detach(session_id)
            await self.end_leases_of(dead, LeaseEnd.LOST)

    async def sweep(self, owners: set[str]) -> None:
        """Ends leases whose owner is dead or unknown. owners: read from the cells before this looks them up."""
        gone = await self._control.dead_or_unknown(sorted(owners))
        if gone:
            await self.end_leases_of(sorted(gone), LeaseEnd.LOST)
        await self._control.prune_sessions(TOMBSTONE_KEPT_FOR)

    async def end_leases_of(self, session_ids: Sequence[str], reason: LeaseEnd) -> None:
        """Ends everything that these sessions hold."""
        while True:
            runs, tasks = await self._find_held(session_ids)
            if not runs and not tasks:
                return
            commands: list[tuple[str, Command]] = [
                (run.run_id, EndLease(run.run_id, run.owner or "", run.epoch, reason)) for run in runs
            ]
            undelivered = reason is not LeaseEnd.LOST
            commands += [
                (task.run_id, EndAttempt(task.run_id, task.number, task.epoch, undelivered=undelivered))
                for task in tasks
            ]
            await asyncio.gather(*(self._submit(run_id, [command]) for run_id, command in commands))

    # Details

    async def _living(self, session_id: str | None) -> str | None:
        if session_id is None:
            return None
        if await self._control.dead_or_unknown([session_id]):
            raise SessionExpired(session_id)
        return session_id

    async def _reconcile(self, session_id: str, held: frozenset[Held]) -> list[Held]:
        """Compares what a worker holds with what the cells say: the rest of either is ended."""
        runs, tasks = await self._find_held([session_id])
        recorded: dict[Held, Command] = {
            (run.run_id, 0, run.epoch): EndLease(run.run_id, session_id, run.epoch, LeaseEnd.UNDELIVERED)
            for run in runs
        }
        for task in tasks:
            key = (task.run_id, task.number, task.epoch)
            recorded[key] = EndAttempt(task.run_id, task.number, task.epoch, undelivered=True)
        for key in recorded.keys() - held:
            await self._submit(key[0], [recorded[key]])
        return sorted(held - recorded.keys())


def _undelivered(session_id: str, run_id: str, number: int, epoch: int) -> Command:
    if number:
        return EndAttempt(run_id, number, epoch, undelivered=True)
    return EndLease(run_id, session_id, epoch, LeaseEnd.UNDELIVERED)
