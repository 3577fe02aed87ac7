"""What other replicas closed and left ready is found by a look a second, whose cost is what happened."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.commands import TerminateRun
from holdfast_coordinator.domain.rows import RunResult
from holdfast_coordinator.engine import other_replicas as elsewhere_module
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.other_replicas import ASK_AGAIN_LOOKS
from holdfast_coordinator.store.port import Place, StoreUnavailable
from tests.support.engine_replicas import FailingCell, introduction, poll, replica, run_named, start
from tests.support.memory_control_store import MemoryControlStore
from tests.support.store_rows import ready_run, record


class AskedCell(FailingCell):
    """A cell that remembers which results and names it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.results_asked: list[str] = []
        self.names_asked: list[Place] = []

    async def results(self, run_ids: Sequence[str]) -> list[RunResult]:
        """See port.CellStore."""
        self.results_asked += run_ids
        return await super().results(run_ids)

    async def waiting_names(self, runs: Sequence[Place], steps: Sequence[Place]) -> tuple[list[Place], list[Place]]:
        """See port.CellStore."""
        self.names_asked += [*runs, *steps]
        return await super().waiting_names(runs, steps)

    def closes(self, number: int, at: datetime) -> None:
        """A close that this replica did not commit."""
        del self.open_runs[run_named(number)]
        self.run_results[run_named(number)] = RunResult(run_named(number), "default", RunStatus.COMPLETED, at)


@asynccontextmanager
async def two_replicas() -> AsyncIterator[tuple[AskedCell, Engine, Engine]]:
    cell, control = AskedCell(), MemoryControlStore()
    async with replica(cell, control) as here, replica(cell, control) as there:
        yield cell, here, there


async def waiting_for(engine: Engine, *numbers: int) -> "asyncio.Task[list[RunResult]]":
    """Somebody waits for runs that this replica has started."""
    waiting = asyncio.create_task(engine.wait_for("default", [run_named(number) for number in numbers], 60.0))
    await asyncio.sleep(0)
    return waiting


async def terminate(engine: Engine, number: int) -> None:
    await engine.steer(run_named(number), TerminateRun(run_named(number), "", "enough"))


async def closed(waiting: "asyncio.Task[list[RunResult]]") -> list[str]:
    async with asyncio.timeout(5):
        return [result.run_id for result in await waiting]


# Runs that closed


async def test_a_run_that_another_replica_closed_is_found_without_asking_for_all_that_is_waited_for() -> None:
    async with two_replicas() as (cell, here, there):
        await here.start_runs([start(number) for number in range(1, 51)])
        waiting = await waiting_for(here, *range(1, 51))
        await here.elsewhere.find_closed()
        assert cell.results_asked == []
        await terminate(there, 7)
        await here.elsewhere.find_closed()
        assert await closed(waiting) == [run_named(7)]
        assert cell.results_asked == [run_named(7)]


async def test_a_run_that_closed_elsewhere_while_nobody_waited_is_not_waited_for_in_vain() -> None:
    async with two_replicas() as (_, here, there):
        await here.start_runs([start(1)])
        await terminate(there, 1)
        await here.elsewhere.find_closed()
        assert await closed(await waiting_for(here, 1)) == [run_named(1)]


async def test_a_look_that_failed_misses_nothing() -> None:
    async with two_replicas() as (cell, here, there):
        await here.start_runs([start(1)])
        waiting = await waiting_for(here, 1)
        await here.elsewhere.find_closed()
        await terminate(there, 1)

        async def down(*_: object) -> list[tuple[str, datetime]]:
            raise StoreUnavailable("it is down")

        with pytest.MonkeyPatch.context() as broken:
            broken.setattr(cell, "closed_since", down)
            with pytest.raises(StoreUnavailable):
                await here.elsewhere.find_closed()
        await here.elsewhere.find_closed()
        assert await closed(waiting) == [run_named(1)]


async def test_after_more_closes_than_a_look_reads_all_that_is_waited_for_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elsewhere_module, "CLOSED_MAX", 2)
    async with two_replicas() as (cell, here, there):
        await here.start_runs([start(number) for number in range(1, 6)])
        waiting = await waiting_for(here, 5)
        for number in (1, 2, 3, 5):
            await terminate(there, number)
        await here.elsewhere.find_closed()
        assert await closed(waiting) == [run_named(5)]
        assert cell.results_asked == [run_named(5)]
        assert await closed(await waiting_for(here, 3)) == [run_named(3)]


async def test_a_clock_that_ran_ahead_hides_no_close() -> None:
    async with two_replicas() as (cell, here, _):
        await here.start_runs([start(1), start(2)])
        first, second = await waiting_for(here, 1), await waiting_for(here, 2)
        cell.closes(1, datetime.now(UTC) + timedelta(hours=1))
        await here.elsewhere.find_closed()
        assert await closed(first) == [run_named(1)]
        cell.closes(2, datetime.now(UTC))
        await here.elsewhere.find_closed()
        assert await closed(second) == [run_named(2)]


async def test_a_close_that_took_long_to_commit_is_found_when_all_is_asked_again() -> None:
    async with two_replicas() as (cell, here, _):
        await here.start_runs([start(1)])
        waiting = await waiting_for(here, 1)
        cell.closes(1, datetime.now(UTC) - timedelta(minutes=1))
        for _turn in range(ASK_AGAIN_LOOKS - 1):
            await here.elsewhere.find_closed()
        assert not waiting.done()
        await here.elsewhere.find_closed()
        assert await closed(waiting) == [run_named(1)]


# Work that waits


async def test_a_look_for_work_claims_only_where_there_is_some_and_asks_only_for_names_of_sessions_here() -> None:
    async with two_replicas() as (cell, here, there):
        session, _ = await here.open_session(introduction())
        polling = asyncio.create_task(poll(here, session))
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while here._background._tasks:
                await asyncio.gather(*here._background._tasks)
        before = cell.commits
        await here.elsewhere.find_work()
        await asyncio.sleep(0)
        assert not here._background._tasks
        assert cell.commits == before, "nothing is claimed where nothing waits"
        assert set(cell.names_asked) == {("default", "default", "order"), ("default", "default", "charge")}
        await there.start_runs([start(1, workflow="unknown"), start(2)])
        await here.elsewhere.find_work()
        async with asyncio.timeout(5):
            assert [event.run.run_id for event in (await polling).leases] == [run_named(2)]


async def test_work_that_is_believed_to_wait_is_claimed_after_a_claim_that_failed() -> None:
    cell = AskedCell()
    async with replica(cell) as engine:
        session, _ = await engine.open_session(introduction())
        polling = asyncio.create_task(poll(engine, session))
        await asyncio.sleep(0)
        cell.runs[run_named(1)] = record(run_named(1))
        cell.open_runs[run_named(1)] = ready_run(run_named(1), 0)
        cell.before = [StoreUnavailable("it is down")] * 2
        for _ in range(3):
            await engine.elsewhere.find_work()
            while engine._background._tasks:
                await asyncio.gather(*engine._background._tasks)
        async with asyncio.timeout(5):
            assert [event.run.run_id for event in (await polling).leases] == [run_named(1)]
