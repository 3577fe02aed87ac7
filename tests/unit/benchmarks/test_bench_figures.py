"""Medians, percentiles and what is due on machines of different speed."""

import pytest

from benchmarks.figures import (
    DUES,
    ROWS_PER_SECOND,
    UNARY_PER_SECOND,
    Due,
    Figure,
    machine_factor,
    percentile,
)


def test_a_figure_is_the_median_of_its_rounds_with_their_range() -> None:
    assert Figure.of([3.0, 1.0, 2.0], "ms") == Figure(2.0, 1.0, 3.0, "ms")


def test_the_median_of_an_even_number_of_rounds_lies_between_the_two_in_the_middle() -> None:
    assert Figure.of([4.0, 1.0, 2.0, 3.0], "ms").median == 2.5


def test_a_figure_without_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        Figure.of([], "ms")


@pytest.mark.parametrize(
    ("rows", "calls", "factor"),
    [
        (190_000, 2_400, 1.0),
        (380_000, 4_800, 1.0),
        (95_000, 2_400, 0.5),
        (190_000, 600, 0.25),
        (95_000, 600, 0.25),
    ],
)
def test_the_slower_of_database_and_grpc_decides_the_factor_and_it_is_at_most_one(
    rows: float, calls: float, factor: float
) -> None:
    assert machine_factor({ROWS_PER_SECOND: rows, UNARY_PER_SECOND: calls, "something else": 1.0}) == factor


def test_a_slower_machine_owes_less_rate_and_is_given_more_time() -> None:
    assert DUES["B1"].scaled(0.5).due == 1_000
    assert DUES["B1"].scaled(0.5).goal == 2_500
    assert DUES["B4.run_p50"].scaled(0.5).due == 8.0
    assert DUES["B2.cpu_ms_per_step"].scaled(0.5).due == 0.7


@pytest.mark.parametrize(
    ("more_is_better", "value", "reached", "goal_reached"),
    [
        (True, 99.0, False, False),
        (True, 100.0, True, False),
        (True, 200.0, True, True),
        (False, 201.0, False, False),
        (False, 200.0, True, False),
        (False, 100.0, True, True),
    ],
)
def test_rates_are_reached_from_below_and_times_from_above(
    more_is_better: bool, value: float, reached: bool, goal_reached: bool
) -> None:
    low, high = 100.0, 200.0
    due = Due("", "", *((low, high) if more_is_better else (high, low)), more_is_better)
    assert due.is_reached(value) is reached
    assert due.is_goal_reached(value) is goal_reached


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)])
def test_a_percentile_is_a_measured_value(share: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], share) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 values"):
        percentile([], 0.5)


@pytest.mark.parametrize("name", ["B7", "B9", "B14.failed_calls", "B17.distributions"])
def test_ratios_sizes_and_counts_are_due_alike_on_every_machine(name: str) -> None:
    assert DUES[name].scaled(0.5) == DUES[name]


def test_where_nothing_is_due_nothing_is_reached_or_missed() -> None:
    due = DUES["B3.cpu_ms_per_step"].scaled(0.5)
    assert due.is_reached(0.1) is None
    assert due.is_goal_reached(0.1) is None
    assert DUES["B6.lone_p99"].scaled(0.5).goal == 100.0
