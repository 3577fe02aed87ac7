"""The control schema on real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from holdfast_coordinator.store.control import WRITE_MARGIN, PostgresControlStore
from holdfast_coordinator.store.control_port import SessionRow

NEVER = timedelta(days=365_000)


@pytest.fixture
async def control(database: str) -> AsyncIterator[PostgresControlStore]:
    """The control store of a fresh database."""
    async with PostgresControlStore.open(database) as store:
        yield store


def session(session_id: str, heartbeat_at: datetime, **changed: str) -> SessionRow:
    row = SessionRow(
        session_id, "default", "default", "replica-1", 1, "build", "host", 42, 10, heartbeat_at, heartbeat_at,
        ("order", "refund"), ("charge",),
    )  # fmt: skip
    return replace(row, **changed)  # type: ignore[arg-type]


async def test_a_namespace_is_made_once(control: PostgresControlStore) -> None:
    for _ in range(2):
        await control.create_namespace("default")
    await control.create_namespace("other")
    assert await control.namespaces() == {"default", "other"}


async def test_a_session_is_read_as_it_was_saved_last(control: PostgresControlStore) -> None:
    now = await control.now()
    await control.save_session(session("s1", now))
    await control.save_session(moved := replace(session("s1", now), replica_id="replica-2", attach_no=2, slots=3))
    await control.save_session(session("s2", now, namespace="other"))
    assert await control.sessions("default") == [moved]
    assert len(await control.sessions()) == 2


async def test_heartbeats_and_looks_count_for_living_sessions_under_their_attachment(
    control: PostgresControlStore,
) -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    for row in (session("s1", old), session("s2", old), session("s3", old)):
        await control.save_session(row)
    await control.save_session(session("s2", old))  # attached again, under the next number
    assert await control.bury_session("s3")
    beats = {"s1": 1, "s2": 1, "s3": 1, "unknown": 1}
    assert await control.attached(beats) == {"s1"}
    now = await control.now()
    assert await control.save_heartbeats(beats, now) == {"s1"}
    (first, second) = await control.sessions()
    assert first.heartbeat_at == now > old
    assert second.heartbeat_at == old
    assert await control.attached({}) == set()


async def test_an_attachment_follows_the_one_before_it_whoever_makes_it(control: PostgresControlStore) -> None:
    now = await control.now()
    assert await control.save_session(replace(session("s1", now), attach_no=900)) == 900
    assert await control.save_session(replace(session("s1", now), replica_id="replica-2", attach_no=5)) == 901
    assert (await control.sessions())[0].attach_no == 901


async def test_silent_sessions_are_buried_once_and_stay_dead(
    control: PostgresControlStore,
) -> None:
    now = await control.now()
    await control.save_session(session("s1", now))
    await control.save_session(silent := session("s2", now - timedelta(minutes=1)))
    await control.save_session(foreign := session("s3", now - timedelta(minutes=1), replica_id="replica-2"))

    async def bury(own: int, others: int) -> list[SessionRow]:
        own_before, others_before = now - timedelta(seconds=own), now - timedelta(seconds=others)
        return await control.bury_sessions("replica-1", own_before=own_before, others_before=others_before, at=now)

    assert await bury(30, 90) == [replace(silent, died_at=now)]
    assert await bury(30, 90) == []
    assert await bury(30, 45) == [replace(foreign, died_at=now)]
    assert not await control.bury_session("s2")
    assert not await control.bury_session("unknown")
    fates = {"s2": silent.heartbeat_at, "unknown": None}
    assert await control.dead_or_unknown(["s1", "s2", "unknown"]) == fates
    assert await control.save_session(silent) is None
    assert await control.dead_or_unknown(["s2"]) == {"s2": silent.heartbeat_at}


async def test_a_session_whose_row_is_being_written_is_not_buried(control: PostgresControlStore, database: str) -> None:
    now = await control.now()
    await control.save_session(session("s1", now - timedelta(minutes=1)))
    with psycopg.connect(database) as writing:
        writing.execute("UPDATE holdfast.sessions SET heartbeat_at = %s", [now])
        async with asyncio.timeout(2):
            buried = await control.bury_sessions("replica-1", own_before=now, others_before=now, at=now)
    assert buried == []


async def test_heartbeats_from_before_a_step_back_of_the_clock_are_set_to_now(control: PostgresControlStore) -> None:
    now = await control.now()
    await control.save_session(session("s1", now - timedelta(seconds=5)))
    assert await control.pull_back_heartbeats(now) == 0
    await control.save_session(session("s2", ahead := now + timedelta(hours=1)))
    assert await control.latest_heartbeat() == ahead
    assert await control.pull_back_heartbeats(now) == 1
    assert {row.session_id: row.heartbeat_at for row in await control.sessions()} == {
        "s1": now - timedelta(seconds=5), "s2": now,
    }  # fmt: skip


async def test_a_session_cannot_be_taken_over_from_another_namespace(control: PostgresControlStore) -> None:
    mine = session("s1", await control.now())
    assert await control.save_session(mine)
    assert not await control.save_session(replace(mine, namespace="other"))
    assert await control.sessions() == [mine]


async def test_tombstones_are_pruned_when_they_are_old_enough(control: PostgresControlStore) -> None:
    await control.save_session(session("s1", await control.now()))
    await control.bury_session("s1")
    assert await control.prune_sessions(timedelta(hours=1)) == 0
    assert await control.prune_sessions(-timedelta(hours=1)) == 1
    assert await control.prune_sessions(-NEVER / 1000) == 0


async def test_the_latest_signature_of_a_workflow_is_known(control: PostgresControlStore) -> None:
    await control.register_workflows("default", {"order": {"a": 1}, "refund": {}})
    await control.register_workflows("default", {"order": {"a": [2, None]}})
    await control.register_workflows("default", {})
    rows = await control.registered_since(None)
    assert [(row.name, row.signature) for row in rows] == [
        ("order", {"a": 1}), ("refund", {}), ("order", {"a": [2, None]}),
    ]  # fmt: skip
    assert {row.namespace for row in rows} == {"default"}
    assert await control.registered_since(rows[-1].registered_at + WRITE_MARGIN) == []
    assert rows[-1] in await control.registered_since(rows[-1].registered_at)
