"""Sessions of a replica over the model stores: reconciled, kept alive, declared dead; no lease of theirs gets lost."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast.errors import CoordinatorUnavailable
from holdfast.session_refusals import ReattachRequired, ReplicaAway, SessionExpired
from holdfast_coordinator.domain.commands import Command, EndLease, LeaseEnd
from holdfast_coordinator.domain.rows import OpenRun, RunState, TaskRow
from holdfast_coordinator.engine import sessions as sessions_module
from holdfast_coordinator.engine.attachments import Attachment, Held
from holdfast_coordinator.engine.database_clock import ClockStep
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.sessions import SessionPolicy, Sessions
from holdfast_coordinator.store.port import OutcomeUnknown, StoreUnavailable
from tests.support.engine_replicas import FailingCell, introduction, lease, poll, replica, run_named, settled, start
from tests.support.memory_control_store import MemoryControlStore
from tests.support.store_rows import T0, open_run

TTL = timedelta(seconds=10)
IMPATIENT = SessionPolicy(missing_max=timedelta(0))
"""What is missing from two heartbeats is ended by the second that finds it missing."""


async def beat(engine: Engine, session: Attachment, *held: Held) -> list[Held]:
    """A heartbeat with everything that the worker holds; what it holds no longer."""
    return await engine.sessions.heartbeat(
        session.session_id,
        session.attach_no,
        msg_no=session.heartbeat_no + 1,
        held=frozenset(held),
        lag=timedelta(0),
        draining=False,
    )


async def opened(engine: Engine, session_id: str | None = None, *held: Held) -> Attachment:
    """A session that is opened, or opened again."""
    attachment, _ = await engine.open_session(introduction(session_id, held))
    return attachment


async def until(holds: Callable[[], bool]) -> None:
    """Waits for what is done beside everything else."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def leased_run(engine: Engine, session: Attachment, number: int = 1) -> Held:
    """A run that was started while the session polled, and is now in its hands."""
    polling = asyncio.create_task(poll(engine, session, received=list(session.granted)))
    await asyncio.sleep(0)
    await engine.start_runs([start(number)])
    (event,) = (await polling).leases
    return event.run.run_id, 0, event.epoch


# Leases that must not get lost


async def test_a_lease_of_unknown_outcome_goes_to_somebody_who_knows_of_it() -> None:
    cell = FailingCell()
    async with replica(cell, policy=IMPATIENT) as engine:
        session = await opened(engine)
        polling = asyncio.create_task(poll(engine, session))
        await asyncio.sleep(0)
        await settled(engine)
        cell.after = [OutcomeUnknown("the connection was lost")]
        with pytest.raises(CoordinatorUnavailable):
            await engine.start_runs([start(1)])
        assert (cell.open_runs[run_named(1)].state, cell.open_runs[run_named(1)].epoch) == (RunState.LEASED, 1)
        for _ in range(3):
            await beat(engine, session)
        async with asyncio.timeout(5):
            handed = await polling
        assert [(event.run.run_id, event.epoch) for event in handed.leases] == [(run_named(1), 3)]


async def test_a_missing_lease_that_could_not_be_ended_is_ended_by_the_next_heartbeat() -> None:
    cell = FailingCell()
    async with replica(cell, policy=IMPATIENT) as engine:
        session = await opened(engine)
        held = await leased_run(engine, session)
        await beat(engine, session, held)
        await beat(engine, session)
        await beat(engine, session)
        cell.before = [StoreUnavailable("it is down")]
        await beat(engine, session)
        await until(lambda: not cell.before)
        assert cell.open_runs[run_named(1)].epoch == held[2]
        await beat(engine, session)
        await until(lambda: cell.open_runs[run_named(1)].epoch > held[2])


async def test_no_lease_goes_to_an_attachment_that_is_being_replaced() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        first = await opened(engine)
        old_poll = asyncio.create_task(poll(engine, first))
        await asyncio.sleep(0)
        cell.answers_held.clear()
        opening = asyncio.create_task(opened(engine, first.session_id))
        await cell.asked_for_held.wait()
        await engine.start_runs([start(1)])  # after the cells have said what the session holds
        cell.answers_held.set()
        second = await opening
        with pytest.raises(ReattachRequired):
            await old_poll
        async with asyncio.timeout(5):
            handed = await poll(engine, second)
        assert [event.run.run_id for event in handed.leases] == [run_named(1)]


