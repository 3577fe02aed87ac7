"""The Postgres store when its connections die, rows are locked by others, and commits fail."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from holdfast.statuses import ClosePolicy, RunStatus
from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.commands import ClaimRuns, ClaimTasks
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail, StepResultMail
from holdfast_coordinator.domain.rows import (
    AlarmKind,
    AlarmRow,
    ChildRow,
    JournalRow,
    KeyRow,
    RunResult,
    RunState,
)
from holdfast_coordinator.domain.snapshot import Reads, Snapshot
from holdfast_coordinator.store import cell as cell_module
from holdfast_coordinator.store.cell import LOCK_WAIT_MS, PostgresCellStore
from holdfast_coordinator.store.errors import ConnectionLost, QueryFailed, translated
from holdfast_coordinator.store.port import (
    DataRejected,
    LockTimeout,
    OutcomeUnknown,
    SerializationConflict,
    StoreUnavailable,
)
from tests.support.store_rows import (
    ENTRY,
    T0,
    appending,
    decide,
    open_run,
    read,
    ready_run,
    record,
    starting,
    task,
    write,
)


def kill_backends(dsn: str) -> int:
    """Ends every other connection to the database; how many there were."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(rows)


async def test_a_claim_skips_runs_locked_by_another_connection(cell: PostgresCellStore, database: str) -> None:
    await write(cell, starting(ready_run("r1", 1), ready_run("r2", 2), ready_run("r3", 3)))
    claim = Reads(claim_runs=[ClaimRuns("default", "default", ("order",), 2)])
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM holdfast_c00.open_runs WHERE run_id = 'r1' FOR UPDATE")
        snapshot = await read(cell, claim)
    assert [run.run_id for run, _ in snapshot.claimed_runs[0]] == ["r2", "r3"]


async def test_two_stores_never_claim_the_same_run(cell: PostgresCellStore, database: str) -> None:
    names = [f"r{number}" for number in range(40)]
    await write(cell, starting(*(ready_run(name, number) for number, name in enumerate(names))))
    claim = Reads(claim_runs=[ClaimRuns("default", "default", ("order",), 3)])
    taken: list[str] = []

    async def claim_all(store: PostgresCellStore, session_id: str) -> None:
        def lease(snapshot: Snapshot) -> Changes:
            leased = Changes()
            for run, _ in snapshot.claimed_runs[0]:
                run = run.copy()
                run.state, run.owner, run.ready_at = RunState.LEASED, session_id, None
                leased.updated[run.run_id] = run
            return leased

        while (snapshot := await decide(store, claim, lease)).claimed_runs[0]:
            taken.extend(run.run_id for run, _ in snapshot.claimed_runs[0])

    async with PostgresCellStore.open(database, "00") as second:
        await asyncio.gather(claim_all(cell, "s1"), claim_all(second, "s2"))
    left = (await read(cell, Reads(lock_runs=set(names)))).runs
    assert len(taken) == len(set(taken))
    assert {run_id for run_id, run in left.items() if run.state is RunState.LEASED} == set(taken)


async def test_a_connection_lost_before_the_commit_is_unavailable_and_the_next_batch_works(
    cell: PostgresCellStore, database: str
) -> None:
    def kill(_: Snapshot) -> Changes:
        assert kill_backends(database) == 1
        return Changes()

    with pytest.raises(StoreUnavailable):
        await decide(cell, Reads(), kill)
    await write(cell, starting(open_run("r1")))


async def test_a_connection_lost_while_idle_costs_at_most_one_call(cell: PostgresCellStore, database: str) -> None:
    await write(cell, starting(open_run("r1")))
    assert await cell.view("default", "r1") is not None
    assert kill_backends(database) == 2
    assert await cell.view("default", "r1") is not None
    for _ in range(2):
        try:
            await cell.move([appending("r1")], at=T0)
            break
        except (StoreUnavailable, OutcomeUnknown):
            continue
    assert (await read(cell, Reads(lock_runs={"r1"}))).runs["r1"].length == 2


