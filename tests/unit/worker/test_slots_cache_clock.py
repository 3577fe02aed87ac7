"""Slots, the cache of suspended runs, and the clock of a session."""

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.worker.cache import RunCache
from holdfast.worker.clock import SessionClock, boot_seconds
from holdfast.worker.holder import Phase
from holdfast.worker.slots import KEPT_IN_A_ROW, Slots
from tests.support.worker_driving import Bench, Journal, go, hold, one_step_app, sleeper, started


def suspended():
    journal = Journal()
    holder = hold(sleeper(), journal, Bench())
    go(holder, journal)
    assert holder.phase is Phase.SUSPENDED
    return holder, journal


def test_a_cached_run_is_used_when_the_journal_is_as_long_as_it_knows():
    holder, journal = suspended()
    cache = RunCache(10)
    cache.keep(holder)
    assert cache.take(journal.lease()) is holder
    assert len(cache) == 0


def test_a_cached_run_that_missed_an_entry_is_dropped():
    holder, journal = suspended()
    cache = RunCache(10)
    cache.keep(holder)
    journal.entries.append(journal.entries[0])
    assert cache.take(journal.lease()) is None
    assert holder.phase is Phase.GONE


def test_the_cache_drops_the_run_unused_for_longest():
    cache = RunCache(1)
    (first, _), (second, _) = suspended(), suspended()
    first.lease = first.lease.__class__("run_other", 1, "flow", 2)
    cache.keep(first)
    cache.keep(second)
    assert (first.phase, second.phase) == (Phase.GONE, Phase.SUSPENDED)


def test_slots_go_to_those_that_wait_before_newcomers():
    slots = Slots(1)
    waiting = _waiting()
    assert slots.take()
    slots.wait(waiting, 1)
    slots.release()
    assert not slots.take(), "somebody waits"
    assert slots.offered == 0
    assert slots.grant() == [waiting]
    assert slots.free == 0


def _waiting():
    journal = Journal()
    holder = hold(one_step_app(), journal, Bench(slots=0))
    go(holder, journal)
    return holder


def test_a_slot_is_not_lost_on_a_step_that_needs_none_any_more():
    slots = Slots(1)
    running, _, _ = started()
    slots.wait(running, 1)
    assert slots.grant() == []
    assert slots.take()


def test_a_step_that_waits_no_more_is_not_counted_and_holds_up_nobody():
    slots = Slots(1)
    gone, waiting = _waiting(), _waiting()
    waiting.lease = waiting.lease.__class__("run_other", 1, "flow", 2)
    slots.wait(gone, 1)
    slots.wait(waiting, 1)
    slots.stop_waiting(gone.run_id, 1)
    slots.stop_waiting(gone.run_id, 7)
    assert slots.waiting == 1
    assert slots.grant() == [waiting]


@pytest.mark.feature("F146")
def test_the_clock_follows_the_database_and_not_the_machine():
    clock = SessionClock()
    now = boot_seconds()
    then = datetime(2040, 5, 5, tzinfo=UTC)
    clock.acknowledged(then, sent=now - 0.2, received=now, ttl=timedelta(seconds=10))
    assert timedelta(seconds=0.1) <= clock.now() - then < timedelta(seconds=1)


def test_a_sample_with_a_much_longer_round_trip_does_not_replace_a_good_one():
    clock = SessionClock()
    now = boot_seconds()
    good = datetime(2040, 5, 5, tzinfo=UTC)
    ttl = timedelta(seconds=10)
    clock.acknowledged(good, sent=now - 0.01, received=now, ttl=ttl)
    clock.acknowledged(good + timedelta(hours=1), sent=now - 5, received=now, ttl=ttl)
    assert clock.now() - good < timedelta(minutes=1)


def test_a_session_is_sure_until_a_second_before_its_time_is_up():
    clock = SessionClock()
    assert not clock.is_sure()
    now = boot_seconds()
    ttl = timedelta(seconds=10)
    clock.acknowledged(datetime(2040, 5, 5, tzinfo=UTC), sent=now - 8.5, received=now, ttl=ttl)
    assert clock.is_sure()
    clock.acknowledged(datetime(2040, 5, 5, tzinfo=UTC), sent=now - 9.1, received=now, ttl=ttl)
    assert not clock.is_sure()


def test_a_run_that_freed_a_slot_keeps_it_for_its_next_step_but_not_for_ever():
    slots = Slots(1)
    assert slots.take()
    slots.wait(_waiting(), 1)
    kept = 0
    while True:
        slots.release()
        if not slots.take(keeps=True):
            break
        kept += 1
    assert kept == KEPT_IN_A_ROW - 1
    assert not slots.take(), "a newcomer goes behind those that wait"
