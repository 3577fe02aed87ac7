"""Which session gets a run or a queued step, and which queues may hold work that nobody has claimed.

In memory, for the sessions of this replica. A hand-off reserves room in the session; what it cannot place is
left ready in the database and remembered as a belief per (namespace, queue, name), until a claim finds nothing.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from holdfast_coordinator.domain.events import LeaseEnded, LeaseReturned, MailArrived, RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import OpenRun, TaskRow

from .attachments import Attachment, Held
from .cell_writer import Reservations

QueueKey = tuple[str, str]
"""(namespace, queue)."""


class Matcher(Reservations):
    """See the module. `on_room` is called with a queue when a session there has room for more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._attachments: dict[str, Attachment] = {}
        self._queues: dict[QueueKey, list[Attachment]] = defaultdict(list)
        self._run_backlog: dict[QueueKey, set[str]] = defaultdict(set)
        self._task_backlog: dict[QueueKey, set[str]] = defaultdict(set)
        self.on_room: Callable[[QueueKey], None] = lambda _key: None

    # Sessions

    def attach(self, attachment: Attachment) -> None:
        """Adds a session, in place of an older attachment of the same one; its queue may have a backlog."""
        self.detach(attachment.session_id)
        self._attachments[attachment.session_id] = attachment
        key = (attachment.namespace, attachment.queue)
        self._queues[key].append(attachment)
        self.expect_work(key, attachment.workflows, attachment.steps)

    def detach(self, session_id: str) -> Attachment | None:
        """Removes a session; None when it is not here."""
        attachment = self._attachments.pop(session_id, None)
        if attachment is not None:
            self._queues[attachment.namespace, attachment.queue].remove(attachment)
            attachment.news.set()
        return attachment

    def attachment(self, session_id: str) -> Attachment | None:
        """The attachment of a session, if it is here."""
        return self._attachments.get(session_id)

    def attachments(self) -> Iterable[Attachment]:
        """All sessions of this replica."""
        return self._attachments.values()

    def serves(self, key: QueueKey) -> bool:
        """True when a session of this replica takes work of the queue."""
        return bool(self._queues.get(key))

    def queues(self) -> list[QueueKey]:
        """Queues that have sessions here."""
        return [key for key, attachments in self._queues.items() if attachments]

    # Hand-off (called while a batch is decided)

    def run(self, run: OpenRun) -> str | None:
        """The session that had the run last if it has room, else the freest one that knows the workflow."""
        now = self._clock()
        if run.sticky is not None:
            sticky = self._attachments.get(run.sticky)
            if sticky is not None and sticky.free_runs > 0 and self._fits_run(sticky, run, now):
                sticky.free_runs -= 1
                return sticky.session_id
        best: Attachment | None = None
        for attachment in self._queues.get((run.namespace, run.queue), ()):
            if attachment.free_runs <= 0 or not self._fits_run(attachment, run, now):
                continue
            if best is None or _room(attachment, run) > _room(best, run):
                best = attachment
        if best is None:
            return None
        best.free_runs -= 1
        return best.session_id

    def task(self, task: TaskRow) -> str | None:
        """The freest session that knows the step."""
        now = self._clock()
        best: Attachment | None = None
        for attachment in self._queues.get((task.namespace, task.queue), ()):
            if attachment.free_slots <= 0 or task.name not in attachment.steps or not attachment.takes_work(now):
                continue
            if best is None or attachment.free_slots > best.free_slots:
                best = attachment
        if best is None:
            return None
        best.free_slots -= 1
        return best.session_id

    def release(self, event: RunLeased | TaskClaimed) -> None:
        """The batch failed: the room is free again."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            if isinstance(event, RunLeased):
                attachment.free_runs += 1
            else:
                attachment.free_slots += 1

    def _fits_run(self, attachment: Attachment, run: OpenRun, now: float) -> bool:
        return (
            run.workflow in attachment.workflows
            and attachment.namespace == run.namespace
            and attachment.queue == run.queue
            and attachment.build != run.stall_build
            and attachment.takes_work(now)
        )

    # After a commit

    def leased(self, event: RunLeased) -> None:
        """A lease is committed: it goes out with the next poll answer of its session."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.hand_lease(event)

    def claimed(self, event: TaskClaimed) -> None:
        """A claim is committed: it goes out with the next poll answer of its session."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.hand_task(event)

    def mail_arrived(self, event: MailArrived) -> None:
        """Mail came for a run that a session here may hold."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.hand_mail(event)

    def ended(self, event: LeaseEnded) -> None:
        """A session here may hold something no longer."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.hand_end(event)

    def returned(self, event: LeaseReturned) -> None:
        """A session gave a run back, so it has room for another."""
        attachment = self._attachments.get(event.session_id)
        if attachment is not None:
            attachment.forget((event.run_id, 0, event.epoch))
            attachment.free_runs += 1
            self.has_room(attachment)

    def attempt_ended(self, session_id: str, key: Held) -> None:
        """A queued attempt of a session ended, so it has a slot for another."""
        attachment = self._attachments.get(session_id)
        if attachment is not None:
            attachment.forget(key)
            attachment.free_slots += 1
            self.has_room(attachment)

    def has_room(self, attachment: Attachment) -> None:
        """Claims for the queue of a session, where work may wait."""
        key = (attachment.namespace, attachment.queue)
        if self._run_backlog.get(key) or self._task_backlog.get(key):
            self.on_room(key)

    # Beliefs about what waits in the database

    def left_ready(self, key: QueueKey, workflow: str) -> None:
        """A run of this workflow was left ready."""
        self._run_backlog[key].add(workflow)

    def left_queued(self, key: QueueKey, step: str) -> None:
        """A queued step of this name waits, or will."""
        self._task_backlog[key].add(step)

    def step_is_due(self, key: QueueKey, step: str) -> None:
        """A queued step of this name may run from now on."""
        self.left_queued(key, step)
        self.on_room(key)

    def expect_work(self, key: QueueKey, workflows: Iterable[str], steps: Iterable[str]) -> None:
        """Work of these names may wait: another replica may have left it."""
        self._run_backlog[key].update(workflows)
        self._task_backlog[key].update(steps)
        self.on_room(key)

    def expect_everywhere(self) -> None:
        """Work of every name that a session here knows may wait."""
        for key in self.queues():
            attachments = self._queues[key]
            self.expect_work(
                key,
                {name for attachment in attachments for name in attachment.workflows},
                {name for attachment in attachments for name in attachment.steps},
            )

    def claimable_runs(self, key: QueueKey) -> tuple[tuple[str, ...], int]:
        """Workflows that may wait and that sessions with room know; and how many runs they could take."""
        now = self._clock()
        free = [one for one in self._queues.get(key, ()) if one.free_runs > 0 and one.takes_work(now)]
        known = {name for attachment in free for name in attachment.workflows}
        names = tuple(sorted(self._run_backlog.get(key, set()) & known))
        return names, sum(attachment.free_runs for attachment in free)

    def claimable_tasks(self, key: QueueKey) -> tuple[tuple[str, ...], int]:
        """Steps that may wait and that sessions with a free slot know; and how many they could take."""
        now = self._clock()
        free = [one for one in self._queues.get(key, ()) if one.free_slots > 0 and one.takes_work(now)]
        known = {name for attachment in free for name in attachment.steps}
        names = tuple(sorted(self._task_backlog.get(key, set()) & known))
        return names, sum(attachment.free_slots for attachment in free)

    def no_runs_left(self, key: QueueKey, workflows: Iterable[str]) -> None:
        """A claim found fewer runs of these workflows than it could take."""
        self._run_backlog[key].difference_update(workflows)

    def no_tasks_left(self, key: QueueKey, steps: Iterable[str]) -> None:
        """A claim found fewer queued steps of these names than it could take."""
        self._task_backlog[key].difference_update(steps)


def _room(attachment: Attachment, run: OpenRun) -> tuple[bool, bool, int]:
    """Sessions with a free slot first, then those with the build of the run, then the emptiest."""
    return attachment.free_slots > 0, attachment.build == run.build, attachment.free_runs
