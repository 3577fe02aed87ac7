"""This code beside that of another revision, telemetry off: `make bench-against REV=<commit>`.

Both stacks stand at once and take turns at B1, B2 and B4, ten pairs of each. Within a pair of B4 they take turns too,
at single runs and at twenty steps, since a machine is rarely as fast as it was a second ago. So the same code against
itself gives medians of 0.99 to 1.01 there, and of 0.97 to 1.03 elsewhere. What is printed is how good this code is
over how good the other one is, whether more or less is better: above 1 this code is the better one.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from holdfast.client.loops import run

from .cases import (
    between_ms,
    idle_run_ms,
    measure_one_step_runs,
    measure_ten_step_runs,
    median,
    of_idle_runs,
    queued_step_ms,
    run_all,
)
from .figures import DUES, Figure
from .flows import PAYLOAD, clocked_steps, ten_steps
from .processes import forget_settings
from .sizes import FULL, Sizes, Values
from .stack import Stack, stack

WORKERS = 2
WARM_UP_RUNS = 200
STEPS_PER_TURN = 20


def main() -> None:
    """Prints the median and the range of the pairs. The one argument: where the other revision is checked out."""
    forget_settings()
    checkout = Path(sys.argv[1]).resolve()
    console = Console()
    with console.status(f"{FULL.pairs} pairs of loads"):
        ratios = run(measure_against(checkout, FULL, pairs=FULL.pairs))
    for name, found in ratios.items():
        figure = Figure.of(found, "x")
        console.print(f"{name:<20} {figure.median:.3f}  ({figure.min:.3f} .. {figure.max:.3f})", highlight=False)


async def measure_against(checkout: Path, sizes: Sizes, *, pairs: int) -> dict[str, list[float]]:
    """By figure, what each pair of loads gave. Raises BenchFailed when a stack does not work."""
    ratios: dict[str, list[float]] = {}
    async with stack(workers=WORKERS, checkout=checkout) as before, stack(workers=WORKERS) as now:
        for running in (before, now):
            await run_all(running.client, ten_steps, WARM_UP_RUNS, in_flight=sizes.in_flight)
        for number in range(pairs):
            # Who goes first takes turns too: what the second finds is not what the first found.
            order = (before, now) if number % 2 == 0 else (now, before)
            found = {id(running): await _load(running, sizes) for running in order}
            idle = await _in_turns(order, sizes)
            for running in order:
                found[id(running)] |= idle[id(running)]
            for name, ratio in _ratios(found[id(before)], found[id(now)]).items():
                ratios.setdefault(name, []).append(ratio)
    return ratios


async def _load(running: Stack, sizes: Sizes) -> dict[str, float | None]:
    measures = (measure_one_step_runs, measure_ten_step_runs)
    return {name: value for measure in measures for name, value in (await measure(running, sizes)).items()}


async def _in_turns(stacks: Sequence[Stack], sizes: Sizes) -> dict[int, dict[str, float | None]]:
    """B4 of each stack, by its id, each thing by one after the other."""
    runs, steps, queued = ({id(one): list[float]() for one in stacks} for _ in range(3))
    for number in range(sizes.idle_runs):
        for one in stacks if number % 2 else reversed(stacks):
            runs[id(one)].append(await idle_run_ms(one))
    for number in range(-(-sizes.sequential_steps // STEPS_PER_TURN)):
        for one in stacks if number % 2 else reversed(stacks):
            steps[id(one)] += between_ms(await one.client.run(clocked_steps, STEPS_PER_TURN, PAYLOAD))
            queued[id(one)] += await queued_step_ms(one.client, STEPS_PER_TURN)
    return {
        place: {
            **of_idle_runs(runs[place]),
            "B4.step_p50": statistics.median(steps[place]),
            "B4.queued_step_p50": median(queued[place]),
        }
        for place in runs
    }


def _ratios(before: Values, now: Values) -> Mapping[str, float]:
    """How much better each figure is now; what one of the two cannot measure is left out."""
    ratios = {}
    for name, due in DUES.items():
        old, new = before.get(name), now.get(name)
        if old and new:
            ratios[name] = new / old if due.more_is_better else old / new
    return ratios


if __name__ == "__main__":
    main()
