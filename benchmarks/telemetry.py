"""What telemetry costs: the same work with and without it, in turns, on stacks that stand side by side.

Only ratios are given. Both halves of a pair run within seconds of each other, and the median of the pairs counts, so
that a machine that drifts, or does something else for a while, changes little.
"""

import asyncio
import contextlib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import dataclass

from . import flows
from .cases import run_all
from .processes import command_of, environment
from .sizes import Say, Sizes
from .stack import Stack, stack

WORKERS = 2
WARM_UP_SHARE = 5
LONGER = 3
"""Loads of one B2 each: what is exported after the end of a load, within half a second, must not count for much."""
FIGURES = ("B11.all", "B11.hundredth", "B11.black_hole", "B11.metrics")


@dataclass(slots=True, frozen=True)
class Load:
    """What a stack did: steps per second, and CPU-ms per step of all its processes, Postgres and the client too."""

    steps_per_second: float
    cpu_ms_per_step: float | None


async def measure_telemetry(sizes: Sizes, say: Say) -> dict[str, list[float]]:
    """For each of FIGURES, the steps per second with telemetry over those without, of each pair.

    Raises BenchFailed when a stack does not work.
    """
    async with sink() as url, sink("--silent") as black_hole, stack(workers=WORKERS) as off:
        options = (
            ("--otlp", url, "--trace-ratio", "1"),
            ("--otlp", url, "--trace-ratio", "0.01"),
            ("--otlp", black_hole, "--trace-ratio", "1"),
            ("--metrics-port", "0"),
        )
        ratios = {}
        for name, chosen in zip(FIGURES, options, strict=True):
            say(f"{name}: {sizes.pairs} pairs")
            async with stack(workers=WORKERS, options=chosen) as on:
                loads = await _in_turns(off, on, sizes)
            ratios[name] = [with_it.steps_per_second / without.steps_per_second for without, with_it in loads]
        return ratios


async def _in_turns(one: Stack, other: Stack, sizes: Sizes) -> list[tuple[Load, Load]]:
    for running in (one, other):
        await run_all(running.client, flows.ten_steps, max(sizes.ten_step_runs // WARM_UP_SHARE, 1),
                      in_flight=sizes.in_flight)  # fmt: skip
    loads = []
    for number in range(sizes.pairs):
        # Who goes first takes turns too: what the second finds is not what the first found.
        first, second = (one, other) if number % 2 == 0 else (other, one)
        found = {id(running): await _load(running, sizes) for running in (first, second)}
        loads.append((found[id(one)], found[id(other)]))
    return loads


async def _load(running: Stack, sizes: Sizes) -> Load:
    runs = sizes.ten_step_runs * LONGER
    before = sum(running.cpu_seconds().values())
    seconds = await run_all(running.client, flows.ten_steps, runs, in_flight=sizes.in_flight)
    used = sum(running.cpu_seconds().values()) - before
    steps = runs * flows.STEPS_PER_RUN
    return Load(steps / seconds, used / steps * 1e3 if used else None)


@contextlib.asynccontextmanager
async def sink(*options: str) -> AsyncIterator[str]:
    """The URL of a collector in another process."""
    process = await asyncio.create_subprocess_exec(
        *command_of("sink", options), stdin=PIPE, stdout=PIPE, env=environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await process.wait()
