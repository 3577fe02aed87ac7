"""The sessions that are attached to this replica: what they can run, what they are handed, what they hold.

In memory only; a worker that finds another replica, or this one restarted, attaches again and is reconciled.
Delivery is acknowledged: what was handed out stays here until the worker names it.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from holdfast_coordinator.domain.events import LeaseEnded, MailArrived, RunLeased, TaskClaimed

from .held_mail import HeldMail, RunMail, UnreadMail

Held = tuple[str, int, int]
"""(run id, step number or 0 for the run's lease, epoch)."""
NO_MAIL: Mapping[Held, int] = MappingProxyType({})
"""A worker says nothing of the mail of its runs."""

POLL_GAP_SECONDS = 2.0
"""Seconds after the answer to its last poll in which a session still gets work: it is about to poll again."""


def held_of(event: RunLeased | TaskClaimed) -> Held:
    """What the session of a lease or a claim holds by it."""
    if isinstance(event, RunLeased):
        return event.run.run_id, 0, event.epoch
    return event.task.run_id, event.task.number, event.epoch


@dataclass(slots=True)
class Handed:
    """What one poll answer brings. unread: mail that is read for it when the poll takes it."""

    leases: list[RunLeased] = field(default_factory=list)
    tasks: list[TaskClaimed] = field(default_factory=list)
    mail: list[RunMail] = field(default_factory=list)
    ended: list[LeaseEnded] = field(default_factory=list)
    unread: list[UnreadMail] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.leases or self.tasks or self.mail or self.ended or self.unread)

    @property
    def runs_with_mail(self) -> list[tuple[str, int]]:
        """The runs, with their epochs, whose mail it brings."""
        return [(one.run_id, one.epoch) for one in self.mail] + [(one.run_id, one.epoch) for one in self.unread]


