"""What single fields of requests may hold. Each check answers the value as the core takes it, or raises InvalidRequest.

Whatever a peer sends, a refusal is the worst that comes of it: nothing behind these checks has to expect an absurd
number, a time that no calendar has, or a text that Postgres cannot store.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.errors import InvalidRequest
from holdfast.ids import is_printable, is_run_id
from holdfast.limits import NAME_MAX, PRIORITY_MAX, SPAN_MAX
from holdfast.wire import time_from

DEFAULT = "default"
"""The namespace and the queue of those who name none."""
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
SPAN_SECONDS_MAX = int(SPAN_MAX.total_seconds())
TIME_SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999, which is the last that a date can name."""
ENTRY_SECONDS_MAX = TIME_SECONDS_MAX - SPAN_SECONDS_MAX
"""An entry is older than that: what is due so long after it must still have a date."""
NANOS_MAX = 999_999_999
SHOWN_MAX = 2_000
"""Characters of a text that only people read."""
BUILD_MAX = 100
"""Characters of the name of a build."""

T = TypeVar("T")


def name(field: str, text: str, *, default: str | None = None) -> str:
    """A name of 1 to 200 printable characters."""
    if not text and default is not None:
        return default
    if not text or len(text) > NAME_MAX or not is_printable(text):
        raise InvalidRequest(field, f"{text[:50]!r} must have 1 to {NAME_MAX} printable characters")
    return text


def storable(field: str, text: str) -> str:
    """A text that Postgres can hold, and so compare."""
    if "\0" in text:
        raise InvalidRequest(field, f"{text[:50]!r} has a NUL character, which no stored text has")
    return text


def shown(text: str, length_max: int = SHOWN_MAX) -> str:
    """A text that only people read: cut where it is too long, and never a reason to refuse what it explains."""
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= length_max else f"{text[: length_max - 1]}\N{HORIZONTAL ELLIPSIS}"


def run_id(field: str, text: str) -> str:
    """A run id."""
    if not is_run_id(text):
        raise InvalidRequest(field, f"{text[:50]!r} is not a run id")
    return text


def whole(field: str, number: int, *, least: int = 0, most: int = INT32_MAX) -> int:
    """A whole number within its bounds."""
    if not least <= number <= most:
        raise InvalidRequest(field, f"{number} must be from {least} to {most}")
    return number


def priority(field: str, number: int) -> int:
    """A priority."""
    return whole(field, number, least=-PRIORITY_MAX, most=PRIORITY_MAX)


def choice(field: str, number: int, kinds: Mapping[int, T], *, default: T | None = None) -> T:
    """One of the values that an enum has; protobuf lets any number through. default: what 0 stands for."""
    if not number and default is not None:
        return default
    value = kinds.get(number)
    if value is None:
        raise InvalidRequest(field, f"{number} must be one of {', '.join(map(str, kinds))}")
    return value


def span(field: str, message: Duration) -> timedelta:
    """A duration of 0 to ten years."""
    seconds, nanos = message.seconds, message.nanos
    if not 0 <= seconds <= SPAN_SECONDS_MAX or not 0 <= nanos <= NANOS_MAX:
        raise InvalidRequest(field, f"{seconds} s and {nanos} ns must be from 0 to {SPAN_SECONDS_MAX} s")
    return timedelta(0, seconds, nanos // 1_000)


def moment(field: str, message: Timestamp) -> datetime:
    """A time from 1970 to the year 9999."""
    check_time(field, message)
    return time_from(message)


def check_time(field: str, message: Timestamp, seconds_max: int = TIME_SECONDS_MAX) -> None:
    """Checks a time that is kept as it came."""
    if not 0 <= message.seconds <= seconds_max or not 0 <= message.nanos <= NANOS_MAX:
        last = datetime.fromtimestamp(seconds_max, UTC).year
        raise InvalidRequest(
            field, f"{message.seconds} s and {message.nanos} ns since 1970 is no time from 1970 to the year {last}"
        )
