"""Backoff: the schedules as tables, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.backoff import Constant, Exponential, constant, exponential, linear, parse_backoff, retry_delay
from holdfast.limits import SPAN_MAX


def seconds(backoff: Any, retries: int, jitter: float = 0) -> list[float]:
    return [retry_delay(backoff, retry, jitter=jitter).total_seconds() for retry in range(1, retries + 1)]


@pytest.mark.feature("F62", "F63", "F64")
@pytest.mark.parametrize(
    ("written", "waits"),
    [
        (exponential(base=2, max=60), [2, 4, 8, 16, 32, 60, 60]),
        (exponential(base=0.5), [0.5, 0.25, 0.125]),
        (exponential(max="5s"), [2, 4, 5]),
        (linear(start=2, step=3), [2, 5, 8]),
        (linear("1s", "10s", max=15), [1, 11, 15, 15]),
        (linear(9, 1, max=5), [5, 5]),
        (linear(0, 0), [0, 0]),
        (constant(5), [5, 5, 5]),
        (constant(0), [0, 0]),
        ("exponential", [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]),
        ("fixed", [60, 60]),
        ("5s", [5, 5]),
        (10, [10, 10]),
        (0.5, [0.5, 0.5]),
        (timedelta(minutes=1), [60, 60]),
        ([5, 30, 300], [5, 30, 300, 300]),
        (("1s", "2m"), [1, 120, 120]),
        (lambda retry: retry * 7, [7, 14, 21]),
    ],
)
def test_the_waits_of_every_form(written: Any, waits: list[float]) -> None:
    assert seconds(parse_backoff(written), len(waits)) == waits


@pytest.mark.parametrize("written", ["fibonacci", "", -5, True, None, [], [-1], ["soon"], {"a": 1}, int, object()])
def test_what_is_no_backoff_is_refused(written: Any) -> None:
    with pytest.raises(ValueError):
        parse_backoff(written)


@pytest.mark.parametrize(
    "options",
    [
        {"base": 0},
        {"base": -1},
        {"base": float("inf")},
        {"base": True},
        {"jitter": 1.5},
        {"jitter": -1},
        {"max": "-1s"},
    ],
)
def test_an_impossible_exponential_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        exponential(**options)


def test_jitter_shortens_a_wait_by_at_most_its_share() -> None:
    backoff = exponential(base=10, max=100, jitter=0.2)
    assert seconds(backoff, 2, jitter=0) == [8, 80]
    assert seconds(backoff, 2, jitter=0.5) == pytest.approx([9, 90])


@given(
    st.builds(
        Exponential,
        base=st.floats(min_value=1e-3, max_value=1e6),
        max=st.timedeltas(min_value=timedelta(0), max_value=SPAN_MAX),
        jitter=st.floats(min_value=0, max_value=1),
        first_exponent=st.integers(0, 1),
    ),
    st.integers(1, 2**31),
    st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_no_exponential_wait_is_negative_or_above_its_maximum(backoff: Exponential, retry: int, jitter: float) -> None:
    assert timedelta(0) <= retry_delay(backoff, retry, jitter=jitter) <= backoff.max


def test_a_linear_wait_without_a_maximum_stops_at_ten_years() -> None:
    assert retry_delay(linear(1, "1w"), 2**31, jitter=0) == SPAN_MAX


def test_a_callable_that_returns_no_duration_is_named_with_its_answer() -> None:
    with pytest.raises(ValueError, match=r"returned -3 for retry 2"):
        retry_delay(lambda retry: -3, 2, jitter=0)


def test_retries_count_from_one() -> None:
    with pytest.raises(ValueError, match="count from 1"):
        retry_delay(Constant(timedelta(seconds=1)), 0, jitter=0)
