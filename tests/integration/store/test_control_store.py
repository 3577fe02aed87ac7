"""The control schema on real Postgres, and its model in memory by the same tests."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from holdfast_coordinator.store import control as control_module
from holdfast_coordinator.store.control import WRITE_MARGIN, PostgresControlStore
from holdfast_coordinator.store.control_port import ControlStore, SessionRow
from holdfast_coordinator.store.port import LockTimeout
from tests.support.memory_control_store import MemoryControlStore

NEVER = timedelta(days=365_000)

Locked = Callable[..., AbstractContextManager[None]]


@pytest.fixture(params=["postgres", "memory"])
async def control(request: pytest.FixtureRequest) -> AsyncIterator[ControlStore]:
    """The control store of a fresh database, and the one in memory."""
    if request.param == "memory":
        yield MemoryControlStore()
        return
    async with PostgresControlStore.open(request.getfixturevalue("database")) as store:
        yield store


@pytest.fixture
def locked(control: ControlStore, request: pytest.FixtureRequest) -> Locked:
    """Locks rows of sessions as long as a block runs, as another transaction does."""

    @contextmanager
    def lock(*session_ids: str) -> Iterator[None]:
        if isinstance(control, MemoryControlStore):
            control.locked = set(session_ids)
            yield
            control.locked = set()
            return
        with psycopg.connect(request.getfixturevalue("database")) as locking:
            sql = "SELECT 1 FROM holdfast.sessions WHERE session_id = ANY (%s) FOR UPDATE"
            assert len(locking.execute(sql, [list(session_ids)]).fetchall()) == len(session_ids)
            yield

    return lock


def session(session_id: str, heartbeat_at: datetime, **changed: str) -> SessionRow:
    row = SessionRow(
        session_id, "default", "default", "replica-1", 1, "build", "host", 42, 10, heartbeat_at, heartbeat_at,
        ("order", "refund"), ("charge",),
    )  # fmt: skip
    return replace(row, **changed)  # type: ignore[arg-type]


async def test_a_namespace_is_made_once(control: ControlStore) -> None:
    for _ in range(2):
        await control.create_namespace("default")
    await control.create_namespace("other")
    assert await control.namespaces() == {"default", "other"}


async def test_a_session_is_read_as_it_was_saved_last(control: ControlStore) -> None:
    now = await control.now()
    await control.save_session(session("s1", now))
    await control.save_session(moved := replace(session("s1", now), replica_id="replica-2", attach_no=2, slots=3))
    await control.save_session(session("s2", now, namespace="other"))
    assert await control.sessions("default") == [moved]
    assert len(await control.sessions()) == 2


async def test_heartbeats_and_looks_count_for_living_sessions_under_their_attachment(
    control: ControlStore,
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


async def test_an_attachment_follows_the_one_before_it_whoever_makes_it(control: ControlStore) -> None:
    now = await control.now()
    assert await control.save_session(replace(session("s1", now), attach_no=900)) == 900
    assert await control.save_session(replace(session("s1", now), replica_id="replica-2", attach_no=5)) == 901
    assert (await control.sessions())[0].attach_no == 901


async def test_silent_sessions_are_buried_once_and_stay_dead(
    control: ControlStore,
) -> None:
    now = await control.now()
    await control.save_session(session("s1", now))
    await control.save_session(silent := session("s2", now - timedelta(minutes=1)))
    await control.save_session(foreign := session("s3", now - timedelta(minutes=1), replica_id="replica-2"))

    async def bury(own: int, others: int) -> list[SessionRow]:
        own_before, others_before = now - timedelta(seconds=own), now - timedelta(seconds=others)
        found = await control.silent_sessions("replica-1", own_before=own_before, others_before=others_before)
        return await control.bury_sessions(found, now)

    assert await bury(30, 90) == [replace(silent, died_at=now)]
    assert await bury(30, 90) == []
    assert await bury(30, 45) == [replace(foreign, died_at=now)]
    assert not await control.bury_session("s2")
    assert not await control.bury_session("unknown")
    fates = {"s2": silent.heartbeat_at, "unknown": None}
    assert await control.dead_or_unknown(["s1", "s2", "unknown"]) == fates
    assert await control.save_session(silent) is None
    assert await control.dead_or_unknown(["s2"]) == {"s2": silent.heartbeat_at}


async def test_a_session_that_has_given_a_sign_of_life_since_it_was_found_silent_is_not_buried(
    control: ControlStore,
) -> None:
    now = await control.now()
    await control.save_session(session("s1", now - timedelta(minutes=1)))
    found = await control.silent_sessions("replica-1", own_before=now, others_before=now)
    assert found == {"s1": now - timedelta(minutes=1)}
    await control.save_heartbeats({"s1": 1}, now)
    assert await control.bury_sessions(found, now) == []


async def test_a_session_whose_row_is_locked_is_neither_silent_nor_buried_nor_pruned(
    control: ControlStore, locked: Locked
) -> None:
    now = await control.now()
    old = now - timedelta(minutes=1)
    for name in ("s1", "s2", "dead"):
        await control.save_session(session(name, old))
    await control.bury_session("dead")
    with locked("s1", "dead"):
        assert await control.silent_sessions("replica-1", own_before=now, others_before=now) == {"s2": old}
        assert [row.session_id for row in await control.bury_sessions({"s1": old, "s2": old}, now)] == ["s2"]
        assert await control.prune_sessions(-timedelta(hours=1)) == 1
    assert await control.prune_sessions(-timedelta(hours=1)) == 1
    assert [row.session_id for row in await control.sessions()] == ["s1"]


async def test_heartbeats_are_saved_beside_one_whose_row_is_locked(control: ControlStore, locked: Locked) -> None:
    now = await control.now()
    beats = dict.fromkeys(("s1", "s2", "s3"), 1)
    for name in beats:
        await control.save_session(session(name, now - timedelta(minutes=1)))
    with locked("s2"):
        assert await control.save_heartbeats(beats, now) == {"s1", "s3"}
        assert await control.attached(beats) == beats.keys()
    assert await control.save_heartbeats(beats, now) == beats.keys()


async def test_a_session_whose_row_stays_locked_is_neither_attached_nor_closed_and_that_is_said(
    control: ControlStore, locked: Locked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_module, "LOCKED_SECONDS", 0.1)
    await control.save_session(mine := session("s1", await control.now()))
    with locked("s1"):
        with pytest.raises(LockTimeout, match="s1"):
            await control.save_session(mine)
        with pytest.raises(LockTimeout, match="s1"):
            await control.bury_session("s1")
        assert await control.save_session(replace(mine, namespace="other")) is None
        assert await control.save_session(replace(mine, session_id="s2")) == 1
    assert await control.save_session(mine) == 2


async def test_heartbeats_from_before_a_step_back_of_the_clock_are_set_to_now(control: ControlStore) -> None:
    now = await control.now()
    await control.save_session(session("s1", now - timedelta(seconds=5)))
    assert await control.pull_back_heartbeats(now) == 0
    await control.save_session(session("s2", ahead := now + timedelta(hours=1)))
    assert await control.latest_heartbeat() == ahead
    assert await control.pull_back_heartbeats(now) == 1
    assert {row.session_id: row.heartbeat_at for row in await control.sessions()} == {
        "s1": now - timedelta(seconds=5), "s2": now,
    }  # fmt: skip


async def test_a_session_cannot_be_taken_over_from_another_namespace(control: ControlStore) -> None:
    mine = session("s1", await control.now())
    assert await control.save_session(mine)
    assert not await control.save_session(replace(mine, namespace="other"))
    assert await control.sessions() == [mine]


async def test_tombstones_are_pruned_when_they_are_old_enough(control: ControlStore) -> None:
    await control.save_session(session("s1", await control.now()))
    await control.bury_session("s1")
    assert await control.prune_sessions(timedelta(hours=1)) == 0
    assert await control.prune_sessions(-timedelta(hours=1)) == 1
    assert await control.prune_sessions(-NEVER / 1000) == 0


async def test_the_latest_signature_of_a_workflow_is_known(control: ControlStore) -> None:
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
