"""Sessions that are declared dead: when, by which replica, and what becomes of their leases."""

import asyncio
from datetime import timedelta

import pytest

from holdfast.session_refusals import SessionExpired
from holdfast_coordinator.domain.commands import EndLease, LeaseEnd
from tests.support.engine_replicas import introduction, lease, run_named
from tests.support.session_liveness import HangingControl, Liveness, two_replicas
from tests.support.store_rows import open_run


async def test_a_silent_session_dies_after_its_ttl_and_its_leases_end() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    live.held[0].owner = session.session_id
    for _ in range(10):
        await live.turn()
    assert live.ended == []
    await live.turn()
    assert len(live.ended) == 1
    with pytest.raises(SessionExpired):
        await (await live.beat(session))


async def test_a_replica_whose_turn_it_is_not_buries_its_own_dead_as_soon() -> None:
    live = Liveness()
    live.has_turn = False
    session, _ = await live.sessions.open(introduction())
    live.held[0].owner = session.session_id
    for _ in range(10):
        await live.turn()
    assert live.ended == []
    await live.turn()
    assert len(live.ended) == 1


async def test_a_replica_whose_turn_it_is_not_reads_no_sessions_while_all_of_its_own_live() -> None:
    live = Liveness()
    control = live.control
    assert isinstance(control, HangingControl)
    live.has_turn = False
    session, _ = await live.sessions.open(introduction())
    for _ in range(20):
        beating = await live.beat(session)
        await live.turn()
        await beating
    assert control.looks == 0
    live.has_turn = True
    await live.turn()
    assert control.looks == 1


async def test_a_session_whose_replica_is_gone_is_buried_by_the_one_whose_turn_it_is() -> None:
    first, second, session = await two_replicas()
    second.has_turn = False
    for _ in range(30):
        first.seconds += 1
        await second.turn()
    assert first.control.rows[session.session_id].died_at is None
    second.has_turn = True
    while first.control.rows[session.session_id].died_at is None:
        first.seconds += 1
        await second.turn()
        assert second.seconds < 100 + 30 + 5
    assert len(second.ended) == 1


async def test_a_session_that_another_replica_has_buried_is_detached_by_the_next_look() -> None:
    first, _, session = await two_replicas()
    await first.control.bury_session(session.session_id)
    await first.turn()
    assert first.matcher.attachment(session.session_id) is None


async def test_a_session_that_has_moved_is_detached_where_it_was_and_what_it_never_got_goes_to_others() -> None:
    first, second, session = await two_replicas()
    session.hand(lease(1, session_id=session.session_id))
    moved, _ = await second.sessions.open(introduction(session.session_id))
    assert moved.attach_no == session.attach_no + 1
    second.ended.clear()
    await first.turn()
    assert first.matcher.attachment(session.session_id) is None
    assert first.ended == [EndLease(run_named(1), session.session_id, 1, LeaseEnd.UNDELIVERED)]


async def test_a_session_of_another_replica_is_left_to_that_one_for_half_a_ttl_more() -> None:
    first, second, session = await two_replicas()
    for _ in range(15):
        first.seconds += 1
        await second.turn()
        assert first.control.rows[session.session_id].died_at is None
    first.seconds += 1
    await second.turn()
    assert first.control.rows[session.session_id].died_at is not None
    assert len(second.ended) == 1


async def test_a_session_whose_row_was_locked_for_long_is_buried_by_no_replica() -> None:
    first, second, session = await two_replicas()
    for _ in range(12):
        first.seconds += 1
        second.seconds = first.seconds
        await first.beat(session)
        await first.turn(0)
        await second.turn(0)
    first.control.locked = {session.session_id}
    for _ in range(30):
        first.seconds += 1
        second.seconds = first.seconds
        await first.beat(session)
        await first.turn(0)
        await second.turn(0)
    assert first.now() - first.control.rows[session.session_id].heartbeat_at == timedelta(seconds=30)
    first.control.locked.clear()
    for live in (second, first):  # they bury before a turn has written what waits
        await live.sessions.reap()
    await first.turn()
    await second.turn(1)
    assert first.control.rows[session.session_id].died_at is None
    assert first.ended == second.ended == []


async def test_a_session_that_falls_silent_while_its_row_is_locked_dies_when_it_is_free() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    live.control.locked = {session.session_id}
    await live.beat(session)
    for _ in range(12):
        await live.turn()
    live.control.locked.clear()
    for _ in range(4):
        await live.turn()
    assert live.control.rows[session.session_id].died_at is not None


@pytest.mark.parametrize(
    ("acknowledge", "reason"),
    [
        ("nothing", LeaseEnd.UNDELIVERED),
        ("sent", LeaseEnd.UNDELIVERED),
        ("received by a poll", LeaseEnd.LOST),
        ("held by a heartbeat", LeaseEnd.LOST),
        ("the stream broke behind it", LeaseEnd.LOST),
        ("a transition", LeaseEnd.LOST),
    ],
)
async def test_only_a_lease_that_its_session_had_counts_as_a_loss(acknowledge: str, reason: LeaseEnd) -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    (run,) = live.held
    run.owner, held = session.session_id, (run_named(1), 0, 1)
    session.begin_poll(msg_no=1, free_slots=1, free_runs=1, received=[])
    session.hand(lease(1, session_id=session.session_id))
    if acknowledge != "nothing":
        session.take()
    match acknowledge:
        case "received by a poll":
            session.begin_poll(msg_no=2, free_slots=1, free_runs=1, received=[held])
        case "held by a heartbeat":
            await live.beat(session, held)
        case "the stream broke behind it":
            live.sessions.stream_broke(session.session_id, session.attach_no)
        case "a transition":
            run.transition_id = 1
    for _ in range(13):
        await live.turn()
    assert live.ended == [EndLease(run_named(1), session.session_id, 1, reason)]


@pytest.mark.parametrize(("granted_after", "reason"), [(-1, LeaseEnd.LOST), (1, LeaseEnd.UNDELIVERED)])
async def test_where_nobody_knows_what_a_session_had_a_heartbeat_after_the_grant_decides(
    granted_after: float, reason: LeaseEnd
) -> None:
    first, second, session = await two_replicas()
    heartbeat_at = first.control.rows[session.session_id].heartbeat_at
    second.held[0].last_at = heartbeat_at + timedelta(seconds=granted_after)
    for _ in range(16):
        first.seconds += 1
        await second.turn()
    assert second.ended == [EndLease(run_named(1), session.session_id, 1, reason)]


async def test_a_run_does_not_go_back_to_the_session_that_lost_it() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    session.begin_poll(msg_no=1, free_slots=1, free_runs=2, received=[])
    lost = open_run(run_named(1), sticky=session.session_id, losses=1)
    assert live.matcher.run(lost, claimed=True) is None
    assert live.matcher.run(open_run(run_named(1), sticky=session.session_id), claimed=True) == session.session_id


async def test_leases_that_cannot_be_ended_are_tried_once() -> None:
    live = Liveness()
    refused: list[str] = []

    async def submit(run_id: str, _: object) -> None:
        refused.append(run_id)

    live.sessions.burials._submit = submit
    async with asyncio.timeout(5):
        await live.sessions.burials.end_leases_of("s")
    assert refused == [run_named(1)]
