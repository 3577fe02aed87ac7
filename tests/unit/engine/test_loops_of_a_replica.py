"""What a replica does by itself: alarms fire when they are due, old rows go."""

import asyncio
import json
from datetime import timedelta
from typing import cast

import pytest

from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, RequestRow, RunState
from holdfast_coordinator.engine.cells import WHILE_READING
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.policy import SessionPolicy
from holdfast_coordinator.loops import alarms, upkeep
from holdfast_coordinator.loops.alarms import AlarmLoop
from holdfast_coordinator.loops.periodic import periodic
from holdfast_coordinator.store.port import StoreUnavailable
from tests.support.engine_replicas import FailingCell, replica, run_named, start
from tests.support.store_rows import T0


async def test_only_a_sooner_alarm_wakes_the_alarm_loop_and_it_fires_when_it_is_due() -> None:
    store = FailingCell()
    async with replica(store) as engine:
        (cell,) = engine.cells
        looping = asyncio.create_task(AlarmLoop(engine, cell).run())
        async with asyncio.timeout(5):
            while cell.alarms.read_at == WHILE_READING:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await engine.start_runs([start(1, delay=timedelta(hours=1))])
            assert not cell.alarms.rung.is_set()
            await engine.start_runs([start(2, delay=timedelta(milliseconds=20))])
            assert cell.alarms.rung.is_set()
            while store.open_runs[run_named(2)].state is not RunState.READY:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert store.open_runs[run_named(1)].state is RunState.SUSPENDED
        looping.cancel()


async def test_all_expired_requests_go_in_one_turn_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "ROWS_PRUNED_PAGE", 2)
    store = FailingCell()
    for number in range(7):
        store.requests[run_named(1), f"req-{number}"] = RequestRow(run_named(1), f"req-{number}", True, T0)

    async def ready(_: bool) -> None:
        pass

    async with replica(store) as engine:
        loops = dict(upkeep.all_loops(engine, on_ready=ready))
        pruning = asyncio.create_task(loops.pop("prune"))
        for loop in loops.values():
            loop.close()
        async with asyncio.timeout(5):
            while store.requests:  # noqa: ASYNC110
                await asyncio.sleep(0)
        pruning.cancel()


@pytest.mark.parametrize("other", [None, "first of all", "~ last of all"])
async def test_the_sweep_of_a_cell_is_made_by_the_replica_whose_turn_it_is(other: str | None) -> None:
    class SweptCell(FailingCell):
        async def lease_owners(self) -> set[str]:
            swept.set()
            return await super().lease_owners()

    async def ready(_: bool) -> None:
        pass

    swept = asyncio.Event()
    policy = SessionPolicy(ttl=timedelta(days=365))
    async with replica(SweptCell(), policy=policy) as engine:
        if other is not None:
            engine.doorbell.receive(json.dumps([other, [["here"]]]))
        has_turn = engine.doorbell.has_turn(engine.database_time(), policy.ttl)
        loops = dict(upkeep.all_loops(engine, on_ready=ready))
        sweeping = asyncio.create_task(loops.pop("sweep"))
        for loop in loops.values():
            loop.close()
        turned = asyncio.create_task(swept.wait())
        await asyncio.wait([turned], timeout=5 if has_turn else 0.05)
        assert swept.is_set() is has_turn
        assert has_turn or other is not None
        for task in (sweeping, turned):
            task.cancel()


async def test_a_loop_goes_on_whatever_one_of_its_turns_meets() -> None:
    errors: list[Exception] = [StoreUnavailable("gone"), ValueError("a defect"), KeyError("another")]
    turned = asyncio.Event()

    async def turn() -> None:
        if errors:
            raise errors.pop(0)
        turned.set()

    looping = asyncio.create_task(periodic("turns", turn, every_seconds=0))
    await asyncio.wait_for(turned.wait(), 5)
    looping.cancel()


