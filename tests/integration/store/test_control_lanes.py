"""What somebody locks in the control schema holds up who needs it, and nobody else; there is room for all others."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from holdfast_coordinator.store import control as control_module
from holdfast_coordinator.store.control import LANE_CONNECTIONS, REGISTERED_AGAIN, PostgresControlStore
from holdfast_coordinator.store.control_port import SessionRow
from holdfast_coordinator.store.port import LockTimeout
from tests.support.store_rows import T0

SOON_SECONDS = 2.0
MANY = 3 * LANE_CONNECTIONS
CROWD = 60
"""So many that each could not have a connection for even a moment while others wait for theirs."""


@pytest.fixture
async def control(database: str) -> AsyncIterator[PostgresControlStore]:
    """The control store of a fresh database."""
    async with PostgresControlStore.open(database) as store:
        yield store


@contextmanager
def transaction(database: str, sql: str) -> Iterator[psycopg.Connection]:
    """Another transaction that has executed this, and stays open as long as the block runs."""
    with psycopg.connect(database) as other:
        other.execute(sql.encode())
        yield other


def session(session_id: str) -> SessionRow:
    """A session as it is when it opens."""
    return SessionRow(session_id, "default", "default", "replica-1", 1, "build", "host", 42, 10, T0, T0)


async def test_workers_that_wait_for_their_locked_rows_hold_up_no_other_and_go_on_when_these_are_free(
    control: PostgresControlStore, database: str
) -> None:
    names = [f"s{number}" for number in range(CROWD)]
    for name in names:
        await control.save_session(session(name))
    with transaction(database, "SELECT 1 FROM holdfast.sessions FOR UPDATE"):
        opening = [asyncio.create_task(control.save_session(session(name))) for name in names[1:]]
        closing = asyncio.create_task(control.bury_session(names[0]))
        await asyncio.sleep(0.3)
        async with asyncio.timeout(SOON_SECONDS):
            for number in range(MANY):
                assert await control.save_session(session(f"new{number}")) == 1
                await control.register_workflows("default", {f"order{number}": {}})
                assert await control.save_heartbeats({f"new{number}": 1, "s0": 1}, T0) == {f"new{number}"}
        assert not any(task.done() for task in (*opening, closing))
    async with asyncio.timeout(SOON_SECONDS):
        assert await asyncio.gather(*opening) == [2] * len(opening)
        assert await closing is True


@pytest.mark.parametrize(
    "change",
    [
        "SELECT 1 FROM holdfast.known_workflows FOR UPDATE",
        "UPDATE holdfast.known_workflows SET registered_at = registered_at",
        "DELETE FROM holdfast.known_workflows",
    ],
)
async def test_what_is_registered_is_registered_again_whoever_has_locked_it(
    control: PostgresControlStore, database: str, change: str
) -> None:
    await control.register_workflows("default", {"order": {}, "refund": {}})
    with psycopg.connect(database) as connection:  # half of it so long ago that it counts as new
        connection.execute(
            "UPDATE holdfast.known_workflows SET registered_at = registered_at - %s WHERE name = 'order'",
            [2 * REGISTERED_AGAIN],
        )
    before = await control.registered_since(None)
    with transaction(database, change) as other:
        async with asyncio.timeout(SOON_SECONDS):
            await control.register_workflows("default", {"order": {}, "refund": {}})
        other.rollback()
    assert await control.registered_since(None) == before
    await control.register_workflows("default", {"order": {}, "refund": {}})
    after = await control.registered_since(None)
    assert [row.name for row in after] == ["refund", "order"]
    assert after[0] == before[1]


async def test_what_another_transaction_registers_and_does_not_commit_holds_up_who_registers_the_same_alone(
    control: PostgresControlStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await control.register_workflows("default", {"other": {}})
    copy = "SELECT namespace, 'order', digest, signature, registered_at FROM holdfast.known_workflows"
    with transaction(database, f"INSERT INTO holdfast.known_workflows {copy}") as other:
        waiting = [asyncio.create_task(control.register_workflows("default", {"order": {}})) for _ in range(MANY)]
        await asyncio.sleep(0.3)
        began = time.monotonic()
        for number in range(MANY):
            await control.register_workflows("default", {f"new{number}": {}})
        assert time.monotonic() - began < SOON_SECONDS
        assert not any(task.done() for task in waiting)
        other.rollback()
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.gather(*waiting)
    with transaction(database, f"INSERT INTO holdfast.known_workflows {copy.replace('order', 'new')} LIMIT 1"):
        monkeypatch.setattr(control_module, "LOCKED_SECONDS", 0.2)
        with pytest.raises(LockTimeout, match="new"):
            await control.register_workflows("default", {"new": {}})


async def test_a_coordinator_starts_while_somebody_changes_its_namespaces(
    control: PostgresControlStore, database: str
) -> None:
    await control.create_namespace("default")
    with transaction(database, "UPDATE holdfast.namespaces SET created_at = created_at"):
        async with asyncio.timeout(SOON_SECONDS):
            await control.create_namespace("default")


async def test_a_locked_table_of_signatures_stops_neither_heartbeats_nor_sessions_that_register_nothing(
    control: PostgresControlStore, database: str
) -> None:
    await control.save_session(session("s1"))
    with transaction(database, "LOCK TABLE holdfast.known_workflows IN ACCESS EXCLUSIVE MODE"):
        waiting = [asyncio.create_task(control.register_workflows("default", {"order": {}})) for _ in range(MANY)]
        await asyncio.sleep(0.3)
        async with asyncio.timeout(SOON_SECONDS):
            now = await control.now()
            assert await control.attached({"s1": 1}) == {"s1"}
            assert await control.save_heartbeats({"s1": 1}, now) == {"s1"}
            assert await control.save_session(session("s2")) == 1
            assert await control.silent_sessions("replica-1", own_before=now, others_before=now) == {"s2": T0}
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_sessions_that_wait_for_one_that_is_not_committed_leave_room_for_heartbeats(
    control: PostgresControlStore, database: str
) -> None:
    await control.save_session(session("s1"))
    columns = "replica_id, attach_no, build, host, pid, slots, opened_at, heartbeat_at, workflows, steps"
    uncommitted = f"""
        INSERT INTO holdfast.sessions (session_id, namespace, queue, {columns})
        SELECT 'new' || number, namespace, queue, {columns}
        FROM holdfast.sessions, generate_series(0, {MANY - 1}) AS number
    """
    with transaction(database, uncommitted) as other:
        opening = [asyncio.create_task(control.save_session(session(f"new{number}"))) for number in range(MANY)]
        await asyncio.sleep(0.3)
        async with asyncio.timeout(SOON_SECONDS):
            for _ in range(MANY):
                assert await control.save_heartbeats({"s1": 1}, await control.now()) == {"s1"}
        assert not any(task.done() for task in opening)
        other.rollback()
        async with asyncio.timeout(SOON_SECONDS):
            assert await asyncio.gather(*opening) == [1] * MANY


async def test_sessions_that_wait_for_a_locked_table_leave_room_for_heartbeats_that_wait_for_it_too(
    control: PostgresControlStore, database: str
) -> None:
    await control.save_session(session("s1"))
    with transaction(database, "LOCK TABLE holdfast.sessions IN ACCESS EXCLUSIVE MODE") as other:
        slow = [asyncio.create_task(control.save_session(session(f"new{number}"))) for number in range(MANY)]
        beating = asyncio.create_task(control.save_heartbeats({"s1": 1}, T0 + timedelta(seconds=1)))
        await asyncio.sleep(0.3)
        assert not beating.done(), "a lock of the table for a moment must not look like an outage"
        other.rollback()
        async with asyncio.timeout(SOON_SECONDS):
            assert await beating == {"s1"}
            assert await asyncio.gather(*slow) == [1] * MANY
