"""Code of the user that is called when something has happened to a run or a step: once it is recorded, and in order.

What is called comes from entries that are committed, so it says nothing that did not happen. It never touches a run:
what it raises is logged, and how long it takes holds up nobody but the calls after it.
"""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from holdfast.channel.leases import Lease, Transition
from holdfast.journal import (
    AttemptEnded,
    AttemptRecord,
    AttemptStarted,
    Entry,
    Failure,
    Mail,
    MailConsumed,
    RunClosed,
    StepCompleted,
    StepFailed,
    StepResult,
    StepScheduled,
    StepSkipped,
)
from holdfast.statuses import AttemptOutcome, RunStatus

log = logging.getLogger("holdfast.worker")

LifecycleKind = Literal[
    "run_started", "step_started", "step_succeeded", "step_retried", "step_failed", "step_skipped", "run_ended"
]
EVENTS_WAITING_MAX = 10_000
"""How many events may wait for slow code of the user; of more the new ones are dropped, which the log says once."""


@dataclass(slots=True, frozen=True)
class LifecycleEvent:
    """What has happened. at: when, by the journal. id: the business id, None without one.

    step, number: of a step, its name and its number in the run. attempt: from 1; 0 where there was none. error: why an
    attempt, a step or the run failed, or why a step was skipped. status: how the run has ended.
    """

    kind: LifecycleKind
    run_id: str
    workflow: str
    id: str | None
    at: datetime
    step: str | None = None
    number: int | None = None
    attempt: int | None = None
    error: Failure | None = None
    status: RunStatus | None = None


class Lifecycle:
    """What a worker calls about the runs that it has: `Worker(client, workflows=[...], lifecycle=Alerts())`.

    Override what is of interest, as `def` or `async def`. Calls come one after the other, in the order of the journal
    of each run, after what they are about was committed. Each comes at most once: a worker that dies in between calls
    nothing any more, and what the coordinator ends by itself, a deadline or a terminate, has no run_ended. What must
    not be missed belongs into a step. What is raised here is logged, and nothing else comes of it.
    """

    def run_started(self, event: LifecycleEvent) -> object:
        """The code of a run has begun."""

    def step_started(self, event: LifecycleEvent) -> object:
        """An attempt of a step has started; of a queued step this comes with its result."""

    def step_succeeded(self, event: LifecycleEvent) -> object:
        """A step has returned its value."""

    def step_retried(self, event: LifecycleEvent) -> object:
        """An attempt failed, was lost or handed back, and another one follows. error: why, if it says."""

    def step_failed(self, event: LifecycleEvent) -> object:
        """A step has failed for good."""

    def step_skipped(self, event: LifecycleEvent) -> object:
        """A step was left out because of what became of another."""

    def run_ended(self, event: LifecycleEvent) -> object:
        """The code of a run has ended, or has gone on as a new run. status: how."""


