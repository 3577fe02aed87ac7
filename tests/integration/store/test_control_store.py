"""The control schema on real Postgres."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from holdfast_coordinator.store.control import PostgresControlStore
from holdfast_coordinator.store.port import SessionRow

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


async def test_heartbeats_count_for_living_sessions_of_the_replica(control: PostgresControlStore) -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    for row in (session("s1", old), session("s2", old, replica_id="replica-2"), session("s3", old)):
        await control.save_session(row)
    assert await control.bury_session("s3")
    assert await control.save_heartbeats(["s1", "s2", "s3", "unknown"], "replica-1") == {"s1"}
    (first, second) = await control.sessions()
    assert first.heartbeat_at > old
    assert second.heartbeat_at == old


async def test_silent_sessions_are_buried_once_and_stay_dead(
    control: PostgresControlStore,
) -> None:
    now = await control.now()
    await control.save_session(session("s1", now))
    await control.save_session(silent := session("s2", now - timedelta(minutes=1)))
    (buried,) = await control.bury_sessions(timedelta(seconds=30))
    assert replace(buried, died_at=None) == silent
    assert buried.died_at is not None
    assert await control.bury_sessions(timedelta(seconds=30)) == []
    assert not await control.bury_session("s2")
    assert not await control.bury_session("unknown")
    assert await control.dead_or_unknown(["s1", "s2", "unknown"]) == {"s2", "unknown"}
    assert not await control.save_session(silent)
    assert await control.dead_or_unknown(["s2"]) == {"s2"}


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
    assert await control.known_workflows("default") == {"order": {"a": [2, None]}, "refund": {}}
    assert await control.known_workflows("other") == {}
