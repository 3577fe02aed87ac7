"""Work that was left behind reaches sessions with room; deliveries and starts reach their runs."""

import asyncio
from datetime import timedelta

from holdfast.ids import run_id, start_id
from holdfast_coordinator.domain.commands import OnConflict
from holdfast_coordinator.domain.rows import AlarmKind, AlarmRow, RunState
from holdfast_coordinator.domain.starts import Started
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.policy import SessionPolicy
from holdfast_coordinator.store.port import StoreUnavailable
from tests.support.engine_replicas import (
    QUEUE,
    Codec,
    FailingCell,
    introduction,
    poll,
    replica,
    run_named,
    settled,
    start,
)
from tests.support.memory_control_store import MemoryControlStore
from tests.support.store_rows import ready_run, record


async def test_runs_that_were_left_ready_go_to_a_session_that_comes() -> None:
    async with replica() as engine:
        await engine.start_runs([start(number) for number in range(1, 6)])
        session, _ = await engine.open_session(introduction())
        taken: set[str] = set()
        async with asyncio.timeout(5):
            while len(taken) < 5:
                handed = await poll(engine, session, received=[(run_id, 0, 1) for run_id in taken])
                taken |= {event.run.run_id for event in handed.leases}
        assert taken == {run_named(number) for number in range(1, 6)}


async def test_a_cell_that_is_slow_keeps_no_worker_from_the_work_of_another() -> None:
    slow, fast = FailingCell(), FailingCell()
    cells = [("00", slow), ("01", fast)]
    engine = Engine(MemoryControlStore(), cells, replica_id="r1", policy=SessionPolicy(), codec=Codec())
    writing = [asyncio.create_task(cell.writer.run()) for cell in engine.cells]
    there = run_id("01", start_id(1, bytes(10)))
    await engine.start_runs([start(1), start(2, run_id=there)])
    slow.answers_commits.clear()
    session, _ = await engine.open_session(introduction())
    async with asyncio.timeout(5):
        handed = await poll(engine, session, runs=2)
    assert [event.run.run_id for event in handed.leases] == [there]
    slow.answers_commits.set()
    async with asyncio.timeout(5):
        handed = await poll(engine, session, runs=2, received=[(there, 0, 1)])
    assert [event.run.run_id for event in handed.leases] == [run_named(1)]
    for cell in engine.cells:
        cell.writer.close()
    await asyncio.gather(*writing)
    await engine.close()


async def test_runs_whose_arguments_do_not_fit_one_answer_come_with_the_next() -> None:
    async with replica() as engine:
        await engine.start_runs([start(number, arguments=b"x" * 3_000_000) for number in range(1, 4)])
        session, _ = await engine.open_session(introduction())
        answers: list[int] = []
        taken: set[str] = set()
        async with asyncio.timeout(5):
            while len(taken) < 3:
                handed = await poll(engine, session, runs=3, received=[(run_id, 0, 1) for run_id in taken])
                answers.append(len(handed.leases))
                taken |= {event.run.run_id for event in handed.leases}
        assert max(answers) <= 2
        assert taken == {run_named(number) for number in range(1, 4)}


async def test_work_that_no_session_takes_is_not_claimed_again_and_again() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session, _ = await engine.open_session(introduction())
        await settled(engine)
        run_id = run_named(1)
        cell.runs[run_id] = record(run_id)
        cell.open_runs[run_id] = ready_run(run_id, 0, stall_build="b1")
        polling = asyncio.create_task(poll(engine, session))
        await asyncio.sleep(0)
        before = cell.commits
        await engine.elsewhere.find_work()
        await settled(engine)
        assert cell.commits == before + 1
        assert cell.open_runs[run_id].state is RunState.READY
        polling.cancel()


async def test_what_a_failed_claim_was_to_find_is_still_expected() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session, _ = await engine.open_session(introduction())
        await settled(engine)
        polling = asyncio.create_task(poll(engine, session))
        await asyncio.sleep(0)
        run_id = run_named(1)
        cell.runs[run_id] = record(run_id)
        cell.open_runs[run_id] = ready_run(run_id, 0)
        cell.before = [StoreUnavailable("it is down")]
        await engine.elsewhere.find_work()
        await settled(engine)
        assert cell.open_runs[run_id].state is RunState.READY
        engine.matcher.has_room(session)
        async with asyncio.timeout(5):
            assert [event.run.run_id for event in (await polling).leases] == [run_id]


async def test_a_delivery_that_makes_no_sense_ends_nothing_but_itself() -> None:
    async with replica() as engine:
        await engine.start_runs([start(1)])
        nonsense = AlarmRow(run_named(1), AlarmKind.OUTBOX_CHILD, 1, record("r").created_at, b"\xff nonsense")
        lost = AlarmRow(run_named(2), AlarmKind.OUTBOX_CHILD_CLOSED, 0, nonsense.due_at)
        await engine.outbox.deliver(nonsense)
        await engine.outbox.deliver(lost)


async def test_a_start_ends_the_run_that_has_its_id_first_when_it_asks_for_that() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        await engine.start_runs([start(1, id="order-1")])
        (answer,) = await engine.start_runs([start(2, id="order-1", on_conflict=OnConflict.TERMINATE)])
        assert answer == Started(run_named(2), attached=False)
        assert list(cell.run_results) == [run_named(1)]


async def test_a_step_that_waits_for_its_retry_is_claimed_when_it_is_due() -> None:
    async with replica() as engine:
        session, _ = await engine.open_session(introduction())
        await settled(engine)
        polling = asyncio.create_task(poll(engine, session))
        await asyncio.sleep(0)
        rung = asyncio.Event()
        engine.matcher.on_room = lambda key: rung.set() if key == QUEUE else None
        engine._claims.claim_after(timedelta(milliseconds=1), QUEUE, "charge")
        async with asyncio.timeout(5):
            await rung.wait()
        polling.cancel()


async def test_runs_that_nobody_here_can_take_hold_up_no_others() -> None:
    """As many runs as there is room, stalled by the only build there is, stood in front of all others."""
    cell = FailingCell()
    async with replica(cell) as engine:
        session, _ = await engine.open_session(introduction())
        await settled(engine)
        for number in range(1, 9):
            cell.runs[run_named(number)] = record(run_named(number))
            stalled_by = "b1" if number < 8 else None
            cell.open_runs[run_named(number)] = ready_run(run_named(number), number, stall_build=stalled_by)
        engine.matcher.expect_work(QUEUE, ["order"], [])
        async with asyncio.timeout(5):
            assert [event.run.run_id for event in (await poll(engine, session, runs=2)).leases] == [run_named(8)]
