"""Replays take time in proportion to the journal. The figure itself is printed, not asserted."""

import asyncio
import time

import pytest

from holdfast.journal import Entry
from tests.support.workflow_driver import CODEC, Driver, a_step, instance_of


@a_step
def count(x: int) -> int:
    return x + 1


async def sequential(steps: int) -> int:
    value = 0
    for _ in range(steps):
        value = await count(value)
    return value


async def parallel(steps: int) -> int:
    return len(await asyncio.gather(*(count.with_id(str(x))(x) for x in range(steps))))


def seconds_of_replay(function: object, steps: int, journal: list[Entry]) -> float:
    instance = instance_of(function, steps)  # type: ignore[arg-type]
    started = time.perf_counter()
    for entry in journal:
        instance.feed(entry)
    assert instance.is_closed
    return time.perf_counter() - started


@pytest.mark.alone
@pytest.mark.parametrize("function", [sequential, parallel])
def test_a_replay_of_10_000_steps_is_linear(function: object) -> None:
    figures = []
    for steps in (1_000, 10_000):
        driver = Driver(function, (steps,))  # type: ignore[arg-type]
        driver.start()
        if function is sequential:
            driver.run()
        else:
            for number in range(1, steps + 1):
                driver.complete(number)
        assert CODEC.decode(driver.closed.result, int, what="") == steps  # type: ignore[arg-type]
        best = min(seconds_of_replay(function, steps, driver.journal) for _ in range(3))
        figures.append(best / steps)
    print(f"replay: {figures[1] * 1e6:.1f} us a step")
    assert figures[1] < 4 * figures[0]
