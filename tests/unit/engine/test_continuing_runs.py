"""Retries, and starts that may retry, of one id at once: over stores in memory."""

from dataclasses import replace

import pytest

from holdfast.errors import RunNotRetryable
from holdfast.ids import start_id
from holdfast.statuses import RunStatus
from holdfast_coordinator.domain.commands import Reuse, StartRun, TerminateRun
from holdfast_coordinator.domain.hashed_calls import HashedCall
from holdfast_coordinator.domain.rows import JournalRow, OpenRun, RunState
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.engine.engine import Engine
from tests.support.engine_replicas import FailingCell, replica, run_named, start
from tests.support.store_rows import closing

FIRST, SECOND, THIRD = (run_named(number) for number in (1, 2, 3))
CLOSED_BY = "s1"
FLOW = {
    "parameters": [{"name": "n", "kind": "either", "required": True}], "extra_positional": False, "extra_named": False,
}  # fmt: skip


async def terminated_first(engine: Engine, **changed: object) -> None:
    """Run 1 with the id a, terminated."""
    await engine.start_runs([start(1, id="a", **changed)])
    await engine.steer(FIRST, TerminateRun(FIRST, "", "by mistake"))


async def answer(engine: Engine, asked: StartRun) -> object:
    """The answer to a start."""
    (given,) = await engine.start_runs([asked])
    return given


class CellThatIsFaster(FailingCell):
    """A cell in which run 2 continues run 1, and completes, while somebody reads what run 1 has left."""

    engine: Engine | None = None

    async def journal(self, run_id: str, after: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
        """See port.CellStore."""
        page = await super().journal(run_id, after, max_bytes)
        if self.engine is not None:
            engine, self.engine = self.engine, None
            await engine.retry(FIRST, start_id(2, bytes(10)))
            await self.complete(self.open_runs[SECOND])
        return page

    async def complete(self, run: OpenRun) -> None:
        """The run is leased and completes."""
        self.open_runs[run.run_id] = leased = run.copy()
        leased.state, leased.owner, leased.epoch, leased.ready_at = RunState.LEASED, CLOSED_BY, 1, None
        ending = closing(run.run_id, expected_seq=leased.length, epoch=1, session_id=CLOSED_BY)
        await self.move([ending], at=run.last_at)


async def test_a_start_that_may_retry_joins_the_run_that_another_has_continued_and_completed_meanwhile() -> None:
    cell = CellThatIsFaster()
    async with replica(cell) as engine:
        await terminated_first(engine)
        cell.engine = engine
        given = await answer(engine, start(3, id="a", reuse=Reuse.RETRY_FAILED))
    assert cell.run_results[SECOND].status is RunStatus.COMPLETED
    assert given == Started(SECOND, attached=True)
    assert THIRD not in cell.runs


async def test_a_retry_by_the_id_does_not_go_back_behind_the_run_that_has_completed_under_it_meanwhile() -> None:
    cell = CellThatIsFaster()
    async with replica(cell) as engine:
        await terminated_first(engine)
        cell.engine = engine
        with pytest.raises(RunNotRetryable) as refused:
            await engine.retry(FIRST, start_id(3, bytes(10)), by_id=True)
        assert refused.value.run_id == SECOND
        again = await engine.retry(FIRST, start_id(3, bytes(10)))
    assert again == Started(THIRD, attached=False), "by its run id a run may be continued again"


async def test_an_idempotency_key_answers_with_the_run_that_its_start_has_continued() -> None:
    async with replica(cell := FailingCell()) as engine:
        await terminated_first(engine)
        asked = start(2, id="a", idempotency_key="k", reuse=Reuse.RETRY_FAILED)
        assert await answer(engine, asked) == Started(SECOND, attached=False)
        await engine.steer(SECOND, TerminateRun(SECOND, "", "again"))
        again = replace(asked, run_id=THIRD)
        assert await answer(engine, again) == Started(SECOND, attached=True)
    assert cell.runs[SECOND].idempotency_key == "k"
    assert THIRD not in cell.runs


async def test_a_key_that_another_start_has_taken_meanwhile_answers_with_that_run() -> None:
    class CellWithAKey(FailingCell):
        async def journal(self, run_id: str, after: int, max_bytes: int) -> tuple[list[JournalRow], bool]:
            page = await super().journal(run_id, after, max_bytes)
            if THIRD not in self.runs:
                await engine.start_runs([start(3, idempotency_key="k")])
            return page

    async with replica(CellWithAKey()) as engine:
        await terminated_first(engine)
        asked = start(2, id="a", idempotency_key="k", reuse=Reuse.RETRY_FAILED)
        assert await answer(engine, asked) == Started(THIRD, attached=True)


async def test_a_start_that_continued_a_run_whose_call_was_written_otherwise_may_be_repeated() -> None:
    content = bytes(32)
    by_place, by_name = HashedCall((content,), {}).digest(), HashedCall((), {"n": content}).digest()
    async with replica(FailingCell()) as engine:
        await terminated_first(engine, call_digest=by_place)
        asked = start(2, id="a", reuse=Reuse.RETRY_FAILED, call_digest=by_name, signatures=[FLOW])
        first = await answer(engine, asked)
        assert first == Started(SECOND, attached=False)
        assert await answer(engine, asked) == first
        assert await answer(engine, replace(asked, run_id=THIRD)) == Started(SECOND, attached=True)


async def test_a_retry_by_the_id_that_is_repeated_after_the_id_has_passed_on_gets_its_first_answer() -> None:
    async with replica(cell := FailingCell()) as engine:
        await terminated_first(engine)
        made = await engine.retry(FIRST, start_id(2, bytes(10)))
        assert made == Started(SECOND, attached=False)
        # Who asks by the id asks about run 2 now.
        assert await engine.retry(SECOND, start_id(2, bytes(10)), by_id=True) == made
        await engine.steer(SECOND, TerminateRun(SECOND, "", "again"))
        await engine.retry(SECOND, start_id(3, bytes(10)), by_id=True)
        assert await engine.retry(THIRD, start_id(2, bytes(10)), by_id=True) == made
        with pytest.raises(RunNotRetryable):
            await engine.retry(THIRD, start_id(4, bytes(10)), by_id=True)
    assert len(cell.runs) == 3
