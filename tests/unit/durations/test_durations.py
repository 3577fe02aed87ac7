"""Durations: what users may write, what it means, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.durations import format_duration, parse_duration, parse_moment
from holdfast.limits import SPAN_MAX


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("5s", timedelta(seconds=5)),
        ("10m", timedelta(minutes=10)),
        ("2h", timedelta(hours=2)),
        ("3d", timedelta(days=3)),
        ("1w", timedelta(weeks=1)),
        ("1.5h", timedelta(minutes=90)),
        (".5s", timedelta(milliseconds=500)),
        (" 5s ", timedelta(seconds=5)),
        ("0s", timedelta(0)),
        ("10", timedelta(seconds=10)),
        ("0.5", timedelta(milliseconds=500)),
        (0, timedelta(0)),
        (90, timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        (timedelta(milliseconds=500), timedelta(milliseconds=500)),
        (SPAN_MAX, SPAN_MAX),
    ],
)
def test_every_accepted_form_means_what_it_says(written: object, meant: timedelta) -> None:
    assert parse_duration(written) == meant  # type: ignore[arg-type]


@pytest.mark.feature("F81")
@pytest.mark.parametrize(
    "written",
    [
        *["5 minutes", "-5s", "", " ", "s", "5S", "1h30m", "1e3s", "nan", "٥s", "5s\n5s", ".s", "9" * 30 + "s"],
        *[-1, -0.5, float("nan"), timedelta(seconds=-1), True, False, None, b"5s", [5]],
    ],
)
def test_a_malformed_or_negative_duration_is_refused_with_the_accepted_forms(written: object) -> None:
    with pytest.raises(ValueError, match=r'"500ms", "5s", "10m", "2h", "3d" or "1w"'):
        parse_duration(written)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "written",
    ["523w", "99999999999999999w", 1e12, 10**400, float("inf"), timedelta.max, SPAN_MAX + timedelta(microseconds=1)],
)
def test_more_than_ten_years_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="ten years"):
        parse_duration(written)  # type: ignore[arg-type]


@given(st.timedeltas(min_value=timedelta(0), max_value=SPAN_MAX))
def test_a_formatted_duration_reads_back_as_the_same_span(span: timedelta) -> None:
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(minutes=90), "90m"),
        (timedelta(days=1), "1d"),
        (timedelta(days=14), "2w"),
        (timedelta(seconds=1.5), "1500ms"),
        (timedelta(microseconds=1250), "1.25ms"),
    ],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(span: timedelta, text: str) -> None:
    assert format_duration(span) == text


def test_a_naive_datetime_is_utc() -> None:
    assert parse_moment(datetime(2030, 1, 2, 3)) == datetime(2030, 1, 2, 3, tzinfo=UTC)


def test_an_aware_datetime_becomes_utc() -> None:
    moment = parse_moment(datetime(2030, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))))
    assert isinstance(moment, datetime)
    assert moment.tzinfo is UTC
    assert moment.hour == 1


def test_a_moment_may_be_a_duration() -> None:
    assert parse_moment("2h") == timedelta(hours=2)
