"""Which session gets a run or a queued step, and which queues may hold work that is not claimed.

In memory, for the sessions of this replica. A hand-off reserves room in the session; what it cannot place is
left ready in the database and remembered as a belief per (namespace, queue, name), until a claim takes it up.
Beliefs are kept for queues that have sessions here: a session that comes expects work of all its names anyway.
Nothing is handed off while work of its name is believed to wait: a claim takes what waits by priority and age, and
what has just become ready is behind it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from holdfast_coordinator.domain.events import LeaseEnded, LeaseReturned, MailArrived, RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import OpenRun, TaskRow
from holdfast_coordinator.store.port import Place

from .attachments import Attachment, Held, held_of
from .database_clock import boot_seconds
from .reservations import Reservations

QueueKey = tuple[str, str]
"""(namespace, queue)."""
COMPARED_MAX = 16
"""How many sessions that could take a run or a step are compared: to find the freest of a thousand took 0.7 ms each."""


@dataclass(slots=True)
class _Queue:
    """The sessions of one queue, and the names of which work may wait there; claimed: those that a claim looks for."""

    attachments: list[Attachment] = field(default_factory=list)
    workflows: set[str] = field(default_factory=set)
    steps: set[str] = field(default_factory=set)
    claimed_workflows: set[str] = field(default_factory=set)
    claimed_steps: set[str] = field(default_factory=set)
    first: int = 0
    """Which of the sessions was looked at first, the last time."""

    def in_turn(self) -> list[Attachment]:
        """The sessions, beginning with another one each time where not all of them are going to be compared."""
        if len(self.attachments) <= COMPARED_MAX:
            return self.attachments
        self.first = (self.first + 1) % len(self.attachments)
        return self.attachments[self.first :] + self.attachments[: self.first]


class Matcher(Reservations):
    """See the module. `on_room` is called with a queue when a session there has room for more.

    silent_max_seconds: a session that gave no sign of life for longer gets nothing. grants_until: nothing is given
    after this; a replica that has not looked at its attachments may have lost them.
    """

    def __init__(self, clock: Callable[[], float] = boot_seconds, *, silent_max_seconds: float = inf) -> None:
        self._clock = clock
        self._silent_max_seconds = silent_max_seconds
        self.grants_until = inf
        self._attachments: dict[str, Attachment] = {}
        self.attachment: Callable[[str], Attachment | None] = self._attachments.get
        """The attachment of a session, if it is here."""
        self._queues: dict[QueueKey, _Queue] = {}
        self._reserved: list[tuple[Attachment, bool]] = []
        self.on_room: Callable[[QueueKey], None] = lambda _key: None

    # Sessions

    def attach(self, attachment: Attachment) -> None:
        """Adds a session, in place of an older attachment of the same one; its queue may have a backlog."""
        self.detach(attachment.session_id)
        self._attachments[attachment.session_id] = attachment
        key = (attachment.namespace, attachment.queue)
        self._queues.setdefault(key, _Queue()).attachments.append(attachment)
        self.expect_work(key, attachment.workflows, attachment.steps)

    def detach(self, session_id: str) -> None:
        """Removes a session, if it is here; its open poll is answered with that."""
        attachment = self._attachments.pop(session_id, None)
        if attachment is not None:
            key = (attachment.namespace, attachment.queue)
            self._queues[key].attachments.remove(attachment)
            if not self._queues[key].attachments:
                del self._queues[key]
            attachment.news.set()

    def sessions(self) -> list[Attachment]:
        """The sessions of this replica; may be called in any thread."""
        return list(self._attachments.values())

    def serves(self, key: QueueKey) -> bool:
        """True when a session of this replica takes work of the queue."""
        return key in self._queues

    # Hand-off (called while a batch is decided)

    def begin(self) -> None:
        """See Reservations."""
        self._reserved.clear()

    def undo(self) -> None:
        """See Reservations."""
        for attachment, is_run in self._reserved:
            attachment.settle(run=is_run, gets=False)
        self._reserved.clear()

    def run(self, run: OpenRun, *, claimed: bool = False) -> str | None:
        """The session that had the run last if it has room, else the freest of some that know the workflow."""
        queue = self._queues.get((run.namespace, run.queue))
        if queue is None:
            return None
        if not claimed and (run.workflow in queue.workflows or run.workflow in queue.claimed_workflows):
            return None
        now = self._clock()
        if run.sticky is not None:
            sticky = self._attachments.get(run.sticky)
            if sticky is not None and sticky.free_runs > 0 and self._fits_run(sticky, run, now):
                return self._reserve(sticky, run=True)
        best: Attachment | None = None
        fitting = 0
        for attachment in queue.in_turn():
            if attachment.free_runs <= 0 or not self._fits_run(attachment, run, now):
                continue
            if best is None or _room(attachment, run) > _room(best, run):
                best = attachment
            fitting += 1
            if fitting >= COMPARED_MAX and best.free_slots > 0 and run.build in (None, best.build):
                break
        return None if best is None else self._reserve(best, run=True)

    def task(self, task: TaskRow, *, claimed: bool = False) -> str | None:
        """The freest of some sessions that know the step."""
        queue = self._queues.get((task.namespace, task.queue))
        if queue is None or (not claimed and (task.name in queue.steps or task.name in queue.claimed_steps)):
            return None
        now = self._clock()
        best: Attachment | None = None
        fitting = 0
        for attachment in queue.in_turn():
            if attachment.free_slots <= 0 or task.name not in attachment.steps or not self._takes_work(attachment, now):
                continue
            if best is None or attachment.free_slots > best.free_slots:
                best = attachment
            fitting += 1
            if fitting >= COMPARED_MAX:
                break
        return None if best is None else self._reserve(best, run=False)

    def release(self, event: RunLeased | TaskClaimed) -> None:
        """See Reservations."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.settle(run=isinstance(event, RunLeased), gets=False)

    def doubt(self, event: RunLeased | TaskClaimed) -> None:
        """See Reservations. It counts as granted: missing from the heartbeats, it is ended after a while."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.settle(run=isinstance(event, RunLeased), gets=False)
            attachment.granted.add(held_of(event))

    def _reserve(self, attachment: Attachment, *, run: bool) -> str:
        attachment.reserve(run=run)
        self._reserved.append((attachment, run))
        return attachment.session_id

    def _fits_run(self, attachment: Attachment, run: OpenRun, now: float) -> bool:
        return (
            run.workflow in attachment.workflows
            and attachment.namespace == run.namespace
            and attachment.queue == run.queue
            and attachment.build != run.stall_build
            # The session that lost it: dead, whether or not this replica has seen that.
            and not (run.losses and run.sticky == attachment.session_id)
            and self._takes_work(attachment, now)
        )

    def _takes_work(self, attachment: Attachment, now: float) -> bool:
        # To the other replicas it is silent, too, while its row cannot say that it lives.
        is_heard = now - min(attachment.heard_at, attachment.unwritten_since) < self._silent_max_seconds
        return is_heard and now <= self.grants_until and attachment.takes_work(now)

    # After a commit

    def handed_over(self, event: RunLeased | TaskClaimed) -> bool:
        """A lease or a claim is committed: it goes out with the next poll answer. False when its session has left."""
        attachment = self._attachments.get(event.session_id)
        if attachment is None:
            return False
        attachment.settle(run=isinstance(event, RunLeased), gets=True)
        attachment.hand(event)
        return True

    def mail_arrived(self, event: MailArrived) -> bool:
        """Mail came for a run that a session holds; False when it is not attached here."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.hand_mail(event)
        return attachment is not None

    def ended(self, event: LeaseEnded) -> bool:
        """A session holds something no longer; False when it is not attached here."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.hand_end(event)
        return attachment is not None

    def returned(self, event: LeaseReturned) -> None:
        """A session gave a run back, so it has room for another."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.forget((event.run_id, 0, event.epoch))
            attachment.free_runs += 1
            self.has_room(attachment)

    def attempt_ended(self, session_id: str, key: Held) -> None:
        """A session reports the end of a queued attempt, so it has a slot for another; a repeat frees no second one."""
        attachment = self._attachments.get(session_id)
        if attachment is not None and (key in attachment.granted or key in attachment.ended):
            attachment.forget(key)
            attachment.ended.discard(key)
            attachment.free_slots += 1
            self.has_room(attachment)

    def has_room(self, attachment: Attachment) -> None:
        """Claims for the queue of a session, where work may wait."""
        key = (attachment.namespace, attachment.queue)
        queue = self._queues.get(key)
        # Also what a claim looks for: it may have counted the room before there was this.
        if queue is not None and (queue.workflows or queue.steps or queue.claimed_workflows or queue.claimed_steps):
            self.on_room(key)

    # Beliefs about what waits in the database

    def left_ready(self, key: QueueKey, workflow: str) -> None:
        """A run of this workflow was left ready."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.workflows.add(workflow)
            # The room that its own batch has freed could not be given away in it.
            if any(workflow in one.workflows for one in self._with_room(queue, runs=True)):
                self.on_room(key)

    def left_queued(self, key: QueueKey, step: str) -> None:
        """A queued step of this name waits."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.steps.add(step)
            if any(step in one.steps for one in self._with_room(queue, runs=False)):
                self.on_room(key)

    def expect_work(self, key: QueueKey, workflows: Iterable[str], steps: Iterable[str]) -> None:
        """Work of these names may wait: another replica may have left it."""
        self.put_back(key, workflows, steps)
        self.on_room(key)

    def claim_where_believed(self) -> None:
        """Claims for every queue where work is believed to wait: a claim may have failed, or a session been silent."""
        for key, queue in list(self._queues.items()):
            if queue.workflows or queue.steps:
                self.on_room(key)

    def unknown_names(self) -> tuple[list[Place], list[Place]]:
        """Workflows and steps that sessions here know and of which no work is believed to wait, with their queues."""
        runs: list[Place] = []
        steps: list[Place] = []
        for key, queue in self._queues.items():
            workflows_known = {name for one in queue.attachments for name in one.workflows}
            steps_known = {name for one in queue.attachments for name in one.steps}
            runs += [(*key, name) for name in workflows_known - queue.workflows]
            steps += [(*key, name) for name in steps_known - queue.steps]
        return runs, steps

    def take_backlog(self, key: QueueKey) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Takes up for a claim what may wait and sessions with room know: workflows and steps.

        It is believed to wait until `end_claim`, which must follow; one claim of a queue is under way at a time. What
        is left behind meanwhile is a new belief, whatever the claim finds.
        """
        queue = self._queues.get(key)
        if queue is None:
            return (), ()
        workflows = queue.workflows & {name for one in self._with_room(queue, runs=True) for name in one.workflows}
        steps = queue.steps & {name for one in self._with_room(queue, runs=False) for name in one.steps}
        queue.workflows -= workflows
        queue.steps -= steps
        queue.claimed_workflows, queue.claimed_steps = workflows, steps
        return tuple(sorted(workflows)), tuple(sorted(steps))

    def end_claim(self, key: QueueKey, workflows: Iterable[str], steps: Iterable[str]) -> None:
        """A claim has ended; of these names more may wait than it has taken."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.claimed_workflows, queue.claimed_steps = set(), set()
        self.put_back(key, workflows, steps)

    def lone_builds(self, key: QueueKey, workflows: Iterable[str]) -> tuple[str, ...]:
        """For each workflow the build of all sessions with room that know it; "" when they have several."""
        queue = self._queues.get(key)
        with_room = list(self._with_room(queue, runs=True)) if queue is not None else []
        builds = [{one.build for one in with_room if workflow in one.workflows} for workflow in workflows]
        return tuple(next(iter(found)) if len(found) == 1 else "" for found in builds)

    def put_back(self, key: QueueKey, workflows: Iterable[str], steps: Iterable[str]) -> None:
        """Work of these names may wait."""
        queue = self._queues.get(key)
        if queue is not None:
            queue.workflows.update(workflows)
            queue.steps.update(steps)

    def room(self, key: QueueKey) -> tuple[int, int]:
        """How many runs and how many queued steps the sessions of a queue could take."""
        queue = self._queues.get(key)
        if queue is None:
            return 0, 0
        return (
            sum(attachment.free_runs for attachment in self._with_room(queue, runs=True)),
            sum(attachment.free_slots for attachment in self._with_room(queue, runs=False)),
        )

    def _with_room(self, queue: _Queue, *, runs: bool) -> Iterator[Attachment]:
        now = self._clock()
        for attachment in queue.attachments:
            if (attachment.free_runs if runs else attachment.free_slots) > 0 and self._takes_work(attachment, now):
                yield attachment


def _room(attachment: Attachment, run: OpenRun) -> tuple[bool, bool, int]:
    """Sessions with a free slot first, then those with the build of the run, then the emptiest."""
    return attachment.free_slots > 0, attachment.build == run.build, attachment.free_runs
