"""Sessions of a replica over the model stores: reconciled, kept alive, declared dead; no lease of theirs gets lost."""

import asyncio
from datetime import datetime, timedelta

import pytest
from replicas import FailingCell, introduction, lease, poll, replica, run_named, settled, start

from holdfast.errors import CoordinatorUnavailable
from holdfast_coordinator.domain.commands import Command, LeaseEnd
from holdfast_coordinator.domain.rows import OpenRun, RunState, TaskRow
from holdfast_coordinator.engine import sessions as sessions_module
from holdfast_coordinator.engine.attachments import Attachment, Held
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.matcher import Matcher
from holdfast_coordinator.engine.refusals import Reattach, SessionExpired
from holdfast_coordinator.engine.sessions import SessionPolicy, Sessions
from holdfast_coordinator.store.port import OutcomeUnknown, StoreUnavailable
from tests.model.batches import T0, open_run
from tests.model.control import ModelControlStore

TTL = timedelta(seconds=10)
IMPATIENT = SessionPolicy(ttl=timedelta(0))
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
        with pytest.raises(CoordinatorUnavailable):
            await beat(engine, session)
        assert cell.open_runs[run_named(1)].epoch == held[2]
        await beat(engine, session)
        assert cell.open_runs[run_named(1)].epoch > held[2]


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
        with pytest.raises(Reattach):
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
        with pytest.raises(Reattach):
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
        with pytest.raises(Reattach):
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


# Liveness


class Liveness:
    """Sessions whose two clocks the test moves: that of the database and that of the replica."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.control = HangingControl(self.now)
        self.ended: list[Command] = []
        self.sessions = Sessions(
            self.control, Matcher(), replica_id="r1", policy=SessionPolicy(ttl=TTL), submit=self._submit,
            find_held=self._held, clock=lambda: self.seconds,
        )  # fmt: skip

    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.seconds)

    async def turn(self, seconds: float = 1.0) -> None:
        """So much later, what the heartbeat loop does."""
        self.seconds += seconds
        await self.sessions.flush_heartbeats()
        await self.sessions.reap()

    async def beat(self, session: Attachment) -> None:
        """A heartbeat of a session that holds nothing."""
        await self.sessions.heartbeat(
            session.session_id, session.attach_no, msg_no=session.heartbeat_no + 1, held=frozenset(),
            lag=timedelta(0), draining=False,
        )  # fmt: skip

    async def _submit(self, _: str, commands: object) -> None:
        assert isinstance(commands, list)
        self.ended += commands

    async def _held(self, session_ids: object, limit: int) -> tuple[list[OpenRun], list[TaskRow]]:
        return ([], []) if self.ended else ([open_run(run_named(1), owner="s")], [])


class HangingControl(ModelControlStore):
    """A control store that does not answer while `hangs` is set."""

    hangs = False

    async def save_heartbeats(self, session_ids: object, replica_id: str) -> set[str]:
        """See port.ControlStore."""
        if self.hangs:
            await asyncio.Event().wait()
        return await super().save_heartbeats(session_ids, replica_id)  # type: ignore[arg-type]


async def test_a_silent_session_dies_after_its_ttl_and_its_leases_end() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(10):
        await live.turn()
    assert live.ended == []
    await live.turn()
    assert len(live.ended) == 1
    with pytest.raises(Reattach):
        await live.beat(session)


async def test_a_session_with_heartbeats_lives() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(30):
        await live.beat(session)
        await live.turn()
    assert live.ended == []


async def test_a_database_that_did_not_answer_kills_nobody_until_one_ttl_has_passed() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    live.control.hangs = True
    await live.beat(session)
    for _ in range(3):
        live.seconds += 6
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await live.sessions.flush_heartbeats()
    live.control.hangs = False
    other, _ = await live.sessions.open(introduction())
    live.control.rows[other.session_id].heartbeat_at = T0
    await live.turn()
    assert live.ended == []
    assert live.control.rows[session.session_id].heartbeat_at == live.now(), "its heartbeat was forgotten"
    for _ in range(10):
        await live.beat(session)
        await live.turn()
    assert len(live.ended) == 1


async def test_after_a_pause_of_the_replica_nobody_dies_until_one_ttl_has_passed() -> None:
    live = Liveness()
    session, _ = await live.sessions.open(introduction())
    for _ in range(12):
        await live.beat(session)
        await live.turn()
    await live.turn(60)  # what was sent meanwhile is still in the sockets
    assert live.ended == []
    for _ in range(20):
        await live.beat(session)
        await live.turn()
    assert live.ended == []


async def test_leases_that_cannot_be_ended_are_tried_once() -> None:
    live = Liveness()
    refused: list[str] = []

    async def submit(run_id: str, _: object) -> None:
        refused.append(run_id)

    live.sessions._submit = submit
    async with asyncio.timeout(5):
        await live.sessions.end_leases_of(["s"], LeaseEnd.LOST)
    assert refused == [run_named(1)]
