"""Heartbeats: who sends them lives, they are answered when they are durable, and who sends none gets no work."""

import asyncio

import pytest

from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast_coordinator.store.port import LockTimeout
from tests.support.engine_replicas import introduction, run_named
from tests.support.session_liveness import Liveness, flush_in_vain
from tests.support.store_rows import T0, open_run


async def test_a_heartbeat_that_reaches_another_replica_is_as_good_and_answered_by_the_database() -> None:
    live = Liveness()
    other = Liveness(live.control, replica_id="r2")
    session, _ = await live.sessions.open(introduction())
    for _ in range(30):
        await (await other.beat(session))
        await live.turn()
        await other.turn()
    assert live.control.rows[session.session_id].died_at is None
    moved, _ = await live.sessions.open(introduction(session_id=session.session_id))
    with pytest.raises(ReattachRequired):
        await (await other.beat(session))
    await live.sessions.close(moved.session_id, moved.attach_no)
    with pytest.raises(SessionExpired):
        await (await other.beat(moved))


async def test_a_replica_keeps_nothing_of_workers_that_have_left_it() -> None:
    """Attachments of workers that had gone on with another replica were looked at in each turn, for good."""
    left = Liveness()
    entered = Liveness(left.control, replica_id="r2")
    sessions = [(await left.sessions.open(introduction()))[0] for _ in range(3)]
    for session in sessions[:2]:
        await entered.sessions.open(introduction(session_id=session.session_id))
    await left.turn()
    assert [one.session_id for one in left.matcher.sessions()] == [sessions[2].session_id]
    assert len(list(entered.matcher.sessions())) == 2


async def test_a_session_with_heartbeats_lives() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(30):
        await live.beat(session)
        await live.turn()
    assert live.control.rows[session.session_id].died_at is None


async def test_a_heartbeat_is_answered_when_it_is_durable_and_not_before() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    await live.turn()
    beating = await live.beat(session)
    assert live.control.rows[session.session_id].heartbeat_at < live.now()
    assert not beating.done()
    await live.turn()
    assert await beating == []
    assert live.control.rows[session.session_id].heartbeat_at == live.now()


async def test_a_heartbeat_that_could_not_be_written_is_written_and_answered_by_the_next_turn() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    await live.turn()
    beating = await live.beat(session)
    live.control.hangs = True
    await flush_in_vain(live)
    assert not beating.done()
    live.control.hangs = False
    await live.turn()
    assert await beating == []


async def test_a_replica_without_its_database_for_half_a_ttl_sends_its_workers_elsewhere() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    session.begin_poll(msg_no=1, free_slots=1, free_runs=2, received=[])
    await live.turn()
    beating = await live.beat(session)
    live.control.hangs = True
    live.seconds += 4
    await flush_in_vain(live)
    assert not beating.done()
    assert live.matcher.run(open_run(run_named(2)), claimed=True) == session.session_id
    live.seconds += 2
    await flush_in_vain(live)
    async with asyncio.timeout(5):
        with pytest.raises(ReplicaAway):
            await beating
    assert session.news.is_set(), "its poll stays open"
    session.heard_at = live.seconds  # not for its silence
    for call in (live.sessions.open(introduction()), await live.beat(session)):
        async with asyncio.timeout(5):
            with pytest.raises(ReplicaAway):
                await call
    assert live.matcher.run(open_run(run_named(2)), claimed=True) is None
    live.control.hangs = False
    await live.turn(0)
    assert live.sessions.attached(session.session_id, session.attach_no) is session


async def test_a_heartbeat_whose_row_is_locked_waits_alone() -> None:
    live = Liveness()
    (locked, _), (other, _) = [await live.sessions.open(introduction()) for _ in range(2)]
    live.control.locked = {locked.session_id}
    waiting = [await live.beat(locked) for _ in range(2)]
    for _ in range(4):
        beating = await live.beat(other)
        await live.turn()
        assert await beating == []
    assert not any(call.done() for call in waiting)
    assert not live.sessions.heartbeats.is_away()
    live.control.locked.clear()
    await live.turn()
    assert await asyncio.gather(*waiting) == [[], []]
    assert live.control.rows[locked.session_id].heartbeat_at == live.now()


async def test_a_session_whose_row_stays_locked_is_refused_its_heartbeat_and_gets_no_work() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    session.begin_poll(msg_no=1, free_slots=1, free_runs=9, received=[])
    live.control.locked = {session.session_id}
    waiting = await live.beat(session)
    for _ in range(4):
        await live.turn()
        assert live.matcher.run(open_run(run_named(2)), claimed=True) == session.session_id
    await live.turn()
    with pytest.raises(LockTimeout, match=session.session_id):
        await waiting
    again = await live.beat(session)
    await live.turn()
    assert live.matcher.run(open_run(run_named(2)), claimed=True) is None
    live.control.locked.clear()
    await live.turn()
    assert await again == []
    assert live.matcher.run(open_run(run_named(2)), claimed=True) == session.session_id


async def test_a_heartbeat_that_reaches_another_replica_while_its_row_is_locked_is_to_be_said_again() -> None:
    live = Liveness()
    other = Liveness(live.control, replica_id="r2")
    session, _ = await live.sessions.open(introduction())
    live.control.locked = {session.session_id}
    with pytest.raises(LockTimeout):
        await (await other.beat(session))
    live.control.locked.clear()
    assert await (await other.beat(session)) == []


async def test_a_session_that_was_silent_for_half_its_ttl_gets_no_work() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    session.begin_poll(msg_no=1, free_slots=1, free_runs=2, received=[])
    for seconds, gets in ((4, True), (2, False)):
        await live.turn(seconds)
        assert (live.matcher.run(open_run(run_named(2)), claimed=True) is not None) is gets
    await live.beat(session)
    assert live.matcher.run(open_run(run_named(2)), claimed=True) == session.session_id


async def test_a_session_that_is_vouched_for_lives() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for number in range(1, 31):
        vouching = asyncio.create_task(live.sessions.vouched(session.session_id, session.attach_no, msg_no=number))
        await asyncio.sleep(0)
        await live.turn()
        await vouching
    assert live.control.rows[session.session_id].died_at is None


async def test_a_database_that_did_not_answer_kills_nobody_until_one_ttl_has_passed() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    live.control.hangs = True
    await live.beat(session)
    live.seconds += 4
    await flush_in_vain(live)
    live.control.hangs = False
    silent, _ = await live.sessions.open(introduction())
    live.control.rows[silent.session_id].heartbeat_at = T0
    await live.turn()
    assert live.control.rows[session.session_id].heartbeat_at == live.now(), "its heartbeat was forgotten"
    for _ in range(9):
        await live.beat(session)
        await live.turn()
        assert live.control.rows[silent.session_id].died_at is None
    await live.beat(session)
    await live.turn()
    died = {
        one.session_id: row.died_at is not None
        for one in (session, silent)
        for row in [live.control.rows[one.session_id]]
    }
    assert died == {session.session_id: False, silent.session_id: True}


async def test_after_a_pause_of_the_replica_nobody_dies_until_one_ttl_has_passed() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    await live.turn(60)  # what was sent meanwhile is still in the sockets
    for _ in range(20):
        await live.beat(session)
        await live.turn()
    assert live.control.rows[session.session_id].died_at is None
