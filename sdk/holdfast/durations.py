"""Spans of time as users write them: "5s", 90, "90", timedelta(...), and instants. For the SDK and the coordinator.

Pure: no clock is read here.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from holdfast.limits import SPAN_MAX

if TYPE_CHECKING:
    from decimal import Decimal

Duration = str | int | float | timedelta

ACCEPTED_FORMS = 'use "500ms", "5s", "10m", "2h", "3d" or "1w", a number of seconds, or a timedelta'

_UNITS_US = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
# ASCII digits only and a bounded length: int() and Decimal() would take other scripts and any size.
_TEXT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(ms|s|m|h|d|w)?")


def parse_duration(value: Duration) -> timedelta:
    """The span of time that `value` means, to the microsecond.

    Raises ValueError naming the accepted forms when it is malformed, negative or above ten years.
    """
    if isinstance(value, str):
        span = _span_of_text(value)
    elif isinstance(value, timedelta):
        span = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        span = _span_of_seconds(value)
    else:
        raise ValueError(f"{value!r} is not a duration; {ACCEPTED_FORMS}")
    if span < timedelta(0):
        raise ValueError(f"{value!r} is not a duration: it is negative; {ACCEPTED_FORMS}")
    if span > SPAN_MAX:
        raise ValueError(f"{value!r} is longer than ten years ({SPAN_MAX.days} days), the longest duration")
    return span


def parse_moment(value: Duration | datetime) -> timedelta | datetime:
    """A span of time, or an instant as an aware UTC datetime; a naive datetime means UTC.

    Raises ValueError as `parse_duration` does.
    """
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    return parse_duration(value)


def format_duration(span: timedelta) -> str:
    """The shortest text that `parse_duration` reads back as the same span: "90m", "1500ms", "1w"."""
    microseconds = span // timedelta(microseconds=1)
    if microseconds == 0:
        return "0s"
    for unit in ("w", "d", "h", "m", "s", "ms"):
        count, rest = divmod(microseconds, _UNITS_US[unit])
        if rest == 0:
            return f"{count}{unit}"
    count, rest = divmod(microseconds, 1_000)
    return f"{count}.{rest:03d}".rstrip("0") + "ms"


@lru_cache(maxsize=1024)
def _span_of_text(text: str) -> timedelta:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; {ACCEPTED_FORMS}")
    # Imported here: a module without a duration as text does not need it.
    from decimal import Decimal

    return _span_of_microseconds(Decimal(match[1]) * _UNITS_US[match[2] or "s"], text)


def _span_of_seconds(seconds: int | float) -> timedelta:
    try:
        return timedelta(seconds=seconds)
    except (OverflowError, ValueError):  # infinite, not a number, or beyond what timedelta holds
        raise ValueError(f"{seconds!r} is not a duration of at most ten years; {ACCEPTED_FORMS}") from None


def _span_of_microseconds(microseconds: "Decimal", text: str) -> timedelta:
    try:
        return timedelta(microseconds=round(microseconds))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than ten years ({SPAN_MAX.days} days), the longest duration") from None
