"""A database's clock that steps is no reason for a session to die, or to live on."""

from datetime import timedelta

import pytest

from tests.support.engine_replicas import introduction, replica
from tests.support.memory_control_store import MemoryControlStore
from tests.support.session_liveness import Liveness, two_replicas
from tests.support.store_rows import T0


@pytest.mark.parametrize(
    "step", [timedelta(hours=1), timedelta(hours=-1), timedelta(seconds=30), timedelta(seconds=-30)]
)
async def test_a_step_of_the_databases_clock_kills_nobody_who_lives_and_spares_nobody_who_is_dead(
    step: timedelta,
) -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    silent, _ = await live.sessions.open(introduction())
    live.database_ahead += step
    for _ in range(8):
        await live.turn()  # no heartbeat has come since the step, for less than a TTL
    mended = live.now()
    await live.control.pull_back_heartbeats(mended)
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    assert [one.is_back for one in live.steps] == [step < timedelta(0)]
    assert live.control.rows[session.session_id].died_at is None
    assert live.control.rows[silent.session_id].died_at is not None


async def test_after_a_step_back_of_the_clock_a_session_whose_row_was_locked_does_not_live_for_an_hour() -> None:
    control = MemoryControlStore(lambda: T0)
    before = T0 + timedelta(hours=1)
    async with replica(control=control) as engine:
        session, _ = await engine.sessions.open(introduction())
        row = control.rows[session.session_id]
        row.heartbeat_at, control.locked = before, {session.session_id}
        await engine.stepped_clock.mend()
        assert row.heartbeat_at == before
        control.locked.clear()
        await engine.stepped_clock.mend()
        assert row.heartbeat_at == T0


async def test_a_step_back_that_another_replica_has_seen_first_kills_nobody() -> None:
    first, second, session = await two_replicas()
    for _ in range(12):
        await first.beat(session)
        await first.turn()
        await second.turn()
    first.database_ahead -= timedelta(hours=1)
    await first.beat(session)
    await first.turn()
    second.seconds += 1
    await second.sessions.reap()
    assert first.control.rows[session.session_id].died_at is None


async def test_a_clock_that_drifts_is_no_step() -> None:
    live = Liveness()
    for _ in range(3_600):
        live.database_ahead += timedelta(milliseconds=1)
        await live.turn()
    assert live.steps == []


async def test_many_small_steps_are_one() -> None:
    live = Liveness()
    await live.turn()
    for _ in range(5):
        live.database_ahead += timedelta(seconds=0.4)
        await live.turn()
    assert len(live.steps) == 1
