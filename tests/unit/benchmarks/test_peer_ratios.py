"""Holdfast over its peers: ratios of rounds, what is due of them, and who is better."""

import pytest

from benchmarks.figures import Figure
from benchmarks.peers.cases import CASES
from benchmarks.peers.ratios import COMPARED, OURS, best_way, compare


def test_a_ratio_is_the_median_of_the_ratios_of_each_round_and_not_the_ratio_of_the_medians() -> None:
    # The machine was slower in every further round; in each of them holdfast did twice as much.
    rounds = {OURS: [{"B1": 400.0}, {"B1": 200.0}, {"B1": 100.0}], "slow": [{"B1": 200.0}, {"B1": 100.0}, {"B1": 50.0}]}
    (found,) = compare(["slow"], rounds)
    assert found.ratio == Figure(2.0, 2.0, 2.0, "x")
    assert found.ours == Figure(200.0, 100.0, 400.0, "runs/s")
    assert found.theirs == Figure(100.0, 50.0, 200.0, "runs/s")


def test_a_round_in_which_one_of_the_two_has_no_figure_does_not_count() -> None:
    rounds = {OURS: [{"B1": 9.0}, {"B1": 6.0}], "other": [{}, {"B1": 3.0}]}
    (found,) = compare(["other"], rounds)
    assert found.ours == Figure(6.0, 6.0, 6.0, "runs/s")
    assert found.ratio.median == 2.0


def test_a_figure_that_a_peer_does_not_have_is_not_compared() -> None:
    rounds = {OURS: [{"B1": 9.0, "B5": 0.1}], "other": [{"B1": 3.0}]}
    assert [one.name for one in compare(["other"], rounds)] == ["B1"]


def test_a_peer_that_was_left_out_is_not_compared() -> None:
    assert compare([], {OURS: []}) == []


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "is_ours_better"),
    [("B1", 3.0, 2.0, True), ("B1", 2.0, 3.0, False), ("B5", 2.0, 3.0, True), ("B5", 3.0, 2.0, False)],
)
def test_a_higher_rate_is_better_and_a_lower_time(name: str, ours: float, theirs: float, is_ours_better: bool) -> None:
    (found,) = compare(["other"], {OURS: [{name: ours}], "other": [{name: theirs}]})
    assert found.is_ours_better is is_ours_better


@pytest.mark.parametrize(
    ("peer", "name", "ratio", "is_reached"),
    [
        ("restate", "B1", 1.8, True),
        ("restate", "B1", 1.7, False),
        ("restate", "B2", 1.4, True),
        ("restate", "B2.cpu_ms_per_step", 0.6, True),
        ("restate", "B2.cpu_ms_per_step", 0.61, False),
        ("restate", "B4.run_p50", 1.0, True),
        ("restate", "B4.step_p50", 0.95, False),
        ("restate", "B5", 0.09, True),
        ("dbos", "B2", 8.0, True),
        ("dbos", "B2", 7.9, False),
    ],
)
def test_ratios_of_rates_are_reached_from_below_and_those_of_times_from_above(
    peer: str, name: str, ratio: float, is_reached: bool
) -> None:
    (found,) = compare([peer], {OURS: [{name: ratio}], peer: [{name: 1.0}]})
    assert found.due is not None
    assert found.due.is_reached(found.ratio.median) is is_reached


def test_nothing_is_due_where_nothing_was_promised() -> None:
    (found,) = compare(["dbos"], {OURS: [{"B1": 2.0}], "dbos": [{"B1": 1.0}]})
    assert found.due is None


def test_every_figure_of_every_case_can_be_compared() -> None:
    assert {name for case in CASES for name in case.figures} == set(COMPARED)


def test_the_best_way_of_a_case_has_the_highest_rate_or_the_lowest_time() -> None:
    reached = {"one process": 1.0, "two processes": 3.0, "threads": 2.0}
    assert best_way("B1", reached) == "two processes"
    assert best_way("B5", reached) == "one process"
