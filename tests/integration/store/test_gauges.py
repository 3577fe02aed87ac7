"""What the gauges read of a cell: exact while there is little, bounded in cost when there is much."""

from datetime import timedelta

import psycopg

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.rows import RunState, TaskState
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.port import CellStore, OpenRunStates, ReadyWork
from tests.support.store_rows import T0, at, open_run, ready_run, starting, task, write

RUNS = [
    ready_run("r1", 5),
    ready_run("r2", 3, priority=7),
    ready_run("r3", 1, queue="b", workflow="other"),
    ready_run("r4", 4, workflow="other"),
    ready_run("r5", 0, namespace="other"),
    ready_run("late", 1_000),
    open_run("leased"),
    open_run("stalled", state=RunState.STALLED, owner=None),
    open_run("suspended", state=RunState.SUSPENDED, owner=None),
    open_run("paused", state=RunState.PAUSED, owner=None),
]
TASKS = [
    task("r1", 1, ready_at=at(2)),
    task("r1", 2, name="ship", ready_at=at(1)),
    task("r1", 3, ready_at=at(1_000)),
    task("r1", 4, state=TaskState.CLAIMED, owner="s1", started_at=T0),
]


async def test_ready_work_is_counted_by_queue_with_its_oldest_and_not_before_it_is_due(store: CellStore) -> None:
    await write(store, starting(*RUNS))
    await write(store, Changes(tasks_added={(row.run_id, row.number): row for row in TASKS}))
    ready = await store.ready_work(at(10), 100)
    assert sorted(ready, key=lambda one: (one.is_steps, one.namespace, one.queue)) == [
        ReadyWork("default", "b", False, 1, at(1)),
        ReadyWork("default", "default", False, 3, at(3)),
        ReadyWork("other", "default", False, 1, at(0)),
        ReadyWork("default", "default", True, 2, at(1)),
    ]


async def test_open_runs_are_counted_by_state_and_those_that_wait_are_the_rest(store: CellStore) -> None:
    assert await store.open_run_states(100) == OpenRunStates(0, 0, 0, 0)
    await write(store, starting(*RUNS))
    assert await store.open_run_states(100) == OpenRunStates(ready=6, leased=1, stalled=1, waiting=2)


async def test_a_long_queue_is_counted_up_to_the_limit_and_its_oldest_is_exact(cell: PostgresCellStore) -> None:
    await write(cell, starting(*(ready_run(f"r{number}", 100 - number) for number in range(30))))
    (ready,) = await cell.ready_work(at(200), 10)
    assert (ready.count, ready.oldest_at) == (10, at(71))


async def test_beyond_the_limit_open_runs_are_what_postgres_believes(cell: PostgresCellStore, database: str) -> None:
    runs = [open_run(f"s{number}", state=RunState.SUSPENDED, owner=None) for number in range(40)]
    await write(cell, starting(ready_run("r1", 1), *runs))
    assert await cell.open_run_states(10) == OpenRunStates(ready=1, leased=0, stalled=0, waiting=9)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE holdfast_c00.open_runs")
    assert await cell.open_run_states(10) == OpenRunStates(ready=1, leased=0, stalled=0, waiting=40)


async def test_a_queue_with_many_names_and_priorities_takes_one_turn_for_each(cell: PostgresCellStore) -> None:
    runs = [ready_run(f"r{number}", number, workflow=f"w{number % 7}", priority=number % 3) for number in range(42)]
    await write(cell, starting(*runs))
    (ready,) = await cell.ready_work(at(100), 100)
    assert (ready.count, ready.oldest_at) == (42, T0 + timedelta(0))
