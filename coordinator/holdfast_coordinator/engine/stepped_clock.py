"""What a step back of the database's clock leaves in the future is made due again: see decisions/0017.

What was due by the clock before the step stays due. Timers, retries and deadlines are due by the clock, whatever it
says; they are not touched.
"""

import structlog

from holdfast_coordinator.store.control_port import ControlStore

from .cells import Cells
from .database_clock import STEP_MIN, ClockStep

log = structlog.get_logger(__name__)


class SteppedClock:
    """See the module."""

    def __init__(self, control: ControlStore, cells: Cells) -> None:
        self._control = control
        self._cells = cells
        self._has_looked = False
        self._step: ClockStep | None = None
        self._are_heartbeats_ahead = False

    def stepped(self, step: ClockStep) -> None:
        """The clock has stepped."""
        log.warning("clock_stepped", seconds=round((step.after - step.before).total_seconds(), 3))
        if step.is_back and (self._step is None or step.before > self._step.before):
            self._step = step

    async def mend(self) -> None:
        """Mends what the last step has left, and at the first call what one before this replica may have. Raises
        StoreError; then the next call tries again.
        """
        if not self._has_looked:
            await self._look_back()
            self._has_looked = True
        step = self._step
        if step is not None or self._are_heartbeats_ahead:
            await self._pull_back_heartbeats()
        if step is None:
            return
        now = await self._control.now()
        for cell in self._cells:
            await cell.store.loops.pull_back(now, step.before)
        if self._step is step:
            self._step = None

    async def _pull_back_heartbeats(self) -> None:
        """A row that is locked is skipped; without another try its session, once dead, would live until that time."""
        await self._control.pull_back_heartbeats(await self._control.now())
        self._are_heartbeats_ahead = await self._heartbeats_ahead() is not None

    async def _look_back(self) -> None:
        if (step := await self._heartbeats_ahead()) is not None:
            self.stepped(step)

    async def _heartbeats_ahead(self) -> ClockStep | None:
        """The step that heartbeats show which are later than the database's time."""
        latest, now = await self._control.latest_heartbeat(), await self._control.now()
        return ClockStep(latest, now) if latest is not None and latest > now + STEP_MIN else None
