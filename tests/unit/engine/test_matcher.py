"""Who gets a run or a queued step, and what a replica believes to wait."""

from collections import Counter

import pytest

from holdfast_coordinator.engine.attachments import Attachment
from holdfast_coordinator.engine.matcher import COMPARED_MAX, Matcher, QueueKey
from tests.support.engine_replicas import QUEUE, attachment, claim, lease, leased, run_named
from tests.support.store_rows import open_run, task


def matcher_of(*attachments: Attachment) -> Matcher:
    """A matcher with these sessions."""
    matcher = Matcher(lambda: 0.0)
    for one in attachments:
        matcher.attach(one)
    matcher.take_backlog(QUEUE)
    matcher.end_claim(QUEUE, (), ())
    return matcher


def test_a_run_goes_to_the_session_that_had_it_last_while_that_has_room() -> None:
    matcher = matcher_of(attachment("s1", runs=9), attachment("s2", runs=1))
    run = open_run(run_named(1), sticky="s2")
    assert [matcher.run(run), matcher.run(run)] == ["s2", "s1"]


def test_a_run_goes_to_a_free_slot_then_to_its_own_build_then_to_the_emptiest() -> None:
    busy = attachment("busy", runs=9, slots=0)
    other = attachment("other", runs=8, build="b2")
    full = attachment("full", runs=1)
    free = attachment("free", runs=2)
    matcher = matcher_of(busy, other, full, free)
    run = open_run(run_named(1), build="b1")
    order = [matcher.run(run) for _ in range(5)]
    assert order == ["free", "full", "free", "other", "other"]


@pytest.mark.feature("F139")
def test_a_run_goes_to_nobody_of_another_namespace_queue_or_the_build_that_stalled_it() -> None:
    sessions = (
        attachment("s1", namespace="other"), attachment("s2", queue="other"), attachment("s3", workflows=["refund"]),
        attachment("s4", build="broken"),
    )  # fmt: skip
    run = open_run(run_named(1), stall_build="broken", sticky="s1")
    assert matcher_of(*sessions).run(run) is None


def test_a_queued_step_goes_to_the_freest_session_that_knows_it() -> None:
    matcher = matcher_of(attachment("s1", slots=1), attachment("s2", slots=2), attachment("s3", slots=9, steps=[]))
    step = task(run_named(1), 1)
    assert [matcher.task(step) for _ in range(4)] == ["s2", "s1", "s2", None]


@pytest.mark.feature("F139")
@pytest.mark.parametrize("is_run", [True, False])
def test_a_hand_off_costs_the_same_however_many_workers_there_are_and_spreads_the_work(
    monkeypatch: pytest.MonkeyPatch, is_run: bool
) -> None:
    looks = 0

    def takes_work(self: Attachment, now: float) -> bool:
        nonlocal looks
        looks += 1
        return self.polling

    monkeypatch.setattr(Attachment, "takes_work", takes_work)
    workers = 500
    matcher = matcher_of(*(attachment(f"s{number}", runs=10, slots=10) for number in range(workers)))
    looks = 0
    step = task(run_named(1), 1)
    given = Counter(matcher.run(open_run(run_named(1))) if is_run else matcher.task(step) for _ in range(2 * workers))
    assert looks <= 2 * workers * COMPARED_MAX
    assert len(given) == workers
    assert max(given.values()) <= 3


def test_a_run_finds_the_only_worker_with_a_free_slot_or_with_its_build_among_many() -> None:
    busy = [attachment(f"s{number}", runs=10, slots=0) for number in range(100)]
    run = open_run(run_named(1))
    assert matcher_of(*busy, attachment("free", runs=1, slots=1)).run(run) == "free"
    others = [attachment(f"s{number}", runs=10, build="b2") for number in range(100)]
    run = open_run(run_named(1), build="b1")
    assert matcher_of(*others, attachment("same", runs=1, build="b1")).run(run) == "same"


def test_room_is_given_back_when_a_commit_fails() -> None:
    matcher = matcher_of(attachment(runs=1, slots=1))
    run = open_run(run_named(1))
    matcher.begin()
    assert (matcher.run(run), matcher.run(run), matcher.task(task(run_named(1), 1))) == ("s1", None, "s1")
    matcher.release(leased(run))
    matcher.release(claim())
    assert matcher.room(QUEUE) == (1, 1)


def test_room_is_given_back_when_a_decision_fails_half_way() -> None:
    matcher = matcher_of(attachment(runs=1, slots=1))
    matcher.begin()
    matcher.run(open_run(run_named(1)))
    matcher.task(task(run_named(1), 1))
    matcher.undo()
    assert matcher.room(QUEUE) == (1, 1)


def test_a_lease_in_doubt_leaves_its_room_free_and_is_looked_for_in_heartbeats() -> None:
    session = attachment(runs=1)
    matcher = matcher_of(session)
    matcher.run(open_run(run_named(1)))
    matcher.doubt(lease(1))
    assert matcher.room(QUEUE)[0] == 1
    assert session.granted == {(run_named(1), 0, 1)}
    assert session.take().is_empty


def test_a_lease_for_a_session_that_has_left_is_not_handed_over() -> None:
    matcher = matcher_of(attachment())
    assert matcher.handed_over(lease())
    matcher.detach("s1")
    assert not matcher.handed_over(lease())


