"""Random batches and appends on the model and on Postgres: both see the same and keep the same."""

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.statuses import ClosePolicy, RunStatus
from holdfast_coordinator.domain.asks import CloseAsk
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.closes import trace_mark
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks, CommitTransition
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    JournalRow,
    RunResult,
    RunState,
    Side,
    TaskState,
)
from holdfast_coordinator.domain.snapshot import MailWanted, Reads, Snapshot
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.port import CellStore, StoreError
from tests.support.memory_cell_store import MemoryCellStore
from tests.support.store_rows import (
    ENTRY,
    T0,
    appending,
    at,
    closing,
    decide,
    key,
    open_run,
    read,
    ready_run,
    starting,
    task,
)

RUNS = ("r1", "r2", "r3")
SIDES = Side.ALARMS | Side.TASKS | Side.CHILDREN
CLOSED = [status for status in RunStatus if status.is_closed]
TRACES = (Side.NONE, Side.TRACE, Side.TRACE_FAILURE)
CLAIMS = Reads(
    claim_runs=[ClaimRuns("default", "default", ("order",), 2)],
    claim_tasks=[ClaimTasks("default", "default", ("charge",), 2)],
)
EVERYTHING = Reads(
    lock_runs=set(RUNS), mail={run_id: MailWanted(all=True) for run_id in RUNS},
    tasks_of=set(RUNS), children_of=set(RUNS), starts=dict.fromkeys(RUNS, "default"), results=set(RUNS),
    alarms={(run_id, kind, ref) for run_id in RUNS for kind in AlarmKind for ref in (1, 2)},
    requests={(run_id, "q") for run_id in RUNS},
)  # fmt: skip

run_ids = st.sampled_from(RUNS)
refs = st.sampled_from((1, 2))


def start(run_id: str, seconds: int, leased: bool, side: Side) -> Changes:
    run = open_run(run_id, side=side) if leased else ready_run(run_id, seconds, side=side)
    return starting(run)


def close(run_id: str, status: RunStatus, side: Side) -> Changes:
    changes = Changes(swept={run_id: SIDES})
    changes.closed[run_id] = RunResult(run_id, "default", status, at(1), b"result")
    mark = trace_mark(open_run(run_id, side=side), status, at(1))
    changes.traces_closed += [mark] if mark is not None else []
    return changes


def plain_close(run_id: str, expected: int, status: RunStatus) -> CommitTransition:
    asked = closing(run_id, expected_seq=expected)
    asked.asks = [replace(cast(CloseAsk, asked.asks[0]), status=status)]
    return asked


def change(run_id: str, state: RunState, seconds: int) -> Changes:
    run = open_run(run_id, side=SIDES, state=state)
    return Changes(updated={run_id: replace(run, ready_at=at(seconds) if state is RunState.READY else None)})


def mail(run_id: str, number: int) -> Changes:
    row = MailRow(run_id, number, MailKind.SIGNAL, at(number), SignalMail("s", b""), b"")
    return Changes(mail_added=[row])


def alarm(run_id: str, ref: int, kind: AlarmKind, seconds: int) -> Changes:
    return Changes(alarms_set={(run_id, kind, ref): AlarmRow(run_id, kind, ref, at(seconds), b"b")})


def queue(run_id: str, ref: int, seconds: int) -> Changes:
    return Changes(tasks_added={(run_id, ref): task(run_id, ref, ready_at=at(seconds))})


def child(run_id: str, ref: int) -> Changes:
    return Changes(children_added=[ChildRow(run_id, ref, "c", ClosePolicy.CANCEL)])


def claimed(run_id: str, ref: int) -> Changes:
    row = task(run_id, ref, state=TaskState.CLAIMED, owner="s1", attempts_ended=(b"\x08\x01",))
    return Changes(tasks_updated={(run_id, ref): row})


