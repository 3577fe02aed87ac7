"""How long to wait before a retry. Shared by the SDK and the coordinator.

A schedule is plain data, so that it can be recorded; only a user's own callable cannot.
Pure: random numbers are arguments.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from holdfast.durations import ACCEPTED_FORMS, Duration, parse_duration
from holdfast.limits import SPAN_MAX

_CAP = timedelta(seconds=300)
_FIXED = timedelta(seconds=60)


@dataclass(slots=True, frozen=True)
class Exponential:
    """`base ** (retry - 1 + first_exponent)` seconds, at most `max`; the share `jitter` of it is random."""

    base: float = 2.0
    max: timedelta = _CAP
    jitter: float = 0.0
    first_exponent: int = 1


@dataclass(slots=True, frozen=True)
class Linear:
    """`start`, then `step` more before each further retry, at most `max`."""

    start: timedelta
    step: timedelta
    max: timedelta | None = None


@dataclass(slots=True, frozen=True)
class Constant:
    """The same wait before each retry."""

    delay: timedelta


@dataclass(slots=True, frozen=True)
class Listed:
    """One wait per retry; the last one repeats."""

    waits: tuple[timedelta, ...]


Backoff = Exponential | Linear | Constant | Listed
BackoffCallable = Callable[[int], float]
BackoffLike = Backoff | BackoffCallable | Duration | Sequence[Duration]

DEFAULT_BACKOFF = Exponential(first_exponent=0)
"""1, 2, 4, ... seconds, at most 300."""


def exponential(base: float = 2, max: Duration = 300, jitter: float = 0) -> Exponential:
    """Waits `base ** k` seconds before retry k, at most `max`: 2, 4, 8, ... by default.

    jitter: the share of each wait that is random, from 0 to 1; it only shortens.
    """
    if isinstance(base, bool) or not isinstance(base, (int, float)) or not 0 < base < math.inf:
        raise ValueError(f"the base of an exponential backoff is a number above 0, not {base!r}")
    if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
        raise ValueError(f"jitter is a share from 0 to 1, not {jitter!r}")
    return Exponential(base=float(base), max=parse_duration(max), jitter=float(jitter))


def linear(start: Duration, step: Duration, max: Duration | None = None) -> Linear:
    """Waits `start` before retry 1 and `step` longer before each further one, at most `max`."""
    return Linear(parse_duration(start), parse_duration(step), None if max is None else parse_duration(max))


def constant(delay: Duration) -> Constant:
    """Waits the same time before each retry."""
    return Constant(parse_duration(delay))


def parse_backoff(value: BackoffLike) -> Backoff | BackoffCallable:
    """The backoff that a user means.

    Accepts what `exponential`, `linear` and `constant` return, "exponential" (1, 2, 4, ... at most 300 s),
    "fixed" (60 s), one duration, a list of durations (the last repeats), and a callable `retry -> seconds`.
    Raises ValueError for anything else.
    """
    match value:
        case Exponential() | Linear() | Constant() | Listed():
            return value
        case "exponential":
            return DEFAULT_BACKOFF
        case "fixed":
            return Constant(_FIXED)
        case str() | int() | float() | timedelta():
            return _one_duration(value)
        case list() | tuple():
            if not value:
                raise ValueError("a list of waits needs at least one; to retry at once give [0]")
            return Listed(tuple(parse_duration(wait) for wait in value))
        case _ if callable(value) and not isinstance(value, type):
            return value
        case _:
            raise ValueError(f"{value!r} is not a backoff; {_BACKOFF_FORMS}")


_BACKOFF_FORMS = (
    'use exponential(...), linear(...), constant(...), "exponential", "fixed", a duration such as "5s", '
    "a list of durations, or a callable that takes the number of the retry and returns seconds"
)


def retry_delay(backoff: Backoff | BackoffCallable, retry: int, *, jitter: float) -> timedelta:
    """How long to wait before retry number `retry`, at most ten years.

    retry: from 1. jitter: in [0, 1), drawn by the caller; 0 gives the shortest delay.
    Raises ValueError for a retry below 1, and when a user's callable returns no duration; what such a callable
    raises passes through.
    """
    if retry < 1:
        raise ValueError(f"retries count from 1, not {retry}")
    match backoff:
        case Exponential():
            return _exponential_delay(backoff, retry, jitter)
        case Linear(start, step, longest):
            return _linear_delay(start, step, longest, retry)
        case Constant(delay):
            return delay
        case Listed(waits):
            return waits[min(retry, len(waits)) - 1]
        case _ if callable(backoff):
            return _called_delay(backoff, retry)
        case _:
            assert_never(backoff)


def _exponential_delay(backoff: Exponential, retry: int, jitter: float) -> timedelta:
    try:
        seconds = min(backoff.base ** (retry - 1 + backoff.first_exponent), backoff.max.total_seconds())
    except OverflowError:
        seconds = backoff.max.total_seconds()
    share = backoff.jitter
    return timedelta(seconds=seconds * (1 - share + share * jitter))


def _linear_delay(start: timedelta, step: timedelta, longest: timedelta | None, retry: int) -> timedelta:
    longest = SPAN_MAX if longest is None else longest
    # Compared before multiplying: a timedelta overflows long before an int does.
    if step and retry - 1 > (longest - start) / step:
        return longest
    return min(start + step * (retry - 1), longest)


def _called_delay(backoff: BackoffCallable, retry: int) -> timedelta:
    answer = backoff(retry)
    try:
        return parse_duration(answer)
    except ValueError as error:
        raise ValueError(f"the backoff callable returned {answer!r} for retry {retry}: {error}") from error


def _one_duration(value: Duration) -> Constant:
    try:
        return Constant(parse_duration(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a backoff; {_BACKOFF_FORMS}; {ACCEPTED_FORMS}") from None
