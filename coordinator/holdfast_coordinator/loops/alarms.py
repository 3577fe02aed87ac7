"""Makes what alarms are set for happen when they are due, by the database's clock.

Reads due rows without locks and submits them to the cell writer, which clears each by its key: two replicas that
read the same row make it happen once. Sleeps until the next one is due, until a sooner one is set, or for a second.
Where there are more than a few replicas, a few of them in turn wake for all alarms; the others wake for those that they
have set themselves, and once a second for what is still there.
Alarms of runs and deliveries to other runs have a loop each, and neither waits for long for one that is slow.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from holdfast.errors import CoordinatorUnavailable, HoldfastError, RunBusy
from holdfast_coordinator.domain.batch import Answer
from holdfast_coordinator.domain.commands import AlarmDue, EndAttempt
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow
from holdfast_coordinator.engine.cells import WHILE_READING, Cell
from holdfast_coordinator.engine.doorbell import SEVERAL, Doorbell
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.store.port import StoreError

log = structlog.get_logger(__name__)

ALARMS_PAGE = 1_000
PARKED_SECONDS = 0.05
"""How long what a page brings waits for rows that are locked; the others of the next page must not be late for them."""
LONGEST_SLEEP_SECONDS = 1.0
SHORTEST_SLEEP_SECONDS = 0.002
SLOW_SECONDS = 0.1
"""What takes longer, say because its run is locked, goes on by itself: the others are not late for it."""
ALARMS_UNDER_WAY_MAX = 10_000
PROBE_SECONDS = 5.0
"""So often alarms are read from the start of their index: what another replica has set, and did not live to fire."""


MEASURED = {kind: kind.name.lower() for kind in (AlarmKind.START, AlarmKind.TIMER, AlarmKind.RETRY, AlarmKind.DEADLINE)}
"""Alarms whose lateness is measured, by their label: what people wait for, at a time that they chose."""

TURN = timedelta(seconds=10)
"""How long a replica has its turn to wake for all alarms."""
SOON = timedelta(seconds=2)
"""Alarms that are due later than this were seen by those replicas before."""
SLACK = timedelta(milliseconds=50)
"""How far this replica's estimate of the database's clock may be off."""

Key = tuple[str, AlarmKind, int]


def _key(alarm: AlarmRow) -> Key:
    return alarm.run_id, alarm.kind, alarm.ref


def wakes_for_all(doorbell: Doorbell, now: datetime) -> bool:
    """Whether a replica is to wake for all alarms. It begins a look early, so that none falls between two turns.

    With each replica waking for each, a hundred of them read it a hundred times and commit it a hundred times in vain.
    """
    soon = now + timedelta(seconds=LONGEST_SLEEP_SECONDS)
    return any(doorbell.has_turn(at, TURN, of=SEVERAL) for at in (now, soon))


class AlarmLoop:
    """The alarms of the runs of one cell, or else its deliveries to other runs."""

    def __init__(self, engine: Engine, cell: Cell, *, outbox: bool = False) -> None:
        self._engine = engine
        self._cell = cell
        self._outbox = outbox
        self._watch = cell.outbox if outbox else cell.alarms
        self._under_way: dict[Key, asyncio.Future[object]] = {}
        self._probed_at = 0.0

    async def run(self) -> None:
        """Runs until it is cancelled."""
        watch = self._watch
        while True:
            try:
                seconds = await self.run_once()
            except (HoldfastError, StoreError) as error:
                log.warning("alarms_failed", cell=self._cell.name, error=str(error))
                seconds = LONGEST_SLEEP_SECONDS
            except Exception:  # a defect that one alarm meets must not end the loop that fires all others
                log.exception("alarms_failed", cell=self._cell.name)
                seconds = LONGEST_SLEEP_SECONDS
            watch.read_at = self._engine.database_time() + timedelta(seconds=seconds)
            try:
                async with asyncio.timeout(seconds):
                    await watch.rung.wait()
            except TimeoutError:
                pass
            watch.read_at = WHILE_READING
            watch.rung.clear()

    async def run_once(self) -> float:
        """Fires what is due; how many seconds until it should be called again."""
        now = time.monotonic()
        from_start = now - self._probed_at >= PROBE_SECONDS
        if from_start:
            self._probed_at = now
        # What is under way may be read again, and must leave room for others.
        limit = ALARMS_PAGE + len(self._under_way)
        due, until_next = await self._cell.store.loops.due_alarms(limit, outbox=self._outbox, from_start=from_start)
        fresh = self._fire([alarm for alarm in due if _key(alarm) not in self._under_way])
        if fresh:
            await asyncio.wait(fresh, timeout=SLOW_SECONDS)
        while len(self._under_way) > ALARMS_UNDER_WAY_MAX:
            await asyncio.wait(self._under_way.values(), return_when=asyncio.FIRST_COMPLETED)
        now_there = self._engine.database_time()
        first_own = self._watch.first_own(now_there - SLACK, now_there + SOON)
        if until_next is None:
            return LONGEST_SLEEP_SECONDS
        if len(due) == limit:
            return 0.0
        seconds = min(max(until_next.total_seconds(), SHORTEST_SLEEP_SECONDS), LONGEST_SLEEP_SECONDS)
        if wakes_for_all(self._engine.doorbell, now_there):
            return seconds
        if first_own is None:
            return LONGEST_SLEEP_SECONDS
        return max(seconds, min((first_own - SLACK - now_there).total_seconds(), LONGEST_SLEEP_SECONDS))

    def _fire(self, alarms: Sequence[AlarmRow]) -> list[asyncio.Future[object]]:
        """Begins to make alarms happen that are not under way."""
        if self._outbox:
            return [self._begin([alarm], self._engine.outbox.deliver(alarm)) for alarm in alarms]
        # Together: thousands that are due at once made as many tasks, a line of its own for each.
        return [self._begin(alarms, self._fire_all(alarms))] if alarms else []

    def _begin(self, alarms: Sequence[AlarmRow], firing: Coroutine[object, object, object]) -> asyncio.Future[object]:
        begun: asyncio.Future[object] = asyncio.ensure_future(firing)
        keys = [_key(alarm) for alarm in alarms]
        self._under_way.update(dict.fromkeys(keys, begun))
        begun.add_done_callback(partial(self._fired, keys))
        return begun

    def _fired(self, keys: Sequence[Key], firing: asyncio.Future[object]) -> None:
        for key in keys:
            if self._under_way.get(key) is firing:
                del self._under_way[key]
        if not firing.cancelled() and (error := firing.exception()) is not None:
            log.error("alarm_failed", run_id=keys[0][0], kind=keys[0][1].name, alarms=len(keys), error=repr(error))

    async def _fire_all(self, alarms: Sequence[AlarmRow]) -> None:
        """Makes alarms of runs happen; one whose run stays locked goes on by itself."""
        answers = await self._submit(alarms, parked_seconds=PARKED_SECONDS)
        for alarm, answer in zip(alarms, answers, strict=False):
            if isinstance(answer, RunBusy):
                self._begin([alarm], self._fire_locked(alarm))
            else:
                self._answered(alarm, answer)

    async def _fire_locked(self, alarm: AlarmRow) -> None:
        for answer in await self._submit([alarm]):
            if isinstance(answer, RunBusy):
                self._cell.store.alarm_stays(alarm)  # which says nothing of the alarm
            else:
                self._answered(alarm, answer)

    async def _submit(self, alarms: Sequence[AlarmRow], *, parked_seconds: float | None = None) -> Sequence[Answer]:
        """The answers; none when they are not known, and the alarms stay."""
        commands = [AlarmDue(alarm.run_id, alarm.kind, alarm.ref) for alarm in alarms]
        try:
            return await self._cell.writer.submit_all(commands, parked_seconds=parked_seconds)
        except (CoordinatorUnavailable, StoreError):
            for alarm in alarms:
                self._cell.store.alarm_stays(alarm)
            return ()

    def _answered(self, alarm: AlarmRow, answer: Answer) -> None:
        if isinstance(answer, HoldfastError):
            self._begin([alarm], self._engine.outbox.postpone(alarm, str(answer)))
        elif answer is True:
            self._measure(alarm)

    def _measure(self, alarm: AlarmRow) -> None:
        metrics = self._engine.metrics
        if metrics is not None and (name := MEASURED.get(alarm.kind)) is not None:
            late = self._engine.database_time() - alarm.due_at
            metrics.alarm_fired(name, lateness_seconds=late.total_seconds())

    async def end_overdue_attempts(self, grace: timedelta) -> None:
        """Takes queued attempts from workers that should have ended them themselves."""
        tasks = await self._cell.store.loops.overdue_tasks(grace, ALARMS_PAGE)
        await self._cell.writer.submit_all(
            [EndAttempt(task.run_id, task.number, task.epoch, timed_out=True) for task in tasks],
            parked_seconds=PARKED_SECONDS,
        )