async def test_what_was_given_to_a_session_that_has_left_is_offered_to_others() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session = await opened(engine)
        polling = asyncio.create_task(poll(engine, session))
        await asyncio.sleep(0)
        await settled(engine)
        cell.answers_commits.clear()
        cell.has_committed.clear()
        starting = asyncio.create_task(engine.start_runs([start(1)]))
        await cell.has_committed.wait()
        assert cell.open_runs[run_named(1)].owner == session.session_id
        engine.matcher.detach(session.session_id)
        cell.has_committed.clear()
        cell.answers_commits.set()
        await starting
        with pytest.raises(ReattachRequired):
            await polling
        await cell.has_committed.wait()
        assert cell.open_runs[run_named(1)].state is RunState.READY


async def test_an_answer_that_cannot_be_made_loses_no_lease() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session = await opened(engine)
        session.hand(lease(1, session_id=session.session_id))
        cell.at_reads = [StoreUnavailable("it is down")]
        with pytest.raises(StoreUnavailable):
            await poll(engine, session)
        assert [event.run.run_id for event in (await poll(engine, session)).leases] == [run_named(1)]


# Reconciliation


async def test_a_session_that_attaches_again_is_told_what_it_lost_and_loses_what_it_does_not_name() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session = await opened(engine)
        kept = await leased_run(engine, session, 1)
        dropped = await leased_run(engine, session, 2)
        stale = (run_named(9), 0, 4)
        again, gone = await engine.open_session(introduction(session.session_id, [kept, stale]))
        assert gone == [stale]
        assert again.granted == {kept}
        assert cell.open_runs[kept[0]].owner == session.session_id
        assert cell.open_runs[dropped[0]].state is RunState.READY


async def test_a_worker_that_holds_more_than_a_page_keeps_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "HELD_PAGE", 2)
    cell = FailingCell()
    async with replica(cell) as engine:
        session = await opened(engine)
        held = [await leased_run(engine, session, number) for number in range(1, 12)]
        _, gone = await engine.open_session(introduction(session.session_id, held[:5]))
        assert gone == []
        owners = [cell.open_runs[run_named(number)].owner for number in range(1, 12)]
        assert owners == [session.session_id] * 5 + [None] * 6


async def test_the_newest_of_two_openings_of_a_session_counts() -> None:
    async with replica() as engine:
        first = await opened(engine)
        newest = await opened(engine, first.session_id)
        with pytest.raises(ReattachRequired):
            engine.sessions.attached(first.session_id, first.attach_no)
        assert engine.sessions.attached(first.session_id, newest.attach_no) is newest


async def test_a_closed_session_gives_back_what_it_holds_and_is_dead() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session = await opened(engine)
        held = await leased_run(engine, session)
        await engine.sessions.close(session.session_id, session.attach_no)
        assert cell.open_runs[held[0]].state is RunState.READY
        with pytest.raises(SessionExpired):
            await opened(engine, session.session_id)


async def test_what_a_blocked_worker_gives_up_goes_to_others_and_counts_only_for_the_code_that_blocks_it() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session = await opened(engine)
        innocent, guilty = [await leased_run(engine, session, number) for number in (1, 2)]
        session.draining = True
        await engine.sessions.burials.give_up(session, held=[innocent, guilty], lost=[guilty])
        runs = [cell.open_runs[held[0]] for held in (innocent, guilty)]
        assert [run.state for run in runs] == [RunState.READY] * 2
        assert [run.losses for run in runs] == [0, 1]
        assert await beat(engine, session, innocent, guilty) == sorted([innocent, guilty])
        # Said again because the answer was lost: nothing changes.
        await engine.sessions.burials.give_up(session, held=[innocent, guilty], lost=[guilty])
        assert [cell.open_runs[held[0]].losses for held in (innocent, guilty)] == [0, 1]


async def test_a_run_whose_code_ended_its_worker_counts_a_loss_when_the_session_is_closed() -> None:
    cell = FailingCell()
    async with replica(cell) as engine:
        session = await opened(engine)
        innocent, guilty = [await leased_run(engine, session, number) for number in (1, 2)]
        await engine.sessions.close(session.session_id, session.attach_no, lost=[guilty])
        assert [cell.open_runs[held[0]].losses for held in (innocent, guilty)] == [0, 1]
        assert {cell.open_runs[held[0]].state for held in (innocent, guilty)} == {RunState.READY}


async def test_a_session_that_is_vouched_for_keeps_leases_that_it_never_named_and_gets_no_work() -> None:
    cell = FailingCell()
    async with replica(cell, policy=IMPATIENT) as engine:
        session = await opened(engine)
        held = await leased_run(engine, session)
        for _ in range(3):
            await engine.sessions.vouched(session.session_id, session.attach_no, msg_no=session.heartbeat_no + 1)
        assert cell.open_runs[held[0]].state is RunState.LEASED
        assert session.lagging
        await beat(engine, session, held)
        assert not session.lagging


# Liveness


