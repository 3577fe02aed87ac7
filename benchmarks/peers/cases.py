"""What is measured of every engine, how much of it, and the figures that come out, by name."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields, replace

from .engines import Engine
from .memory import memory_mib

STEPS_PER_RUN = 10

Values = Mapping[str, float]
"""Figures by name; what this machine cannot know is left out."""


@dataclass(slots=True, frozen=True)
class Load:
    """How much is run in a round of each case; of a slower engine less, so that it takes about as long."""

    one_step_runs: int
    ten_step_runs: int
    idle_runs: int = 200
    sequential_steps: int = 300
    fan_outs: int = 3
    branches: int = 1_000

    def part(self, share: int) -> "Load":
        """The `share`-th part of it. A fan-out keeps its size: it is one piece of work."""
        counts = {field.name: max(getattr(self, field.name) // share, 2) for field in fields(self)}
        return replace(self, **counts | {"branches": self.branches, "fan_outs": max(self.fan_outs // share, 1)})


SMOKE = Load(20, 4, idle_runs=3, sequential_steps=5, fan_outs=1, branches=10)


@dataclass(slots=True, frozen=True)
class Case:
    """figures: the names of what `measure` returns; the first decides which way of running an engine is its best."""

    name: str
    figures: tuple[str, ...]
    measure: Callable[[Engine, Load], Awaitable[Values]]


async def measure_one_step_runs(engine: Engine, load: Load) -> Values:
    """B1: one-step runs, started and awaited."""
    return await _loaded(engine, "B1", "one_step", load.one_step_runs, units=1)


async def measure_ten_step_runs(engine: Engine, load: Load) -> Values:
    """B2: ten-step runs, and what all processes hold after them."""
    found = await _loaded(engine, "B2", "ten_steps", load.ten_step_runs, units=STEPS_PER_RUN)
    held = memory_mib(engine.pids)
    return found if held is None else {**found, "memory": held}


async def measure_idle_runs(engine: Engine, load: Load) -> Values:
    """B4: one-step runs, one after the other."""
    p50, p99 = await engine.idle_run_ms(load.idle_runs)
    return {"B4.run_p50": p50, "B4.run_p99": p99}


async def measure_sequential_steps(engine: Engine, load: Load) -> Values:
    """B4: steps of one run, one after the other."""
    return {"B4.step_p50": await engine.sequential_step_ms(load.sequential_steps)}


async def measure_fan_out(engine: Engine, load: Load) -> Values:
    """B5: many steps of one run at once."""
    return {"B5": await engine.fan_out_seconds(load.branches, load.fan_outs)}


CASES = (
    Case("B1", ("B1", "B1.cpu_ms_per_run"), measure_one_step_runs),
    Case("B2", ("B2", "B2.cpu_ms_per_step", "memory"), measure_ten_step_runs),
    Case("B4.run", ("B4.run_p50", "B4.run_p99"), measure_idle_runs),
    Case("B4.step", ("B4.step_p50",), measure_sequential_steps),
    Case("B5", ("B5",), measure_fan_out),
)


async def _loaded(engine: Engine, name: str, workflow: str, count: int, *, units: int) -> dict[str, float]:
    before = engine.cpu_seconds()
    seconds = await engine.runs(workflow, count)
    after = engine.cpu_seconds()
    done = count * units
    found = {name: done / seconds}
    if before is not None and after is not None:
        found[f"{name}.cpu_ms_per_{'run' if units == 1 else 'step'}"] = (after - before) / done * 1e3
    return found
