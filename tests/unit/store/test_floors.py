"""Where claims begin to look."""

from datetime import UTC, datetime, timedelta

from holdfast_coordinator.store.floors import BEGINNING, PROBE_SECONDS, START, Floors, TimeFloor

PLACE = ("default", "queue", "order")
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_a_floor_follows_claims_and_is_lowered_by_what_becomes_ready_before_it() -> None:
    floors = Floors()
    assert floors.of([PLACE], 0.0) == [START]
    floors.claimed([(PLACE, (0, T0 + timedelta(seconds=5))), (PLACE, (0, T0))])
    assert floors.of([PLACE], 0.1) == [(0, T0 + timedelta(seconds=5))]
    floors.lower(PLACE, (0, T0 + timedelta(seconds=9)))
    assert floors.of([PLACE], 0.1) == [(0, T0 + timedelta(seconds=5))]
    floors.lower(PLACE, (-1, T0 + timedelta(seconds=9)))
    assert floors.of([PLACE], 0.1) == [(-1, T0 + timedelta(seconds=9))]


def test_a_claim_begins_at_the_start_now_and_then_and_after_a_failure() -> None:
    floors = Floors()
    floors.of([PLACE], 0.0)
    floors.claimed([(PLACE, (0, T0))])
    assert floors.of([PLACE], PROBE_SECONDS) == [START]
    floors.claimed([(PLACE, (0, T0))])
    assert floors.of([PLACE], PROBE_SECONDS) == [(0, T0)]
    floors.forget()
    assert floors.of([PLACE], PROBE_SECONDS) == [START]


def test_alarms_are_read_on_behind_what_was_seen_and_from_what_was_set_or_stays() -> None:
    floor = TimeFloor()
    assert floor.begin() == BEGINNING
    floor.seen(at(10))
    assert floor.begin() == at(10)
    floor.lower(at(4))
    assert floor.begin() == at(4)


def test_an_alarm_that_is_set_while_alarms_are_read_is_not_passed_over() -> None:
    floor = TimeFloor()
    floor.begin()
    floor.lower(at(3))  # its commit came after the read had begun, which did not see it
    floor.seen(at(10))
    assert floor.begin() == at(3)
    floor.seen(at(20))
    assert floor.begin() == at(20)
