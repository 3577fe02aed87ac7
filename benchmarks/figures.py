"""Figures and what is due of them: medians, ranges, and the scale of the machine. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROWS_PER_SECOND = "rows_per_second_at_100"
UNARY_PER_SECOND = "unary_calls_per_second"

REFERENCE_LIMITS: Mapping[str, float] = {ROWS_PER_SECOND: 190_000.0, UNARY_PER_SECOND: 2_400.0}
"""The machine on which what is due was set."""


@dataclass(slots=True, frozen=True)
class Figure:
    """What was measured, over all rounds: the median and the range, in `unit`."""

    median: float
    min: float
    max: float
    unit: str

    @classmethod
    def of(cls, values: Sequence[float], unit: str) -> "Figure":
        """Raises ValueError without values."""
        if not values:
            raise ValueError("a figure needs at least one value")
        return cls(statistics.median(values), min(values), max(values), unit)


@dataclass(slots=True, frozen=True)
class Due:
    """What a case is, what it must reach on the reference machine, and what is hoped for.

    due, goal: None where nothing is said of it. more_is_better: a rate, which a slower machine lowers; else a time,
    which it raises. is_fixed: the same on every machine: a ratio of two of its figures, a size, a number of things.
    """

    what: str
    unit: str
    due: float | None
    goal: float | None
    more_is_better: bool = False
    is_fixed: bool = False

    def scaled(self, factor: float) -> "Due":
        """The same for a machine of this factor; see `machine_factor`."""
        if self.is_fixed:
            return self
        scale = factor if self.more_is_better else 1.0 / factor
        due, goal = (None if one is None else one * scale for one in (self.due, self.goal))
        return Due(self.what, self.unit, due, goal, self.more_is_better)

    def is_reached(self, value: float) -> bool | None:
        """Whether a value is what is due, or better; None where nothing is due."""
        return self._is_as_good(value, self.due)

    def is_goal_reached(self, value: float) -> bool | None:
        """Whether a value is what is hoped for, or better; None where nothing is."""
        return self._is_as_good(value, self.goal)

    def _is_as_good(self, value: float, wanted: float | None) -> bool | None:
        if wanted is None:
            return None
        return value >= wanted if self.more_is_better else value <= wanted


DUES: Mapping[str, Due] = {
    "B1": Due("one-step runs, 500 in flight", "runs/s", 2_000, 5_000, more_is_better=True),
    "B2": Due("10-step runs, 500 in flight", "steps/s", 5_000, 12_000, more_is_better=True),
    "B2.cpu_ms_per_step": Due("the same: CPU of all processes", "ms", 0.35, 0.15),
    "B3": Due("10-step runs, every step queued", "steps/s", 2_500, 6_000, more_is_better=True),
    "B3.cpu_ms_per_step": Due("the same: CPU of all processes", "ms", None, None),
    "B4.run_p50": Due("idle: one-step run, median", "ms", 4.0, 2.5),
    "B4.run_p99": Due("idle: one-step run, 99th percentile", "ms", 8.0, 5.0),
    "B4.step_p50": Due("idle: sequential step, median", "ms", 1.1, 0.6),
    "B4.queued_step_p50": Due("idle: queued step, median", "ms", 3.0, 1.5),
    "B5": Due("fan-out of 1,000 steps and join, 100 slots", "s", 0.4, 0.12),
    "B6": Due("10,000 sleepers due at once: until all are awake", "s", 5.0, 2.0),
    "B6.lone_p50": Due("idle: how late a timer is, median", "ms", None, None),
    "B6.lone_p99": Due("idle: how late a timer is, 99th percentile", "ms", None, 50.0),
    "B7": Due("claimed of 1,000,000 in a queue, over 10,000", "x", 0.7, 0.9, more_is_better=True, is_fixed=True),
    "B8": Due("B3 after 60 s of a held vacuum horizon, over 10 s", "x", 0.7, 0.9, more_is_better=True, is_fixed=True),
    "B9": Due("100,000 suspended runs: coordinator above idle", "MB", 150.0, 30.0, is_fixed=True),
    "B9.new_run": Due("the same: time of a new run, over that without", "x", 1.2, 1.05, is_fixed=True),
    "B10": Due("cold replay of a 10,000-step run", "us/step", 50.0, 25.0),
    "B11.span_us": Due("telemetry: CPU to build and encode a span", "us/span", 15.0, 8.0),
    "B11.all": Due("B2 with all runs exported, over B2 without", "x", 0.75, 0.9, more_is_better=True, is_fixed=True),
    "B11.hundredth": Due("B2 with 1 % of them, over B2 without", "x", 0.95, 1.0, more_is_better=True, is_fixed=True),
    "B11.black_hole": Due("B2 with a collector that never answers", "x", 0.9, 1.0, more_is_better=True, is_fixed=True),
    "B11.metrics": Due("B2 with metrics alone, over B2 without", "x", 0.9, 0.97, more_is_better=True, is_fixed=True),
    "B14.failed_calls": Due("all restarted in turn: failed calls", "calls", 0, 0, is_fixed=True),
    "B14.slowest_start": Due("the same: slowest start", "s", 1.0, 0.2),
    "B14.repeated_steps": Due("the same: steps that ran twice", "steps", 0, 0, is_fixed=True),
    "B15": Due("B1 on two replicas of one cell, over one", "x", 0.9, 1.0, more_is_better=True, is_fixed=True),
    "B15.mail_p50": Due("mail through the other replica, median", "ms", None, None),
    "B15.mail_p99": Due("mail through the other replica, 99th percentile", "ms", 1_200.0, 50.0),
    "B17.import": Due("import holdfast", "ms", 150.0, 60.0),
    "B17.help": Due("holdfast --help", "ms", 250.0, 120.0),
    "B17.worker_ready": Due("a worker, from its start until it is ready", "s", 0.8, 0.5),
    "B17.distributions": Due("what an installation without extras brings", "distributions", 25, 20, is_fixed=True),
}
"""In the order in which they are shown."""


def machine_factor(limits: Mapping[str, float]) -> float:
    """How fast this machine is, at most 1: what is due is scaled by it.

    limits: per second, by name; a reference that was not measured does not count.
    """
    ratios = [limits[name] / reference for name, reference in REFERENCE_LIMITS.items() if name in limits]
    return min(1.0, *ratios)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed. share: above 0, at most 1."""
    if not values or not 0.0 < share <= 1.0:
        raise ValueError(f"no {share:g} percentile of {len(values)} values")
    return sorted(values)[math.ceil(share * len(values)) - 1]
