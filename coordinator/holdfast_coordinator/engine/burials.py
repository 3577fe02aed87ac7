"""Sessions that are dead, and what they held: who is declared dead, which leases end, and which end as a loss.

Must not be called where a heartbeat waits for it: ending a lease waits for its row.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.domain.commands import Command, EndAttempt, EndLease, LeaseEnd
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.store.control_port import ControlStore, SessionRow

from .attachments import Attachment, Held, held_of
from .database_clock import DatabaseClock
from .heartbeats import Heartbeats
from .matcher import Matcher
from .policy import SessionPolicy

log = structlog.get_logger(__name__)

TOMBSTONE_KEPT_FOR = timedelta(hours=1)
HELD_PAGE = 1_000

Submit = Callable[[str, Sequence[Command]], Awaitable[object]]
"""Submits commands of one run: (run id, commands)."""
FindHeld = Callable[[Sequence[str], int], Awaitable[tuple[list[OpenRun], list[TaskRow]]]]
"""Leased runs and claimed tasks of sessions, over all cells: (session ids, how many of each cell at most)."""
Spawn = Callable[[Coroutine[Any, Any, None]], object]
"""Runs a coroutine beside everything else."""


@dataclass(slots=True, frozen=True)
class Grave:
    """A session whose leases end. acknowledged: what it said that it has, where this replica had its attachment.

    Else a sign of life, `last_sign_at`, that is later than the grant shows that the grant has reached it.
    """

    last_sign_at: datetime | None
    acknowledged: Collection[Held] | None = None

    def is_loss(self, key: Held, granted_at: datetime) -> bool:
        """True when the session had this when it died: only then may it have died of it."""
        if self.acknowledged is not None:
            return key in self.acknowledged
        return self.last_sign_at is not None and granted_at < self.last_sign_at


@dataclass(slots=True, frozen=True)
class Silence:
    """That a session is silent and its row is free, and since when that is seen."""

    last_sign_at: datetime
    seen_at: datetime


class Burials:
    """See the module."""

    def __init__(
        self, control: ControlStore, matcher: Matcher, heartbeats: Heartbeats, database_clock: DatabaseClock, *,
        replica_id: str, policy: SessionPolicy, submit: Submit, find_held: FindHeld, spawn: Spawn,
    ) -> None:  # fmt: skip
        self._control = control
        self._matcher = matcher
        self._heartbeats = heartbeats
        self._database_clock = database_clock
        self._replica_id = replica_id
        self._policy = policy
        self._submit = submit
        self._find_held = find_held
        self._spawn = spawn
        self._silent: dict[str, Silence] = {}

    async def reap(self) -> None:
        """Declares silent sessions dead, detaches them and ends their leases, in this order.

        Buries no session until heartbeats were written and the database's clock ran on for one TTL without a gap. Then
        only who was seen silent for a while with a row that was not locked: else the lock was the silence.
        """
        now, watched_for = self._database_clock.now(), self._policy.watched_for
        found = await self._control.silent_sessions(
            self._replica_id,
            own_before=now - self._policy.ttl + watched_for,
            others_before=now - self._policy.foreign_ttl + watched_for,
        )
        seen, self._silent = self._silent, {}
        for session_id, last_sign_at in found.items():
            silence = seen.get(session_id)
            is_same = silence is not None and silence.last_sign_at == last_sign_at
            self._silent[session_id] = silence if silence and is_same else Silence(last_sign_at, now)
        due = {
            session_id: silence.last_sign_at
            for session_id, silence in self._silent.items()
            if now - silence.seen_at >= watched_for
        }
        if due and self._heartbeats.have_worked_for_a_ttl() and self._database_clock.is_steady():
            self._detach(await self._control.bury_sessions(due, now))

    async def bury_all(self) -> None:
        """Declares all sessions dead, for a replica that has the database to itself: their processes have ended."""
        living = {row.session_id: row.heartbeat_at for row in await self._control.sessions() if row.died_at is None}
        if living:
            self._detach(await self._control.bury_sessions(living, self._database_clock.now()))

    def not_looked(self) -> None:
        """Nobody was looked at: who was silent before is watched anew, as its row may have been locked meanwhile."""
        self._silent.clear()

    def clock_stepped(self) -> None:
        """The database's clock has stepped: who was silent by the time before it is looked at anew."""
        self._silent.clear()

    def _detach(self, dead: Sequence[SessionRow]) -> None:
        graves: dict[str, Grave] = {}
        for row in dead:
            log.warning("session_died", **facts_of(row))
            attachment = self._matcher.attachment(row.session_id)
            is_here = attachment is not None and attachment.attach_no == row.attach_no
            acknowledged = attachment.acknowledged() if attachment is not None and is_here else None
            self._matcher.detach(row.session_id)
            graves[row.session_id] = Grave(row.heartbeat_at, acknowledged)
        if graves:
            self._spawn(self._end_lost(graves))

    async def sweep(self, owners: set[str]) -> None:
        """Ends leases whose owner is dead or unknown. owners: read from the cells before this looks them up."""
        gone = await self._control.dead_or_unknown(sorted(owners))
        if gone:
            await self._end_lost({session_id: Grave(last_sign_at) for session_id, last_sign_at in gone.items()})
        await self._control.prune_sessions(TOMBSTONE_KEPT_FOR)

    async def end_leases_of(self, session_id: str) -> None:
        """Ends everything that a session which has said good-bye still holds."""
        await self._end_all([session_id], lambda _owner, _key, _granted_at, _has_moved: LeaseEnd.CLOSED_SESSION)

    async def _end_lost(self, graves: Mapping[str, Grave]) -> None:
        def reason(owner: str, key: Held, granted_at: datetime, has_moved: bool) -> LeaseEnd:
            is_loss = has_moved or graves[owner].is_loss(key, granted_at)
            return LeaseEnd.LOST if is_loss else LeaseEnd.UNDELIVERED

        await self._end_all(list(graves), reason)

    async def _end_all(
        self, session_ids: Sequence[str], reason: Callable[[str, Held, datetime, bool], LeaseEnd]
    ) -> None:
        """Ends all that sessions hold; what cannot be ended now is left to the next sweep."""
        tried: set[Held] = set()
        while True:
            runs, tasks = await self._find_held(session_ids, HELD_PAGE)
            ends: dict[Held, Command] = {}
            for run in runs:
                owner, key = run.owner or "", (run.run_id, 0, run.epoch)
                # A transition under this lease shows that the session had it, whatever was acknowledged.
                ends[key] = _end_of(owner, key, reason(owner, key, run.last_at, run.transition_id > 0))
            for task in tasks:
                owner, key = task.owner or "", (task.run_id, task.number, task.epoch)
                ends[key] = _end_of(owner, key, reason(owner, key, task.started_at or task.ready_at, False))
            if ends.keys() <= tried:
                if ends:
                    log.error("leases_not_ended", held=sorted(ends))
                return
            tried |= ends.keys()
            await self.end(ends)

    # Single leases of sessions that live

    def left(self, attachment: Attachment) -> None:
        """A session is attached elsewhere, or dead: what has not been sent to it is offered to others at once."""
        for event in attachment.unsent():
            self._spawn(self.release(attachment, held_of(event)))

    def release_missing(self, attachment: Attachment, keys: Collection[Held]) -> None:
        """Ends what a session does not hold although it was granted; what fails is tried again with a heartbeat."""
        for key in keys:
            if key not in attachment.releasing:
                self._spawn(self.release(attachment, key))

    async def release(self, attachment: Attachment, key: Held) -> None:
        """Ends one grant as never delivered; the heartbeats of its session, or the sweep, are the net under this."""
        attachment.releasing.add(key)
        try:
            if await self.end_one(attachment.session_id, key):
                attachment.forget(key)
        finally:
            attachment.releasing.discard(key)

    async def give_up(self, attachment: Attachment, *, held: Collection[Held], lost: Collection[Held]) -> None:
        """Ends what a worker cannot go on with. lost: whose code is the reason, or ended the worker: it is a loss.

        What cannot be ended now is missing from what the worker says that it holds, and ended for that.
        """
        for key in {*held, *lost}:
            reason = LeaseEnd.LOST if key in lost else LeaseEnd.UNDELIVERED
            log.warning("given_up", session_id=attachment.session_id, held=key, is_loss=reason is LeaseEnd.LOST)
            try:
                await self.end({key: _end_of(attachment.session_id, key, reason)})
            except HoldfastError as error:
                log.warning("given_up_not_ended", session_id=attachment.session_id, held=key, error=str(error))
            else:
                attachment.forget(key)

    async def end_one(self, session_id: str, key: Held) -> bool:
        """Ends one grant as never delivered; False when that could not be committed now."""
        try:
            await self.end({key: undelivered(session_id, key)})
        except HoldfastError as error:
            log.warning("undelivered_not_ended", session_id=session_id, held=key, error=str(error))
            return False
        return True

    async def end(self, commands: Mapping[Held, Command]) -> None:
        """Submits the ends of leases and claims. Raises HoldfastError."""
        await asyncio.gather(*(self._submit(key[0], [command]) for key, command in commands.items()))


def facts_of(row: SessionRow) -> dict[str, str | int]:
    """What the log says of a session."""
    return {
        "session_id": row.session_id, "namespace": row.namespace, "queue": row.queue, "build": row.build,
        "host": row.host, "pid": row.pid,
    }  # fmt: skip


def undelivered(session_id: str, key: Held) -> Command:
    """The end of a grant that its session does not have."""
    return _end_of(session_id, key, LeaseEnd.UNDELIVERED)


def _end_of(session_id: str, key: Held, reason: LeaseEnd) -> Command:
    run_id, number, epoch = key
    if number:
        return EndAttempt(run_id, number, epoch, undelivered=reason is not LeaseEnd.LOST)
    return EndLease(run_id, session_id, epoch, reason)
