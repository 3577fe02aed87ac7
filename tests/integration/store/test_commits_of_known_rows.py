"""What is decided on rows that are known is committed only while the database has these rows; on both stores."""

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from holdfast_coordinator.domain.changes import Changes
from holdfast_coordinator.domain.mail import MailKind, MailRow, StepResultMail
from holdfast_coordinator.domain.rows import JournalRow, RunState, TaskRow, TaskState
from holdfast_coordinator.domain.snapshot import Reads
from holdfast_coordinator.store.cell import PostgresCellStore
from holdfast_coordinator.store.database_connection import DatabaseConnection
from holdfast_coordinator.store.errors import ConnectionLost
from holdfast_coordinator.store.port import (
    CellStore,
    DataRejected,
    OutcomeUnknown,
    Recalled,
    SerializationConflict,
)
from tests.support.store_rows import ENTRY, T0, appending, at, open_run, read, starting, task, write

STEP = ("r1", 1)
RUN_AND_STEP = Reads(lock_runs={"r1"}, tasks={STEP})
MAIL = MailRow("r1", 1, MailKind.STEP_RESULT, T0, StepResultMail(1, (), None))


def claimed(**changed: Any) -> TaskRow:
    """The queued step, which a session runs."""
    return task(*STEP, **{"state": TaskState.CLAIMED, "attempt": 1, "epoch": 1, **changed})


async def suspended(store: CellStore) -> Recalled:
    """A run that waits for its queued step, as the store that wrote it knows the two."""
    await write(store, starting(open_run("r1")))
    waits = open_run("r1", state=RunState.SUSPENDED, waits="step charge (1)")
    await write(store, Changes(updated={"r1": waits}, tasks_added={STEP: claimed()}), Reads(lock_runs={"r1"}))
    return known(store)


def known(store: CellStore, reads: Reads = RUN_AND_STEP) -> Recalled:
    """What the store knows."""
    recalled = store.recall(reads, at=at(1))
    assert recalled is not None
    return recalled


def result() -> Changes:
    """The step has ended: its result is mail, and the session has the run again."""
    run = open_run("r1", epoch=2, mail_next=2)
    return Changes(updated={"r1": run}, mail_added=[MAIL], tasks_deleted={STEP})


def next_step() -> Changes:
    """The code has taken the result, and has queued another step."""
    run = open_run(
        "r1", epoch=2, mail_next=2, mail_taken=1, length=2, state=RunState.SUSPENDED, waits="step charge (2)"
    )
    step = task("r1", 2, state=TaskState.CLAIMED)
    journal = [JournalRow("r1", 2, 1, 2, 1, [ENTRY])]
    return Changes(updated={"r1": run}, tasks_added={("r1", 2): step}, mail_taken=[("r1", 1)], journal=journal)


async def test_queued_steps_in_a_row_are_committed_without_reading_anything(store: CellStore) -> None:
    recalled = await suspended(store)
    assert recalled.snapshot.runs["r1"].waits == "step charge (1)"
    assert recalled.snapshot.tasks == {STEP: claimed()}
    await store.write_known(recalled, result())
    recalled = known(store, Reads(lock_runs={"r1"}))
    assert [mail.number for mail in recalled.snapshot.mail.get("r1", [MAIL])] == [1]
    await store.write_known(recalled, next_step())
    snapshot = await read(store, Reads(lock_runs={"r1"}, tasks={STEP, ("r1", 2)}))
    assert snapshot.runs == next_step().updated
    assert snapshot.tasks == next_step().tasks_added


async def test_a_batch_of_many_is_committed_as_one(store: CellStore) -> None:
    names = [f"r{number}" for number in range(9)]
    await write(store, starting(*map(open_run, names)))
    steps = {(name, 1): task(name, 1, state=TaskState.CLAIMED) for name in names}
    await write(store, Changes(updated={name: open_run(name) for name in names}, tasks_added=steps))
    recalled = known(store, Reads(lock_runs=set(names), tasks=set(steps)))
    changed = {name: open_run(name, length=2) for name in names}
    await store.write_known(recalled, Changes(updated=changed, tasks_deleted=set(steps)))
    snapshot = await read(store, Reads(lock_runs=set(names), tasks=set(steps)))
    assert (snapshot.runs, snapshot.tasks) == (changed, {})


async def test_an_append_leaves_a_run_known(store: CellStore) -> None:
    await suspended(store)
    leased = open_run("r1")
    await write(store, Changes(updated={"r1": leased}), Reads(lock_runs={"r1"}))
    assert await store.move([appending("r1")], at=T0)
    recalled = known(store, Reads(lock_runs={"r1"}))
    assert recalled.snapshot.runs["r1"].length == 2
    await store.write_known(recalled, Changes(updated={"r1": open_run("r1", length=3)}))
    assert (await read(store, Reads(lock_runs={"r1"}))).runs["r1"].length == 3


async def test_bad_data_is_refused_as_in_any_transaction(store: CellStore) -> None:
    recalled = await suspended(store)
    changes = result()
    changes.journal = [JournalRow("r1", 1, 1, 0, 0, [ENTRY])]  # is there already
    with pytest.raises(DataRejected):
        await store.write_known(recalled, changes)
    assert (await read(store, RUN_AND_STEP)).tasks == {STEP: claimed()}


