"""Signs of life of the sessions of this replica: gathered, written together, acknowledged once they are durable.

The same turn asks which attachments the database still has, and what time it is there. It touches no cell, and skips
rows that somebody has locked: whatever holds up work, or one session, must not make another worker look dead.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast_coordinator.store.control_port import ControlStore
from holdfast_coordinator.store.port import LockTimeout

from .attachments import Attachment
from .matcher import Matcher
from .policy import SessionPolicy


@dataclass(slots=True)
class Sign:
    """A sign of life that waits to be written, and the calls that are answered then."""

    attachment: Attachment
    calls: list[asyncio.Future[None]] = field(default_factory=list)

    def is_written(self) -> None:
        """Answers the calls."""
        for call in self.calls:
            if not call.done():
                call.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Ends the calls with an error."""
        for call in self.calls:
            if not call.done():
                call.set_exception(error)


class Heartbeats:
    """See the module."""

    def __init__(
        self, control: ControlStore, matcher: Matcher, policy: SessionPolicy, *, clock: Callable[[], float],
        read_clock: Callable[[], Awaitable[datetime]],
    ) -> None:  # fmt: skip
        self._control = control
        self._matcher = matcher
        self._policy = policy
        self._away_seconds = policy.away_after.total_seconds()
        self._clock = clock
        self._read_clock = read_clock
        self._signs: dict[str, Sign] = {}
        self._flushed_at = clock()
        self._works_since: float | None = None

    # Away

    def is_away(self) -> bool:
        """True when no turn has succeeded within the time after which other replicas may take this one for gone."""
        return self._silent_seconds() > self._away_seconds

    def _silent_seconds(self) -> float:
        return self._clock() - self._flushed_at

    def require_here(self) -> None:
        """Raises ReplicaAway, which sends workers to another replica."""
        silent_seconds = self._silent_seconds()
        if silent_seconds > self._away_seconds:
            raise ReplicaAway(f"its database has not answered for {silent_seconds:.1f} s")

    def send_away(self) -> None:
        """Refuses the heartbeats and ends the polls that wait here, when this replica is away."""
        if not self.is_away():
            return
        signs, self._signs = self._signs, {}
        for sign in signs.values():
            sign.refuse(ReplicaAway("its database does not answer"))
        for attachment in self._matcher.sessions():
            attachment.news.set()  # its poll asks again whether it may stay

    # Heartbeats

    async def astray(self, session_id: str, attach_no: int) -> None:
        """Writes a sign of life for an attachment of another replica: a balancer, or a detour, brought it here.

        Raises ReattachRequired and SessionExpired as the database has it, ReplicaAway, LockTimeout: to be said again.
        """
        self.require_here()
        asked = {session_id: attach_no}
        if session_id in await self._control.save_heartbeats(asked, await self._read_clock()):
            return
        if await self._control.dead_or_unknown([session_id]):
            raise SessionExpired(session_id)
        if not await self._control.attached(asked):
            raise ReattachRequired(session_id)
        raise _row_locked(session_id)

    async def durable(self, attachment: Attachment) -> None:
        """Waits until a sign of life that has just come is written. Raises ReplicaAway, LockTimeout."""
        attachment.heard_at = self._clock()
        sign = self._signs.setdefault(attachment.session_id, Sign(attachment))
        sign.attachment = attachment
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sign.calls.append(written)
        await written

    def have_worked_for_a_ttl(self) -> bool:
        """True when they could be written for a whole TTL without a gap: whoever lives is known to live."""
        since = self._works_since
        return since is not None and self._clock() - since >= self._policy.ttl.total_seconds()

    async def flush(self) -> list[Attachment]:
        """Looks at all attachments, writes what waits, answers it; the attachments that the database has no longer.

        Raises StoreError; what waits then waits on.
        """
        here = {one.session_id: one for one in self._matcher.sessions()}
        signs, self._signs = self._signs, {}
        began_at = self._clock()
        locked: set[str] = set()
        try:
            found = await self._control.attached({session_id: one.attach_no for session_id, one in here.items()})
            now = await self._read_clock()
            living = {
                session_id: sign.attachment.attach_no
                for session_id, sign in signs.items()
                if here.get(session_id) is sign.attachment and session_id in found
            }
            if living:
                locked = living.keys() - await self._control.save_heartbeats(living, now)
        except BaseException:  # also a database that does not answer: the caller has lost patience
            self._wait_on(signs)
            self._works_since = None
            raise
        self._worked(began_at)
        left = []
        for session_id, attachment in here.items():
            if session_id not in found and self._matcher.attachment(session_id) is attachment:
                self._matcher.detach(session_id)
                left.append(attachment)
        self._answer(signs, locked)
        return left

    def _answer(self, signs: Mapping[str, Sign], locked: set[str]) -> None:
        """Answers what is written. locked: what is not; it has moved or died since the look, or its row is locked.

        The next turn sees which. Who gave no sign for half a TTL meanwhile is not kept alive by the last one.
        """
        waiting: dict[str, Sign] = {}
        for session_id, sign in signs.items():
            attachment = sign.attachment
            if session_id not in locked:
                attachment.unwritten_since = math.inf
                sign.is_written()
            elif self._clock() - attachment.heard_at < self._away_seconds:
                attachment.unwritten_since = min(attachment.unwritten_since, self._clock())
                waiting[session_id] = sign
            else:
                sign.refuse(_row_locked(session_id))
        self._wait_on(waiting)

    def _wait_on(self, signs: Mapping[str, Sign]) -> None:
        """Has signs wait for the next turn, together with what has come since they were taken."""
        for session_id, sign in signs.items():
            calls = [call for call in sign.calls if not call.done()]
            newer = self._signs.get(session_id)
            if newer is None:
                self._signs[session_id] = Sign(sign.attachment, calls)
            else:
                newer.calls[:0] = calls

    def _worked(self, began_at: float) -> None:
        # After a gap, as after a pause of this process, heartbeats that wait in the sockets are still to be read.
        gap_max = (self._policy.ttl - self._policy.heartbeat_interval).total_seconds()
        if self._works_since is None or began_at - self._flushed_at > gap_max:
            self._works_since = began_at
        self._flushed_at = began_at
        self._matcher.grants_until = began_at + self._away_seconds


def _row_locked(session_id: str) -> LockTimeout:
    return LockTimeout(f"the row of session {session_id} is locked by another transaction")
