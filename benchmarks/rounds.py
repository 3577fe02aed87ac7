"""Runs the cases in interleaved rounds, so that a machine that drifts slows all of them alike."""

import gc
from collections import defaultdict
from collections.abc import Callable, Sequence

from . import flows
from .cases import Case, Sizes, run_all
from .figures import DUES, Figure, machine_factor
from .limits import echo_server, measure_limits
from .profiles import Profiles
from .report import FACTOR, Results
from .stack import stack
from .telemetry import FIGURES, measure_telemetry

WORKERS = 2
WARM_UP_SHARE = 10

Say = Callable[[str], None]


async def measure(
    cases: Sequence[Case], sizes: Sizes, *, has_telemetry: bool = False, profiles: Profiles | None = None, say: Say
) -> Results:
    """Brings up a stack, runs every case once per round, and takes it down.

    has_telemetry: then what telemetry costs is measured too, on further stacks. say: told what is done next.
    Raises BenchFailed when a stack does not work.
    """
    say("starting Postgres, a coordinator and two workers")
    async with echo_server() as echo_address, stack(workers=WORKERS, profiles=profiles) as running:
        say("warming up")
        for workflow, count in ((flows.one_step, sizes.one_step_runs), (flows.ten_steps, sizes.ten_step_runs)):
            await run_all(running.client, workflow, max(count // WARM_UP_SHARE, 1), in_flight=sizes.in_flight)
        gc.collect()
        gc.freeze()
        limits: dict[str, list[float]] = defaultdict(list)
        values: dict[str, list[float]] = defaultdict(list)
        for number in range(1, sizes.rounds + 1):
            say(f"round {number} of {sizes.rounds}: limits of the machine")
            found = await measure_limits(running.server, echo_address, seconds=sizes.limit_seconds)
            for name, value in (found | {FACTOR: machine_factor(found)}).items():
                limits[name].append(value)
            for case in cases:
                say(f"round {number} of {sizes.rounds}: {case.name}")
                for name, maybe in (await case.measure(running, sizes)).items():
                    if maybe is not None:
                        values[name].append(maybe)
        if profiles is not None:
            # Rounds of their own, as profiles cost as much again.
            for case in cases:
                say(f"profiling {case.name}")
                async with profiles.taken(case.name, running.pids):
                    await case.measure(running, sizes)
    if has_telemetry:
        values.update(await measure_telemetry(sizes, pairs=sizes.pairs, say=say))
    named = [*(name for case in cases for name in case.figures), *(FIGURES if has_telemetry else ())]
    return _results(named, limits, values)


def _results(named: Sequence[str], limits: dict[str, list[float]], values: dict[str, list[float]]) -> Results:
    return Results(
        limits={name: Figure.of(found, "" if name == FACTOR else "1/s") for name, found in limits.items()},
        cases={name: Figure.of(values[name], DUES[name].unit) if values[name] else None for name in named},
        details={name: Figure.of(found, "ms") for name, found in values.items() if name not in named and found},
    )
