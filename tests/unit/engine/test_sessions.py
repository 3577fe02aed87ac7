"""Sessions of a replica over the model stores: opened, compared with the rows, closed; no lease of theirs gets lost."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from holdfast.errors import CoordinatorUnavailable
from holdfast.session_refusals import ReattachRequired, SessionExpired
from holdfast_coordinator.domain.rows import RunState
from holdfast_coordinator.engine import sessions as sessions_module
from holdfast_coordinator.engine.attachments import Attachment, Held
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.engine.sessions import SessionPolicy
from holdfast_coordinator.store.port import OutcomeUnknown, StoreUnavailable
from tests.support.engine_replicas import FailingCell, introduction, lease, poll, replica, run_named, settled, start
from tests.support.store_rows import open_run

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
        await until(lambda: not cell.before and not session.releasing)
        assert cell.open_runs[run_named(1)].epoch == held[2]
        # Not one heartbeat: it changes nothing while the try before it is still being given up.
        async with asyncio.timeout(5):
            while cell.open_runs[run_named(1)].epoch == held[2]:
                await beat(engine, session)


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


# Grants without a live owner


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
