"""Where claims begin to look."""

from datetime import UTC, datetime, timedelta

from holdfast_coordinator.store.floors import PROBE_SECONDS, START, Floors

PLACE = ("default", "queue", "order")
T0 = datetime(2026, 1, 1, tzinfo=UTC)


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
