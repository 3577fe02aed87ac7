"""Sessions of workers: opened, kept alive by heartbeats, reconciled with what the cells say that they hold.

A session's row is committed before its first poll is answered. Who is dead, and what becomes of their leases, is in
burials; when a heartbeat is acknowledged, in heartbeats.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog

from holdfast.session_refusals import ReattachRequired, SessionExpired
from holdfast_coordinator.domain.events import RunLeased, TaskClaimed
from holdfast_coordinator.store.control_port import ControlStore, SessionRow

from .attachments import NO_MAIL, Attachment, Held, held_of
from .burials import HELD_PAGE, Burials, FindHeld, Submit, facts_of, undelivered
from .database_clock import ClockStep, DatabaseClock, Reading, boot_seconds
from .heartbeats import Heartbeats
from .matcher import Matcher
from .policy import SessionPolicy as SessionPolicy

log = structlog.get_logger(__name__)

LAG_MAX = timedelta(seconds=1)
"""A worker whose event loop is later than this gets no new work."""


@dataclass(slots=True)
class SessionOpening:
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
    encodings: tuple[str, ...] = ()
    """What of encodings it can read; empty when it does not say."""


def _ignore(_step: ClockStep) -> None:
    pass


class Sessions:
    """See the module. spawn: runs what is not awaited. on_step: called when the database's clock has stepped.

    database_clock: made for others too; else one of its own. has_turn: whether this replica is to look for dead
    sessions of others at that time.
    """

    def __init__(
        self, control: ControlStore, matcher: Matcher, *, replica_id: str, policy: SessionPolicy, submit: Submit,
        find_held: FindHeld, spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        on_step: Callable[[ClockStep], None] = _ignore, clock: Callable[[], float] = boot_seconds,
        database_clock: DatabaseClock | None = None, has_turn: Callable[[datetime], bool] = lambda _at: True,
    ) -> None:  # fmt: skip
        self._has_turn = has_turn
        self._control = control
        self._matcher = matcher
        self._replica_id = replica_id
        self.policy = policy
        self._find_held = find_held
        self._spawn = spawn
        self._clock = clock
        self._on_step = on_step
        self._database_clock = database_clock or DatabaseClock(policy.ttl, clock)
        self.heartbeats = Heartbeats(
            control, matcher, policy, clock=clock, read_clock=self.read_clock
        )  # fmt: skip
        self.burials = Burials(
            control, matcher, self.heartbeats, self._database_clock, replica_id=replica_id, policy=policy,
            submit=submit, find_held=find_held, spawn=spawn,
        )  # fmt: skip

    def database_time(self) -> datetime:
        """The database's time by this replica's estimate."""
        return self._database_clock.now()

    async def read_clock(self) -> datetime:
        """Reads the database's time, which `database_time` goes on from."""
        sent = self._clock()
        now = await self._control.now()
        step = self._database_clock.read(Reading(now, sent, self._clock()))
        if step is not None:
            self.burials.clock_stepped()
            self._on_step(step)
        return now

    async def open(self, worker: SessionOpening) -> tuple[Attachment, list[Held]]:
        """Opens or re-attaches a session; with it what the worker holds no longer, as far as that is known by then."""
        self.heartbeats.require_here()
        now = await self.read_clock()
        session_id = await self._living(worker.session_id) or f"ses_{secrets.token_hex(10)}"
        row = SessionRow(
            session_id=session_id,
            namespace=worker.namespace,
            queue=worker.queue,
            replica_id=self._replica_id,
            # Drawn, so that no two sessions of a worker begin with the same; the row counts up from there.
            attach_no=secrets.randbits(60) + 1,
            build=worker.build,
            host=worker.host,
            pid=worker.pid,
            slots=worker.slots,
            opened_at=now,
            heartbeat_at=now,
            workflows=tuple(worker.workflows),
            steps=worker.steps,
            encodings=worker.encodings,
        )
        # First: once a session serves a queue, a workflow that is not registered counts as unknown there.
        if worker.workflows:
            await self._control.register_workflows(worker.namespace, worker.workflows)
        attach_no = await self._control.save_session(row)
        if attach_no is None:
            raise SessionExpired(session_id)
        row.attach_no = attach_no
        attachment = self._attach(row, worker)
        ended = await self._reconcile_soon(attachment, worker.held) if worker.held or worker.session_id else []
        if worker.session_id:
            log.info("session_attached", ended=len(ended), **facts_of(row))
        else:
            log.info("session_opened", **facts_of(row))
        return attachment, ended

    def _attach(self, row: SessionRow, worker: SessionOpening) -> Attachment:
        """Attaches a session before it is reconciled; no poll can bring it work until its worker is answered.

        A lease that is committed while the cells are asked is then either in what they say or handed to this
        attachment. An older one would take it with it: the session lives, so nothing would ever end that lease.
        """
        current = self._matcher.attachment(row.session_id)
        if current is not None and current.attach_no > row.attach_no:
            raise ReattachRequired(row.session_id)  # the worker has asked again meanwhile, and listens to that answer
        attachment = Attachment(
            row.session_id,
            row.attach_no,
            namespace=worker.namespace,
            queue=worker.queue,
            workflows=worker.workflows,
            steps=worker.steps,
            build=worker.build,
            encodings=worker.encodings,
            heard_at=self._clock(),
        )
        attachment.granted.update(worker.held)
        attachment.mail_seen(worker.mail_seen)
        self._matcher.attach(attachment)
        return attachment

    def attached(self, session_id: str, attach_no: int) -> Attachment:
        """The attachment that a call names. Raises ReattachRequired when it is not here, and ReplicaAway."""
        self.heartbeats.require_here()
        attachment = self._matcher.attachment(session_id)
        if attachment is None or attachment.attach_no != attach_no:
            raise ReattachRequired(session_id)
        return attachment

    async def heartbeat(
        self, session_id: str, attach_no: int, *, msg_no: int, held: frozenset[Held],
        mail_seen: Mapping[Held, int] = NO_MAIL, lag: timedelta, draining: bool,
    ) -> list[Held]:  # fmt: skip
        """Notes a sign of life and waits until it is durable; what the worker holds no longer.

        Raises ReattachRequired, SessionExpired, ReplicaAway.
        """
        known = self._matcher.attachment(session_id)
        if known is None or known.attach_no != attach_no:
            # What the session holds is a matter of the replica that granted it; that it lives, any of them can say.
            await self.heartbeats.astray(session_id, attach_no)
            return []
        attachment = self.attached(session_id, attach_no)
        if msg_no > attachment.heartbeat_no:
            attachment.heartbeat_no = msg_no
            attachment.draining = draining
            attachment.lagging = lag > LAG_MAX
            attachment.mail_seen(mail_seen)
            missing_max = self.policy.released_after.total_seconds()
            self.burials.release_missing(attachment, attachment.missing_from(held, self._clock(), missing_max))
        await self.heartbeats.durable(attachment)
        self.attached(session_id, attach_no)  # it may have moved or died meanwhile
        return sorted(attachment.ended)

    def leave(self, session_id: str, attach_no: int) -> None:
        """The worker is sent to another replica: nothing more is granted to this attachment."""
        attachment = self._matcher.attachment(session_id)
        if attachment is not None and attachment.attach_no == attach_no:
            self._matcher.detach(session_id)
            self.burials.left(attachment)

    async def vouched(self, session_id: str, attach_no: int, *, msg_no: int) -> list[Held]:
        """Notes that a worker lives whose interpreter is held, as `heartbeat` does. It gets no new work."""
        attachment = self.attached(session_id, attach_no)
        if msg_no > attachment.heartbeat_no:
            attachment.heartbeat_no = msg_no
            attachment.lagging = True
        await self.heartbeats.durable(attachment)
        self.attached(session_id, attach_no)
        return sorted(attachment.ended)

    def give_up_soon(self, session_id: str, attach_no: int, *, held: Iterable[Held], lost: Iterable[Held]) -> None:
        """Takes what a worker cannot go on with: see Burials.give_up."""
        attachment = self.attached(session_id, attach_no)
        self._spawn(self.burials.give_up(attachment, held=frozenset(held), lost=frozenset(lost)))

    async def close(self, session_id: str, attach_no: int, *, lost: Iterable[Held] = ()) -> None:
        """Ends a session; what it still holds is offered to others at once. lost: what of it has ended its worker."""
        attachment = self.attached(session_id, attach_no)
        attachment.draining = True
        await self.burials.give_up(attachment, held=frozenset(), lost=frozenset(lost))
        # First: when this fails, the session is still here and its worker may repeat.
        await self._control.bury_session(session_id)
        self._matcher.detach(session_id)
        await self.burials.end_leases_of(session_id)
        log.info("session_closed", session_id=session_id)

    def stream_broke(self, session_id: str, attach_no: int) -> None:
        """The stream of an attachment was cut off; its worker opens another, or has ended."""
        attachment = self._matcher.attachment(session_id)
        if attachment is not None and attachment.attach_no == attach_no:
            attachment.broken = True

    async def end_undelivered(self, event: RunLeased | TaskClaimed) -> None:
        """Ends what was given to a session that had left when the commit came back; the sweep is the net under this."""
        await self.burials.end_one(event.session_id, held_of(event))

    # Loops

    async def flush_heartbeats(self) -> None:
        """See Heartbeats.flush."""
        for attachment in await self.heartbeats.flush():
            self.burials.left(attachment)

    async def reap(self) -> None:
        """See Burials.reap. The clock is read first: another replica may have been faster to see a step of it, and has
        written heartbeats by what it says since.

        Reads the rows of all sessions, and so only in its turn, or when one that is attached here is silent.
        """
        now = await self.read_clock()
        if self._has_turn(now) or self._is_one_silent():
            await self.burials.reap()
        else:
            self.burials.not_looked()

    def _is_one_silent(self) -> bool:
        silent_since = self._clock() - (self.policy.ttl - self.policy.watched_for).total_seconds()
        return any(min(one.heard_at, one.unwritten_since) < silent_since for one in self._matcher.sessions())

    async def sweep(self, owners: set[str]) -> None:
        """See Burials.sweep."""
        await self.burials.sweep(owners)

    # Details

    async def _living(self, session_id: str | None) -> str | None:
        if session_id is None:
            return None
        if await self._control.dead_or_unknown([session_id]):
            raise SessionExpired(session_id)
        return session_id

    async def _reconcile_soon(self, attachment: Attachment, held: frozenset[Held]) -> list[Held]:
        """Reconciles, without holding up the worker for longer than a little: it cannot send heartbeats until then."""
        ended: list[Held] = []
        reconciling = self._spawn(self._reconcile(attachment, held, ended))
        done, _ = await asyncio.wait([reconciling], timeout=self.policy.ttl.total_seconds() / 8)
        if done:
            reconciling.result()
        return ended

    async def _reconcile(self, attachment: Attachment, held: frozenset[Held], ended: list[Held]) -> None:
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
            await self.burials.end({key: undelivered(session_id, key) for key in surplus})
            tried |= surplus
            if not surplus or max(len(runs), len(tasks)) < limit:
                break
        for key in sorted(held - recorded):
            attachment.forget(key)
            attachment.ended.add(key)
            ended.append(key)
