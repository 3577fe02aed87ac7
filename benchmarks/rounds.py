"""Runs the cases in interleaved rounds, so that a machine that drifts slows all of them alike."""

import gc
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

from . import flows
from .apart import Apart
from .cases import Case, run_all
from .figures import DUES, Figure, machine_factor
from .limits import echo_server, measure_limits
from .profiles import Profiles
from .programs import BenchFailed
from .report import FACTOR, Results
from .sizes import Say, Sizes
from .stack import stack

WORKERS = 2
WARM_UP_SHARE = 10


async def measure(
    cases: Sequence[Case], apart: Sequence[Apart], sizes: Sizes, *, profiles: Profiles | None = None, say: Say
) -> Results:
    """Brings up a stack, runs every case once per round, and takes it down; then the cases that stand apart.

    say: told what is done next. Raises BenchFailed when the shared stack does not work, or a case on it.
    """
    limits: dict[str, list[float]] = defaultdict(list)
    values: dict[str, list[float]] = defaultdict(list)
    say("starting Postgres, a coordinator and workers")
    async with (
        echo_server() as echo_address,
        # Workers only where a case needs them: the limits are measured in any case.
        stack(
            workers=WORKERS if cases else 0, queues=(flows.FAN_OUT_QUEUE,) if cases else (), profiles=profiles
        ) as running,
    ):
        say("warming up")
        warm_up = ((flows.one_step, sizes.one_step_runs), (flows.ten_steps, sizes.ten_step_runs))
        for workflow, count in warm_up if cases else ():
            await run_all(running.client, workflow, max(count // WARM_UP_SHARE, 1), in_flight=sizes.in_flight)
        gc.collect()
        gc.freeze()
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
    problems: dict[str, str] = {}
    for alone in apart:
        try:
            values.update({name: list(found) for name, found in (await alone.measure(sizes, say)).items()})
        except BenchFailed as error:
            # What took a quarter of an hour is shown all the same.
            problems[alone.name] = str(error)
    named = {name for some in (cases, apart) for case in some for name in case.figures}
    return _results(named, limits, values, problems)


def _results(
    named: Set[str], limits: dict[str, list[float]], values: dict[str, list[float]], problems: Mapping[str, str]
) -> Results:
    return Results(
        limits={name: Figure.of(found, "" if name == FACTOR else "1/s") for name, found in limits.items()},
        cases={
            name: Figure.of(values[name], due.unit) if values[name] else None
            for name, due in DUES.items()
            if name in named
        },
        details={name: Figure.of(found, "ms") for name, found in values.items() if name not in named and found},
        problems=problems,
    )
