"""The cases: what is run against the stack, and the figures that come out, by name.

Only ordinary calls of the public client are used.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from holdfast import HoldfastError, Workflow
from holdfast.client import Client

from . import flows
from .figures import percentile
from .programs import BenchFailed
from .replay import recorded_pages, replay_us_per_step
from .sizes import Sizes, Values
from .sleepers import LONE, measure_lone_timers, measure_sleepers
from .spans import recorded_rows, us_per_span
from .stack import Stack
from .startup import FIGURES as START_UP
from .startup import measure_start_up

NANOSECONDS_PER_MS = 1e6
QUEUED_SECONDS = 30.0
RUNS_SECONDS = 300.0


@dataclass(slots=True, frozen=True)
class Case:
    """What is measured on the stack that cases share. figures: the names of what `measure` returns.

    is_long: not a case for --quick.
    """

    name: str
    figures: tuple[str, ...]
    measure: Callable[[Stack, Sizes], Awaitable[Values]]
    is_long: bool = False


async def measure_one_step_runs(stack: Stack, sizes: Sizes) -> Values:
    """B1: starts and results, one call each, from one process."""
    runs = sizes.one_step_runs
    before = stack.cpu_seconds()
    seconds = await run_all(stack.client, flows.one_step, runs, in_flight=sizes.in_flight)
    return {"B1": runs / seconds, **_cpu_ms("B1", before, stack.cpu_seconds(), runs)}


async def measure_ten_step_runs(stack: Stack, sizes: Sizes) -> Values:
    """B2: steps per second, and what a step costs in all processes together."""
    return await _ten_steps("B2", flows.ten_steps, stack, sizes)


async def measure_queued_steps(stack: Stack, sizes: Sizes) -> Values:
    """B3: the same, every step queued."""
    return await _ten_steps("B3", flows.ten_queued_steps, stack, sizes)


async def _ten_steps(name: str, workflow: Workflow[[str], str], stack: Stack, sizes: Sizes) -> Values:
    steps = sizes.ten_step_runs * flows.STEPS_PER_RUN
    before = stack.cpu_seconds()
    seconds = await run_all(stack.client, workflow, sizes.ten_step_runs, in_flight=sizes.in_flight)
    per_step = f"{name}.cpu_ms_per_step"
    used = _cpu_ms(per_step, before, stack.cpu_seconds(), steps)
    return {name: steps / seconds, per_step: sum(used.values()) if used else None, **used}


def _cpu_ms(name: str, before: Mapping[str, float], after: Mapping[str, float], count: int) -> dict[str, float]:
    """CPU milliseconds for each of `count`, by process, as details of figure `name`."""
    return {f"{name}.{process}": (after[process] - before[process]) / count * 1e3 for process in before}


async def measure_idle(stack: Stack, sizes: Sizes) -> Values:
    """B4: one thing at a time."""
    steps = sizes.sequential_steps
    return {
        **of_idle_runs([await idle_run_ms(stack) for _ in range(sizes.idle_runs)]),
        "B4.step_p50": statistics.median(between_ms(await stack.client.run(flows.clocked_steps, steps, flows.PAYLOAD))),
        "B4.queued_step_p50": median(await queued_step_ms(stack.client, steps)),
    }


async def idle_run_ms(stack: Stack) -> float:
    """How many milliseconds a run takes that has everything to itself."""
    started = time.perf_counter()
    await stack.client.run(flows.one_step, flows.PAYLOAD)
    return (time.perf_counter() - started) * 1e3


def median(times: Sequence[float]) -> float | None:
    """The median; None of nothing, which could not be measured."""
    return statistics.median(times) if times else None


def of_idle_runs(took_ms: Sequence[float]) -> dict[str, float]:
    """The figures of B4 that such times give."""
    return {"B4.run_p50": statistics.median(took_ms), "B4.run_p99": percentile(took_ms, 0.99)}


async def measure_fan_out(stack: Stack, sizes: Sizes) -> Values:
    """B5: many steps at once in one run, by one worker."""
    workflow = flows.fan_out.with_options(queue=flows.FAN_OUT_QUEUE)
    took = []
    for _ in range(sizes.fan_outs):
        started = time.perf_counter()
        count = await stack.client.run(workflow, sizes.branches, flows.PAYLOAD)
        took.append(time.perf_counter() - started)
        assert count == sizes.branches, count
    return {"B5": statistics.median(took)}


async def measure_replay(stack: Stack, sizes: Sizes) -> Values:
    """B10: a long journal is decoded and fed to the code."""

    def best_of_three() -> float:
        pages = recorded_pages(sizes.replayed_steps)
        return min(replay_us_per_step(pages, sizes.replayed_steps) for _ in range(3))

    # In a thread: the loop of workflow code cannot run inside a task of another one.
    return {"B10": await asyncio.to_thread(best_of_three)}


async def measure_spans(stack: Stack, sizes: Sizes) -> Values:
    """B11.span_us: the journals of ten-step runs become spans, and these become the requests that export them."""

    def best_of_three() -> float:
        rows = recorded_rows(flows.STEPS_PER_RUN)
        return min(us_per_span(rows, sizes.traced_runs) for _ in range(3))

    # In a thread, for the same reason.
    return {"B11.span_us": await asyncio.to_thread(best_of_three)}


CASES = (
    Case("B1", ("B1",), measure_one_step_runs),
    Case("B2", ("B2", "B2.cpu_ms_per_step"), measure_ten_step_runs),
    Case("B3", ("B3", "B3.cpu_ms_per_step"), measure_queued_steps),
    Case("B4", ("B4.run_p50", "B4.run_p99", "B4.step_p50", "B4.queued_step_p50"), measure_idle),
    Case("B5", ("B5",), measure_fan_out),
    Case("B6", ("B6",), measure_sleepers, is_long=True),
    Case("B6.lone", LONE, measure_lone_timers),
    Case("B10", ("B10",), measure_replay),
    Case("B11.span_us", ("B11.span_us",), measure_spans),
    Case("B17", START_UP, measure_start_up),
)


async def run_all(client: Client, workflow: Workflow[[str], str], count: int, *, in_flight: int) -> float:
    """Starts `count` runs and awaits their results, `in_flight` at a time; returns the seconds that it took.

    Raises BenchFailed when one of them fails, or does not end.
    """
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            handle = await client.start(workflow, flows.PAYLOAD)
            result = await handle.result()
            assert result == flows.PAYLOAD, result

    started = time.perf_counter()
    try:
        async with asyncio.timeout(RUNS_SECONDS), asyncio.TaskGroup() as group:
            for _ in range(min(in_flight, count)):
                group.create_task(one_after_the_other())
    except TimeoutError:
        raise BenchFailed(f"runs of {workflow.name} are still open after {RUNS_SECONDS:g} s") from None
    except ExceptionGroup as group:
        raise BenchFailed(f"a run of {workflow.name} did not complete: {group.exceptions[0]!r}") from group
    return time.perf_counter() - started


async def queued_step_ms(client: Client, steps: int) -> list[float]:
    """The times between queued steps, one after the other in a run, in milliseconds; none where they do not work."""
    handle = await client.start(flows.clocked_queued_steps, steps, flows.PAYLOAD)
    try:
        return between_ms(await handle.result(timeout=QUEUED_SECONDS))
    except (HoldfastError, TimeoutError):
        await handle.terminate("queued steps do not work here")
        return []


def between_ms(clocks_ns: Sequence[int]) -> list[float]:
    """The times between steps, in milliseconds."""
    return [(later - earlier) / NANOSECONDS_PER_MS for earlier, later in pairwise(clocks_ns)]
