"""Commands that become batches, on the model store: what is committed, what is answered, what is given back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from holdfast.errors import CoordinatorUnavailable, HoldfastError, RunBusy, RunNotFound
from holdfast.statuses import Then, TransitionStatus
from holdfast_coordinator.domain.asks import QueueStepAsk
from holdfast_coordinator.domain.batch import Answer, BatchCommand
from holdfast_coordinator.domain.commands import ReportAttempt, SendSignal, TerminateRun
from holdfast_coordinator.domain.events import Event, LeaseReturned, RunEnded, RunLeased, RunReady, TaskClaimed
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.domain.rows import RunState
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.domain.transitions import TransitionAnswer
from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.cell_writer import CellWriter
from holdfast_coordinator.engine.commits import CONFLICT_REPEATS_MAX
from holdfast_coordinator.engine.committed import Committed, Report
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.store.port import OutcomeUnknown, SerializationConflict, StoreUnavailable
from tests.support.engine_replicas import QUEUE, REFUSED, FailingCell, attachment, looked_at, run_named, start
from tests.support.memory_cell_store import system_clock
from tests.support.store_rows import T0, appending, closing

LOST = "the connection was lost"


class Desk:
    """A writer on a cell that can fail, with one session that has much room; `told` are its events."""

    def __init__(self) -> None:
        self.cell = FailingCell()
        self.matcher = Matcher()
        self.session: Attachment = attachment(runs=100, slots=100)
        self.matcher.attach(self.session)
        looked_at(self.matcher)
        self.told: list[Event] = []
        self.reports: list[Report] = []
        self.defect: Exception | None = None
        self.writer = CellWriter(self.cell, self.matcher, self._committed, system_clock)
        self.writing = asyncio.create_task(self.writer.run())

    def _committed(self, committed: Committed) -> None:
        if self.defect is not None:
            raise self.defect
        self.told += committed.events
        self.reports += committed.reports
        for event in committed.events:
            if isinstance(event, RunLeased):
                self.matcher.handed_over(event)

    async def ask(self, *commands: BatchCommand) -> list[Answer]:
        """The answers to commands that are submitted together."""
        async with asyncio.timeout(5):
            return await self.writer.submit_all(commands)

    @property
    def runs_free(self) -> int:
        return self.matcher.room(QUEUE)[0]

    def told_of(self, kind: type[Any]) -> int:
        """How many events of a kind were told."""
        return sum(isinstance(event, kind) for event in self.told)


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    """A writer that runs until the test is over."""
    desk = Desk()
    yield desk
    desk.writer.close()
    await asyncio.gather(desk.writing, return_exceptions=True)


def status(answer: Answer) -> TransitionStatus:
    """How a transition was taken."""
    assert isinstance(answer, TransitionAnswer), answer
    return answer.status


def signal(number: int = 1) -> SendSignal:
    """A signal for a run."""
    return SendSignal(run_named(number), "", SignalMail("go", b""))


async def test_what_waits_while_a_commit_is_under_way_is_one_batch(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.ask(start(number)) for number in range(1, 11)))
    assert answers == [[Started(run_named(number), attached=False)] for number in range(1, 11)]
    assert desk.cell.commits == 1
    assert desk.told_of(RunLeased) == 10
    assert desk.runs_free == 90


async def test_a_repeated_start_among_new_ones_gets_its_first_answer(desk: Desk) -> None:
    await desk.ask(start(1))
    answers = await desk.ask(start(1), start(2))
    assert answers == [Started(run_named(1), attached=False), Started(run_named(2), attached=False)]
    assert desk.told_of(RunLeased) == 2
    assert desk.runs_free == 98


async def test_an_append_and_a_close_take_one_commit_each_and_the_close_is_told(desk: Desk) -> None:
    await desk.ask(start(1))
    assert status((await desk.ask(appending(run_named(1))))[0]) is TransitionStatus.COMMITTED
    assert status((await desk.ask(closing(run_named(1), expected_seq=2)))[0]) is TransitionStatus.COMMITTED
    assert desk.cell.commits == 3
    assert (desk.told_of(LeaseReturned), desk.told_of(RunEnded)) == (1, 1)
    assert run_named(1) in desk.cell.run_results


async def test_moves_beside_other_commands_share_their_transaction(desk: Desk) -> None:
    await desk.ask(start(1), start(2))
    answers = await desk.ask(appending(run_named(1)), start(3), closing(run_named(2)), signal(3))
    assert [status(answers[0]), status(answers[2])] == [TransitionStatus.COMMITTED] * 2
    assert (answers[1], answers[3]) == (Started(run_named(3), attached=False), True)
    assert desk.cell.commits == 2


async def test_a_move_that_meets_mail_is_answered_with_it(desk: Desk) -> None:
    await desk.ask(start(1), start(2), start(3))
    await desk.ask(signal(1), signal(2))
    answers = await desk.ask(appending(run_named(1)), closing(run_named(2)), closing(run_named(3)))
    assert isinstance(answers[0], TransitionAnswer)
    assert [mail.number for mail in answers[0].mail] == [1]
    assert [status(answer) for answer in answers] == [TransitionStatus.COMMITTED] * 3
    assert desk.told_of(RunEnded) == 2


async def test_a_move_under_an_old_epoch_is_superseded_and_writes_nothing(desk: Desk) -> None:
    await desk.ask(start(1))
    answers = await desk.ask(appending(run_named(1), epoch=7), appending(run_named(9)))
    assert [status(answer) for answer in answers] == [TransitionStatus.SUPERSEDED] * 2
    assert desk.cell.open_runs[run_named(1)].length == 1


async def test_a_command_that_the_database_refuses_is_refused_alone(desk: Desk) -> None:
    starts = [start(number, workflow=REFUSED if number == 5 else "order") for number in range(1, 10)]
    answers = await desk.ask(*starts)
    refused = answers.pop(4)
    assert isinstance(refused, HoldfastError)
    assert "cannot be recorded" in str(refused)
    assert all(isinstance(answer, Started) for answer in answers)
    assert (desk.told_of(RunLeased), desk.told_of(RunReady)) == (8, 0)
    assert desk.runs_free == 92


async def test_moves_in_a_refused_batch_are_committed_on_the_locking_path(desk: Desk) -> None:
    await desk.ask(start(1), start(2))
    refused, append, close = await desk.ask(start(3, workflow=REFUSED), appending(run_named(1)), closing(run_named(2)))
    assert isinstance(refused, HoldfastError)
    assert [status(append), status(close)] == [TransitionStatus.COMMITTED] * 2
    assert desk.told_of(RunEnded) == 1


@pytest.mark.parametrize("beside", [(), (signal(9),)], ids=["plain starts", "other commands"])
async def test_a_defect_of_the_core_refuses_its_command_alone_and_gives_back_its_room(
    desk: Desk, beside: tuple[BatchCommand, ...]
) -> None:
    broken: Any = ["not a name"]
    first, defective, last, *_ = await desk.ask(start(1), start(2, workflow=broken), start(3), *beside)
    assert isinstance(first, Started)
    assert isinstance(defective, HoldfastError)
    assert isinstance(last, Started)
    assert desk.runs_free == 98


async def test_what_the_state_of_a_run_does_not_have_refuses_its_command_alone(desk: Desk) -> None:
    await desk.ask(start(1), start(2))
    run = desk.cell.open_runs[run_named(1)]
    desk.cell.open_runs[run_named(1)] = paused = replace(run, state=RunState.PAUSED, owner=None)
    refused, signalled = await desk.ask(TerminateRun(run_named(1), "req-1", ""), signal(2))
    assert isinstance(refused, HoldfastError)
    assert f"run {run_named(1)} is paused, where it cannot end" in str(refused)
    assert signalled is True
    assert desk.cell.open_runs[run_named(1)] == paused
    assert await desk.ask(start(3)) == [Started(run_named(3), attached=False)]


@pytest.mark.parametrize("command", [start(1), start(1, id="order-1")], ids=["one round trip", "two round trips"])
async def test_a_failed_commit_gives_back_its_room_and_nothing_is_told(desk: Desk, command: BatchCommand) -> None:
    desk.cell.before = [StoreUnavailable(LOST)]
    with pytest.raises(CoordinatorUnavailable, match=LOST):
        await desk.ask(command)
    assert (desk.runs_free, desk.told, desk.session.granted) == (100, [], set())
    assert await desk.ask(command) == [Started(run_named(1), attached=False)]


@pytest.mark.parametrize("command", [start(1), start(1, id="order-1")], ids=["one round trip", "two round trips"])
async def test_a_commit_of_unknown_outcome_is_not_guessed_and_its_leases_are_looked_for(
    desk: Desk, command: BatchCommand
) -> None:
    desk.cell.after = [OutcomeUnknown(LOST)]
    with pytest.raises(CoordinatorUnavailable, match=LOST):
        await desk.ask(command)
    assert desk.cell.open_runs[run_named(1)].state is RunState.LEASED
    assert (desk.runs_free, desk.told) == (100, [])
    assert desk.session.granted == {(run_named(1), 0, 1)}
    assert await desk.ask(command) == [Started(run_named(1), attached=False)]


async def test_a_repeat_settles_an_append_of_unknown_outcome(desk: Desk) -> None:
    await desk.ask(start(1))
    desk.cell.after = [OutcomeUnknown(LOST)]
    with pytest.raises(CoordinatorUnavailable):
        await desk.ask(appending(run_named(1)))
    assert status((await desk.ask(appending(run_named(1))))[0]) is TransitionStatus.COMMITTED
    assert desk.cell.open_runs[run_named(1)].length == 2


async def test_conflicts_are_repeated_at_once(desk: Desk) -> None:
    desk.cell.before = [SerializationConflict("deadlock")] * CONFLICT_REPEATS_MAX
    assert await desk.ask(start(1)) == [Started(run_named(1), attached=False)]
    assert desk.runs_free == 99


async def test_a_command_that_others_are_in_the_way_of_all_the_time_is_repeated_until_its_time_is_over(
    desk: Desk,
) -> None:
    desk.cell.before = [SerializationConflict("deadlock")] * 10_000
    waiting = desk.writer.submit_all([start(1, id="order-1")], seconds=0.3)
    (answer,) = await asyncio.wait_for(waiting, 5)
    assert isinstance(answer, RunBusy)
    desk.cell.before.clear()
    assert desk.runs_free == 100
    assert isinstance((await desk.ask(start(1, id="order-1")))[0], Started)


async def test_a_locked_run_holds_up_nobody_else_and_its_commands_keep_their_order(desk: Desk) -> None:
    await desk.ask(start(1), start(2), start(3))
    desk.cell.locked_elsewhere = {run_named(1)}
    first, second = desk.writer.submit_all([signal(1)]), desk.writer.submit_all([signal(1)])
    assert await desk.ask(signal(2), start(4)) == [True, Started(run_named(4), attached=False)]
    append = desk.writer.submit_all([appending(run_named(1))])
    assert status((await desk.ask(appending(run_named(3))))[0]) is TransitionStatus.COMMITTED
    assert [first.done(), second.done(), append.done()] == [False] * 3
    desk.cell.locked_elsewhere.clear()
    await asyncio.wait_for(asyncio.gather(first, second), 5)
    (answer,) = await asyncio.wait_for(append, 5)
    assert isinstance(answer, TransitionAnswer)
    assert [mail.number for mail in answer.mail] == [1, 2]


async def test_a_command_of_a_locked_run_is_answered_when_its_time_is_over_and_has_done_nothing(desk: Desk) -> None:
    await desk.ask(start(1), start(2))
    desk.cell.locked_elsewhere = {run_named(1)}
    answers = await asyncio.wait_for(desk.writer.submit_all([signal(1), signal(2)], parked_seconds=0.05), 5)
    assert isinstance(answers[0], RunBusy)
    assert answers[1] is True
    desk.cell.locked_elsewhere.clear()
    (answer,) = await desk.ask(appending(run_named(1)))
    assert isinstance(answer, TransitionAnswer)
    assert answer.mail == []


async def test_a_move_of_a_locked_run_waits_alone(desk: Desk) -> None:
    await desk.ask(start(1), start(2))
    desk.cell.locked_elsewhere = {run_named(1)}
    stuck = desk.writer.submit_all([appending(run_named(1))])
    moved = await asyncio.gather(desk.ask(appending(run_named(2))), desk.ask(start(3)))
    assert status(moved[0][0]) is TransitionStatus.COMMITTED
    assert not stuck.done()
    desk.cell.locked_elsewhere.clear()
    assert status((await asyncio.wait_for(stuck, 5))[0]) is TransitionStatus.COMMITTED


async def test_a_command_that_waits_for_a_lock_inside_its_transaction_is_found_and_waits_alone(desk: Desk) -> None:
    await desk.ask(start(1), start(2), start(3))
    desk.cell.slow_signals_of = run_named(2)
    stuck = desk.writer.submit_all([signal(2)])
    answers = await desk.ask(signal(1), signal(3), start(4))
    assert answers == [True, True, Started(run_named(4), attached=False)]
    assert not stuck.done()
    desk.cell.slow_signals_of = ""
    assert await asyncio.wait_for(stuck, 5) == [True]


async def test_a_command_whose_turn_does_not_come_in_time_is_answered_and_dropped(desk: Desk) -> None:
    desk.cell.answers_commits.clear()
    committing = desk.writer.submit_all([start(1)], seconds=0.05)
    await desk.cell.has_committed.wait()
    with pytest.raises(CoordinatorUnavailable, match="in time"):
        await asyncio.wait_for(desk.writer.submit_all([start(2)], seconds=0.05), 5)
    assert not committing.done(), "its commit may have happened"
    desk.cell.answers_commits.set()
    assert await committing == [Started(run_named(1), attached=False)]
    assert run_named(2) not in desk.cell.runs


@pytest.mark.parametrize("error", [StoreUnavailable(LOST), SerializationConflict("a lock was not available")])
async def test_mail_that_cannot_be_read_concerns_its_own_move_alone(desk: Desk, error: Exception) -> None:
    await desk.ask(start(1), start(2))
    await desk.ask(signal(1))
    desk.cell.at_reads = [error]
    unread, close = await asyncio.gather(
        desk.ask(appending(run_named(1))), desk.ask(closing(run_named(2))), return_exceptions=True
    )
    assert isinstance(unread, CoordinatorUnavailable)
    assert isinstance(close, list)
    assert status(close[0]) is TransitionStatus.COMMITTED
    assert desk.told_of(RunEnded) == 1
    (again,) = await desk.ask(appending(run_named(1)))
    assert isinstance(again, TransitionAnswer)
    assert [mail.number for mail in again.mail] == [1]


@pytest.mark.parametrize("at", ["before", "after"])
async def test_a_defect_of_the_store_fails_its_batch_and_not_the_writer(desk: Desk, at: str) -> None:
    setattr(desk.cell, at, [RuntimeError("a defect")])
    waiting = [desk.writer.submit_all([start(1, id="a")]), desk.writer.submit_all([start(2, id="b")])]
    answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert [type(answer) for answer in answers] == [CoordinatorUnavailable] * 2
    assert await desk.ask(start(1, id="a"), start(3)) == [
        Started(run_named(1), attached=False), Started(run_named(3), attached=False),
    ]  # fmt: skip


async def test_a_command_that_is_none_is_refused_alone(desk: Desk) -> None:
    broken: Any = object()
    first, refused, last = await desk.ask(start(1), broken, start(2))
    assert isinstance(first, Started)
    assert isinstance(refused, HoldfastError)
    assert isinstance(last, Started)


async def test_whatever_becomes_of_what_is_told_the_commit_is_answered_and_the_writer_goes_on(desk: Desk) -> None:
    desk.defect = RuntimeError("a defect")
    assert isinstance((await desk.ask(start(1)))[0], Started)
    assert isinstance((await desk.ask(start(2, id="a")))[0], Started)


async def test_a_writer_that_ends_leaves_no_command_without_an_answer(desk: Desk) -> None:
    desk.cell.answers_commits.clear()
    waiting = [desk.writer.submit_all([start(1)])]
    await desk.cell.has_committed.wait()
    waiting.append(desk.writer.submit_all([start(2)]))
    desk.writing.cancel()
    answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert [type(answer) for answer in answers] == [CoordinatorUnavailable] * 2
    with pytest.raises(CoordinatorUnavailable):
        await desk.ask(start(3))


async def test_a_closed_writer_commits_its_line_and_takes_nothing_more(desk: Desk) -> None:
    answers = desk.writer.submit_all([start(1)])
    desk.writer.close()
    assert await answers == [Started(run_named(1), attached=False)]
    with pytest.raises(CoordinatorUnavailable, match="shutting down"):
        await desk.ask(start(2))
    await desk.writing


async def test_a_caller_that_gave_up_does_not_disturb_its_neighbours(desk: Desk) -> None:
    gone, stays = desk.writer.submit_all([start(1)]), desk.writer.submit_all([start(2)])
    gone.cancel()
    assert await stays == [Started(run_named(2), attached=False)]
    assert run_named(1) in desk.cell.runs


async def test_a_single_refusal_is_raised(desk: Desk) -> None:
    with pytest.raises(RunNotFound):
        await desk.writer.submit(TerminateRun(run_named(1), "", "enough"))


async def test_a_report_is_told_once_when_it_is_recorded_and_not_when_it_is_repeated_refused_or_late(
    desk: Desk,
) -> None:
    await desk.ask(start(1), start(2))
    append, close = appending(run_named(1)), closing(run_named(2))
    suspend = replace(append, expected_seq=2, transition_id=103, then=Then.SUSPEND, waits="signal go")
    for report in (append, append, close, close, appending(run_named(1), epoch=9), suspend, suspend):
        await desk.ask(report)
    await desk.ask(replace(suspend, transition_id=104, expected_seq=7))
    assert desk.reports == [append, close, suspend]


async def test_the_report_of_a_queued_attempt_is_told_once(desk: Desk) -> None:
    await desk.ask(start(1))
    step = QueueStepAsk(1, "charge", b"", "default", 0, None, 3, b"", "", T0)
    (_, claim) = (await desk.ask(replace(appending(run_named(1)), asks=[step])), desk.told[-1])
    assert isinstance(claim, TaskClaimed)
    report = ReportAttempt(run_named(1), 1, 1, claim.epoch, "s1", b"\x08\x01", again_after=timedelta(0))
    await desk.ask(report, report)
    await desk.ask(report)
    assert [one for one in desk.reports if isinstance(one, ReportAttempt)] == [report]