def test_a_repeated_report_frees_no_second_slot() -> None:
    session = attachment(slots=0)
    matcher = matcher_of(session)
    matcher.handed_over(claim())
    key = (run_named(1), 1, 1)
    matcher.attempt_ended("s1", key)
    matcher.attempt_ended("s1", key)
    assert session.free_slots == 1


def rung(matcher: Matcher) -> list[QueueKey]:
    """The queues that are claimed for from now on."""
    keys: list[QueueKey] = []
    matcher.on_room = keys.append
    return keys


def test_what_is_left_behind_while_a_claim_is_under_way_is_claimed_when_there_is_room() -> None:
    session = attachment(runs=1)
    matcher = matcher_of(session)
    matcher.put_back(QUEUE, ["order"], [])
    assert matcher.take_backlog(QUEUE) == (("order",), ())
    matcher.run(open_run(run_named(1)))
    matcher.left_ready(QUEUE, "order")  # in the batch of the claim, which finds nothing
    keys = rung(matcher)
    session.settle(run=True, gets=False)
    matcher.has_room(session)
    assert keys == [QUEUE]
    assert matcher.take_backlog(QUEUE) == (("order",), ())


def test_work_that_is_left_behind_while_there_is_room_is_claimed_at_once() -> None:
    matcher = matcher_of(attachment(runs=1, slots=1))
    keys = rung(matcher)
    matcher.left_ready(QUEUE, "refund")
    matcher.left_queued(QUEUE, "refund")
    assert keys == []
    matcher.left_ready(QUEUE, "order")
    matcher.left_queued(QUEUE, "charge")
    assert keys == [QUEUE, QUEUE]


def test_a_claim_takes_up_only_names_that_sessions_with_room_know() -> None:
    matcher = matcher_of(attachment("s1", runs=0, slots=1), attachment("s2", runs=1, slots=0, workflows=["refund"]))
    matcher.put_back(QUEUE, ["order", "refund", "unknown"], ["charge", "unknown"])
    assert matcher.take_backlog(QUEUE) == (("refund",), ("charge",))
    assert matcher.take_backlog(QUEUE) == ((), ())


def test_nothing_is_remembered_of_queues_without_sessions() -> None:
    matcher = Matcher(lambda: 0.0)
    matcher.left_ready(("default", "elsewhere"), "order")
    matcher.attach(attachment(queue="elsewhere", workflows=["refund"], steps=[]))
    assert matcher.take_backlog(("default", "elsewhere")) == (("refund",), ())
    matcher.detach("s1")
    assert not matcher.serves(("default", "elsewhere"))
    assert matcher.room(("default", "elsewhere")) == (0, 0)


def test_what_becomes_ready_does_not_overtake_what_waits_or_is_being_claimed() -> None:
    """A start at the lowest priority went to a worker before twenty at the highest, which waited."""
    session = attachment(runs=5, slots=5)
    matcher = matcher_of(session)
    run, step = open_run(run_named(1), sticky="s1"), task(run_named(1), 1)
    matcher.put_back(QUEUE, ["order"], ["charge"])
    assert (matcher.run(run), matcher.task(step)) == (None, None)
    matcher.take_backlog(QUEUE)
    assert (matcher.run(run), matcher.task(step)) == (None, None)
    assert (matcher.run(run, claimed=True), matcher.task(step, claimed=True)) == ("s1", "s1")
    matcher.end_claim(QUEUE, ["order"], [])
    assert (matcher.run(run), matcher.task(step)) == (None, "s1")
    matcher.take_backlog(QUEUE)
    matcher.end_claim(QUEUE, [], [])
    assert matcher.run(run) == "s1"


def test_a_session_that_comes_gets_nothing_handed_before_its_queue_was_looked_at() -> None:
    matcher = Matcher(lambda: 0.0)
    matcher.attach(attachment())
    assert matcher.run(open_run(run_named(1))) is None


def test_work_of_another_name_is_handed_off_beside_a_backlog() -> None:
    matcher = matcher_of(attachment(workflows=["order", "refund"]))
    matcher.put_back(QUEUE, ["order"], [])
    assert matcher.run(open_run(run_named(1), workflow="refund")) == "s1"


def test_a_claim_leaves_out_runs_that_the_only_build_with_room_has_stalled() -> None:
    matcher = matcher_of(attachment("s1"), attachment("s2", runs=0, build="b2"))
    assert matcher.lone_builds(QUEUE, ("order", "unknown")) == ("b1", "")
    matcher.attach(attachment("s2", build="b2"))
    assert matcher.lone_builds(QUEUE, ("order",)) == ("",)


def test_room_that_comes_while_a_claim_is_under_way_is_claimed_for_after_it() -> None:
    session = attachment(runs=1)
    matcher = matcher_of(session)
    claims: list[QueueKey] = []
    matcher.left_ready(QUEUE, "order")
    matcher.on_room = claims.append
    assert matcher.take_backlog(QUEUE) == (("order",), ())
    matcher.has_room(session)
    assert claims == [QUEUE]
    matcher.end_claim(QUEUE, (), ())
    matcher.has_room(session)
    assert claims == [QUEUE], "nothing waits"
