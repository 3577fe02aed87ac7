"""One session on a replica: what it is handed, what it holds, how much room it has."""

import asyncio

from holdfast_coordinator.engine.attachments import Handed
from holdfast_coordinator.engine.held_mail import UnreadMail
from tests.support.engine_replicas import attachment, claim, ended, lease, mail


def test_a_poll_does_not_give_away_again_what_a_batch_has_reserved() -> None:
    session = attachment(runs=1, slots=1)
    session.reserve(run=True)
    session.reserve(run=False)
    session.begin_poll(msg_no=2, free_slots=1, free_runs=1, received=[])
    assert (session.free_runs, session.free_slots) == (0, 0)
    session.settle(run=True, gets=False)
    session.settle(run=False, gets=True)
    assert (session.free_runs, session.free_slots) == (1, 0)


def test_an_attachment_that_took_the_place_of_another_has_nothing_reserved() -> None:
    session = attachment(runs=2)
    session.settle(run=True, gets=False)
    assert session.free_runs == 2


def test_what_was_not_received_is_handed_out_again_and_takes_up_room() -> None:
    session = attachment(runs=2)
    first, second = lease(1), lease(2)
    session.hand(first)
    session.hand(second)
    assert session.take().leases == [first, second]
    session.begin_poll(msg_no=2, free_slots=1, free_runs=1, received=[(first.run.run_id, 0, 1)])
    assert session.take().leases == [second]
    assert session.free_runs == 0


def test_what_was_taken_away_before_it_was_delivered_is_not_handed_out() -> None:
    session = attachment()
    event = lease()
    session.hand(event)
    session.hand_end(ended(event))
    handed = session.take()
    assert (handed.leases, handed.ended) == ([], [ended(event)])
    assert not session.granted


def test_an_answer_that_could_not_be_made_comes_with_the_next_poll() -> None:
    session = attachment()
    run, step, letter, end = lease(1), claim(), mail(4), ended(lease(2))
    session.hand(run)
    session.hand(step)
    session.hand_mail(letter)
    session.hand_end(end)
    session.put_back(session.take())
    assert session.news.is_set()
    assert session.take() == Handed([run], [step], [], [end], [UnreadMail(letter.run_id, 1, 0)])


async def test_an_overtaken_poll_is_answered_at_once_and_takes_nothing_with_it() -> None:
    session = attachment()
    overtaken = asyncio.create_task(session.news.wait())
    await asyncio.sleep(0)
    session.begin_poll(msg_no=2, free_slots=1, free_runs=1, received=[])
    async with asyncio.timeout(1):
        await overtaken
    assert not session.news.is_set()
    session.end_poll(1, now=5.0)
    assert session.polling
    session.end_poll(2, now=6.0)
    assert (session.polling, session.last_poll_at) == (False, 6.0)


def test_a_lease_is_missing_only_after_two_sets_without_it_and_one_ttl() -> None:
    session = attachment()
    event = lease()
    key = (event.run.run_id, 0, event.epoch)
    session.hand(event)
    seen = frozenset({key})
    assert session.missing_from(seen, 0.0, 10.0) == []
    assert session.missing_from(frozenset(), 1.0, 10.0) == []
    assert session.missing_from(frozenset(), 2.0, 10.0) == []
    assert session.missing_from(frozenset(), 12.0, 10.0) == []
    assert session.missing_from(frozenset(), 12.1, 10.0) == [key]


def test_a_lease_that_was_in_doubt_begins_to_be_missing_when_it_is_handed_out() -> None:
    session = attachment()
    event = lease()
    key = (event.run.run_id, 0, event.epoch)
    session.granted.add(key)
    session.missing_from(frozenset(), 0.0, 10.0)
    session.hand(event)
    assert session.missing_from(frozenset(), 11.0, 10.0) == []


def test_a_draining_or_lagging_or_silent_session_takes_no_work() -> None:
    session = attachment()
    assert session.takes_work(now=1_000.0)
    session.end_poll(1, now=1_000.0)
    assert session.takes_work(now=1_001.0)
    assert not session.takes_work(now=1_003.0)
    session.begin_poll(msg_no=2, free_slots=1, free_runs=1, received=[])
    session.lagging = True
    assert not session.takes_work(now=1_003.0)
    session.lagging, session.draining = False, True
    assert not session.takes_work(now=1_003.0)