class Attachment:
    """One session on this replica.

    reserved_runs, reserved_slots: of batches that are not committed yet; not in free_runs and free_slots.
    granted: what the session holds as far as this replica knows; what stays missing from its heartbeats is ended.
    heard_at: when the session last gave a sign of life. broken: the stream that brought it work was cut off.
    unwritten_since: since when its signs of life cannot be written because its row is locked; infinite while they can.
    """

    __slots__ = (
        "attach_no",
        "broken",
        "build",
        "draining",
        "encodings",
        "ended",
        "free_runs",
        "free_slots",
        "granted",
        "heard_at",
        "heartbeat_no",
        "held_before",
        "lagging",
        "last_poll_at",
        "mail",
        "missing_since",
        "msg_no",
        "namespace",
        "news",
        "polling",
        "queue",
        "releasing",
        "reserved_runs",
        "reserved_slots",
        "session_id",
        "steps",
        "unacknowledged",
        "undelivered",
        "unwritten_since",
        "workflows",
    )  # fmt: skip

    def __init__(
        self, session_id: str, attach_no: int, *, namespace: str, queue: str, workflows: Iterable[str],
        steps: Iterable[str], build: str, encodings: tuple[str, ...] = (), heard_at: float = 0.0,
    ) -> None:  # fmt: skip
        self.session_id = session_id
        self.attach_no = attach_no
        self.namespace = namespace
        self.queue = queue
        self.workflows = frozenset(workflows)
        self.steps = frozenset(steps)
        self.build = build
        self.encodings = encodings
        self.free_slots = 0
        self.free_runs = 0
        self.reserved_slots = 0
        self.reserved_runs = 0
        self.heard_at = heard_at
        self.unwritten_since = math.inf
        self.broken = False
        self.draining = False
        self.lagging = False
        self.polling = False
        self.last_poll_at = 0.0
        self.msg_no = 0
        self.heartbeat_no = 0
        self.news = asyncio.Event()
        self.undelivered = Handed()
        self.mail = HeldMail()
        self.unacknowledged: dict[Held, RunLeased | TaskClaimed] = {}
        self.granted: set[Held] = set()
        self.missing_since: dict[Held, float] = {}
        self.held_before: frozenset[Held] = frozenset()
        self.ended: set[Held] = set()
        self.releasing: set[Held] = set()

    def takes_work(self, now: float) -> bool:
        """True when new work would reach it soon."""
        if self.draining or self.lagging:
            return False
        return self.polling or now - self.last_poll_at < POLL_GAP_SECONDS

    # Work for the next poll answer

    def reserve(self, *, run: bool) -> None:
        """A batch that is being decided gives the session a run, or else a queued attempt."""
        if run:
            self.free_runs -= 1
            self.reserved_runs += 1
        else:
            self.free_slots -= 1
            self.reserved_slots += 1

    def settle(self, *, run: bool, gets: bool) -> None:
        """The batch that reserved is committed, or has failed: then the room is free again."""
        # An attachment that took the place of another meanwhile has nothing reserved, and its next poll says its room.
        if run and self.reserved_runs:
            self.reserved_runs -= 1
            self.free_runs += not gets
        elif not run and self.reserved_slots:
            self.reserved_slots -= 1
            self.free_slots += not gets

    def hand(self, event: RunLeased | TaskClaimed) -> None:
        """Queues a lease or a claimed attempt for the next poll answer."""
        key = held_of(event)
        if not key[1] and key not in self.granted:
            self.mail.forget(key[0])  # a new lease brings the mail that waits
        self.granted.add(key)
        # It may have been in doubt until now, and has only now begun to be missing.
        self.missing_since.pop(key, None)
        if isinstance(event, RunLeased):
            self.undelivered.leases.append(event)
        else:
            self.undelivered.tasks.append(event)
        self.news.set()

    def hand_mail(self, event: MailArrived) -> None:
        """Queues mail of a held run, which a commit here had at hand, for the next poll answer."""
        if (event.run_id, 0, event.epoch) in self.granted:
            self.mail.arrived(event)
            self.news.set()

    def mail_waits(self, run_id: str, epoch: int, *, from_number: int = 0) -> None:
        """The rows have mail of a held run that its worker may not have; see HeldMail.waits."""
        if (run_id, 0, epoch) in self.granted:
            self.mail.waits(run_id, epoch, from_number=from_number)
            self.news.set()

    def mail_seen(self, numbers: Mapping[Held, int]) -> None:
        """The worker says up to which numbers it has the mail of runs that it holds."""
        self.mail.said({key[0]: number for key, number in numbers.items() if key in self.granted})

    def hand_end(self, event: LeaseEnded) -> None:
        """Notifies the worker that it holds something no longer; best effort, the next heartbeat says so too."""
        key = (event.run_id, event.number, event.epoch)
        self.forget(key)
        self.ended.add(key)
        waiting = self.undelivered
        waiting.leases = [one for one in waiting.leases if held_of(one) != key]
        waiting.tasks = [one for one in waiting.tasks if held_of(one) != key]
        waiting.ended.append(event)
        self.news.set()

    # Polls

    def begin_poll(self, *, msg_no: int, free_slots: int, free_runs: int, received: Sequence[Held]) -> None:
        """Takes a poll's view of the worker: what it received is settled, the rest is handed out again."""
        if self.polling:
            # The overtaken poll is answered now; it would stay open else, and its worker may overtake often.
            self.news.set()
            self.news = asyncio.Event()
            if not self.undelivered.is_empty or self.mail.is_waiting:
                self.news.set()
        self.msg_no = msg_no
        self.polling = True
        self.broken = False
        for key in received:
            self.unacknowledged.pop(key, None)
        again = list(self.unacknowledged.values())
        self.unacknowledged.clear()
        for event in again:
            self.hand(event)
        # What waits to be delivered will use room that the worker still counts as free.
        self.free_runs = free_runs - len(self.undelivered.leases) - self.reserved_runs
        self.free_slots = free_slots - len(self.undelivered.tasks) - self.reserved_slots

    def end_poll(self, msg_no: int, now: float) -> None:
        """A poll is about to be answered, or was given up; no matter when a newer one is open."""
        if self.msg_no == msg_no:
            self.polling = False
            self.last_poll_at = now

    def take(self) -> Handed:
        """What the poll answer brings; leases and attempts are remembered until the worker names them."""
        handed, self.undelivered = self.undelivered, Handed()
        handed.mail, handed.unread = self.mail.take()
        self.news.clear()
        for lease in handed.leases:
            self.unacknowledged[held_of(lease)] = lease
        for claim in handed.tasks:
            self.unacknowledged[held_of(claim)] = claim
        return handed

    def put_back(self, later: Handed) -> None:
        """Keeps what did not go out with a poll answer for the next one, before what has come meanwhile."""
        if later.is_empty:
            return
        waiting = self.undelivered
        # Gone from `unacknowledged` is what was taken away meanwhile, or what a newer poll hands out again already.
        waiting.leases[:0] = [one for one in later.leases if self.unacknowledged.pop(held_of(one), None) is not None]
        waiting.tasks[:0] = [one for one in later.tasks if self.unacknowledged.pop(held_of(one), None) is not None]
        for run_id, epoch in later.runs_with_mail:
            self.mail_waits(run_id, epoch)
        waiting.ended[:0] = later.ended
        self.news.set()

    # What the session holds

    def acknowledged(self) -> set[Held]:
        """What the session has said that it has; also what came over a stream that broke: it may have ended of it."""
        unsent = {held_of(event) for event in self.unsent()}
        return self.granted - unsent - (set() if self.broken else self.unacknowledged.keys())

    def unsent(self) -> list[RunLeased | TaskClaimed]:
        """What it was given and no answer has brought."""
        return [*self.undelivered.leases, *self.undelivered.tasks]

    def forget(self, key: Held) -> None:
        """The session holds this no longer: it gave it back, or it was taken from it."""
        self.granted.discard(key)
        if not key[1]:
            self.mail.forget(key[0])
        self.unacknowledged.pop(key, None)
        self.missing_since.pop(key, None)

    def missing_from(self, held: frozenset[Held], now: float, older_than: float) -> list[Held]:
        """What was granted but is missing from two successive full sets of the worker for `older_than` seconds.

        Lost on the way, or dropped by the worker: either way it does not hold it, and another should go on.
        """
        for key in held & self.unacknowledged.keys():
            del self.unacknowledged[key]
        missing = [key for key in self.granted if key not in held and key not in self.held_before]
        self.held_before = held
        self.ended &= held
        self.missing_since = {key: self.missing_since.get(key, now) for key in missing}
        return [key for key, since in self.missing_since.items() if now - since > older_than]
