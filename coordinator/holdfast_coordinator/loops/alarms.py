"""Makes what alarms are set for happen when they are due, by the database's clock.

Reads due rows without locks and submits them to the cell writer, which clears each by its key: two replicas that
read the same row make it happen once. Sleeps until the next one is due, until a sooner one is set, or for a second.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog

from holdfast.errors import HoldfastError
from holdfast_coordinator.domain.commands import AlarmDue, Command, EndAttempt
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow
from holdfast_coordinator.engine.cells import WHILE_READING, Cell
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.store.port import StoreError

log = structlog.get_logger(__name__)

PAGE = 1_000
LONGEST_SLEEP_SECONDS = 1.0
SHORTEST_SLEEP_SECONDS = 0.002


MEASURED = {kind: kind.name.lower() for kind in (AlarmKind.START, AlarmKind.TIMER, AlarmKind.RETRY, AlarmKind.DEADLINE)}
"""Alarms whose lateness is measured, by their label: what people wait for, at a time that they chose."""


class AlarmLoop:
    """The alarms of one cell."""

    def __init__(self, engine: Engine, cell: Cell) -> None:
        self._engine = engine
        self._cell = cell

    async def run(self) -> None:
        """Runs until it is cancelled."""
        cell = self._cell
        while True:
            try:
                seconds = await self.run_once()
            except (HoldfastError, StoreError) as error:
                log.warning("alarms_failed", cell=cell.name, error=str(error))
                seconds = LONGEST_SLEEP_SECONDS
            cell.alarms_read_at = self._engine.database_time() + timedelta(seconds=seconds)
            try:
                async with asyncio.timeout(seconds):
                    await cell.alarm_set.wait()
            except TimeoutError:
                pass
            cell.alarms_read_at = WHILE_READING
            cell.alarm_set.clear()

    async def run_once(self) -> float:
        """Fires what is due; how many seconds until it should be called again."""
        due, until_next = await self._cell.store.due_alarms(PAGE)
        own: list[Command] = [
            AlarmDue(alarm.run_id, alarm.kind, alarm.ref) for alarm in due if alarm.kind < AlarmKind.OUTBOX_CHILD
        ]
        fired = await self._cell.writer.submit_all(own)
        self._measure([alarm for alarm in due if alarm.kind < AlarmKind.OUTBOX_CHILD], fired)
        deliveries = [alarm for alarm in due if alarm.kind >= AlarmKind.OUTBOX_CHILD]
        await asyncio.gather(*(self._engine.outbox.deliver(alarm) for alarm in deliveries))
        if len(due) == PAGE:
            return 0.0
        if until_next is None:
            return LONGEST_SLEEP_SECONDS
        return min(max(until_next.total_seconds(), SHORTEST_SLEEP_SECONDS), LONGEST_SLEEP_SECONDS)

    def _measure(self, due: Sequence[AlarmRow], fired: Sequence[object]) -> None:
        metrics = self._engine.metrics
        if metrics is None or not due:
            return
        now = self._engine.database_time()
        for alarm, answer in zip(due, fired, strict=True):
            if answer is True and (name := MEASURED.get(alarm.kind)) is not None:
                metrics.alarm_fired(name, lateness_seconds=(now - alarm.due_at).total_seconds())

    async def end_overdue_attempts(self, grace: timedelta) -> None:
        """Takes queued attempts from workers that should have ended them themselves."""
        tasks = await self._cell.store.overdue_tasks(grace, PAGE)
        await self._cell.writer.submit_all(
            [EndAttempt(task.run_id, task.number, task.epoch, timed_out=True) for task in tasks]
        )
