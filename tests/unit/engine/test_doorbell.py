"""What replicas tell each other: keys, in notices that Postgres takes."""

from collections import Counter
from datetime import timedelta

from holdfast_coordinator.engine.doorbell import FORGOTTEN_AFTER_SECONDS, KEYS_MAX, Doorbell, Rung
from holdfast_coordinator.loops.doorbell import GATHER_SECONDS, GATHER_SECONDS_MAX, gather_seconds
from holdfast_coordinator.store.port import NOTICE_BYTES_MAX
from tests.support.store_rows import T0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tell(sender: Doorbell, *listeners: Doorbell) -> list[str]:
    """Everybody hears everything, the sender itself too."""
    notices = sender.take()
    for notice in notices:
        for listener in (sender, *listeners):
            listener.receive(notice)
    return notices


def acquainted(clock: Clock | None = None) -> tuple[Doorbell, Doorbell]:
    """Two replicas of which the second has just come."""
    one, two = (Doorbell(name, clock=clock or Clock()) for name in ("r1", "r2"))
    two.hello()
    tell(two, one)
    tell(one, two)
    return one, two


def test_a_replica_that_knows_of_no_other_says_nothing() -> None:
    bell = Doorbell("r1")
    bell.closed("run_1")
    bell.held("ses_1", "run_1")
    bell.run_ready(("default", "default", "order"))
    bell.step_ready(("default", "default", "charge"))
    assert bell.take() == []
    bell.here()
    tell(bell)
    bell.closed("run_1")
    assert bell.take() == [], "what it has said itself is no other replica"


def test_each_key_is_said_once_however_often_it_came_up() -> None:
    one, two = acquainted()
    for _ in range(3):
        one.held("ses_1", "run_1")
        one.run_ready(("default", "gpu", "order \u2603"))
        one.step_ready(("default", "gpu", 'quo"te'))
        one.closed("run_2")
    assert len(tell(one, two)) == 1
    assert two.take_rung() == Rung(
        held={"ses_1": {"run_1"}},  # type: ignore[arg-type]
        runs_ready={("default", "gpu", "order \u2603")},
        steps_ready={("default", "gpu", 'quo"te')},
        closed={"run_2"},
    )
    assert not two.take_rung()
    assert not one.take_rung(), "what a replica said itself is no news to it"


def test_a_flood_of_keys_is_said_in_notices_that_postgres_takes() -> None:
    one, two = acquainted()
    wide = "\u2603" * 255
    for number in range(KEYS_MAX + 10):
        one.closed(f"run_{number:026}")
    assert max(len(notice.encode()) for notice in tell(one, two)) <= NOTICE_BYTES_MAX
    assert len(two.take_rung().closed) == KEYS_MAX
    for number in range(50):
        one.run_ready((wide, wide, f"{wide[:-2]}{number:02}"))
    assert max(len(notice.encode()) for notice in tell(one, two)) <= NOTICE_BYTES_MAX
    assert len(two.take_rung().runs_ready) == 50


def test_a_replica_that_left_or_fell_silent_is_told_nothing() -> None:
    clock = Clock()
    one, two = acquainted(clock)
    two.bye()
    tell(two, one)
    one.closed("run_1")
    assert one.take() == []
    one, two = acquainted(clock)
    clock.now = FORGOTTEN_AFTER_SECONDS
    one.here()
    tell(one)
    one.closed("run_1")
    assert one.take() == []


def test_a_notice_that_makes_no_sense_is_as_if_it_were_lost() -> None:
    one, two = acquainted()
    for notice in ("", "{}", "[1]", '["r9", 7]', '["r9", [[], ["closed"], ["held", "s"], ["later", "x"]]]', "nonsense"):
        two.receive(notice)
    assert not two.take_rung()
    one.closed("run_1")
    tell(one, two)
    assert two.take_rung().closed == {"run_1"}


def test_who_comes_is_known_to_all_and_knows_all() -> None:
    one, two = acquainted()
    three = Doorbell("r3")
    three.hello()
    tell(three, one, two)
    tell(one, two, three)
    for place, bell in enumerate((one, two, three)):
        bell.closed(f"run_{place}")
        tell(bell, *{one, two, three} - {bell})
    assert [bell.take_rung().closed for bell in (one, two, three)] == [
        {"run_1", "run_2"}, {"run_0", "run_2"}, {"run_0", "run_1"}
    ]  # fmt: skip


def all_acquainted(clock: Clock, count: int) -> list[Doorbell]:
    """Replicas that know each other."""
    bells = [Doorbell(f"r{number}", clock=clock) for number in range(count)]
    for bell in bells:
        bell.here()
        tell(bell, *(other for other in bells if other is not bell))
    return bells


TTL = timedelta(seconds=10)


def test_what_one_replica_does_for_all_is_done_by_each_in_turn() -> None:
    bells = all_acquainted(Clock(), 4)
    turns = Counter[int]()
    for number in range(40):
        at = T0 + number * TTL + timedelta(seconds=3)
        having = [place for place, bell in enumerate(bells) if bell.has_turn(at, TTL)]
        assert len(having) == 1, at
        turns.update(having)
    assert turns == dict.fromkeys(range(4), 10)


def test_what_some_replicas_do_for_all_is_done_by_as_many_at_any_time() -> None:
    bells = all_acquainted(Clock(), 5)
    for number in range(20):
        assert sum(bell.has_turn(T0 + number * TTL, TTL, of=3) for bell in bells) == 3
    few = all_acquainted(Clock(), 3)
    assert all(bell.has_turn(T0, TTL, of=3) for bell in few)


def test_a_replica_that_hears_of_no_other_has_every_turn() -> None:
    bell = Doorbell("r1")
    assert all(bell.has_turn(T0 + number * TTL, TTL) for number in range(5))


def test_turns_of_a_killed_replica_are_taken_by_the_others_once_it_is_forgotten() -> None:
    clock = Clock()
    one, two, killed = all_acquainted(clock, 3)

    def missed() -> int:
        return sum(not one.has_turn(T0 + n * TTL, TTL) and not two.has_turn(T0 + n * TTL, TTL) for n in range(6))

    assert missed() == 2, "no two turns in a row"
    assert killed.others == 2
    clock.now = FORGOTTEN_AFTER_SECONDS / 2
    for bell, other in ((one, two), (two, one)):
        bell.here()
        tell(bell, other)
    clock.now = FORGOTTEN_AFTER_SECONDS
    for bell, other in ((one, two), (two, one)):
        bell.here()
        tell(bell, other)
    assert missed() == 0


def test_the_pause_between_notices_is_short_for_few_replicas_and_never_long() -> None:
    assert gather_seconds(0) == gather_seconds(1) == GATHER_SECONDS
    assert gather_seconds(2) == 2 * GATHER_SECONDS
    assert gather_seconds(10_000) == GATHER_SECONDS_MAX <= 0.1
