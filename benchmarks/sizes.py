"""How much is run of each case: in full, quickly, and only to see whether it works."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = Mapping[str, float | None]
"""Figures by name; None for what this build of holdfast or this machine cannot do."""

Say = Callable[[str], None]
"""Told what is done next."""


@dataclass(slots=True, frozen=True)
class Sizes:
    """How much is run in a round of each case, and how many rounds there are; pairs: of loads that are compared."""

    rounds: int
    one_step_runs: int
    ten_step_runs: int
    idle_runs: int
    sequential_steps: int
    replayed_steps: int
    traced_runs: int
    limit_seconds: float
    pairs: int
    fan_outs: int
    lone_timers: int
    process_starts: int
    shallow_queue: int
    deep_queue: int
    held_seconds: float
    window_seconds: float
    suspended_runs: int
    mails: int
    stale_seconds: float
    sleepers: int = 10_000
    in_flight: int = 500
    branches: int = 1_000


FULL = Sizes(
    3, 5_000, 1_000, 300, 500, 10_000, 500, limit_seconds=1.0, pairs=10, fan_outs=5, lone_timers=100,
    process_starts=5, shallow_queue=10_000, deep_queue=1_000_000, held_seconds=60.0, window_seconds=10.0,
    suspended_runs=100_000, mails=100, stale_seconds=5.0,
)  # fmt: skip
QUICK = Sizes(
    3, 2_000, 300, 150, 200, 10_000, 500, limit_seconds=0.4, pairs=3, fan_outs=2, lone_timers=10,
    process_starts=1, shallow_queue=5_000, deep_queue=200_000, held_seconds=20.0, window_seconds=5.0,
    suspended_runs=20_000, mails=50, stale_seconds=5.0,
)  # fmt: skip
SMOKE = Sizes(
    1, 20, 5, 5, 5, 100, 5, limit_seconds=0.02, pairs=1, fan_outs=1, lone_timers=2,
    process_starts=1, shallow_queue=500, deep_queue=1_000, held_seconds=1.0, window_seconds=1.0,
    suspended_runs=50, mails=2, stale_seconds=1.0,
    in_flight=10, branches=20, sleepers=20,
)  # fmt: skip
