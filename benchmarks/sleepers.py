"""B6: how long it takes until many sleepers are awake that are due at once, and how late a timer is that is alone."""

from datetime import UTC, datetime, timedelta

from . import flows
from .figures import percentile
from .programs import BenchFailed
from .sizes import Sizes, Values
from .stack import Stack

STARTS_PER_SECOND = 1_000
"""How many sleepers are started at least, as a first guess: they must all be asleep before they are due."""
MARGIN = timedelta(seconds=2)
TRIES = 4
WAKE_SECONDS = 300.0
NANOSECONDS_PER_MS = 1e6
LONE = ("B6.lone_p50", "B6.lone_p99")


async def measure_sleepers(stack: Stack, sizes: Sizes) -> Values:
    """B6: seconds from the instant for which all sleep to the result of the last of them."""
    ahead = timedelta(seconds=sizes.sleepers / STARTS_PER_SECOND) + MARGIN
    for _ in range(TRIES):
        due_at = datetime.now(UTC) + ahead
        sleepers = await stack.client.start_many(flows.sleeps_until, [due_at] * sizes.sleepers)
        in_time = datetime.now(UTC) < due_at - MARGIN / 2
        try:
            await stack.client.wait_many(sleepers, timeout=ahead.total_seconds() + WAKE_SECONDS)
        except TimeoutError as error:
            raise BenchFailed(f"of {sizes.sleepers} sleepers, {error}", log=stack.programs.log) from error
        if in_time:
            return {"B6": (datetime.now(UTC) - due_at).total_seconds()}
        ahead *= 2
    raise BenchFailed(f"{sizes.sleepers} runs are not started in {ahead.total_seconds() / 2:g} s")


async def measure_lone_timers(stack: Stack, sizes: Sizes) -> Values:
    """B6.lone: milliseconds from when a timer is due to when the step behind it runs, and nothing else goes on."""
    late_ms = []
    for _ in range(sizes.lone_timers):
        asked_at, awake_at, slept_ms = await stack.client.run(flows.timer_between_clocks, flows.PAYLOAD)
        late_ms.append((awake_at - asked_at) / NANOSECONDS_PER_MS - slept_ms)
    return dict(zip(LONE, (percentile(late_ms, 0.5), percentile(late_ms, 0.99)), strict=True))
