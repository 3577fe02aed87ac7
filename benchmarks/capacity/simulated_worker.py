"""A worker of a simulated fleet, as its coordinator meets it: a poll, heartbeats, reports. Pure."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from holdfast.ids import cell_of
from holdfast_coordinator.engine.attachments import Attachment

from .fleet import ROUND_TRIP_SECONDS, RUNS_MAX, SLOTS
from .simulated_world import SimulatedRun

if TYPE_CHECKING:
    from .simulated_replica import SimulatedReplica


class SimulatedWorker:
    """A worker process: it has a poll open, sends heartbeats, and runs steps one report after the other."""

    def __init__(self, replica: "SimulatedReplica", attachment: Attachment) -> None:
        self._replica = replica
        self._world = replica.world
        self._attachment = attachment
        attachment.news = News(self._news)
        self._msg_no = 0
        self._runs: set[str] = set()
        self._received: list[tuple[str, int, int]] = []
        self._reports: list[SimulatedRun] = []
        self._unanswered = 0
        self._is_answering = False

    def beat(self) -> float:
        """Sends a heartbeat."""
        self._world.tally.messages["heartbeat"] += 1
        self._replica.signs += 1
        self._attachment.heard_at = self._world.clockwork.now
        return ROUND_TRIP_SECONDS

    def poll(self) -> None:
        """Opens a poll, which is answered when there is work, or after a while."""
        self._world.tally.messages["poll"] += 1
        self._msg_no += 1
        held = len(self._runs) + self._world.fleet.held_runs
        received, self._received = self._received, []
        self._attachment.begin_poll(
            msg_no=self._msg_no, free_slots=max(SLOTS - len(self._runs), 0), free_runs=RUNS_MAX - held,
            received=received,
        )  # fmt: skip
        self._replica.matcher.has_room(self._attachment)
        wait = self._world.fleet.policy.poll_wait.total_seconds()
        self._world.clockwork.after(wait, partial(self._poll_again, self._msg_no))
        if not self._attachment.undelivered.is_empty:
            self._news()

    def _poll_again(self, msg_no: int) -> None:
        if msg_no == self._msg_no and not self._is_answering:
            self._attachment.end_poll(msg_no, self._world.clockwork.now)
            self.poll()

    def _news(self) -> None:
        if self._attachment.polling and not self._is_answering:
            self._is_answering = True
            self._world.clockwork.after(ROUND_TRIP_SECONDS, self._answered)

    def _answered(self) -> None:
        self._is_answering = False
        self._attachment.end_poll(self._msg_no, self._world.clockwork.now)
        for lease in self._attachment.take().leases:
            self._received.append((lease.run.run_id, 0, lease.epoch))
            self._runs.add(lease.run.run_id)
            self._report(self._world.runs[lease.run.run_id])  # that its first step begins
        self.poll()

    def _report(self, run: SimulatedRun) -> None:
        self._reports.append(run)
        if not self._unanswered:
            self._send()

    def _send(self) -> None:
        runs, self._reports = self._reports, []
        self._unanswered = len(runs)
        self._world.tally.messages["report"] += 1
        for run in runs:
            writer = self._replica.writers[cell_of(run.row.run_id)]
            self._world.clockwork.after(
                ROUND_TRIP_SECONDS / 2, partial(writer.submit, nothing, partial(self._taken, run))
            )

    def _taken(self, run: SimulatedRun) -> None:
        """A transition is committed: the next step begins, or the run has closed."""
        self._unanswered -= 1
        world = self._world
        if run.steps_left:
            run.steps_left -= 1
            seconds = world.clockwork.random.expovariate(1.0 / world.fleet.step_seconds)
            world.clockwork.after(ROUND_TRIP_SECONDS / 2 + seconds, partial(self._report, run))
        else:
            self._runs.discard(run.row.run_id)
            self._replica.closed(run, self._attachment.session_id)
        if not self._unanswered and self._reports:
            self._send()


class News(asyncio.Event):
    """What wakes the poll of an attachment: here it is answered at once."""

    def __init__(self, on_set: Callable[[], None]) -> None:
        super().__init__()
        self._on_set = on_set

    def set(self) -> None:
        """There is something for the worker."""
        super().set()
        self._on_set()


def nothing() -> None:
    """Happens where a command asks for nothing to be decided."""
