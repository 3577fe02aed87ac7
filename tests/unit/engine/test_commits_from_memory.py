"""Queued steps whose rows the writer knows by heart are committed without reading, just as if they had been read."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from holdfast.api.v1 import journal_pb2, value_pb2
from holdfast.errors import CoordinatorUnavailable
from holdfast.statuses import Then, TransitionStatus
from holdfast_coordinator.domain.asks import SetTimerAsk
from holdfast_coordinator.domain.batch import Answer, BatchCommand
from holdfast_coordinator.domain.events import RunLeased, TaskClaimed
from holdfast_coordinator.domain.rows import OpenRun, RunState, TaskRow, TaskState
from holdfast_coordinator.domain.snapshot import Reads
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.cell_writer import CellWriter
from holdfast_coordinator.engine.committed import Committed
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.sessions import SessionPolicy
from holdfast_coordinator.metrics.metrics import Metrics
from holdfast_coordinator.store.port import OutcomeUnknown, SerializationConflict
from tests.support.core_commands import queue_step, report, transition
from tests.support.engine_replicas import FailingCell, attachment, looked_at, run_named, start
from tests.support.store_rows import T0, at

RUN = run_named(1)
DATABASE_TIME = at(100)
ESTIMATE = at(99)
"""This replica's estimate of the database's time: a second behind, so that alarms by it would be early."""
FREE = 100
RECORD = journal_pb2.AttemptRecord(attempt=1).SerializeToString()
ENDED = {"record": RECORD, "result": value_pb2.Payload(data=b"42").SerializeToString()}


class Desk:
    """A writer, one session with room, and a database whose clock stands still."""

    def __init__(self) -> None:
        self.cell = FailingCell()
        self.cell.clock = lambda: DATABASE_TIME
        self.session: Attachment = attachment(runs=FREE, slots=FREE)
        self.matcher = Matcher()
        self.matcher.attach(self.session)
        looked_at(self.matcher)
        self.metrics = Metrics()
        self.claims: list[TaskClaimed] = []
        self.leases: list[RunLeased] = []
        self.writer = CellWriter(self.cell, self.matcher, self._took, lambda: ESTIMATE, metrics=self.metrics)
        self.writing = asyncio.create_task(self.writer.run())

    def _took(self, committed: Committed) -> None:
        for event in committed.events:
            if isinstance(event, TaskClaimed | RunLeased):
                assert self.matcher.handed_over(event)
                (self.claims if isinstance(event, TaskClaimed) else self.leases).append(event)  # type: ignore[arg-type]

    async def ask(self, *commands: BatchCommand) -> list[Answer]:
        """The answers to commands that are submitted together."""
        async with asyncio.timeout(5):
            return await self.writer.submit_all(commands)

    @property
    def run(self) -> OpenRun:
        """The row of the run."""
        return self.cell.open_runs[RUN]

    @property
    def step(self) -> TaskRow:
        """The row of its queued step."""
        return self.cell.tasks[RUN, 1]

    def suspends(self, **step: object) -> BatchCommand:
        """The code queues a step and waits for it."""
        return transition(self.run, queue_step(**step), then=Then.SUSPEND, waits="step charge (1)")

    async def waits_for_its_step(self) -> None:
        """A started run whose queued step the session runs."""
        await self.ask(start())
        await self.ask(self.suspends(timeout=None))

    def ways(self) -> dict[str, float]:
        """How many batches took which way."""
        return {
            one.labels["path"]: one.value
            for family in self.metrics.registry.collect()
            for one in family.samples
            if one.name == "holdfast_commit_seconds_count" and one.value
        }

    def has_lost_no_room(self) -> bool:
        """Whether the session has the room that is left of what it offered."""
        session = self.session
        assert (session.reserved_runs, session.reserved_slots) == (0, 0)
        return (session.free_runs, session.free_slots) == (FREE - len(self.leases), FREE - len(self.claims))


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    """A writer that runs until the test is over."""
    desk = Desk()
    yield desk
    desk.writer.close()
    await asyncio.gather(desk.writing, return_exceptions=True)


async def test_a_queued_step_and_its_result_are_committed_from_memory(desk: Desk) -> None:
    await desk.waits_for_its_step()
    assert (desk.run.state, desk.step.state, desk.step.owner) == (RunState.SUSPENDED, TaskState.CLAIMED, "s1")
    assert await desk.ask(report(desk.step, **ENDED)) == [True]
    assert (desk.run.state, desk.run.owner, desk.run.epoch) == (RunState.LEASED, "s1", 2)
    assert not desk.cell.tasks
    assert desk.ways() == {"start": 1, "known": 2}
    assert [lease.epoch for lease in desk.leases] == [1, 2]
    assert [mail.number for mail in desk.leases[-1].mail] == [1]
    assert desk.has_lost_no_room()


async def test_a_step_with_a_timeout_too_and_nobody_ends_its_attempt_early(desk: Desk) -> None:
    await desk.ask(start())
    await desk.ask(desk.suspends(timeout=timedelta(seconds=60)))
    assert desk.ways() == {"start": 1, "known": 1}
    grace, timeout_passes_at = SessionPolicy().ttl, DATABASE_TIME + timedelta(seconds=60)
    desk.cell.clock = lambda: timeout_passes_at
    assert await desk.cell.overdue_tasks(grace, 10) == []
    desk.cell.clock = lambda: timeout_passes_at + grace
    assert await desk.cell.overdue_tasks(grace, 10) == [desk.step]


async def test_a_timer_is_due_by_the_clock_of_the_database(desk: Desk) -> None:
    await desk.ask(start())
    await desk.ask(transition(desk.run, SetTimerAsk(1, timedelta(seconds=5), None), then=Then.SUSPEND, waits="timer"))
    assert [alarm.due_at for alarm in desk.cell.alarms.values()] == [DATABASE_TIME + timedelta(seconds=5)]


async def test_the_deadline_of_attempts_is_by_the_clock_of_the_database(desk: Desk) -> None:
    await desk.ask(start())
    await desk.ask(transition(desk.run, attempt_deadline=timedelta(seconds=5)))
    assert desk.run.attempt_deadline_at == DATABASE_TIME + timedelta(seconds=5)


async def test_a_step_that_nobody_takes_is_ready_by_the_clock_of_the_database(desk: Desk) -> None:
    await desk.ask(start())
    desk.session.free_slots = 0
    await desk.ask(desk.suspends(timeout=None))
    assert (desk.step.state, desk.step.ready_at) == (TaskState.READY, DATABASE_TIME)
    assert desk.claims == []


async def test_a_step_that_is_tried_again_is_ready_by_the_clock_of_the_database(desk: Desk) -> None:
    await desk.waits_for_its_step()
    assert await desk.ask(report(desk.step, record=RECORD, again_after=timedelta(seconds=7))) == [True]
    assert desk.step.ready_at == DATABASE_TIME + timedelta(seconds=7)


async def test_rows_that_have_changed_meanwhile_are_read_and_the_step_is_given_out_once(desk: Desk) -> None:
    await desk.ask(start())
    desk.cell.before.append(SerializationConflict("rows are not as they were recalled"))
    (answer,) = await desk.ask(desk.suspends(timeout=None))
    assert isinstance(answer, TransitionAnswer)
    assert answer.status is TransitionStatus.COMMITTED
    assert desk.ways() == {"start": 1, "locked": 1}
    assert len(desk.claims) == 1
    assert desk.has_lost_no_room()


async def test_what_is_known_is_never_a_reason_to_refuse(desk: Desk) -> None:
    await desk.waits_for_its_step()
    outdated = desk.cell.recall(Reads(lock_runs={RUN}), at=T0)
    await desk.ask(report(desk.step, **ENDED))
    desk.cell.recall = lambda reads, *, at: outdated  # type: ignore[method-assign]
    (answer,) = await desk.ask(transition(desk.run))
    assert isinstance(answer, TransitionAnswer)
    assert answer.status is TransitionStatus.COMMITTED
    (answer,) = await desk.ask(transition(desk.run, queue_step(2, timeout=None), then=Then.SUSPEND, waits="step"))
    assert isinstance(answer, TransitionAnswer)
    assert answer.status is TransitionStatus.COMMITTED_WITH_MAIL, "the result of the first step is still to be taken"
    assert (RUN, 2) in desk.cell.tasks


async def test_an_outcome_that_is_not_known_is_not_guessed_and_the_repeat_settles_it(desk: Desk) -> None:
    await desk.waits_for_its_step()
    reported = report(desk.step, **ENDED)
    desk.cell.after.append(OutcomeUnknown("the connection broke"))
    with pytest.raises(CoordinatorUnavailable):
        await desk.ask(reported)
    assert (RUN, 0, 2) in desk.session.granted, "it may hold the run by the database"
    assert await desk.ask(reported) == [False]
    assert desk.run.epoch == 2