class Liveness:
    """Sessions whose two clocks the test moves: that of the database and that of the replica."""

    def __init__(self, control: MemoryControlStore | None = None, *, replica_id: str = "r1") -> None:
        self.seconds = 100.0
        self.database_ahead = timedelta(0)
        self.control = control or HangingControl(self.now)
        self.ended: list[Command] = []
        self.matcher = Matcher(lambda: self.seconds, silent_max_seconds=TTL.total_seconds() / 2)
        self.steps: list[ClockStep] = []
        self.spawned: list[asyncio.Task[None]] = []
        self.held: list[OpenRun] = [open_run(run_named(1), owner="s")]
        self.sessions = Sessions(
            self.control, self.matcher, replica_id=replica_id, policy=SessionPolicy(ttl=TTL), submit=self._submit,
            find_held=self._held, spawn=self._spawn, on_step=self.steps.append, clock=lambda: self.seconds,
        )  # fmt: skip

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds) + self.database_ahead

    async def turn(self, seconds: float = 1.0) -> None:
        """So much later, what the loops do."""
        self.seconds += seconds
        await self.sessions.flush_heartbeats()
        await self.sessions.reap()
        await asyncio.gather(*self.spawned)

    async def beat(self, session: Attachment, *held: Held) -> "asyncio.Task[list[Held]]":
        """A heartbeat, which the next turn answers."""
        beating = asyncio.create_task(
            self.sessions.heartbeat(
                session.session_id, session.attach_no, msg_no=session.heartbeat_no + 1, held=frozenset(held),
                lag=timedelta(0), draining=False,
            )
        )  # fmt: skip
        await asyncio.sleep(0)
        return beating

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        self.spawned.append(asyncio.create_task(coroutine))
        return self.spawned[-1]

    async def _submit(self, _: str, commands: object) -> None:
        assert isinstance(commands, list)
        self.ended += commands

    async def _held(self, session_ids: Sequence[str], limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        return ([] if self.ended else [run for run in self.held if run.owner in session_ids], [])


class HangingControl(MemoryControlStore):
    """A control store that does not answer while `hangs` is set."""

    hangs = False

    async def attached(self, attachments: Mapping[str, int]) -> set[str]:
        """See control_port.ControlStore."""
        if self.hangs:
            await asyncio.Event().wait()
        return await super().attached(attachments)


async def flush_in_vain(live: Liveness) -> None:
    """A turn in which the database does not answer."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await live.sessions.flush_heartbeats()
    live.sessions.heartbeats.send_away()


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


# Between replicas


async def two_replicas() -> tuple[Liveness, Liveness, Attachment]:
    """Two replicas of one database whose clocks run together, and a session that is attached to the first."""
    first = Liveness()
    second = Liveness(first.control, replica_id="r2")
    session, _ = await first.sessions.open(introduction())
    for live in (first, second):
        live.held[0].owner = session.session_id
    return first, second, session


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


async def test_a_grant_that_no_replica_knows_of_is_released_when_its_session_does_not_name_it() -> None:
    cell = FailingCell()
    async with replica(cell, policy=IMPATIENT) as engine:
        session = await opened(engine)
        cell.open_runs[run_named(1)] = open_run(run_named(1), owner=session.session_id, epoch=4)
        for _ in range(3):
            await beat(engine, session)
        assert cell.open_runs[run_named(1)].epoch == 4, "it was not unknown"
        await engine.unknown_grants.find()
        for _ in range(2):
            await beat(engine, session)
        await until(lambda: cell.open_runs[run_named(1)].state is RunState.READY)


async def test_a_grant_that_was_not_known_stays_when_its_session_names_it() -> None:
    cell = FailingCell()
    async with replica(cell, policy=IMPATIENT) as engine:
        session = await opened(engine)
        cell.open_runs[run_named(1)] = open_run(run_named(1), owner=session.session_id, epoch=4)
        await engine.unknown_grants.find()
        for _ in range(3):
            assert await beat(engine, session, (run_named(1), 0, 4)) == []
        assert cell.open_runs[run_named(1)].owner == session.session_id


# Losses


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


# Clocks


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
    for _ in range(3):
        await live.turn()  # no heartbeat has come since the step
    mended = live.now()
    await live.control.pull_back_heartbeats(mended)
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    assert [one.is_back for one in live.steps] == [step < timedelta(0)]
    assert live.control.rows[session.session_id].died_at is None
    assert live.control.rows[silent.session_id].died_at is not None


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


async def test_leases_that_cannot_be_ended_are_tried_once() -> None:
    live = Liveness()
    refused: list[str] = []

    async def submit(run_id: str, _: object) -> None:
        refused.append(run_id)

    live.sessions.burials._submit = submit
    async with asyncio.timeout(5):
        await live.sessions.burials.end_leases_of("s")
    assert refused == [run_named(1)]