async def test_a_backend_killed_while_a_write_waits_leaves_nothing(cell: PostgresCellStore, database: str) -> None:
    with psycopg.connect(database) as other:
        other.execute("INSERT INTO holdfast_c00.run_results VALUES ('r1', '', 6, now(), NULL, NULL)")
        other.execute("LOCK TABLE holdfast_c00.journal")
        writing = asyncio.create_task(write(cell, starting(open_run("r1"))))
        await _until_waiting(database, 1)
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        with pytest.raises((StoreUnavailable, OutcomeUnknown)):
            await writing
    assert await cell.view("default", "r1") is None


async def test_a_cancelled_batch_leaves_nothing_and_the_next_one_works(cell: PostgresCellStore, database: str) -> None:
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE holdfast_c00.journal")
        writing = asyncio.create_task(write(cell, starting(open_run("r1"))))
        await _until_waiting(database, 1)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    await write(cell, starting(open_run("r2")))


@pytest.mark.alone
@pytest.mark.parametrize(
    ("row", "reads", "kind"),
    [
        ("open_runs WHERE run_id = 'r1'", Reads(lock_runs={"r1", "r2"}), "runs"),
        ("step_tasks WHERE run_id = 'r1'", Reads(lock_runs={"r1"}, tasks={("r1", 1)}), "tasks"),
        ("step_tasks WHERE run_id = 'r1'", Reads(lock_runs={"r1"}, tasks_of={"r1"}), "tasks"),
        ("alarms WHERE run_id = 'r1'", Reads(alarms={("r1", AlarmKind.TIMER, 1)}), "alarms"),
        ("run_keys WHERE key = 'k1'", Reads(keys=[KeyRow("default", "id", "k1", "r9", b"", "order")]), "keys"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isalpha() else "",
)
async def test_a_row_that_another_connection_has_locked_is_skipped_and_named(
    cell: PostgresCellStore, database: str, row: str, reads: Reads, kind: str
) -> None:
    changes = starting(open_run("r1"), open_run("r2"))
    changes.tasks_added["r1", 1] = task("r1", 1)
    changes.alarms_set["r1", AlarmKind.TIMER, 1] = AlarmRow("r1", AlarmKind.TIMER, 1, T0)
    await write(cell, changes)
    await read(cell, Reads(keys=[KeyRow("default", "id", "k1", "r1", b"", "order")]))
    assert not (await read(cell, reads)).locked
    with psycopg.connect(database) as other:
        other.execute(f"SELECT FROM holdfast_c00.{row} FOR UPDATE".encode())
        async with asyncio.timeout(1):
            locked = (await read(cell, reads)).locked
    assert locked
    assert {name for name in ("runs", "tasks", "alarms", "keys") if getattr(locked, name)} == {kind}


async def test_a_transaction_that_waits_for_a_moved_run_holds_no_lock(
    cell: PostgresCellStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas whose batches cross would wait for each other."""
    patient = cell_module.WRITER_OPTIONS.replace(f"lock_timeout={LOCK_WAIT_MS}ms", "lock_timeout=20s")
    monkeypatch.setattr(cell_module, "WRITER_OPTIONS", patient)
    await write(cell, starting(open_run("r1"), open_run("r2")))
    lock = b"SELECT FROM holdfast_c00.open_runs WHERE run_id = %s FOR UPDATE NOWAIT"
    with psycopg.connect(database) as first, psycopg.connect(database) as second:
        first.execute(lock, ["r1"])
        waiting = asyncio.create_task(cell.transact(Reads(lock_runs={"r2"}), _signals("r2"), [appending("r1")], at=T0))
        await _until_waiting(database, 1)
        second.execute(lock, ["r2"])
        second.rollback()
        first.rollback()
        assert "r1" in await waiting


async def test_replicas_whose_batches_cross_never_wait_for_each_other(cell: PostgresCellStore, database: str) -> None:
    await write(cell, starting(open_run("r1"), open_run("r2")))
    async with PostgresCellStore.open(database, "00") as second:
        crossing = asyncio.Event()

        async def advance(store: PostgresCellStore, moved: str, other: str) -> None:
            for seq in range(1, 60):
                moves = [appending(moved, expected_seq=2 * seq - 1)]
                await store.transact(Reads(lock_runs={other}), _signals(other), moves, at=T0)
                if not crossing.is_set():
                    crossing.set()
                await asyncio.sleep(0)

        async with asyncio.timeout(20):
            await asyncio.gather(advance(cell, "r1", "r2"), advance(second, "r2", "r1"))
    with psycopg.connect(database) as connection:
        assert connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone() == (0,)


def _signals(run_id: str) -> Callable[[Snapshot], Changes]:
    """Puts a signal into the mail of a run, unless it is locked."""

    def decided(snapshot: Snapshot) -> Changes:
        run = snapshot.runs.get(run_id)
        if run is None:
            return Changes()
        mail = MailRow(run_id, run.mail_next, MailKind.SIGNAL, T0, SignalMail("go", b""))
        changed = run.copy()
        changed.mail_next += 1
        return Changes(updated={run_id: changed}, mail_added=[mail])

    return decided


async def test_a_compare_and_set_waits_for_a_locked_row_no_longer_than_a_commit_takes(
    cell: PostgresCellStore, database: str
) -> None:
    await write(cell, starting(open_run("r1")))
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM holdfast_c00.open_runs WHERE run_id = 'r1' FOR UPDATE")
        async with asyncio.timeout(2):
            with pytest.raises(LockTimeout):
                await cell.move([appending("r1")], at=T0)
    assert "r1" in await cell.move([appending("r1")], at=T0)


async def test_text_that_postgres_cannot_hold_is_rejected_and_nothing_else_is_harmed(
    cell: PostgresCellStore,
) -> None:
    for workflow in ("a\x00b", "\ud800"):
        changes = starting(open_run("r1"), open_run("r2"))
        changes.opened["r1"].workflow = workflow
        with pytest.raises(DataRejected):
            await write(cell, changes)
    with pytest.raises(DataRejected):
        await write(cell, Changes(runs=[record("r3", priority=2**40)]))
    await write(cell, starting(open_run("r1"), open_run("r2")))


async def test_updates_of_leased_runs_touch_no_index(cell: PostgresCellStore, database: str) -> None:
    runs = [open_run(f"r{number}") for number in range(20)]
    await write(cell, starting(*runs))

    def advance(snapshot: Snapshot) -> Changes:
        changed = {run_id: run.copy() for run_id, run in snapshot.runs.items()}
        for run in changed.values():
            run.length += 1
            run.attempt_deadline_at = snapshot.now
            run.last_at = snapshot.now + timedelta(microseconds=1)
        return Changes(updated=changed)

    for seq in range(1, 4):
        assert len(await cell.move([appending(run.run_id, expected_seq=2 * seq - 1) for run in runs], at=T0)) == 20
        await decide(cell, Reads(lock_runs={run.run_id for run in runs}), advance)
    await cell.close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_all_tables WHERE relname = 'open_runs'"
        async with asyncio.timeout(10):
            while (row := connection.execute(counted).fetchone()) is None or row[0] < 120:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the server's statistics come when they come
    assert row == (120, 120)


async def _until_waiting(database: str, count: int) -> None:
    async with asyncio.timeout(10):
        with psycopg.connect(database, autocommit=True) as connection:
            while True:
                row = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND wait_event_type = 'Lock'"
                ).fetchone()
                if row == (count,):
                    return
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("sqlstate", "facts", "commit_sent", "expected"),
    [
        ("40001", {}, True, SerializationConflict),
        ("40P01", {}, False, SerializationConflict),
        ("55P03", {}, False, LockTimeout),
        ("23505", {"raced": True}, True, SerializationConflict),
        ("23505", {}, True, DataRejected),
        ("22021", {}, True, DataRejected),
        ("22012", {}, True, DataRejected),
        ("54000", {}, True, DataRejected),
        ("57014", {}, True, StoreUnavailable),
        ("57P01", {}, True, StoreUnavailable),
        ("53300", {}, False, StoreUnavailable),
        ("25006", {}, True, StoreUnavailable),
        ("26000", {}, True, StoreUnavailable),
        ("0A000", {}, True, StoreUnavailable),
        ("40001", {"at_commit": True}, True, SerializationConflict),
        ("23503", {"at_commit": True}, True, DataRejected),
        ("57P01", {"at_commit": True}, True, OutcomeUnknown),
        ("22012", {"at_commit": True}, True, OutcomeUnknown),
        ("58030", {"at_commit": True}, True, OutcomeUnknown),
    ],
)
def test_errors_are_known_by_their_sqlstate(
    sqlstate: str, facts: dict[str, Any], commit_sent: bool, expected: type[Exception]
) -> None:
    error = QueryFailed(sqlstate, "text", **{"statement": "s", "raced": False, "at_commit": False, **facts})
    assert isinstance(translated(error, commit_sent=commit_sent), expected)


def test_a_lost_answer_is_unknown_only_when_a_commit_was_sent() -> None:
    assert isinstance(translated(ConnectionLost("x"), commit_sent=True), OutcomeUnknown)
    assert isinstance(translated(ConnectionLost("x"), commit_sent=False), StoreUnavailable)


async def test_rows_that_cannot_be_encoded_are_rejected_and_the_store_goes_on(cell: PostgresCellStore) -> None:
    run = open_run("r1")
    await write(cell, starting(run))
    body = StepResultMail(1, (), result=b"\xff no payload")
    broken = Changes(mail_added=[MailRow("r1", 1, MailKind.STEP_RESULT, T0, body)])
    with pytest.raises(DataRejected, match="cannot be written"):
        await decide(cell, Reads(lock_runs={"r1"}), lambda _: broken)
    assert await cell.move([appending("r1")], at=T0)


async def test_what_a_claim_brings_is_bounded_in_bytes(cell: PostgresCellStore) -> None:
    names = [f"r{number}" for number in range(6)]
    changes = starting(*(ready_run(name, number) for number, name in enumerate(names)))
    for one in changes.runs:
        one.arguments = b"x" * 600_000
    for number in range(1, 7):
        changes.tasks_added["r0", number] = task("r0", number, ready_at=T0, arguments=b"x" * 1_000_000)
    await write(cell, changes)
    claims = Reads(
        claim_runs=[ClaimRuns("default", "default", ("order",), 100)],
        claim_tasks=[ClaimTasks("default", "default", ("charge",), 100)],
    )
    snapshot = await read(cell, claims)
    (runs,), (tasks,) = snapshot.claimed_runs, snapshot.claimed_tasks
    assert [(run.run_id, record is not None) for run, record in runs] == [(name, name == "r0") for name in names]
    assert len(tasks) == 5
    assert snapshot.tasks_left == [True]
    assert list(await cell.records(names, 1_000_000)) == ["r0", "r1"]
    assert list(await cell.records(names)) == names


@pytest.mark.parametrize(
    "unsound",
    [
        Changes(closed={"r1": RunResult("r1", "default", RunStatus.RUNNING, T0)}),
        Changes(updated={"r1": open_run("r1", mail_next=1, mail_taken=1)}),
        Changes(journal=[JournalRow("r1", 2, 0, 1, 1, [ENTRY])]),
        Changes(mail_added=[MailRow("r1", 0, MailKind.SIGNAL, T0, SignalMail("s", b""))]),
        Changes(tasks_added={("r1", 0): task("r1", 0)}),
        Changes(children_added=[ChildRow("r1", 0, "c1", ClosePolicy.CANCEL)]),
    ],
    ids=str,
)
async def test_rows_that_cannot_be_are_refused_by_the_store_itself(cell: PostgresCellStore, unsound: Changes) -> None:
    """A close as RUNNING was committed: the second fence behind the checks of requests and of the core."""
    await write(cell, starting(open_run("r1")))
    with pytest.raises(DataRejected):
        await write(cell, unsound, Reads(lock_runs={"r1"}))
