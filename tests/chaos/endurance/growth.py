"""What grows: a line through what was measured over time, and whether it rises by more than it may. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression

HOUR_SECONDS = 3600.0

Point = tuple[float, float]
"""When something was measured, in seconds, and what it was."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How one quantity went.

    first, last: of the straight line of least squares, at its ends. grown_max: how much higher the end may be than the
    beginning; None where growing is right.
    """

    what: str
    unit: str
    first: float
    last: float
    per_hour: float
    grown_max: float | None

    @property
    def grown(self) -> float:
        """By how much the line rises from its beginning to its end."""
        return self.last - self.first

    @property
    def is_flat(self) -> bool:
        """True when it did not rise by more than it may."""
        return self.grown_max is None or self.grown <= self.grown_max


def growth(what: str, unit: str, points: Sequence[Point], grown_max: float | None, *, share_max: float = 0.0) -> Growth:
    """The line through these points, at least two at different times.

    share_max: so much of its beginning it may rise beside `grown_max`.
    """
    times, values = [at for at, _ in points], [value for _, value in points]
    line = linear_regression(times, values) if len(set(times)) > 1 else None
    assert line is not None, f"{what} was measured at {len(times)} times only"
    first, last = (line.intercept + line.slope * at for at in (times[0], times[-1]))
    allowed = None if grown_max is None else grown_max + share_max * max(first, 0.0)
    return Growth(what, unit, first, last, line.slope * HOUR_SECONDS, allowed)


def table(found: Sequence[Growth]) -> str:
    """One line for each, with a word for what grew beyond its bound."""
    head = f"{'what':<40}{'at first':>12}{'at last':>12}{'per hour':>12}{'grew by':>12}{'at most':>10}"
    lines = [head, *map(_line, found)]
    return "\n".join(lines)


def _line(one: Growth) -> str:
    figures = [_figure(value) for value in (one.first, one.last, one.per_hour, one.grown)]
    bound = "may grow" if one.grown_max is None else _figure(one.grown_max)
    said = "" if one.is_flat else "  GROWS"
    name = f"{one.what}, {one.unit}" if one.unit else one.what
    return f"{name:<40}" + "".join(f"{figure:>12}" for figure in figures) + f"{bound:>10}" + said


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