seconds = st.integers(0, 10_000)
traces = st.sampled_from(TRACES)
sides = st.builds(lambda side, trace: side | trace, st.sampled_from((Side.NONE, SIDES)), traces)
actions = st.one_of(
    st.builds(start, run_ids, seconds, st.booleans(), sides),
    st.builds(close, run_ids, st.sampled_from(CLOSED), traces),
    st.builds(change, run_ids, st.sampled_from(RunState), seconds),
    st.builds(mail, run_ids, refs),
    st.builds(lambda run_id, ref: Changes(mail_taken=[(run_id, ref)]), run_ids, refs),
    st.builds(alarm, run_ids, refs, st.sampled_from(AlarmKind), seconds),
    st.builds(lambda run_id, ref, kind: Changes(alarms_cleared={(run_id, kind, ref)}), run_ids, refs,
              st.sampled_from(AlarmKind)),
    st.builds(queue, run_ids, refs, seconds),
    st.builds(claimed, run_ids, refs),
    st.builds(lambda run_id, ref: Changes(tasks_deleted={(run_id, ref)}), run_ids, refs),
    st.builds(child, run_ids, refs),
    st.builds(lambda run_id, ref: Changes(children_closed={(run_id, ref)}), run_ids, refs),
    st.builds(lambda run_id, seq: Changes(journal=[JournalRow(run_id, seq, 1, 1, seq, [ENTRY])]), run_ids,
              st.integers(10, 12)),
    st.builds(lambda run_id, expected: appending(run_id, expected_seq=expected), run_ids, st.integers(1, 4)),
    st.builds(plain_close, run_ids, st.integers(1, 4), st.sampled_from(CLOSED)),
    st.builds(lambda run_id, seq: {run_id: seq}, run_ids, st.integers(1, 4)),
    st.builds(lambda run_id, name: Reads(keys=[key(name, run_id)]), run_ids, st.sampled_from("kl")),
)  # fmt: skip


async def _do(store: CellStore, action: Any) -> Any:
    """What one action shows on a store: what it saw or how it failed."""
    try:
        match action:
            case CommitTransition():
                return await store.move([action], at=T0)
            case dict():
                return await store.mark_exported(action)
            case Reads():
                return _seen(await read(store, deepcopy(action)))
            case _:
                return _seen(await decide(store, Reads(lock_runs=set(RUNS)), lambda _: deepcopy(action)))
    except StoreError as error:
        return next(kind for kind in type(error).__mro__ if kind.__module__.endswith("port"))


def _seen(snapshot: Snapshot) -> Any:
    shown = {name: getattr(snapshot, name) for name in Snapshot.__slots__ if name != "now"}
    # Work that became ready at the same time comes in any order, and a limit may cut it anywhere.
    shown["claimed_runs"] = [
        sorted((run.priority, run.ready_at) for run, _ in claim) for claim in snapshot.claimed_runs
    ]
    shown["claimed_tasks"] = [sorted((row.priority, row.ready_at) for row in claim) for claim in snapshot.claimed_tasks]
    if snapshot.claimed_runs:
        shown["runs"] = shown["mail"] = shown["tasks"] = None
    return shown


async def _state(store: CellStore) -> Any:
    return (
        _seen(await read(store, deepcopy(EVERYTHING))),
        _seen(await read(store, deepcopy(CLAIMS))),
        [await store.journal(run_id, 0, 10_000) for run_id in RUNS],
        [await store.view("default", run_id) for run_id in RUNS],
        [await store.run_of_key("default", "id", name) for name in "kl"],
        await store.lease_owners(),
        [await store.exported_seq(run_id) for run_id in RUNS],
        await store.open_traces("", at(1), 10),
        sorted(await store.claim_marks(at(1_000), at(2_000), 10), key=lambda mark: mark.run_id),
        sorted(
            (row.due_at, row.run_id)
            for row in [
                *(await store.due_alarms(100, from_start=True))[0],
                *(await store.due_alarms(100, outbox=True, from_start=True))[0],
            ]
        ),
    )


@pytest.fixture
def both(database: str) -> Iterator[tuple[asyncio.Runner, PostgresCellStore, str]]:
    """One event loop, one store and one database for all examples: each begins with empty tables."""
    with asyncio.Runner() as runner:
        opened = PostgresCellStore.open(database, "00")
        store = runner.run(opened.__aenter__())
        yield runner, store, database
        runner.run(opened.__aexit__(None, None, None))


@pytest.mark.feature("F134")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(st.lists(actions, min_size=5, max_size=25))
def test_the_model_and_postgres_agree_whatever_is_written(both: Any, script: list[Any]) -> None:
    runner, cell, database = both

    async def compare() -> None:
        await _empty(database)
        model = MemoryCellStore()
        for action in script:
            assert await _do(cell, action) == await _do(model, action), action
        assert await _state(cell) == await _state(model)

    runner.run(compare())


async def _empty(database: str) -> None:
    import psycopg

    from holdfast_coordinator.store.tables import cell_metadata

    async with await psycopg.AsyncConnection.connect(database, options="-c synchronous_commit=off") as connection:
        for name in cell_metadata.tables:
            await connection.execute(f"DELETE FROM holdfast_c00.{name}".encode())
