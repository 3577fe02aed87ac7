"""Sessions of workers: opened, kept alive by heartbeats, declared dead, reconciled.

A session's row is committed before its first poll is answered. This replica declares sessions dead only after it
could itself write heartbeats for one whole TTL without a gap, so that neither an outage of the database nor a pause
of the replica kills anybody.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.domain.commands import Command, EndAttempt, EndLease, LeaseEnd
from holdfast_coordinator.domain.events import RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.store.port import ControlStore, SessionRow

from .attachments import NO_MAIL, Attachment, Held, held_of
from .matcher import Matcher
from .refusals import Reattach, SessionExpired

log = structlog.get_logger(__name__)

LAG_MAX = timedelta(seconds=1)
"""A worker whose event loop is later than this gets no new work."""
TOMBSTONE_KEPT_FOR = timedelta(hours=1)
HELD_PAGE = 1_000


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
    mail_seen: Mapping[Held, int] = field(default_factory=dict)
    """Up to which number it has all mail, of the runs that it holds."""


Submit = Callable[[str, Sequence[Command]], Awaitable[object]]
"""Submits commands of one run: (run id, commands)."""
FindHeld = Callable[[Sequence[str], int], Awaitable[tuple[list[OpenRun], list[TaskRow]]]]
"""Leased runs and claimed tasks of sessions, over all cells: (session ids, how many of each cell at most)."""


class Sessions:
    """See the module."""

    def __init__(
        self, control: ControlStore, matcher: Matcher, *, replica_id: str, policy: SessionPolicy, submit: Submit,
        find_held: FindHeld, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._control = control
        self._matcher = matcher
        self._replica_id = replica_id
        self.policy = policy
        self._submit = submit
        self._find_held = find_held
        self._attach_no = time.time_ns()
        self._beating: set[str] = set()
        self._clock = clock
        self._heartbeats_work_since: float | None = None
        self._flushed_at = 0.0
        self._clock_read = (datetime.now(UTC), clock())

    def database_time(self) -> datetime:
        """The database's time by this replica's estimate."""
        then, at = self._clock_read
        return then + timedelta(seconds=self._clock() - at)

    async def read_clock(self) -> datetime:
        """Reads the database's time, which `database_time` goes on from."""
        now = await self._control.now()
        self._clock_read = (now, self._clock())
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
        attachment = self._attach(row, worker)
        ended = await self._reconcile(attachment, worker.held) if worker.held or worker.session_id else []
        if worker.session_id:
            log.info("session_attached", ended=len(ended), **_facts_of(row))
        else:
            log.info("session_opened", **_facts_of(row))
        return attachment, ended

    def _attach(self, row: SessionRow, worker: Introduction) -> Attachment:
        """Attaches a session before it is reconciled; no poll can bring it work until its worker is answered.

        A lease that is committed while the cells are asked is then either in what they say or handed to this
        attachment. An older one would take it with it: the session lives, so nobody would ever end that lease.
        """
        current = self._matcher.attachment(row.session_id)
        if current is not None and current.attach_no > row.attach_no:
            raise Reattach(row.session_id)  # the worker has asked again meanwhile, and listens to that answer
        attachment = Attachment(
            row.session_id,
            row.attach_no,
            namespace=worker.namespace,
            queue=worker.queue,
            workflows=worker.workflows,
            steps=worker.steps,
            build=worker.build,
        )
        attachment.granted.update(worker.held)
        attachment.mail_seen(worker.mail_seen)
        self._matcher.attach(attachment)
        return attachment

    def attached(self, session_id: str, attach_no: int) -> Attachment:
        """The attachment that a call names. Raises Reattach when this replica does not know it."""
        attachment = self._matcher.attachment(session_id)
        if attachment is None or attachment.attach_no != attach_no:
            raise Reattach(session_id)
        return attachment

    async def heartbeat(
        self, session_id: str, attach_no: int, *, msg_no: int, held: frozenset[Held],
        mail_seen: Mapping[Held, int] = NO_MAIL, lag: timedelta, draining: bool,
    ) -> list[Held]:  # fmt: skip
        """Notes a sign of life; what the worker holds no longer. Raises Reattach, SessionExpired."""
        attachment = self.attached(session_id, attach_no)
        self._beating.add(session_id)
        if msg_no <= attachment.heartbeat_no:
            return []
        attachment.heartbeat_no = msg_no
        attachment.draining = draining
        attachment.lagging = lag > LAG_MAX
        attachment.mail_seen(mail_seen)
        lost = attachment.missing_from(held, self._clock(), self.policy.ttl.total_seconds())
        for key in lost:
            await self._submit(key[0], [_undelivered(session_id, key)])
            attachment.forget(key)  # only now: the next heartbeat tries again what could not be committed
        return sorted(attachment.ended)

    def leave(self, session_id: str, attach_no: int) -> None:
        """The worker is sent to another replica: nothing more is granted to this attachment."""
        attachment = self._matcher.attachment(session_id)
        if attachment is not None and attachment.attach_no == attach_no:
            self._matcher.detach(session_id)

    async def close(self, session_id: str, attach_no: int) -> None:
        """Ends a session; what it still holds is offered to others at once."""
        self.attached(session_id, attach_no).draining = True
        # First: when this fails, the session is still here and its worker may repeat.
        await self._control.bury_session(session_id)
        self._matcher.detach(session_id)
        await self.end_leases_of([session_id], LeaseEnd.CLOSED_SESSION)
        log.info("session_closed", session_id=session_id)

    # Loops

    async def flush_heartbeats(self) -> None:
        """Writes all heartbeats since the last flush in one statement; detaches sessions that are dead there."""
        beating, self._beating = self._beating, set()
        try:
            alive = await self._control.save_heartbeats(sorted(beating), self._replica_id)
            await self.read_clock()
        except BaseException:  # also a database that does not answer: the caller has lost patience
            self._beating |= beating
            self._heartbeats_work_since = None
            raise
        now = self._clock()
        # After a gap, as after a pause of this process, heartbeats that wait in the sockets are still to be read.
        gap_max = (self.policy.ttl - self.policy.heartbeat_interval).total_seconds()
        if self._heartbeats_work_since is None or now - self._flushed_at > gap_max:
            self._heartbeats_work_since = now
        self._flushed_at = now
        for session_id in beating - alive:
            self._matcher.detach(session_id)

    async def reap(self) -> None:
        """Declares silent sessions dead and ends their leases; does nothing until heartbeats could be written."""
        since = self._heartbeats_work_since
        if since is None or self._clock() - since < self.policy.ttl.total_seconds():
            return
        dead = await self._control.bury_sessions(self.policy.ttl)
        for row in dead:
            log.warning("session_died", **_facts_of(row))
            self._matcher.detach(row.session_id)
        if dead:
            await self.end_leases_of([row.session_id for row in dead], LeaseEnd.LOST)

    async def end_undelivered(self, event: RunLeased | TaskClaimed) -> None:
        """Ends what was given to a session that had left when the commit came back; the sweep is the net under this."""
        key = held_of(event)
        try:
            await self._submit(key[0], [_undelivered(event.session_id, key)])
        except HoldfastError as error:
            log.warning("undelivered_not_ended", session_id=event.session_id, held=key, error=str(error))

    async def sweep(self, owners: set[str]) -> None:
        """Ends leases whose owner is dead or unknown. owners: read from the cells before this looks them up."""
        gone = await self._control.dead_or_unknown(sorted(owners))
        if gone:
            await self.end_leases_of(sorted(gone), LeaseEnd.LOST)
        await self._control.prune_sessions(TOMBSTONE_KEPT_FOR)

    async def end_leases_of(self, session_ids: Sequence[str], reason: LeaseEnd) -> None:
        """Ends everything that these sessions hold; what cannot be ended now is left to the next sweep."""
        tried: set[Held] = set()
        while True:
            runs, tasks = await self._find_held(session_ids, HELD_PAGE)
            owners = {(run.run_id, 0, run.epoch): run.owner or "" for run in runs}
            held = owners.keys() | {(task.run_id, task.number, task.epoch) for task in tasks}
            if held <= tried:
                if held:
                    log.error("leases_not_ended", held=sorted(held))
                return
            tried |= held
            await self._end({key: _end_of(owners.get(key, ""), key, reason) for key in held})

    # Details

    async def _living(self, session_id: str | None) -> str | None:
        if session_id is None:
            return None
        if await self._control.dead_or_unknown([session_id]):
            raise SessionExpired(session_id)
        return session_id

    async def _reconcile(self, attachment: Attachment, held: frozenset[Held]) -> list[Held]:
        """Compares what a worker holds with what the cells say: the rest of either is ended."""
        session_id = attachment.session_id
        tried: set[Held] = set()
        while True:
            # More than what may stay: a full page then has something to end, and all that stays is in the last one.
            limit = len(attachment.granted) + HELD_PAGE
            runs, tasks = await self._find_held([session_id], limit)
            recorded = {(run.run_id, 0, run.epoch) for run in runs}
            recorded |= {(task.run_id, task.number, task.epoch) for task in tasks}
            surplus = recorded - attachment.granted - tried
            await self._end({key: _undelivered(session_id, key) for key in surplus})
            tried |= surplus
            if not surplus or max(len(runs), len(tasks)) < limit:
                break
        ended = held - recorded
        for key in ended:
            attachment.forget(key)
        return sorted(ended)

    async def _end(self, commands: Mapping[Held, Command]) -> None:
        await asyncio.gather(*(self._submit(key[0], [command]) for key, command in commands.items()))


def _facts_of(row: SessionRow) -> dict[str, str | int]:
    """What the log says of a session."""
    return {
        "session_id": row.session_id, "namespace": row.namespace, "queue": row.queue, "build": row.build,
        "host": row.host, "pid": row.pid,
    }  # fmt: skip


def _undelivered(session_id: str, key: Held) -> Command:
    return _end_of(session_id, key, LeaseEnd.UNDELIVERED)


def _end_of(session_id: str, key: Held, reason: LeaseEnd) -> Command:
    run_id, number, epoch = key
    if number:
        return EndAttempt(run_id, number, epoch, undelivered=reason is not LeaseEnd.LOST)
    return EndLease(run_id, session_id, epoch, reason)
