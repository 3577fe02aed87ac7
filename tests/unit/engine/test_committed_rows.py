"""A writer passes on the journal rows of sampled runs: after their commit, in order, and of no other runs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio

from holdfast.api.v1 import journal_pb2
from holdfast.errors import CoordinatorUnavailable
from holdfast_coordinator.domain.batch import Answer, BatchCommand
from holdfast_coordinator.domain.commands import SendSignal, TerminateRun
from holdfast_coordinator.domain.mail import SignalMail
from holdfast_coordinator.domain.rows import JournalRow, ParsedRow, RunRow, Side
from holdfast_coordinator.engine.cell_writer import CellWriter
from holdfast_coordinator.engine.committed import Committed
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.store.port import OutcomeUnknown, SerializationConflict, StoreUnavailable
from holdfast_coordinator.wire.entries import join_entries
from holdfast_coordinator.wire.journals import journal_message
from tests.support.engine_replicas import FailingCell, attachment, looked_at, run_named, start
from tests.support.memory_cell_store import system_clock
from tests.support.store_rows import ENTRY, appending, closing

RUN = run_named(1)
TRACED = {"trace": b"trace", "traced": Side.TRACE}


@dataclass
class Taken:
    """What a writer passes on, and whether it was in the database by then."""

    cell: FailingCell = field(default_factory=FailingCell)
    rows: list[JournalRow] = field(default_factory=list)
    records: list[RunRow] = field(default_factory=list)
    calls: int = 0

    def __call__(self, committed: Committed) -> None:
        self.calls += bool(committed.rows)
        self.rows += committed.rows
        self.records += committed.runs
        for row in committed.rows:
            assert row.seq in {stored.seq for stored in self.cell.journals[row.run_id]}, "it is not committed yet"

    def numbers(self, run_id: str = RUN) -> list[tuple[int, int]]:
        """(seq, count) of the rows of a run, as they were passed on."""
        return [(row.seq, row.count) for row in self.rows if row.run_id == run_id]

    def has_all_of(self, run_id: str = RUN) -> bool:
        """Whether what was passed on of a run is its journal, to the byte."""
        taken = [
            (row.seq, row.count, row.epoch, join_entries(row.entries)) for row in self.rows if row.run_id == run_id
        ]
        stored = [(row.seq, row.count, row.epoch, join_entries(row.entries)) for row in self.cell.journals[run_id]]
        return taken == stored


class Desk:
    """A writer that passes on what it commits, on a cell that can fail."""

    def __init__(self) -> None:
        self.taken = Taken()
        self.cell = self.taken.cell
        matcher = Matcher()
        matcher.attach(attachment(runs=100, slots=100))
        looked_at(matcher)
        self.writer = CellWriter(self.cell, matcher, self.taken, system_clock, with_rows=True)
        self.writing = asyncio.create_task(self.writer.run())

    async def ask(self, *commands: BatchCommand) -> list[Answer]:
        """The answers to commands that are submitted together."""
        async with asyncio.timeout(5):
            return await self.writer.submit_all(commands)


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    """A writer that runs until the test is over."""
    desk = Desk()
    yield desk
    desk.writer.close()
    await asyncio.gather(desk.writing, return_exceptions=True)


def signal() -> SendSignal:
    """A signal for the run; the batch takes the locking path."""
    return SendSignal(RUN, "", SignalMail("go", b""))


async def test_a_run_is_passed_on_from_its_start_to_its_end(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    assert [record.run_id for record in desk.taken.records] == [RUN]
    await desk.ask(appending(RUN))
    await desk.ask(closing(RUN, expected_seq=2))
    assert desk.taken.numbers() == [(1, 1), (2, 1), (4, 2)]
    assert desk.taken.has_all_of()


async def test_transitions_of_a_run_in_one_batch_are_passed_on_in_their_order(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    calls = desk.taken.calls
    await desk.ask(appending(RUN), appending(RUN, expected_seq=2), closing(RUN, expected_seq=3))
    assert desk.taken.numbers() == [(1, 1), (2, 1), (3, 1), (5, 2)]
    assert desk.taken.has_all_of()
    assert desk.taken.calls > calls


async def test_an_end_on_the_locking_path_is_passed_on_with_the_mail_that_was_not_delivered(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    await desk.ask(signal())
    await desk.ask(closing(RUN))
    assert desk.taken.numbers() == [(1, 1), (4, 3)]
    assert desk.taken.has_all_of()


async def test_a_run_that_is_terminated_beside_its_own_transition_is_passed_on_in_order(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    await desk.ask(appending(RUN), TerminateRun(RUN, "", "enough"))
    assert desk.taken.numbers()[:2] == [(1, 1), (2, 1)]
    assert desk.taken.has_all_of()


async def test_of_runs_that_are_not_sampled_nothing_is_passed_on(desk: Desk) -> None:
    await desk.ask(start(1), start(2, trace=b"trace", traced=Side.TRACE_FAILURE))
    await desk.ask(appending(RUN), appending(run_named(2)))
    await desk.ask(closing(RUN, expected_seq=2), TerminateRun(run_named(2), "", "enough"))
    assert desk.taken.calls == 0


async def test_only_sampled_runs_of_a_batch_are_passed_on(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED), start(2))
    await desk.ask(appending(RUN), appending(run_named(2)))
    assert {row.run_id for row in desk.taken.rows} == {RUN}


async def test_a_transition_that_was_superseded_is_not_passed_on(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    await desk.ask(appending(RUN, epoch=7))
    await desk.ask(closing(RUN, epoch=7))
    assert desk.taken.numbers() == [(1, 1)]


async def test_a_repeated_transition_is_passed_on_once(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    await desk.ask(appending(RUN))
    await desk.ask(appending(RUN))
    assert desk.taken.numbers() == [(1, 1), (2, 1)]


async def test_after_a_conflict_rows_are_passed_on_once_and_when_they_are_committed(desk: Desk) -> None:
    desk.cell.before += [SerializationConflict("first")]
    await desk.ask(start(1, **TRACED))
    desk.cell.before += [SerializationConflict("second"), SerializationConflict("third")]
    await desk.ask(appending(RUN))
    assert desk.taken.has_all_of()


@pytest.mark.parametrize("fails", ["before", "after"])
@pytest.mark.parametrize("beside", [(), (signal(),)], ids=["compare-and-set", "transaction"])
async def test_what_may_not_be_committed_is_not_passed_on(
    desk: Desk, fails: str, beside: tuple[SendSignal, ...]
) -> None:
    await desk.ask(start(1, **TRACED))
    error = StoreUnavailable("it restarts") if fails == "before" else OutcomeUnknown("the connection was lost")
    getattr(desk.cell, fails).append(error)
    with pytest.raises(CoordinatorUnavailable):
        await desk.ask(appending(RUN), *beside)
    assert desk.taken.numbers() == [(1, 1)]


async def test_nothing_is_passed_on_before_the_commit_is_answered(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    for asked in (appending(RUN), closing(RUN, expected_seq=2)):
        taken = desk.taken.numbers()
        desk.cell.has_committed.clear()
        desk.cell.answers_commits.clear()
        answer = asyncio.create_task(desk.ask(asked))
        await desk.cell.has_committed.wait()
        assert desk.taken.numbers() == taken
        desk.cell.answers_commits.set()
        await answer
        assert desk.taken.numbers() != taken
    assert desk.taken.rows[1].entries == [ENTRY]


async def test_entries_that_were_parsed_when_they_came_are_passed_on_as_messages(desk: Desk) -> None:
    await desk.ask(start(1, **TRACED))
    entries = journal_pb2.JournalRow.FromString(ENTRY).entries
    await desk.ask(replace(appending(RUN), parsed=entries), appending(RUN, expected_seq=2))
    _, parsed, as_bytes = desk.taken.rows
    assert isinstance(parsed, ParsedRow)
    assert list(parsed.parsed) == list(journal_message(parsed).entries)
    assert type(as_bytes) is JournalRow
    assert desk.taken.has_all_of()