class RunEvents:
    """What happens to one run, of its committed entries. Pure but for `sink`."""

    __slots__ = ("_id", "_mail", "_names", "_run_id", "_sink", "_workflow")

    def __init__(self, lease: Lease, sink: Callable[[LifecycleEvent], None]) -> None:
        self._run_id = lease.run_id
        self._workflow = lease.workflow
        self._id = lease.id or None
        self._sink = sink
        self._names: dict[int, str] = {}
        self._mail: dict[int, Mail] = {}

    def replayed(self, entry: Entry) -> None:
        """An entry that was committed before, of which nothing is said."""
        if isinstance(entry, StepScheduled):
            self._names[entry.number] = entry.name

    def consumed(self, mail: Mail) -> None:
        """A piece of mail that an entry of the next transition stands for."""
        if isinstance(mail.body, StepResult):
            self._mail[mail.number] = mail

    def committed(self, transition: Transition) -> None:
        """Says what the entries of a transition that was committed are about."""
        if transition.expected_seq == 1 and transition.entries:
            self._say("run_started", transition.entries[0].at)
        for entry in transition.entries:
            self._say_of(entry)

    def _say_of(self, entry: Entry) -> None:
        match entry:
            case StepScheduled():
                self._names[entry.number] = entry.name
                if entry.started:
                    self._step("step_started", entry.at, entry.number, 1)
            case AttemptStarted():
                self._step("step_started", entry.at, entry.number, entry.attempt)
            case AttemptEnded():
                self._step("step_retried", entry.at, entry.number, entry.attempt.attempt, entry.attempt.failure)
            case StepCompleted():
                self._step("step_succeeded", entry.at, entry.number, _number_of(entry.attempt))
            case StepFailed():
                self._step("step_failed", entry.at, entry.number, _number_of(entry.attempt), entry.failure)
            case StepSkipped():
                self._names[entry.number] = entry.name
                self._step("step_skipped", entry.at, entry.number, 0, entry.failure)
            case MailConsumed() if entry.number in self._mail:
                body = self._mail.pop(entry.number).body
                assert isinstance(body, StepResult), body
                self._queued(body, entry.at)
            case RunClosed():
                self._say("run_ended", entry.at, error=entry.failure, status=entry.status)

    def _queued(self, result: StepResult, at: datetime) -> None:
        """The attempts of a queued step, which come all at once."""
        for record in result.attempts:
            self._step("step_started", record.started_at, result.number, record.attempt)
            if record.outcome is not AttemptOutcome.COMPLETED and record is not result.attempts[-1]:
                self._step("step_retried", record.ended_at, result.number, record.attempt, record.failure)
        last = result.attempts[-1].attempt if result.attempts else 0
        kind: LifecycleKind = "step_failed" if result.failure is not None else "step_succeeded"
        self._step(kind, at, result.number, last, result.failure)

    def _step(self, kind: LifecycleKind, at: datetime, number: int, attempt: int, error: Failure | None = None) -> None:
        name = self._names.get(number, "")
        if kind in ("step_succeeded", "step_failed"):
            self._names.pop(number, None)
        self._say(kind, at, step=name, number=number, attempt=attempt, error=error)

    def _say(
        self,
        kind: LifecycleKind,
        at: datetime,
        *,
        step: str | None = None,
        number: int | None = None,
        attempt: int | None = None,
        error: Failure | None = None,
        status: RunStatus | None = None,
    ) -> None:
        self._sink(
            LifecycleEvent(kind, self._run_id, self._workflow, self._id, at, step, number, attempt, error, status)
        )


class LifecycleCalls:
    """Calls the code of the user, one event after the other, beside the worker's own loop of work."""

    def __init__(self, listeners: Iterable[Lifecycle]) -> None:
        self._listeners = tuple(listeners)
        self._events: asyncio.Queue[LifecycleEvent] = asyncio.Queue(EVENTS_WAITING_MAX)
        self._dropped = False
        self._task = asyncio.ensure_future(self._call_on())

    def say(self, event: LifecycleEvent) -> None:
        """Lets an event be called when those before it have been."""
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            if not self._dropped:
                self._dropped = True
                log.error(
                    "lifecycle: %d events wait for code that is too slow; new ones are dropped", EVENTS_WAITING_MAX
                )

    async def close(self, *, seconds: float) -> None:
        """Calls what waits, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._events.join()
        self._task.cancel()

    async def _call_on(self) -> None:
        while True:
            event = await self._events.get()
            for listener in self._listeners:
                await self._call(listener, event)
            self._events.task_done()

    async def _call(self, listener: Lifecycle, event: LifecycleEvent) -> None:
        method: Callable[[LifecycleEvent], object] = getattr(listener, event.kind)
        try:
            if inspect.iscoroutinefunction(method):
                await method(event)
            elif getattr(type(listener), event.kind) is not getattr(Lifecycle, event.kind):
                # In a thread: it may wait for a network, and the worker must not wait with it.
                await asyncio.to_thread(method, event)
        except Exception:
            log.exception("lifecycle: %s of %s raised for run %s", event.kind, type(listener).__name__, event.run_id)


def _number_of(record: AttemptRecord | None) -> int:
    return 0 if record is None else record.attempt
