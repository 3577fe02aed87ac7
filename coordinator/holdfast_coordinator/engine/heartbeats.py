"""Signs of life of the sessions of this replica: gathered, written together, acknowledged once they are durable.

The same turn asks which attachments the database still has, and what time it is there. It touches no cell: whatever
holds up work must not make a worker look dead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast_coordinator.store.control_port import ControlStore

from .attachments import Attachment
from .matcher import Matcher
from .policy import SessionPolicy


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
        self._beating: dict[str, Attachment] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._flushed_at = clock()
        self._works_since: float | None = None

    # Away

    def is_away(self) -> bool:
        """True when no turn has succeeded within the time after which other replicas may take this one for gone."""
        return self._clock() - self._flushed_at > self._away_seconds

    def require_here(self) -> None:
        """Raises ReplicaAway, which sends workers to another replica."""
        if self.is_away():
            seconds = self._clock() - self._flushed_at
            raise ReplicaAway(f"its database has not answered for {seconds:.1f} s")

    def send_away(self) -> None:
        """Refuses the heartbeats and ends the polls that wait here, when this replica is away."""
        if not self.is_away():
            return
        waiting, self._waiting = self._waiting, []
        self._beating.clear()
        for one in waiting:
            if not one.done():
                one.set_exception(ReplicaAway("its database does not answer"))
        for attachment in self._matcher.sessions():
            attachment.news.set()  # its poll asks again whether it may stay

    # Heartbeats

    async def astray(self, session_id: str, attach_no: int) -> None:
        """Writes a sign of life for an attachment of another replica: a balancer, or a detour, brought it here.

        Raises ReattachRequired and SessionExpired as the database has it, ReplicaAway.
        """
        self.require_here()
        if session_id in await self._control.save_heartbeats({session_id: attach_no}, await self._read_clock()):
            return
        if await self._control.dead_or_unknown([session_id]):
            raise SessionExpired(session_id)
        raise ReattachRequired(session_id)

    async def durable(self, attachment: Attachment) -> None:
        """Waits until a sign of life that has just come is written. Raises ReplicaAway."""
        attachment.heard_at = self._clock()
        self._beating[attachment.session_id] = attachment
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
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
        beating, self._beating = self._beating, {}
        waiting, self._waiting = self._waiting, []
        began_at = self._clock()
        try:
            found = await self._control.attached({session_id: one.attach_no for session_id, one in here.items()})
            now = await self._read_clock()
            living = {id: one.attach_no for id, one in beating.items() if here.get(id) is one and id in found}
            if living:
                found -= living.keys() - await self._control.save_heartbeats(living, now)
        except BaseException:  # also a database that does not answer: the caller has lost patience
            self._beating = beating | self._beating
            self._waiting = waiting + self._waiting
            self._works_since = None
            raise
        self._worked(began_at)
        left = []
        for session_id, attachment in here.items():
            if session_id not in found and self._matcher.attachment(session_id) is attachment:
                self._matcher.detach(session_id)
                left.append(attachment)
        for one in waiting:
            if not one.done():
                one.set_result(None)
        return left

    def _worked(self, began_at: float) -> None:
        # After a gap, as after a pause of this process, heartbeats that wait in the sockets are still to be read.
        gap_max = (self._policy.ttl - self._policy.heartbeat_interval).total_seconds()
        if self._works_since is None or began_at - self._flushed_at > gap_max:
            self._works_since = began_at
        self._flushed_at = began_at
        self._matcher.grants_until = began_at + self._away_seconds