async def test_the_alarm_loop_goes_on_after_a_defect_that_one_alarm_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "LONGEST_SLEEP_SECONDS", 0.01)
    store = FailingCell()
    async with replica(store) as engine:
        (cell,) = engine.cells
        await engine.start_runs([start(1, delay=timedelta(milliseconds=20))])
        broken = AlarmRow(run_named(9), cast(AlarmKind, "no kind"), 0, T0)
        store.alarms[run_named(9), AlarmKind.TIMER, 0] = broken
        looping = asyncio.create_task(AlarmLoop(engine, cell).run())
        await asyncio.sleep(0.05)
        assert not looping.done()
        del store.alarms[run_named(9), AlarmKind.TIMER, 0]
        async with asyncio.timeout(5):
            while store.open_runs[run_named(1)].state is not RunState.READY:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        looping.cancel()


def make_others(engine: Engine, count: int, *, turns_to_wait: int) -> None:
    """Has a replica hear of so many others, so that it has a turn with the alarms only after so many turns."""
    turn = int(engine.database_time().timestamp() // alarms.TURN.total_seconds())
    before = (turn + turns_to_wait) % (count + 1)
    for number in range(count):
        name = f"a{number:03}" if number < before else f"z{number:03}"  # this one is called r1
        engine.doorbell.receive(json.dumps([name, [["here"]]]))


@pytest.mark.parametrize(("others", "turns_to_wait", "seconds"), [(0, 0, 0.4), (2, 2, 0.4), (9, 0, 0.4), (9, 6, 1.0)])
async def test_among_many_replicas_only_those_whose_turn_it_is_wake_for_an_alarm_of_another(
    others: int, turns_to_wait: int, seconds: float
) -> None:
    store = FailingCell()
    async with replica(store) as engine:
        (cell,) = engine.cells
        await engine.sessions.read_clock()
        make_others(engine, others, turns_to_wait=turns_to_wait)
        due_at = await engine.control.now() + timedelta(seconds=0.4)
        store.alarms[run_named(1), AlarmKind.TIMER, 0] = AlarmRow(run_named(1), AlarmKind.TIMER, 0, due_at)
        sleep_seconds = await AlarmLoop(engine, cell).run_once()
        assert seconds - 0.2 < sleep_seconds <= seconds


async def test_an_alarm_fires_on_time_at_the_replica_that_set_it_although_it_is_not_its_turn() -> None:
    store = FailingCell()
    async with replica(store) as engine:
        (cell,) = engine.cells
        await engine.sessions.read_clock()
        make_others(engine, 9, turns_to_wait=6)
        loop = AlarmLoop(engine, cell)
        await engine.start_runs([start(1, delay=timedelta(seconds=0.3))])
        assert 0.05 < await loop.run_once() <= 0.3
        looping = asyncio.create_task(loop.run())
        async with asyncio.timeout(5):
            while store.open_runs[run_named(1)].state is not RunState.READY:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        looping.cancel()


async def test_what_is_due_much_later_is_not_kept_in_mind() -> None:
    async with replica(FailingCell()) as engine:
        (cell,) = engine.cells
        await engine.sessions.read_clock()
        await engine.start_runs([start(number, delay=timedelta(hours=1)) for number in range(1, 20)])
        await engine.start_runs([start(20, delay=timedelta(seconds=1))])
        await AlarmLoop(engine, cell).run_once()
        assert len(cell.alarms.own) == 1


async def test_alarms_that_are_due_with_one_of_a_locked_run_are_not_late_for_it() -> None:
    store = FailingCell()

    async def until_ready(number: int) -> None:
        while store.open_runs[run_named(number)].state is not RunState.READY:  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    async with replica(store) as engine:
        (cell,) = engine.cells
        await engine.start_runs([start(number, delay=timedelta(milliseconds=20)) for number in range(1, 4)])
        store.locked_elsewhere.add(run_named(2))
        looping = asyncio.create_task(AlarmLoop(engine, cell).run())
        async with asyncio.timeout(1):
            await asyncio.gather(until_ready(1), until_ready(3))
        await asyncio.sleep(2 * alarms.PARKED_SECONDS)
        assert store.open_runs[run_named(2)].state is RunState.SUSPENDED
        store.locked_elsewhere.clear()
        async with asyncio.timeout(1):
            await until_ready(2)
        looping.cancel()
