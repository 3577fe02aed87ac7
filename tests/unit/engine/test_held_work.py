"""Mail and ends of leases that a replica did not commit itself, or whose notice was lost, come to their holders."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from holdfast.errors import CoordinatorUnavailable
from holdfast_coordinator.domain.commands import EndAttempt, RequestCancel, SendSignal, TerminateRun
from holdfast_coordinator.domain.mail import MailKind, MailRow, SignalMail
from holdfast_coordinator.domain.rows import TaskState
from holdfast_coordinator.engine import held_work
from holdfast_coordinator.engine.attachments import Attachment, Handed, Held
from holdfast_coordinator.engine.engine import Engine
from holdfast_coordinator.store.port import ClaimHeld, HeldNews, LeaseHeld, OutcomeUnknown, StoreUnavailable
from tests.support.engine_replicas import FailingCell, introduction, poll, replica, run_named, start
from tests.support.memory_control_store import MemoryControlStore
from tests.support.store_rows import T0, task

RUN = run_named(1)


class Two:
    """Two replicas on one database; run 1 is leased to a session of the first."""

    def __init__(self, cell: FailingCell, here: Engine, elsewhere: Engine, session: Attachment, held: Held) -> None:
        self.cell, self.here, self.elsewhere, self.session, self.held = cell, here, elsewhere, session, held

    async def signal(self, engine: Engine, name: str) -> None:
        await engine.steer(RUN, SendSignal(RUN, f"req-{name}", SignalMail(name, b"")))

    async def looked(self, *, seen: int = 0, **options: Mapping[Held, int]) -> Handed:
        """What the next poll brings after a look at the rows; it must bring something."""
        await self.here.held_work.look()
        async with asyncio.timeout(5):
            return await poll(self.here, self.session, runs=0, mail_seen={self.held: seen} if seen else {})

    async def nothing_waits(self) -> None:
        await self.here.held_work.look()
        assert not self.session.news.is_set()


@asynccontextmanager
async def two_replicas() -> AsyncIterator[Two]:
    cell, control = FailingCell(), MemoryControlStore()
    async with replica(cell, control) as here, replica(cell, control) as elsewhere:
        session, _ = await here.open_session(introduction())
        polling = asyncio.create_task(poll(here, session))
        await asyncio.sleep(0)
        await here.start_runs([start(1)])
        (event,) = (await polling).leases
        held = (event.run.run_id, 0, event.epoch)
        session.begin_poll(msg_no=session.msg_no + 1, free_slots=1, free_runs=0, received=[held])
        session.end_poll(session.msg_no, now=0.0)
        yield Two(cell, here, elsewhere, session, held)


def numbers(handed: Handed) -> list[int]:
    return [piece.number for mail in handed.mail for piece in mail.pieces]


# Mail


async def test_mail_that_another_replica_committed_reaches_its_holder() -> None:
    async with two_replicas() as two:
        await two.signal(two.elsewhere, "a")
        assert not two.session.news.is_set()
        assert numbers(await two.looked()) == [1]
        await two.elsewhere.steer(RUN, RequestCancel(RUN, "req-cancel", "enough"))
        handed = await two.looked(seen=1)
        assert [piece.kind for mail in handed.mail for piece in mail.pieces] == [MailKind.CANCEL]


async def test_mail_that_was_missed_goes_before_mail_of_which_there_was_notice() -> None:
    async with two_replicas() as two:
        await two.signal(two.elsewhere, "a")
        await two.signal(two.here, "b")
        assert numbers(await poll(two.here, two.session, runs=0)) == [2]
        assert numbers(await two.looked()) == [1, 2]  # the worker says that it has none, for the first is missing
        two.session.mail_seen({two.held: 2})
        await two.nothing_waits()


async def test_mail_in_a_poll_answer_that_was_lost_is_sent_again() -> None:
    async with two_replicas() as two:
        await two.signal(two.here, "a")
        assert numbers(await poll(two.here, two.session, runs=0)) == [1]
        assert numbers(await two.looked()) == [1]
        assert numbers(await two.looked(seen=0)) == [1]


async def test_mail_whose_commit_was_in_doubt_reaches_its_holder() -> None:
    async with two_replicas() as two:
        two.cell.after = [OutcomeUnknown("the connection was lost")]
        with pytest.raises(CoordinatorUnavailable):
            await two.signal(two.here, "a")
        assert not two.session.news.is_set()
        assert numbers(await two.looked()) == [1]


async def test_mail_that_came_while_the_session_was_attached_nowhere_is_found_by_what_it_says_that_it_has() -> None:
    async with two_replicas() as two:
        await two.signal(two.here, "a")
        await two.signal(two.here, "b")
        worker = replace(introduction(two.session.session_id, [two.held]), mail_seen={two.held: 1})
        attached, _ = await two.elsewhere.open_session(worker)
        await two.elsewhere.held_work.look()
        handed = await poll(two.elsewhere, attached, runs=0, received=[two.held])
        assert numbers(handed) == [2]


async def test_mail_that_is_acknowledged_or_in_the_journal_is_left_alone() -> None:
    async with two_replicas() as two:
        await two.signal(two.elsewhere, "a")
        two.session.mail_seen({two.held: 1})
        await two.nothing_waits()
        two.session.mail_seen({two.held: 0})
        two.cell.open_runs[RUN].mail_taken = 1
        await two.nothing_waits()


async def test_a_heap_of_mail_comes_in_pages_as_fast_as_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_work, "MAIL_OFFERED_BYTES", 2_500)
    async with two_replicas() as two:
        for number in range(1, 8):
            two.cell.mail[RUN, number] = MailRow(RUN, number, MailKind.SIGNAL, T0, b"x" * 1_000)
        two.cell.open_runs[RUN].mail_next = 8
        assert numbers(await two.looked()) == [1, 2, 3]
        # Without another look at the rows, and only because the worker says that it has the page before.
        assert numbers(await poll(two.here, two.session, runs=0, mail_seen={two.held: 3})) == [4, 5, 6]
        assert numbers(await poll(two.here, two.session, runs=0, mail_seen={two.held: 5})) == []
        assert numbers(await two.looked(seen=5)) == [6, 7]
        await poll_nothing(two, seen=7)


async def poll_nothing(two: Two, *, seen: int) -> None:
    two.session.mail_seen({two.held: seen})
    await two.nothing_waits()


async def test_an_answer_whose_mail_could_not_be_read_keeps_it_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two_replicas() as two:
        await two.signal(two.elsewhere, "a")
        await two.here.held_work.look()

        async def down(*_: object) -> list[MailRow]:
            raise StoreUnavailable("it is down")

        with monkeypatch.context() as broken:
            broken.setattr(two.cell, "mail_of", down)
            with pytest.raises(StoreUnavailable):
                await poll(two.here, two.session, runs=0)
        assert numbers(await poll(two.here, two.session, runs=0)) == [1]


# Ends


async def test_a_run_that_another_replica_terminated_is_taken_from_its_holder() -> None:
    async with two_replicas() as two:
        await two.elsewhere.steer(RUN, TerminateRun(RUN, "req-1", "enough"))
        handed = await two.looked()
        assert [(event.run_id, event.number, event.epoch) for event in handed.ended] == [two.held]
        assert not two.session.granted
        await two.nothing_waits()


async def test_queued_attempts_that_another_replica_ended_or_cancelled_are_taken_from_their_holder() -> None:
    async with two_replicas() as two:
        for number in (1, 2, 3):
            two.cell.tasks[RUN, number] = task(
                RUN, number, state=TaskState.CLAIMED, owner=two.session.session_id, epoch=1, attempt=1
            )
            two.session.granted.add((RUN, number, 1))
        await two.elsewhere.cells.submit(RUN, [EndAttempt(RUN, 1, 1)])
        del two.cell.tasks[RUN, 2]
        handed = await two.looked()
        assert {(event.number, event.cancelled) for event in handed.ended} == {(1, False), (2, True)}
        assert two.session.granted == {two.held, (RUN, 3, 1)}


async def test_a_lease_whose_commit_may_be_under_way_is_not_taken_away() -> None:
    async with two_replicas() as two:
        two.session.granted.add((RUN, 0, two.held[2] + 1))
        await two.nothing_waits()


async def test_what_a_worker_holds_that_is_no_run_is_not_asked_of_the_rows() -> None:
    async with two_replicas() as two:
        asked: list[str] = []
        compare = two.cell.news_of_held

        async def compare_and_remember(leases: Sequence[LeaseHeld], claims: Sequence[ClaimHeld]) -> HeldNews:
            asked.extend(one.run_id for one in [*leases, *claims])
            return await compare(leases, claims)

        two.cell.news_of_held = compare_and_remember  # type: ignore[method-assign]
        two.session.granted |= {("run_00\0", 0, 1), ("", 2, 1), (run_named(2).replace("run_00", "run_zz"), 0, 1)}
        await two.nothing_waits()
        assert asked == [RUN]