async def mail_comes(other: CellStore) -> None:
    """Another replica puts something into the mail of the run, which stays suspended in this picture."""
    run = open_run("r1", state=RunState.SUSPENDED, waits="step charge (1)", mail_next=2)
    await write(other, Changes(updated={"r1": run}, mail_added=[MAIL]), Reads(lock_runs={"r1"}))


async def the_row_is_written_as_it_is(other: CellStore) -> None:
    """Whatever it was for: another transaction has had its say."""
    run = open_run("r1", state=RunState.SUSPENDED, waits="step charge (1)")
    await write(other, Changes(updated={"r1": run}), Reads(lock_runs={"r1"}))


async def the_attempt_is_lost(other: CellStore) -> None:
    """Another replica takes the attempt from its session: the run has nothing to do with it."""
    again = claimed(owner="s2", attempt=2, epoch=2, losses=1)
    await write(other, Changes(tasks_updated={STEP: again}), Reads(tasks={STEP}))


async def the_attempt_saves(other: CellStore) -> None:
    """Only what the attempt has saved is another."""
    await write(other, Changes(tasks_updated={STEP: claimed(saved=b"page 7")}), Reads(tasks={STEP}))


async def the_step_is_cancelled(other: CellStore) -> None:
    """The row of the step is gone."""
    await write(other, Changes(tasks_deleted={STEP}), Reads(tasks={STEP}))


CHANGES = [mail_comes, the_row_is_written_as_it_is, the_attempt_is_lost, the_attempt_saves, the_step_is_cancelled]


@pytest.mark.parametrize("happens", CHANGES, ids=lambda happens: happens.__name__)
async def test_nothing_is_committed_on_a_row_that_another_replica_has_changed(
    cell: PostgresCellStore, database: str, happens: Callable[[CellStore], Awaitable[None]]
) -> None:
    recalled = await suspended(cell)
    async with PostgresCellStore.open(database, "00") as other:
        await happens(other)
        before = await read(other, RUN_AND_STEP)
        with pytest.raises(SerializationConflict):
            await cell.write_known(recalled, result())
        after = await read(other, RUN_AND_STEP)
    assert (after.runs, after.tasks) == (before.runs, before.tasks)
    assert cell.recall(RUN_AND_STEP, at=T0) is None, "it would miss again"


async def test_a_compare_and_set_of_another_replica_is_seen(cell: PostgresCellStore, database: str) -> None:
    await write(cell, starting(open_run("r1")))
    await write(cell, Changes(updated={"r1": open_run("r1")}), Reads(lock_runs={"r1"}))
    recalled = known(cell, Reads(lock_runs={"r1"}))
    async with PostgresCellStore.open(database, "00") as other:
        assert await other.move([appending("r1")], at=T0)
        with pytest.raises(SerializationConflict):
            await cell.write_known(recalled, Changes(updated={"r1": open_run("r1", length=2)}))


@pytest.mark.parametrize(
    "table", ["open_runs WHERE run_id = 'r1'", "step_tasks WHERE run_id = 'r1'"], ids=["run", "step"]
)
async def test_a_locked_row_is_a_conflict_at_once_and_stays_as_it_is(
    cell: PostgresCellStore, database: str, table: str
) -> None:
    recalled = await suspended(cell)
    with psycopg.connect(database) as other:
        other.execute(f"SELECT FROM holdfast_c00.{table} FOR UPDATE".encode())
        with pytest.raises(SerializationConflict):
            await cell.write_known(recalled, result())
        other.rollback()
    assert (await read(cell, RUN_AND_STEP)).tasks == {STEP: claimed()}


async def test_who_only_locked_a_row_and_a_vacuum_have_not_changed_it(cell: PostgresCellStore, database: str) -> None:
    recalled = await suspended(cell)
    with psycopg.connect(database, autocommit=True) as other:
        with other.transaction(force_rollback=True):
            other.execute("SELECT FROM holdfast_c00.open_runs FOR UPDATE")
            other.execute("UPDATE holdfast_c00.step_tasks SET attempt = 9")
        other.execute("VACUUM (FREEZE) holdfast_c00.open_runs, holdfast_c00.step_tasks")
    await cell.write_known(recalled, result())
    assert (await read(cell, RUN_AND_STEP)).tasks == {}


async def test_a_commit_without_an_answer_is_not_guessed(
    cell: PostgresCellStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalled = await suspended(cell)
    sent = DatabaseConnection.round_trip

    async def unanswered(self: DatabaseConnection, *args: Any, **kwargs: Any) -> Any:
        await sent(self, *args, **kwargs)
        raise ConnectionLost("the answer is lost")

    monkeypatch.setattr(DatabaseConnection, "round_trip", unanswered)
    with pytest.raises(OutcomeUnknown):
        await cell.write_known(recalled, result())
    monkeypatch.undo()
    assert cell.recall(RUN_AND_STEP, at=T0) is None
    assert (await read(cell, RUN_AND_STEP)).tasks == {}
