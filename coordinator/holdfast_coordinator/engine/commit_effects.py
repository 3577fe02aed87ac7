"""What a replica does when something is committed: work and mail go to its sessions, others are rung for.

In memory, and at once: what is lost of it is found in the rows. Never waits.
"""

from typing import assert_never

from holdfast_coordinator.domain.events import (
    AlarmSet,
    LeaseEnded,
    LeaseLost,
    LeaseReturned,
    MailArrived,
    OutboxDue,
    ResumedRun,
    RunEnded,
    RunLeased,
    RunReady,
    StalledRun,
    TaskClaimed,
    TaskReady,
)
from holdfast_coordinator.domain.rows import AlarmKind

from .background_tasks import Background
from .cells import Cell
from .claims import Claims
from .committed import Committed
from .doorbell import Doorbell
from .matcher import Matcher
from .outbox import Outbox
from .sessions import Sessions
from .waiters import Waiters


class CommitEffects:
    """See the module."""

    def __init__(
        self, matcher: Matcher, sessions: Sessions, claims: Claims, waiters: Waiters, outbox: Outbox,
        doorbell: Doorbell, background: Background,
    ) -> None:  # fmt: skip
        self._matcher = matcher
        self._sessions = sessions
        self._claims = claims
        self._waiters = waiters
        self._outbox = outbox
        self._doorbell = doorbell
        self._background = background

    def act_on(self, cell: Cell, committed: Committed) -> None:
        """Work and mail go to sessions here, or other replicas are rung for."""
        for event in committed.events:
            match event:
                case RunLeased() | TaskClaimed():
                    if not self._matcher.handed_over(event):
                        self._background.spawn(self._sessions.end_undelivered(event))
                case LeaseReturned():
                    self._matcher.returned(event)
                case RunEnded(result):
                    self._waiters.has_closed(result)
                    self._doorbell.closed(result.run_id)
                case RunReady(namespace, queue, workflow):
                    self._matcher.left_ready((namespace, queue), workflow)
                    self._doorbell.run_ready((namespace, queue, workflow))
                case TaskReady(namespace, queue, name, wait):
                    if wait:
                        self._claims.claim_after(wait, (namespace, queue), name)
                    else:
                        self._matcher.left_queued((namespace, queue), name)
                        self._doorbell.step_ready((namespace, queue, name))
                case MailArrived():
                    if not self._matcher.mail_arrived(event):
                        self._doorbell.held(event.session_id, event.run_id)
                case LeaseEnded():
                    if not self._matcher.ended(event):
                        self._doorbell.held(event.session_id, event.run_id)
                case LeaseLost() | StalledRun() | ResumedRun():
                    pass  # only noted
                case AlarmSet(alarm):
                    watch = cell.alarms if alarm.kind < AlarmKind.OUTBOX_CHILD else cell.outbox
                    watch.alarm_set(alarm.due_at)
                case OutboxDue():
                    self._background.spawn(self._outbox.deliver(event.alarm, event.mail, event.to_run_id))
                case _:
                    assert_never(event)
